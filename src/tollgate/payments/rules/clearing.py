"""What movements of our balance at Stripe, and payouts from it, do to the ledger.

Payments, refunds and disputes are posted where they are recorded; here are Stripe's fees, what it exchanged, and what
it paid to our bank. So `stripe_clearing` holds what is at Stripe, and nothing once everything is paid out.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.kit import money
from tollgate.kit.ids import OrganizationId, derived_id
from tollgate.ledger.model import CASH, EXCHANGE, PROCESSING_FEES, STRIPE_CLEARING, Transfer
from tollgate.payments.states import Movement, PayoutShare

ARRIVED = frozenset({"paid"})
RETURNED = frozenset({"failed", "canceled"})


def postings(movement: Movement) -> list[Transfer]:
    """The fee of a movement, and the exchange if Stripe keeps the money in another currency than it was paid in."""
    found = [_moved(movement, "fee", (PROCESSING_FEES, STRIPE_CLEARING), movement.fee, movement.currency)]
    if movement.currency != movement.source_currency:
        paid_in, kept_in = movement.source_currency, movement.currency
        found += [
            _moved(movement, "from", (EXCHANGE, STRIPE_CLEARING), movement.source_amount, paid_in),
            _moved(movement, "to", (STRIPE_CLEARING, EXCHANGE), movement.amount, kept_in),
        ]
    return [transfer for transfer in found if transfer is not None]


def _moved(movement: Movement, part: str, accounts: tuple[str, str], amount: Decimal, currency: str) -> Transfer | None:
    cause = _cause(movement.organization_id, movement.id)
    return _transfer(movement.organization_id, (cause, part), accounts, (amount, currency), movement.created_at)


def payout_posting(share: PayoutShare) -> Transfer | None:
    """What an organization's part of a payout does: it leaves Stripe for our bank, or comes back from there."""
    cause = _cause(share.organization_id, share.payout_id)
    accounts = (STRIPE_CLEARING, CASH) if share.is_return else (CASH, STRIPE_CLEARING)
    part = "return" if share.is_return else "payout"
    at = share.recorded_at
    return _transfer(share.organization_id, (cause, part), accounts, (share.amount, share.currency), at)


def _transfer(
    owner: OrganizationId, cause: tuple[UUID, str], accounts: tuple[str, str], sum_of: tuple[Decimal, str], at: datetime
) -> Transfer | None:
    """The transfer of that much from the second account to the first, or the other way round if it is below zero."""
    amount, currency = sum_of
    if amount == 0:
        return None
    debit, credit = accounts if amount > 0 else accounts[::-1]
    return Transfer(
        organization_id=owner,
        id=derived_id(*cause),
        debit_account=debit,
        credit_account=credit,
        amount=amount.copy_abs(),
        currency=currency,
        cause="stripe",
        cause_id=cause[0],
        reverses_id=None,
        occurred_at=at,
        posted_at=at,
    )


def _cause(owner: OrganizationId, stripe_id: str) -> UUID:
    return derived_id(owner, f"stripe:{stripe_id}")


def shares(movements: Iterable[Movement]) -> Mapping[tuple[OrganizationId, str], Decimal]:
    """What each organization has in so many movements, by currency: the parts of the payout that they are in."""
    found: dict[tuple[OrganizationId, str], Decimal] = {}
    for movement in movements:
        place = (movement.organization_id, movement.currency)
        found[place] = money.EXACT.add(found.get(place, money.ZERO), movement.net)
    return found


def share(payout_id: str, part: tuple[OrganizationId, str, Decimal], *, is_return: bool, now: datetime) -> PayoutShare:
    """One organization's part of a payout, as it is recorded."""
    owner, currency, amount = part
    return PayoutShare(owner, payout_id, is_return, currency, amount, now)
