"""An invoice on paper, made of its document: whatever was issued before some of its parts existed is shown without."""

from collections.abc import Iterator

from tollgate.invoices.rules.papers import lines, parties, wording
from tollgate.invoices.rules.papers.paper import Fact, Note, Paper, Sum, Total
from tollgate.invoices.rules.papers.reading import InvoiceSaid, read_invoice
from tollgate.kit import money


def invoice_paper(document: str) -> Paper:
    """The paper of an invoice, or of a draft, whose document this is."""
    said = read_invoice(document)
    drafted = said.number is None
    return Paper(
        title="Draft invoice" if drafted else "Invoice",
        number=said.number or "",
        mark="DRAFT" if drafted else "",
        day=wording.first_day(said.period.month) if said.issued_at is None else wording.utc_day(said.issued_at),
        currency=said.currency,
        issuer=parties.issuer(said.issuer),
        customer=parties.customer(said.customer, said.organization.name),
        facts=tuple(_facts(said)),
        headline=tuple(_headline(said)),
        sections=tuple(lines.sections(said.lines)),
        totals=tuple(_totals(said)),
        notes=tuple(_notes(said)),
        attachment=_attachment(said),
        han=parties.han(said.customer, document),
    )


def _facts(said: InvoiceSaid) -> Iterator[Fact]:
    if said.number is not None:
        yield Fact("Invoice number", said.number)
    if said.issued_at is not None:
        yield Fact("Date of issue", wording.day(said.issued_at))
    if said.due_at is not None:
        yield Fact("Payment due", wording.day(said.due_at))
    yield Fact("Period", wording.days(said.period.month))
    yield Fact("Time zone", said.period.timezone)
    if said.customer is not None and said.customer.purchase_order is not None:
        yield Fact("Purchase order", said.customer.purchase_order)


def _headline(said: InvoiceSaid) -> Iterator[Fact]:
    yield Fact("Total", f"{wording.number(said.total)} {said.currency}")
    if said.due_at is not None:
        yield Fact("To be paid by", wording.day(said.due_at))
    yield Fact("Usage of", wording.month(said.period.month))


def _totals(said: InvoiceSaid) -> Iterator[Total]:
    sums = [
        ("Usage", said.subtotal_exact, said.subtotal),
        ("Plan", said.fees_exact, said.fees),
        ("Minimum commitment", said.commitments_exact, said.commitments),
        ("Discounts", said.discounts_exact, said.discounts),
        ("Adjustments", said.adjustments_exact, said.adjustments),
        ("Credits", said.credits_exact, said.credits if money.parse_amount(said.credits_exact) else None),
    ]
    for label, exact, amount in sums:
        if exact is not None and amount is not None:
            yield Total(label, wording.amounts(exact, amount))
    if money.parse_amount(said.rounding):
        yield Total("Rounding", Sum(wording.number(said.rounding), ""), "light")
    yield from lines.around_the_total(
        Total(f"Total {said.currency}", wording.amounts(said.total_exact, said.total), "heavy"), said.tax
    )


def _notes(said: InvoiceSaid) -> Iterator[Note]:
    if said.number is None:
        yield Note("This is a draft", ("It is not an invoice. What it says may change until the month is closed.",))
    if said.unpriced:
        waiting = (f"{each.model}: {each.quantity:,} {each.kind.replace('_', ' ')}" for each in said.unpriced)
        yield Note("Used, but without a price yet", tuple(waiting))
    yield from lines.tax_notes(said.tax)
    terms = (*_terms(said), *wording.paragraphs(None if said.payment is None else said.payment.instructions))
    if terms:
        yield Note("Payment", terms)
    if said.customer is not None and said.customer.notes is not None:
        yield Note("Remarks", wording.paragraphs(said.customer.notes))
    yield wording.how_to_read(said.period.timezone, _attachment(said))


def _attachment(said: InvoiceSaid) -> str:
    return f"{said.number or 'draft'}.json"


def _terms(said: InvoiceSaid) -> Iterator[str]:
    days = None if said.payment is None else said.payment.term_days
    within = {None: "", 0: " on receipt,", 1: " within a day of issue,"}.get(days, f" within {days} days of issue,")
    if said.due_at is not None:
        yield f"Payable{within} by {wording.day(said.due_at)}."
    elif said.number is not None:
        yield "Nothing is to be paid."
