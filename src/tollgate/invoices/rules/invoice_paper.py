"""An invoice on paper, made of its document: whatever was issued before some of its parts existed is shown without."""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby
from typing import NamedTuple

from tollgate.invoices.rules import wording
from tollgate.invoices.rules.paper import Fact, Group, Han, Note, Paper, Party, Row, Section, Sum, Total
from tollgate.invoices.rules.reading import Customer, InvoiceSaid, Issuer, Line, Tax, read_invoice
from tollgate.kit import money

_TITLES = {
    "fee": "Plan",
    "commitment": "Minimum commitment",
    "adjustment": "Adjustments",
    "discount": "Discounts",
    "credits": "Credits",
}
_IN_THE_SUMS = {"tax"}
"""Lines that are shown among the sums instead."""
_READING = (
    "Amounts before rounding are what was charged call by call.",
    "Only the total is rounded; its lines bear whole minor units so that they add up to it.",
)
_ZONES = "The period is one of {}; days of issue and payment are of UTC."
_DATA = "This file holds the document as data, too: {}."
_HAN: dict[str, Han] = {"TW": "TC", "HK": "HK", "MO": "HK", "JP": "JP", "KR": "KR"}
_KANA, _HANGUL = re.compile("[\u3041-\u30ff]"), re.compile("[\uac00-\ud7a3]")


class _Heading(NamedTuple):
    title: str
    remark: str


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
        issuer=issuer(said.issuer),
        customer=customer(said.customer, said.organization.name),
        facts=tuple(_facts(said)),
        headline=tuple(_headline(said)),
        sections=tuple(sections(said.lines)),
        totals=tuple(_totals(said)),
        notes=tuple(_notes(said)),
        attachment=_attachment(said),
        han=han(said.customer, document),
    )


def issuer(said: Issuer | None) -> Party:
    """Who invoices; nobody, if the document does not say."""
    if said is None:
        return Party("")
    known = (*wording.address(said.address), *wording.tax_ids(said.tax_ids), said.registration, said.email)
    return Party(said.name, tuple(filter(None, known)))


def customer(said: Customer | None, name: str) -> Party:
    """Who is invoiced: known by that name alone, if the document does not say more."""
    if said is None:
        return Party(name)
    known = (*wording.address(said.address), *wording.tax_ids(said.tax_ids), said.email)
    return Party(said.name, tuple(filter(None, known)))


def han(said: Customer | None, text: str) -> Han:
    """Whose shapes Chinese characters have: of the customer's country, or as the text around them tells."""
    country = said.address.country if said is not None and said.address is not None else None
    if country in _HAN:
        return _HAN[country]
    return "JP" if _KANA.search(text) else "KR" if _HANGUL.search(text) else "SC"


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


def sections(lines: Sequence[Line]) -> Iterator[Section]:
    """The lines by project, and by what they are for, in the order of each one's first line."""
    named = [(_heading(line), line) for line in lines if line.type not in _IN_THE_SUMS]
    for heading in dict.fromkeys(heading for heading, _ in named):
        own = [line for each, line in named if each == heading]
        by_model = groupby(own, lambda line: line.model or "")
        groups = tuple(Group(model, tuple(map(_row, rows))) for model, rows in by_model)
        yield Section(heading.title, heading.remark, groups, subtotal=_added(own) if len(own) > 1 else None)


def _heading(line: Line) -> _Heading:
    if line.type != "usage":
        return _Heading(_TITLES.get(line.type, line.type.replace("_", " ").capitalize()), "")
    late = "" if line.origin is None else f"Used in {wording.month(line.origin)}, recorded after its invoice"
    return _Heading("No project" if line.project is None else line.project.name, late)


def _row(line: Line) -> Row:
    return Row(
        n=str(line.n),
        what=line.description if line.kind is None else wording.usage(line),
        quantity="" if line.quantity is None else wording.number(str(line.quantity)),
        unit_price="" if line.unit_price is None else wording.number(line.unit_price),
        unit=wording.unit(line.unit),
        sum=wording.amounts(line.amount_exact, line.amount),
    )


def _added(lines: Sequence[Line]) -> Sum:
    exact = reduce(money.EXACT.add, [money.parse_amount(line.amount_exact) for line in lines])
    amount = reduce(money.EXACT.add, [money.parse_amount(line.amount) for line in lines])
    return wording.amounts(money.amount_text(exact), format(amount, "f"))


def _totals(said: InvoiceSaid) -> Iterator[Total]:
    sums = [
        ("Usage", said.subtotal_exact, said.subtotal),
        ("Plan", said.fees_exact, said.fees),
        ("Minimum commitment", said.commitments_exact, said.commitments),
        ("Adjustments", said.adjustments_exact, said.adjustments),
        ("Discounts", said.discounts_exact, said.discounts),
        ("Credits", said.credits_exact, said.credits if money.parse_amount(said.credits_exact) else None),
    ]
    for label, exact, amount in sums:
        if exact is not None and amount is not None:
            yield Total(label, wording.amounts(exact, amount))
    if money.parse_amount(said.rounding):
        yield Total("Rounding", Sum(wording.number(said.rounding), ""), "light")
    added = said.tax is not None and said.tax.treatment != "inclusive"
    if added:
        yield from tax_totals(said.tax)
    yield Total(f"Total {said.currency}", wording.amounts(said.total_exact, said.total), "heavy")
    if not added:
        yield from tax_totals(said.tax)


def tax_totals(tax: Tax | None) -> Iterator[Total]:
    """What comes before the total where tax is added, and what the total contains otherwise."""
    if tax is None:
        return
    contained = tax.treatment == "inclusive"
    shares = [("Net", tax.net), (f"{tax.label} {tax.rate} %", tax.amount)]
    for label, amount in reversed(shares) if contained else shares:
        told = f"Contains {label}" if contained and label != "Net" else label
        yield Total(told, Sum("", wording.number(amount)), "light" if contained else "plain")


def _notes(said: InvoiceSaid) -> Iterator[Note]:
    if said.number is None:
        yield Note("This is a draft", ("It is not an invoice. What it says may change until the month is closed.",))
    if said.unpriced:
        waiting = (f"{each.model}: {each.quantity:,} {each.kind.replace('_', ' ')}" for each in said.unpriced)
        yield Note("Used, but without a price yet", tuple(waiting))
    if said.tax is not None and said.tax.note is not None:
        title = "Reverse charge" if said.tax.treatment == "reverse_charge" else said.tax.label
        yield Note(title, wording.paragraphs(said.tax.note))
    terms = (*_terms(said), *wording.paragraphs(None if said.payment is None else said.payment.instructions))
    if terms:
        yield Note("Payment", terms)
    if said.customer is not None and said.customer.notes is not None:
        yield Note("Remarks", wording.paragraphs(said.customer.notes))
    yield Note("How to read this", (*_READING, _ZONES.format(said.period.timezone), _DATA.format(_attachment(said))))


def _attachment(said: InvoiceSaid) -> str:
    return f"{said.number or 'draft'}.json"


def _terms(said: InvoiceSaid) -> Iterator[str]:
    days = None if said.payment is None else said.payment.term_days
    within = "" if days is None else f" within {days} days of issue"
    if said.due_at is not None:
        yield (
            f"Payable{within}, by {wording.day(said.due_at)}." if within else f"Payable by {wording.day(said.due_at)}."
        )
    elif said.number is not None:
        yield "Nothing is to be paid."
