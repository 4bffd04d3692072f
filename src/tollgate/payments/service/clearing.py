"""What moves at Stripe and is paid out from there, brought into the books: fees, exchanges, and money that arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from tollgate.kit import money
from tollgate.kit.ids import OrganizationId, typed_or_none
from tollgate.ledger import service as ledger
from tollgate.payments.model import BalanceTransaction, Payout
from tollgate.payments.rules import clearing
from tollgate.payments.service import customers, sources
from tollgate.payments.service.means import Means
from tollgate.payments.states import Movement
from tollgate.payments.store import clearing as store
from tollgate.payments.stripe_client import StripeClient

PAYOUT_TAKES = timedelta(days=30)
"""No payout is on its way for longer."""
_PAYOUTS = frozenset({"payout", "payout_cancel", "payout_failure"})


@dataclass(frozen=True, slots=True)
class Origin:
    """What a movement is of: a payment, and how much of it in what the customer paid in."""

    payment_intent_id: str
    amount: Decimal
    currency: str


async def record_movements(means: Means, transactions: Sequence[BalanceTransaction]) -> list[BalanceTransaction]:
    """Write down the movements that are of organizations, and post their fees; answers those that are of nobody.

    The same movement again changes nothing.
    """
    async with means.database.read() as session:
        known = {movement.id for movement in await store.movements(session, [each.id for each in transactions])}
    strange = []
    for transaction in transactions:
        if transaction.id in known or transaction.type in _PAYOUTS:
            continue
        movement = await _movement(means, transaction)
        if movement is None:
            strange.append(transaction)
            continue
        async with means.database.write() as session:
            await ledger.lock(session, organization_id=movement.organization_id)
            if await store.add_movement(session, movement):
                for transfer in clearing.postings(movement):
                    await ledger.post(session, transfer)
    return strange


async def _movement(means: Means, transaction: BalanceTransaction) -> Movement | None:
    origin = None if means.door is None else await origin_of(means.door, transaction)
    paid = None if origin is None else await sources.paid_by(means, origin.payment_intent_id)
    if origin is None or paid is None:
        return None
    amount = origin.amount if transaction.amount > 0 else origin.amount.copy_negate()
    return Movement(
        organization_id=paid.organization_id,
        id=transaction.id,
        type=transaction.type,
        source_id=transaction.source_id,
        payment_intent_id=origin.payment_intent_id,
        currency=transaction.currency,
        amount=transaction.amount,
        fee=transaction.fee,
        source_currency=origin.currency,
        source_amount=amount if transaction.amount != 0 else money.ZERO,
        created_at=transaction.created_at,
        recorded_at=means.clock.now(),
    )


async def origin_of(door: StripeClient, transaction: BalanceTransaction) -> Origin | None:
    """The payment that the movement is of; `None` if it is of no payment, such as a fee of Stripe's own."""
    kind, _, _ = (transaction.source_id or "").partition("_")
    match kind:
        case "ch" | "py":
            charge = await door.charge(str(transaction.source_id))
            return _origin(charge.payment_intent_id, charge.amount, charge.currency)
        case "re" | "pyr":
            refund = await door.refund(str(transaction.source_id))
            return _origin(refund.payment_intent_id, refund.amount, refund.currency)
        case "dp" | "du":
            dispute = await door.dispute(str(transaction.source_id))
            return _origin(dispute.payment_intent_id, dispute.amount, dispute.currency)
        case _:
            return None


async def owner_of(means: Means, transaction: BalanceTransaction) -> str | None:
    """Whose customer a movement is of that pays for nothing here, as text; `None` if it is of none of ours."""
    origin = None if means.door is None else await origin_of(means.door, transaction)
    if means.door is None or origin is None:
        return None
    customer_id = (await means.door.payment_intent(origin.payment_intent_id)).customer_id
    if customer_id is None:
        return None
    async with means.database.read() as session:
        owner = await customers.owner(session, customer_id=customer_id)
    return typed_or_none("org", owner)


def _origin(payment_intent_id: str | None, amount: Decimal, currency: str) -> Origin | None:
    return None if payment_intent_id is None else Origin(payment_intent_id, amount, currency)


async def record_payout(means: Means, payout: Payout) -> str | None:
    """Write down whose money a payout was, once it arrived, and once it came back; answers what is wrong with it.

    Only of payouts that Stripe makes by itself it says which movements they are made of.
    """
    if means.door is None or payout.status not in clearing.ARRIVED | clearing.RETURNED:
        return None
    if payout.status in clearing.RETURNED:
        await _record_return(means, payout)
        return None
    if not payout.is_automatic:
        return "It was made by hand: Stripe does not say what it is made of. Post it by hand."
    moved = [each for each in await means.door.balance_transactions(payout_id=payout.id) if each.type not in _PAYOUTS]
    await record_movements(means, moved)
    async with means.database.read() as session:
        parts = clearing.shares(await store.movements(session, [each.id for each in moved]))
    for (owner, currency), amount in parts.items():
        await _record_share(means, payout.id, (owner, currency, amount), is_return=False)
    total = money.total(each.net for each in moved)
    return None if total == payout.amount else f"Its movements come to {total} {payout.currency}."


async def _record_return(means: Means, payout: Payout) -> None:
    async with means.database.read() as session:
        paid_out = [share for share in await store.shares_of(session, payout.id) if not share.is_return]
    for share in paid_out:
        part = (share.organization_id, share.currency, share.amount)
        await _record_share(means, payout.id, part, is_return=True)


async def _record_share(
    means: Means, payout_id: str, part: tuple[OrganizationId, str, Decimal], *, is_return: bool
) -> None:
    share = clearing.share(payout_id, part, is_return=is_return, now=means.clock.now())
    async with means.database.write() as session:
        await ledger.lock(session, organization_id=share.organization_id)
        if await store.add_share(session, share):
            transfer = clearing.payout_posting(share)
            if transfer is not None:
                await ledger.post(session, transfer)


async def bring_in(means: Means, *, since: datetime) -> tuple[list[BalanceTransaction], list[tuple[Payout, str]]]:
    """Write down all movements and payouts since then; answers what is of nobody, and what is wrong."""
    if means.door is None:
        return [], []
    strange = await record_movements(means, list(reversed(await means.door.balance_transactions(since=since))))
    wrong = []
    for payout in reversed(await means.door.payouts(since=since)):
        reason = await record_payout(means, payout)
        if reason is not None:
            wrong.append((payout, reason))
    return strange, wrong
