"""A credit note on paper, made of its document. Its amounts have the opposite sign of the invoice's, as there."""

from collections.abc import Iterator

from tollgate.invoices.rules.papers import lines, parties, wording
from tollgate.invoices.rules.papers.paper import Fact, Note, Paper, Sum, Total
from tollgate.invoices.rules.papers.reading import CreditNoteSaid, read_credit_note
from tollgate.kit import money

_SETTLED = {
    "balance": "What was paid already of what is credited is owed to the customer until it is refunded.",
    "credit": "What was paid already of what is credited has become credit, which pays for what is used next.",
}


def credit_note_paper(document: str) -> Paper:
    """The paper of a credit note whose document this is."""
    said = read_credit_note(document)
    return Paper(
        title="Credit note",
        number=said.number,
        mark="",
        day=wording.utc_day(said.issued_at),
        currency=said.currency,
        issuer=parties.issuer(said.issuer),
        customer=parties.customer(said.customer, said.organization.name),
        facts=tuple(_facts(said)),
        headline=(
            Fact("Total", f"{wording.number(said.total)} {said.currency}"),
            Fact("For invoice", said.invoice.number),
            Fact("Usage of", wording.month(said.period.month)),
        ),
        sections=tuple(lines.sections(said.lines)),
        totals=tuple(_totals(said)),
        notes=tuple(_notes(said)),
        attachment=f"{said.number}.json",
        han=parties.han(said.customer, document),
    )


def _facts(said: CreditNoteSaid) -> Iterator[Fact]:
    yield Fact("Credit note number", said.number)
    yield Fact("Date of issue", wording.day(said.issued_at))
    yield Fact("For invoice", said.invoice.number)
    yield Fact("Invoice issued", wording.day(said.invoice.issued_at))
    yield Fact("Period", wording.days(said.period.month))
    yield Fact("Time zone", said.period.timezone)
    if said.customer is not None and said.customer.purchase_order is not None:
        yield Fact("Purchase order", said.customer.purchase_order)


def _totals(said: CreditNoteSaid) -> Iterator[Total]:
    if money.parse_amount(said.rounding):
        yield Total("Rounding", Sum(wording.number(said.rounding), ""), "light")
    yield from lines.around_the_total(
        Total(f"Total {said.currency}", wording.amounts(said.total_exact, said.total), "heavy"), said.tax
    )


def _notes(said: CreditNoteSaid) -> Iterator[Note]:
    yield Note("Reason", wording.paragraphs(said.reason))
    if said.settle in _SETTLED:
        yield Note("Payment", (_SETTLED[said.settle],))
    yield from lines.tax_notes(said.tax)
    yield wording.how_to_read(said.period.timezone, f"{said.number}.json")
