"""What is done about Stripe's word of invoices, refunds, disputes and payouts: look at the object, and follow it.

A word that comes twice, late or never changes nothing: whatever it tells is found by looking, and looked for anyway.
"""

from collections.abc import Sequence

from tollgate.payments.model import StripeEvent
from tollgate.payments.service import clearing, collecting, returning
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Handler, Handlers, Surroundings
from tollgate.payments.store import collections as store


async def _of_invoice(at: Surroundings, event: StripeEvent) -> None:
    means = Means.within(at)
    async with at.database.write() as session:
        mirrored = await store.mirrored_by(session, event.object_id)
        await store.wake(session, stripe_invoice_id=event.object_id)
    if mirrored is not None:
        owner, invoice_id = mirrored.organization_id, mirrored.invoice_id
        await collecting.collect(means, organization_id=owner, invoice_id=invoice_id)


async def _of_refund(at: Surroundings, event: StripeEvent) -> None:
    await returning.settle(Means.within(at), await at.stripe.refund(event.object_id))


async def _of_dispute(at: Surroundings, event: StripeEvent) -> None:
    await returning.note_dispute(Means.within(at), await at.stripe.dispute(event.object_id))


async def _of_payout(at: Surroundings, event: StripeEvent) -> None:
    means = Means.within(at)
    for payout in await at.stripe.payouts(since=event.created_at - clearing.PAYOUT_TAKES):
        if payout.id == event.object_id:
            await clearing.record_payout(means, payout)


_BY_OBJECT: Sequence[tuple[str, Handler, Sequence[str]]] = (
    ("invoice", _of_invoice, ("paid", "payment_failed", "payment_action_required", "voided", "updated", "deleted")),
    ("refund", _of_refund, ("created", "updated", "failed")),
    ("charge.dispute", _of_dispute, ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")),
    ("payout", _of_payout, ("paid", "failed", "canceled")),
)
HANDLERS: Handlers = {f"{what}.{word}": handler for what, handler, words in _BY_OBJECT for word in words}
"""What is done about each type of event."""
