"""Money that goes back: refunds asked for here or begun at Stripe, and disputes. Each is in the books once.

A refund that is asked for is a row first; Stripe is asked afterwards, outside of any transaction, with a key of the
row's id.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import structlog

from tollgate.infra import identity, telemetry
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import PaymentKind
from tollgate.invoices.service import invoices
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit import money
from tollgate.kit.ids import InvoiceId, KeyId, OrganizationId
from tollgate.ledger import service as ledger
from tollgate.payments.model import (
    Dispute,
    NotTheirs,
    Refund,
    StripeAway,
    StripeDeclined,
    StripeError,
    StripeKeySpent,
    StripeRefused,
)
from tollgate.payments.rules import collecting, refunding
from tollgate.payments.service import sources, waking
from tollgate.payments.service.means import Means
from tollgate.payments.states import DisputeRow, Paid, RefundRow, RefundStatus
from tollgate.payments.store import returns as store

_LEASE = timedelta(minutes=5)
_ASK_AGAIN = timedelta(hours=6)
"""How often Stripe is asked about a refund that is on its way."""
MARK = "refund"
"""The metadata by which a refund of ours is found again."""

_log = structlog.get_logger(__name__)


class _NotMade(Exception):
    """Stripe refuses to make the refund, and has made none."""


async def request(
    session: WriteSession,
    *,
    invoice_id: InvoiceId,
    amount: Decimal | None,
    reason: str | None,
    by: KeyId | None,
    now: datetime,
) -> list[RefundRow]:
    """Write down that money is to go back for an invoice: one refund for each payment that it is taken from.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: nothing is to be given back, or not so much of it was paid at Stripe.
        InvalidRequest: the amount cannot be.
    """
    heading = await invoice_payments.locked(session, await invoices.issued(session, invoice_id=invoice_id))
    owner = heading.organization_id
    under_way = await store.under_way(session, organization_id=owner, invoice_id=invoice_id)
    wanted = refunding.amount_to_refund(heading, amount, under_way)
    paid = await invoice_payments.payments_of(session, organization_id=owner, invoice_id=invoice_id)
    left = refunding.net_paid(paid)
    for known in await store.refunds_of(session, organization_id=owner, invoice_id=invoice_id):
        if known.status is RefundStatus.REQUESTED:
            left[known.payment_intent_id] = money.EXACT.subtract(left[known.payment_intent_id], known.amount)
    rows = [
        _new(Paid(owner, intent, part, heading.currency, invoice_id), identity.new_id(now), now)
        for intent, part in refunding.shares(wanted, left)
    ]
    added = [
        await store.add_refund(session, replace(row, reason=reason, requested_by=by, is_ours=True, next_at=now))
        for row in rows
    ]
    await waking.ask(session, waking.REFUND_JOB, [(owner, row.id) for row in added])
    return added


def _new(paid: Paid, row_id: UUID, now: datetime) -> RefundRow:
    return RefundRow(
        organization_id=paid.organization_id,
        id=row_id,
        payment_intent_id=paid.payment_intent_id,
        invoice_id=paid.invoice_id,
        top_up_id=paid.top_up_id,
        amount=paid.amount,
        currency=paid.currency,
        status=RefundStatus.REQUESTED,
        is_ours=False,
        stripe_refund_id=None,
        reason=None,
        from_credit=money.ZERO,
        last_error=None,
        attempts=0,
        next_at=None,
        requested_by=None,
        created_at=now,
        updated_at=now,
    )


async def refunds_of(session: ReadSession, *, invoice_id: InvoiceId) -> Sequence[RefundRow]:
    """The refunds of an invoice, oldest first.

    Raises:
        NotFound: no invoice was issued under this id.
    """
    heading = await invoices.issued(session, invoice_id=invoice_id)
    return await store.refunds_of(session, organization_id=heading.organization_id, invoice_id=invoice_id)


async def go_on(means: Means, *, organization_id: OrganizationId, refund_id: UUID) -> RefundRow | None:
    """Ask Stripe for the refund, or what became of it; `None` if that is not due, or somebody else does."""
    now = means.clock.now()
    if means.door is None:
        return None
    async with means.database.write() as session:
        await ledger.lock(session, organization_id=organization_id)
        row = await store.claim_refund(session, refund=(organization_id, refund_id), now=now, until=now + _LEASE)
        if row is None:
            return None
        if not await _is_owed_still(session, row, now):
            return await _give_up(session, row, "The customer was given it back in another way.", now)
    try:
        return await settle(means, await _at_stripe(means, row))
    except _NotMade as refused:
        telemetry.REFUNDS_FAILED.inc()
        _log.error("refund.refused", refund=str(row.id), error=str(refused))
        async with means.database.write() as session:
            return await _give_up(session, row, str(refused), means.clock.now())
    except StripeError as error:
        # Whatever else went wrong, it may have been made: given up, it could be asked for again, and made twice.
        return await _put_off(means, row, error)


async def _is_owed_still(session: ReadSession, row: RefundRow, now: datetime) -> bool:
    """Whether the invoice has so much to give back; not asked any more once Stripe was."""
    if row.attempts > 0 or row.status is not RefundStatus.REQUESTED or row.invoice_id is None:
        return True
    found = await invoices.get(session, organization_id=row.organization_id, invoice_id=row.invoice_id, now=now)
    return found.heading.balance <= row.amount.copy_negate()


async def _give_up(session: WriteSession, row: RefundRow, reason: str, now: datetime) -> RefundRow:
    """It is not made: whatever the customer is owed still, a person has to see how it is paid."""
    failed = replace(row, status=RefundStatus.FAILED, last_error=reason, next_at=None, updated_at=now)
    await store.save_refund(session, failed)
    return failed


async def _at_stripe(means: Means, row: RefundRow) -> Refund:
    if means.door is None:
        raise ValueError("There is no way to Stripe")
    if row.stripe_refund_id is not None:
        return await means.door.refund(row.stripe_refund_id)
    if row.attempts > 0:
        # It may have been made before: its key is not kept for ever, what it says of itself is.
        for known in await means.door.refunds_of(row.payment_intent_id):
            if known.metadata.get(MARK) == str(row.id):
                return known
    try:
        return await means.door.create_refund(
            row.payment_intent_id,
            amount=row.amount,
            currency=row.currency,
            metadata={MARK: str(row.id)},
            key=f"refund:{row.id}:{_key_number(row)}",
        )
    except StripeKeySpent:
        raise
    except (StripeRefused, StripeDeclined) as refused:
        raise _NotMade(str(refused)) from refused


def _key_number(row: RefundRow) -> int:
    """Another key once in a while: what Stripe answered to the first is kept a day, failures too."""
    return row.attempts // 8


async def _put_off(means: Means, row: RefundRow, error: StripeError) -> RefundRow:
    now, attempts = means.clock.now(), row.attempts + 1
    is_spent = isinstance(error, StripeKeySpent) or (isinstance(error, StripeAway) and error.is_replay)
    if is_spent:
        attempts = (attempts // 8 + 1) * 8
    later = replace(
        row,
        attempts=attempts,
        last_error=str(error),
        next_at=now + collecting.retry_after(row.attempts + 1),
        updated_at=now,
    )
    async with means.database.write() as session:
        await store.save_refund(session, later)
    return later


async def settle(means: Means, refund: Refund) -> RefundRow | None:
    """Bring our row and the books to where Stripe's refund stands; `None` if it is of nothing of ours.

    Raises:
        StripeError: Stripe could not be asked; or says that it is in another currency than the payment.
    """
    now = means.clock.now()
    paid = None if refund.payment_intent_id is None else await sources.paid_by(means, refund.payment_intent_id)
    if paid is None:
        return None
    _check_currency(paid, refund)
    async with means.database.write() as session:
        await ledger.lock(session, organization_id=paid.organization_id)
        before = await _row(session, paid, refund, now)
        status = refunding.status_of(refund)
        ended = status in {RefundStatus.SUCCEEDED, RefundStatus.FAILED}
        after = replace(
            before,
            status=status,
            stripe_refund_id=refund.id,
            last_error=refund.failure_reason,
            next_at=None if ended else now + _ASK_AGAIN,
            updated_at=before.updated_at if status is before.status else now,
        )
        after = await _post(session, paid, before, after, now=now)
        await store.save_refund(session, after)
    return after


def _check_currency(paid: Paid, moved: Refund | Dispute) -> None:
    if moved.currency != paid.currency:
        raise NotTheirs(f"{moved.id} is in {moved.currency}, and {paid.payment_intent_id} was paid in {paid.currency}.")


async def _row(session: WriteSession, paid: Paid, refund: Refund, now: datetime) -> RefundRow:
    known = await store.refund_at_stripe(session, refund.id)
    if known is not None:
        return known
    marked = refunding.marked(refund.metadata.get(MARK))
    if marked is not None:
        ours = await store.locked_refund(session, organization_id=paid.organization_id, refund_id=marked)
        if ours is not None and refunding.is_made_for(ours, refund):
            return ours
    begun_there = _new(replace(paid, amount=refund.amount), refunding.refund_id(paid.organization_id, refund.id), now)
    return await store.add_refund(session, replace(begun_there, created_at=refund.created_at, reason="begun at Stripe"))


_GONE = frozenset({RefundStatus.SENT, RefundStatus.SUCCEEDED})


async def _post(session: WriteSession, paid: Paid, before: RefundRow, after: RefundRow, *, now: datetime) -> RefundRow:
    """What the step from one status to another does to the books."""
    times = (after.created_at, now)
    if after.status in _GONE and before.status not in _GONE:
        payment = refunding.payment_of(paid, PaymentKind.REFUND, str(after.stripe_refund_id), after.amount, times)
        if payment is None:
            return replace(after, from_credit=await sources.take_back(session, paid, after, now=now))
        await invoice_payments.record(session, payment=payment)
    elif after.status is RefundStatus.FAILED and before.status in _GONE:
        telemetry.REFUNDS_FAILED.inc()
        cause = str(after.stripe_refund_id)
        payment = refunding.payment_of(paid, PaymentKind.REFUND_FAILED, cause, after.amount, (now, now))
        if payment is None:
            await sources.give_again(session, paid, after, now=now)
        else:
            await invoice_payments.record(session, payment=payment)
    return after


async def note_dispute(means: Means, dispute: Dispute) -> DisputeRow | None:
    """Bring our row and the books to where Stripe's dispute stands; `None` if it is of nothing of ours.

    Raises:
        StripeError: Stripe could not be asked; or says that it is in another currency than the payment.
    """
    now, intent = means.clock.now(), dispute.payment_intent_id
    paid = None if intent is None else await sources.paid_by(means, intent)
    if paid is None:
        return None
    _check_currency(paid, dispute)
    row_id = refunding.dispute_id(paid.organization_id, dispute.id)
    async with means.database.write() as session:
        await ledger.lock(session, organization_id=paid.organization_id)
        before = await store.dispute(session, organization_id=paid.organization_id, dispute_id=row_id)
        after = refunding.disputed(before, paid, dispute, now=now)
        if after == before:
            return after
        if after.withdrawn > 0 and (before is None or before.withdrawn == 0):
            telemetry.DISPUTES.inc()
            after = await _withdraw(session, paid, after, now=now)
            await store.save_dispute(session, replace(after, returned=money.ZERO))
        if after.returned > 0 and (before is None or before.returned == 0):
            await _return(session, paid, after, now=now)
        await store.save_dispute(session, after)
    return after


async def _withdraw(session: WriteSession, paid: Paid, row: DisputeRow, *, now: datetime) -> DisputeRow:
    times = (row.created_at, now)
    payment = refunding.payment_of(paid, PaymentKind.DISPUTE, row.stripe_dispute_id, row.amount, times)
    if payment is None:
        return replace(row, from_credit=await sources.take_back(session, paid, row, now=now))
    await invoice_payments.record(session, payment=payment)
    return row


async def _return(session: WriteSession, paid: Paid, row: DisputeRow, *, now: datetime) -> None:
    payment = refunding.payment_of(paid, PaymentKind.DISPUTE_WON, row.stripe_dispute_id, row.amount, (now, now))
    if payment is None:
        await sources.give_again(session, paid, row, now=now)
    else:
        await invoice_payments.record(session, payment=payment)
