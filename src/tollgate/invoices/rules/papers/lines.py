"""The lines of a document in sections, and what is told of tax below them."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from tollgate.invoices.rules.papers import wording
from tollgate.invoices.rules.papers.paper import Group, Note, Row, Section, Sum, Total
from tollgate.invoices.rules.papers.reading import Line, Tax
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


class _Heading(NamedTuple):
    title: str
    remark: str


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
    exact = money.total(money.parse_amount(line.amount_exact) for line in lines)
    amount = money.total(money.parse_amount(line.amount) for line in lines)
    return wording.amounts(money.amount_text(exact), format(amount, "f"))


def around_the_total(total: Total, tax: Tax | None) -> Iterator[Total]:
    """The total: with the tax that is added before it, or with the tax that it contains after it."""
    if tax is None:
        yield total
        return
    net = Sum("", wording.number(tax.net))
    share = Sum("", wording.number(tax.amount))
    if tax.treatment == "inclusive":
        yield total
        yield Total(f"Contains {tax.label} {tax.rate} %", share, "light")
        yield Total("Net", net, "light")
    else:
        yield Total("Net", net)
        yield Total(f"{tax.label} {tax.rate} %", share)
        yield total


def tax_notes(tax: Tax | None) -> Iterator[Note]:
    """What has to be said of tax in words."""
    if tax is not None and tax.note is not None:
        yield Note("Reverse charge" if tax.treatment == "reverse_charge" else tax.label, wording.paragraphs(tax.note))
