"""What is done about which of Stripe's events. All others are kept, and nothing is done about them."""

from tollgate.payments.model import StripeEvent
from tollgate.payments.service import methods, top_ups
from tollgate.payments.service.surroundings import Handlers, Surroundings

_SETUP = "setup"


async def _page(at: Surroundings, event: StripeEvent) -> None:
    page = await at.stripe.session(event.object_id)
    if page.mode == _SETUP:
        await methods.on_setup(at, page)
    else:
        await top_ups.on_page(at, page)


HANDLERS: Handlers = {
    "checkout.session.completed": _page,
    "checkout.session.async_payment_succeeded": _page,
    "checkout.session.async_payment_failed": _page,
    "checkout.session.expired": _page,
}
