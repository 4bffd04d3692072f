"""What is done about Stripe's word of invoices, refunds, disputes and payouts: look at the object, and follow it.

A word that comes twice, late or never changes nothing: whatever it tells is found by looking, and looked for anyway.
"""

from functools import partial

from tollgate.payments.model import StripeEvent
from tollgate.payments.service import clearing, collecting, returning
from tollgate.payments.service.means import Means
from tollgate.payments.service.surroundings import Handler, Handlers, Surroundings
from tollgate.payments.states import Policy
from tollgate.payments.store import collections as store


async def _of_invoice(policy: Policy, at: Surroundings, event: StripeEvent) -> None:
    means = Means.within(at, policy)
    async with at.database.write() as session:
        mirrored = await store.mirrored_by(session, event.object_id)
        await store.wake(session, stripe_invoice_id=event.object_id)
    if mirrored is not None:
        owner, invoice_id = mirrored.organization_id, mirrored.invoice_id
        await collecting.collect(means, organization_id=owner, invoice_id=invoice_id)


async def _of_refund(policy: Policy, at: Surroundings, event: StripeEvent) -> None:
    await returning.settle(Means.within(at, policy), await at.stripe.refund(event.object_id))


async def _of_dispute(policy: Policy, at: Surroundings, event: StripeEvent) -> None:
    await returning.note_dispute(Means.within(at, policy), await at.stripe.dispute(event.object_id))


async def _of_payout(policy: Policy, at: Surroundings, event: StripeEvent) -> None:
    means = Means.within(at, policy)
    for payout in await at.stripe.payouts(since=event.created_at - clearing.PAYOUT_TAKES):
        if payout.id == event.object_id:
            await clearing.record_payout(means, payout)


def handlers(policy: Policy) -> Handlers:
    """What is done about each type of event."""
    known: dict[str, Handler] = {}
    for name in ("paid", "payment_failed", "payment_action_required", "voided", "updated", "deleted"):
        known[f"invoice.{name}"] = partial(_of_invoice, policy)
    for name in ("created", "updated", "failed"):
        known[f"refund.{name}"] = partial(_of_refund, policy)
    for name in ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed"):
        known[f"charge.dispute.{name}"] = partial(_of_dispute, policy)
    for name in ("paid", "failed", "canceled"):
        known[f"payout.{name}"] = partial(_of_payout, policy)
    return known
