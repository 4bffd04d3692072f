"""What a credit note takes from an invoice, line by line, and what it does to the invoice and to the ledger.

What is left of an invoice is the invoice plus its credit notes, line by line. A note that takes all that is left says
exactly the opposite of it, exact amounts included, so nothing is left then. Any other takes whole minor units that
were agreed: nothing of it was rounded, and its exact amounts are its amounts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from tollgate.invoices.acts import CreditNote, CreditOrder, LineOrder, Part, Parts, Surplus
from tollgate.invoices.model import Heading, Invoice, InvoiceStatus, LineType, Payment, PaymentKind, PaymentMethod
from tollgate.invoices.rules import document, paying
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import PaymentId, derived_id
from tollgate.ledger import rules as ledger
from tollgate.ledger.model import RECEIVABLE, REVENUE, ROUNDING, TAX, Grant, GrantCategory, GrantTerms, Transfer

CAUSE = "credit_note"
"""Why a credit note's transfers were posted; the cause's id is the note's."""
_NOTHING = Part(0, LineType.USAGE, money.ZERO, money.ZERO)


def series(now: datetime) -> str:
    """The series that numbers the credit notes issued now: a new one every year of UTC, each without gaps."""
    return f"CN-{now.astimezone(UTC).year}"


def said(invoice: Invoice) -> Parts:
    """The lines of an issued invoice as parts of it, and the tax that they contain.

    Tax on top is a line. Tax that is contained is told by the invoice's document alone.
    """
    lines = tuple(Part(line.n, line.type, line.amount, line.amount_exact) for line in invoice.lines)
    tax = json.loads(invoice.document or "{}").get("tax") or {}
    contained = Decimal(tax["amount"]) if tax.get("treatment") == "inclusive" else money.ZERO
    return Parts(lines, contained)


def left(invoice: Parts, credited: Parts) -> Parts:
    """What is left of the invoice after what its notes, all of them together, have credited."""
    by_line = {part.n: part for part in credited.lines}
    return Parts(
        tuple(_plus(line, by_line.get(line.n, _NOTHING)) for line in invoice.lines),
        money.EXACT.add(invoice.contained_tax, credited.contained_tax),
    )


def _plus(line: Part, other: Part) -> Part:
    return replace(
        line,
        amount=money.EXACT.add(line.amount, other.amount),
        amount_exact=money.EXACT.add(line.amount_exact, other.amount_exact),
    )


def credit(heading: Heading, rest: Parts, order: CreditOrder) -> Parts:
    """What a note of this order says of an invoice of which `rest` is left: the opposite of what it takes.

    Raises:
        Conflict: the invoice is void, or nothing is left of it.
        InvalidRequest: the order cannot be; `field` says which part of it.
    """
    if heading.status is InvoiceStatus.VOID:
        raise Conflict(f"{heading.number} is void: there is nothing to credit.")
    if rest.total <= 0:
        raise Conflict(f"Nothing of {heading.number} is left to credit.")
    taken = _units_taken(heading, rest, order)
    if sum(taken.values()) == _units(rest.total, heading.currency):
        touched = tuple(line for line in rest.lines if line.amount or line.amount_exact)
        return Parts(touched, rest.contained_tax).negated
    return _part(rest, taken, heading.currency).negated


def _units_taken(heading: Heading, rest: Parts, order: CreditOrder) -> dict[int, int]:
    """How many minor units of each line are taken."""
    if order.lines and order.amount is not None:
        raise InvalidRequest("A credit note is of an amount or of lines, not of both.", field="lines")
    if order.lines:
        return _of_lines(heading, rest, order.lines)
    return _of_amount(heading, rest, rest.total if order.amount is None else order.amount)


def _of_amount(heading: Heading, rest: Parts, amount: Decimal) -> dict[int, int]:
    currency = heading.currency
    if not 0 < amount <= rest.total:
        raise InvalidRequest(
            f"A credit note is of more than 0 and at most what is left of {heading.number}, "
            f"{document.rounded(rest.total, currency)} {currency}.",
            field="amount",
        )
    paying.check_whole_units(amount, currency, "amount")
    places = [line.n for line in rest.lines]
    shares = spread([_units(line.amount, currency) for line in rest.lines], _units(amount, currency))
    return dict(zip(places, shares, strict=True))


def _of_lines(heading: Heading, rest: Parts, orders: Sequence[LineOrder]) -> dict[int, int]:
    taken, lines = _named(heading, rest, orders), {line.n: line for line in rest.lines}
    net = sum(units for n, units in taken.items() if lines[n].type is not LineType.TAX)
    net_left = sum(_units(line.amount, heading.currency) for line in rest.lines if line.type is not LineType.TAX)
    if all(lines[n].type is not LineType.TAX for n in taken):
        taken |= _tax_on(net, net_left, rest, heading.currency)
    if not 0 <= net <= net_left or not 0 < sum(taken.values()) <= _units(rest.total, heading.currency):
        raise InvalidRequest(
            f"These lines come to {money.from_minor_units(sum(taken.values()), heading.currency)}; a credit note is of "
            f"more than 0 and at most what is left of {heading.number}, "
            f"{document.rounded(rest.total, heading.currency)} {heading.currency}.",
            field="lines",
        )
    return taken


