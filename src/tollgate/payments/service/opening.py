"""Finding the page of a top-up at Stripe, and opening it if there is none: one page, however often it is tried.

The row is there before Stripe is asked, and the idempotency key follows from it. An answer that was lost is asked for
again with the same key. Where Stripe kept a failure as the key's answer, the page is looked for, and only if it is not
there is it opened with the next key.
"""

from dataclasses import replace

from tollgate.payments.model import CheckoutSession, StripeAway, StripeKeySpent, StripeMissing
from tollgate.payments.records import TopUp
from tollgate.payments.rules import top_ups as rules
from tollgate.payments.service import customers
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.store import top_ups as store


async def page_of(at: Surroundings, top_up: TopUp) -> CheckoutSession | None:
    """The page of a top-up as it is now; `None` if there is none, and it is too late to open one.

    Raises:
        StripeError: it is not known.
    """
    if top_up.session_id is not None:
        return await at.stripe.session(top_up.session_id)
    if at.clock.now() <= top_up.expires_at - rules.OPENED_BEFORE_END:
        return await _opened(at, await _for_customer(at, top_up))
    try:
        return None if top_up.customer_id is None else await _found(at, top_up)
    except StripeMissing:
        return None  # whom it was for is gone, and pays no more


async def _for_customer(at: Surroundings, top_up: TopUp) -> TopUp:
    """The top-up with whom it is opened for written down, and a fresh key if that is another customer than before."""
    customer_id = await customers.ensure(at, organization_id=top_up.organization_id)
    if top_up.customer_id == customer_id:
        return top_up
    attempt = top_up.attempt if top_up.customer_id is None else top_up.attempt + 1
    return await _changed(at, replace(top_up, customer_id=customer_id, attempt=attempt))


async def _opened(at: Surroundings, top_up: TopUp) -> CheckoutSession:
    try:
        return await at.stripe.create_checkout(rules.wanted(top_up), key=rules.key(top_up))
    except StripeKeySpent:
        return await _found_or_next(at, top_up)
    except StripeAway as away:
        if not away.is_replay:
            raise
        return await _found_or_next(at, top_up)


async def _found_or_next(at: Surroundings, top_up: TopUp) -> CheckoutSession:
    found = await _found(at, top_up)
    if found is not None:
        return found
    again = await _changed(at, replace(top_up, attempt=top_up.attempt + 1))
    return await at.stripe.create_checkout(rules.wanted(again), key=rules.key(again))


async def _found(at: Surroundings, top_up: TopUp) -> CheckoutSession | None:
    reference = rules.wanted(top_up).reference
    return await at.stripe.find_session(top_up.customer_id or "", reference=reference)


async def _changed(at: Surroundings, top_up: TopUp) -> TopUp:
    """Write down whom the page is for and by which key, unless somebody was faster."""
    async with at.database.write() as session:
        now = rules.found(
            await store.top_up(session, organization_id=top_up.organization_id, top_up_id=top_up.id, lock=True)
        )
        if now.session_id is not None or now.attempt > top_up.attempt:
            return now
        changed = replace(now, customer_id=top_up.customer_id, attempt=top_up.attempt)
        await store.save(session, changed)
        return changed
