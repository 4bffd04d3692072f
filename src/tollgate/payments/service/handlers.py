"""What is done about which of Stripe's events. All others are kept, and nothing is done about them."""

from tollgate.payments.model import CheckoutSession, StripeEvent
from tollgate.payments.service import customers, hearing, methods, top_ups
from tollgate.payments.service.surroundings import Handlers, Surroundings
from tollgate.payments.store import collections

_SETUP = "setup"


async def _page(at: Surroundings, event: StripeEvent) -> None:
    page = await at.stripe.session(event.object_id)
    if page.mode == _SETUP:
        await methods.on_setup(at, page)
        await _try_again(at, page)
    else:
        await top_ups.on_page(at, page)


async def _try_again(at: Surroundings, page: CheckoutSession) -> None:
    """What could not be taken before is tried again with what is stored now, without waiting for its day."""
    async with at.database.write() as session:
        owner = await customers.owner(session, customer_id=str(page.customer_id))
        if owner is not None:
            await collections.wake_all(session, organization_id=owner, ask=True)


HANDLERS: Handlers = {
    **hearing.HANDLERS,
    "checkout.session.completed": _page,
    "checkout.session.async_payment_succeeded": _page,
    "checkout.session.async_payment_failed": _page,
    "checkout.session.expired": _page,
}
