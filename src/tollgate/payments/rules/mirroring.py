"""The lines of the invoice at Stripe that mirrors ours: in the same order, and of the same cents."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby

from tollgate.invoices.model import Heading, Invoice, Line
from tollgate.invoices.rules import document
from tollgate.kit import money
from tollgate.payments.model import NotChargeable
from tollgate.payments.rules import amounts
from tollgate.payments.rules.collecting import Item

LINES_MAX = 200
"""Stripe takes 250 lines an invoice; a few are kept for what was credited and paid."""
_DESCRIPTION_MAX = 500


def items(invoice: Invoice) -> list[Item]:
    """The mirror's lines: ours, or a sum for each type of line if they are too many, less what is not due any more.

    They add up to what is due. Lines of nothing are left out. Where Stripe cannot write one of them, there is one line
    for all.

    Raises:
        NotChargeable: Stripe cannot write what is due.
    """
    heading = invoice.heading
    amounts.to_stripe(heading.amount_due, heading.currency)
    found = [Item(_described(line), line.amount) for line in invoice.lines if line.amount != 0]
    if len(found) > LINES_MAX:
        found = [Item(f"{kind.capitalize()} ({count} lines)", total) for kind, count, total in _totals(invoice.lines)]
    whole = [*found, *_taken_off(heading, found)]
    if all(_can_be_written(item, heading.currency) for item in whole):
        return whole
    return [Item(f"Invoice {heading.number}", heading.amount_due)]


def why_by_hand(invoice: Invoice) -> str | None:
    """Why Stripe cannot collect what is due, if it cannot."""
    try:
        amounts.to_stripe(invoice.heading.amount_due, invoice.heading.currency)
    except NotChargeable as error:
        return f"{error} Collect this invoice by hand, and mark it paid."
    return None


def _can_be_written(item: Item, currency: str) -> bool:
    try:
        amounts.to_stripe(item.amount, currency)
    except NotChargeable:
        return False
    return True


def _described(line: Line) -> str:
    return document.description(line)[:_DESCRIPTION_MAX]


def _totals(lines: Sequence[Line]) -> list[tuple[str, int, Decimal]]:
    by_type = groupby(sorted(lines, key=lambda line: line.type.value), key=lambda line: line.type.value)
    sums = [(kind, [line.amount for line in group]) for kind, group in by_type]
    totals = [(kind, len(amounts), money.total(amounts)) for kind, amounts in sums]
    return [each for each in totals if each[2] != 0]


def _taken_off(heading: Heading, found: Sequence[Item]) -> list[Item]:
    """What was credited and paid before, and whatever else of the total is not in a line."""
    credited, paid = heading.amount_credited, heading.amount_paid
    taken = [
        Item("Credited", credited.copy_negate()),
        Item("Paid before", paid.copy_negate()) if paid > 0 else Item("Paid back", paid.copy_negate()),
    ]
    rest = money.EXACT.subtract(heading.amount_due, money.total([item.amount for item in (*found, *taken)]))
    return [item for item in (*taken, Item("Other", rest)) if item.amount != 0]