def _named(heading: Heading, rest: Parts, orders: Sequence[LineOrder]) -> dict[int, int]:
    lines, taken = {line.n: line for line in rest.lines}, dict[int, int]()
    for place, order in enumerate(orders):
        line = lines.get(order.n)
        if line is None or order.n in taken:
            what = "has no such line" if line is None else "is credited by each of its lines once"
            raise InvalidRequest(f"{heading.number} {what}: {order.n}.", field=f"lines[{place}].n")
        most = line.amount.copy_abs()
        amount = most if order.amount is None else order.amount
        if not 0 < amount <= most:
            raise InvalidRequest(
                f"Of line {order.n}, more than 0 and at most what is left of it can be credited: "
                f"{document.rounded(most, heading.currency)} {heading.currency}.",
                field=f"lines[{place}].amount",
            )
        paying.check_whole_units(amount, heading.currency, f"lines[{place}].amount")
        taken[order.n] = _units(amount.copy_sign(line.amount), heading.currency)
    return taken


def _tax_on(net: int, net_left: int, rest: Parts, currency: str) -> dict[int, int]:
    """The part of the tax that is left which goes with so much of the net that is left."""
    taxes = [(line.n, _units(line.amount, currency)) for line in rest.lines if line.type is LineType.TAX]
    tax = sum(units for _, units in taxes)
    if tax <= 0 or not 0 < net <= net_left:
        return {}
    return dict(zip([n for n, _ in taxes], spread([each for _, each in taxes], share(tax, net, net_left)), strict=True))


def _part(rest: Parts, taken: Mapping[int, int], currency: str) -> Parts:
    lines = []
    for line in rest.lines:
        amount = money.from_minor_units(taken.get(line.n, 0), currency)
        if amount:
            lines.append(replace(line, amount=amount, amount_exact=amount))
    tax = share(_units(rest.contained_tax, currency), sum(taken.values()), _units(rest.total, currency))
    return Parts(tuple(lines), money.from_minor_units(tax, currency))


def spread(units: Sequence[int], amount: int) -> list[int]:
    """Share an amount out over parts in proportion to them, by largest remainder; equal ones are served in order.

    The shares add up to the amount. If it is between 0 and the sum of the parts, and that is above 0, each share has
    the sign of its part and is not beyond it.
    """
    whole = sum(units)
    shares = [each * amount // whole for each in units]
    by_remainder = sorted(range(len(units)), key=lambda place: -(units[place] * amount % whole))
    for place in by_remainder[: amount - sum(shares)]:
        shares[place] += 1
    return shares


def share(whole: int, part: int, of: int) -> int:
    """As much of the whole as the part is of `of`: none below zero, rounded half up."""
    return (2 * whole * part + of) // (2 * of)


def _units(amount: Decimal, currency: str) -> int:
    return money.to_minor_units(amount, currency)


def after(heading: Heading, note: CreditNote) -> Heading:
    """The invoice once the note is issued: paid when nothing is left due."""
    credited = money.EXACT.add(heading.amount_credited, note.amount)
    return paying.settled(replace(heading, amount_credited=credited), at=note.issued_at)


def postings(heading: Heading, note: CreditNote) -> tuple[Transfer, ...]:
    """What the note does to the ledger: what issuing the invoice did, the other way, for the part that is credited.

    Revenue and tax are owed no more, and the rounding of what closes an invoice is taken back. What had been given up
    of it is no loss any more.
    """
    credited, subtract = note.credited, money.EXACT.subtract
    moves = [
        (REVENUE, subtract(credited.tax, credited.total_exact)),
        (TAX, credited.tax.copy_negate()),
        (ROUNDING, subtract(credited.total_exact, credited.total)),
    ]
    transfers = tuple(_transfer(note, account, amount) for account, amount in moves if amount)
    lost = paying.written_off(heading, after(heading, note), cause=(CAUSE, note.id), of=note.id, now=note.issued_at)
    return (*transfers, *lost)


def _transfer(note: CreditNote, account: str, amount: Decimal) -> Transfer:
    debit, credited = (account, RECEIVABLE) if amount > 0 else (RECEIVABLE, account)
    return Transfer(
        organization_id=note.organization_id,
        id=derived_id(note.id, f"{debit}:{credited}"),
        debit_account=debit,
        credit_account=credited,
        amount=amount.copy_abs(),
        currency=note.currency,
        cause=CAUSE,
        cause_id=note.id,
        reverses_id=None,
        occurred_at=note.issued_at,
        posted_at=note.issued_at,
    )


def refund_by_credit(heading: Heading, note: CreditNote) -> Payment | None:
    """The refund of what the note left below zero on the invoice, if it is to become credit and there is any."""
    if note.surplus is not Surplus.CREDIT or heading.balance >= 0:
        return None
    return Payment(
        organization_id=note.organization_id,
        id=PaymentId(derived_id(note.id, "refund")),
        invoice_id=note.invoice_id,
        kind=PaymentKind.REFUND,
        method=PaymentMethod.CREDIT,
        amount=min(heading.balance.copy_negate(), note.amount),
        currency=note.currency,
        reference=note.number,
        occurred_at=note.issued_at,
        recorded_at=note.issued_at,
        recorded_by=note.issued_by,
    )


def grant(refund: Payment) -> Grant:
    """The credit that such a refund becomes: it was paid for, and never expires."""
    terms = GrantTerms(refund.amount, refund.currency, GrantCategory.PAID, f"Credit note {refund.reference}")
    owner, grant_id = refund.organization_id, paying.grant_of(refund)
    return ledger.granted(terms, owner, grant_id, by=refund.recorded_by, now=refund.recorded_at)
