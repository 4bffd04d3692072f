"""What a payment at Stripe paid for: an invoice, or a top-up; and how what was credited for a top-up is taken back."""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import PaymentKind
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit.ids import OrganizationId
from tollgate.payments.model import BalanceTransaction
from tollgate.payments.service import collecting
from tollgate.payments.service.means import Means
from tollgate.payments.states import DisputeRow, Paid, RefundRow
from tollgate.payments.store import collections as store


async def paid_by(means: Means, payment_intent_id: str) -> Paid | None:
    """What the payment paid for; one that we have not heard of is looked for and written down first."""
    async with means.database.read() as session:
        found = await _known(session, payment_intent_id)
    if found is not None or means.door is None:
        return found
    stripe_invoice_id = await means.door.invoice_of(payment_intent_id)
    if stripe_invoice_id is None:
        return None
    async with means.database.write() as session:
        mirrored = await store.mirrored_by(session, stripe_invoice_id)
        await store.wake(session, stripe_invoice_id=stripe_invoice_id)
    if mirrored is None:
        return None
    await collecting.collect(means, organization_id=mirrored.organization_id, invoice_id=mirrored.invoice_id)
    async with means.database.read() as session:
        return await _known(session, payment_intent_id)


async def _known(session: ReadSession, payment_intent_id: str) -> Paid | None:
    for payment in await invoice_payments.at_stripe(session, references=[payment_intent_id]):
        if payment.kind is PaymentKind.PAYMENT:
            return Paid(
                payment.organization_id,
                payment_intent_id,
                payment.amount,
                payment.currency,
                invoice_id=payment.invoice_id,
            )
    return None


async def take_back(session: WriteSession, paid: Paid, row: RefundRow | DisputeRow, *, now: datetime) -> Decimal:
    """Take what went back from the top-up's grant as far as it lasts; the customer owes the rest.

    Answers what was taken from the grant. The caller holds the organization's lock.
    """
    raise NotImplementedError


async def give_again(session: WriteSession, paid: Paid, row: RefundRow | DisputeRow, *, now: datetime) -> None:
    """Undo that: what came from the grant is credit again, in a grant of its own, and the rest is not owed any more."""
    raise NotImplementedError


async def owner_of(means: Means, moved: BalanceTransaction) -> str | None:
    """Whose customer a movement is of that pays for nothing here, as text; `None` if it is of none of ours."""
    raise NotImplementedError


async def top_up_sums(session: ReadSession, intents: Collection[str]) -> dict[str, tuple[OrganizationId, Decimal]]:
    """What each of these payments brought and gave back of top-ups."""
    return {}
