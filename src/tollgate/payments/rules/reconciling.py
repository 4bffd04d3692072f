"""In what our books and Stripe's differ, looked at both ways. What is merely late was made good before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from tollgate.invoices.model import Heading, InvoiceStatus
from tollgate.kit import money
from tollgate.kit.ids import OrganizationId, typed
from tollgate.payments.model import BalanceTransaction, InvoiceState, Payout, StripeInvoice
from tollgate.payments.rules import collecting
from tollgate.payments.states import Collection, CollectionState, Difference, Unlike

_GONE = frozenset({InvoiceState.VOID, InvoiceState.DELETED})
Amounts = Mapping[str, tuple[OrganizationId, Decimal]]
"""What was moved in all by each payment at Stripe, and whose it is."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our invoices, and Stripe's that mirrors it, if it is there."""

    collection: Collection
    heading: Heading
    mirror: StripeInvoice | None


def invoices(pairs: Sequence[Pair], theirs: Sequence[StripeInvoice]) -> list[Difference]:
    """What differs between our invoices and Stripe's; `theirs` are those at Stripe that say they are of ours."""
    found = [difference for pair in pairs for difference in _pair(pair)]
    known = {pair.collection.invoice_id: pair for pair in pairs}
    by_invoice: dict[str, list[StripeInvoice]] = {}
    for mirror in theirs:
        if mirror.state not in _GONE and collecting.MARK in mirror.metadata:
            by_invoice.setdefault(mirror.metadata.get("invoice", mirror.id), []).append(mirror)
    ours = {typed("inv", invoice_id): pair for invoice_id, pair in known.items()}
    for invoice, mirrors in by_invoice.items():
        pair = ours.get(invoice)
        recorded = None if pair is None else pair.collection.mirror.invoice_id
        others = [mirror for mirror in mirrors if mirror.id != recorded]
        for mirror in others:
            kind = Unlike.MISSING_HERE if recorded is None else Unlike.DUPLICATE
            owner = mirror.metadata.get("organization")
            found.append(Difference(kind, owner, f"invoice {invoice}", recorded, mirror.id))
    return found


def _pair(pair: Pair) -> list[Difference]:
    collection, heading, mirror = pair.collection, pair.heading, pair.mirror
    what = f"invoice {heading.number}"
    known = collection.mirror.invoice_id
    strange = None if mirror is None else collecting.stranger(collection, heading, mirror)
    said: tuple[Unlike, str | None, str | None] | None
    if collection.state is CollectionState.PARKED:
        said = (Unlike.PARKED, collection.parked_reason, known)
    elif mirror is None:
        said = None if known is None else (Unlike.MISSING_AT_STRIPE, known, None)
    elif strange is not None:
        said = (Unlike.NUMBER, collecting.number(collection, heading), strange)
    else:
        said = _at_odds(heading, mirror)
    return [] if said is None else [Difference(said[0], typed("org", heading.organization_id), what, *said[1:])]


def _at_odds(heading: Heading, mirror: StripeInvoice) -> tuple[Unlike, str | None, str | None] | None:
    is_settled = heading.amount_due == 0
    asks = mirror.state in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}
    is_given_up = heading.status is InvoiceStatus.UNCOLLECTIBLE
    if (asks and is_settled) or (mirror.state is InvoiceState.PAID and not is_settled):
        return Unlike.STATUS, heading.status.value, mirror.state.value
    if asks and not is_given_up and mirror.amount_remaining != heading.amount_due:
        return Unlike.AMOUNT, money.amount_text(heading.amount_due), money.amount_text(mirror.amount_remaining)
    return None


def payments(ours: Amounts, stripes: Amounts) -> list[Difference]:
    """What differs between what was paid and went back by our books, and what moved at Stripe, payment by payment."""
    found = []
    for payment in sorted(ours.keys() | stripes.keys()):
        here, there = ours.get(payment), stripes.get(payment)
        owner = typed("org", (here or stripes[payment])[0])
        if here is None or there is None:
            kind = Unlike.MISSING_HERE if here is None else Unlike.MISSING_AT_STRIPE
        elif here[1] != there[1]:
            kind = Unlike.AMOUNT
        else:
            continue
        found.append(Difference(kind, owner, f"payment {payment}", _amount(here), _amount(there)))
    return found


def _amount(side: tuple[OrganizationId, Decimal] | None) -> str | None:
    return None if side is None else money.amount_text(side[1])


def clearing(
    ours: Mapping[tuple[OrganizationId, str], Decimal], stripes: Mapping[tuple[OrganizationId, str], Decimal]
) -> list[Difference]:
    """What differs between what the ledger has at Stripe, and what movements and payouts leave there."""
    found = []
    for owner, currency in sorted(ours.keys() | stripes.keys()):
        here, there = (side.get((owner, currency), money.ZERO) for side in (ours, stripes))
        if here != there:
            what = f"stripe_clearing in {currency}"
            texts = money.amount_text(here), money.amount_text(there)
            found.append(Difference(Unlike.CLEARING, typed("org", owner), what, *texts))
    return found


def strangers(movements: Iterable[tuple[BalanceTransaction, str | None]]) -> list[Difference]:
    """Movements at Stripe that are of nobody here, though their customer is one of ours."""
    return [
        Difference(
            Unlike.MISSING_HERE,
            owner,
            f"movement {moved.id}",
            None,
            _said(moved.amount, moved.currency),
        )
        for moved, owner in movements
        if owner is not None
    ]


def _said(amount: Decimal, currency: str) -> str:
    return f"{money.amount_text(amount)} {currency}"


def payouts(wrong: Iterable[tuple[Payout, str]]) -> list[Difference]:
    """Payouts that could not be brought into the books as they are."""
    return [
        Difference(Unlike.PAYOUT, None, f"payout {payout.id}", reason, _said(payout.amount, payout.currency))
        for payout, reason in wrong
    ]
