"""Pages at Stripe: Checkout for a payment or to store a method, and the customer's portal."""

from tests.payments.stripe_double import balance, charging, customers
from tests.payments.stripe_double.wire import Params, Problem, Thing, listed
from tests.payments.stripe_double.world import World

_SHORTEST, _LONGEST = 30 * 60, 24 * 3600


def create(world: World, params: Params) -> Thing:
    customer = customers.living(world, params.needed("customer"))["id"]
    mode, expires = params.needed("mode"), params.number("expires_at", world.seconds + _LONGEST) or 0
    if not _SHORTEST <= expires - world.seconds <= _LONGEST:
        raise Problem(400, "The page must expire between 30 minutes and 24 hours from now.", param="expires_at")
    session = world.new(
        "cs_test",
        "checkout.session",
        mode=mode,
        customer=customer,
        client_reference_id=params.text("client_reference_id"),
        success_url=params.needed("success_url"),
        cancel_url=params.text("cancel_url"),
        expires_at=expires,
        metadata=params.mapping("metadata"),
        status="open",
        payment_status="unpaid" if mode == "payment" else "no_payment_required",
        payment_intent=None,
        setup_intent=None,
        amount_total=None,
        currency=params.text("currency"),
    )
    session["url"] = f"https://checkout.stripe.test/c/pay/{session['id']}"
    if mode == "payment":
        session["amount_total"], session["currency"] = _lines(params)
        session["_intent_metadata"] = params.inner("payment_intent_data").mapping("metadata")
    else:
        session["setup_intent"] = world.new("seti", "setup_intent", customer=customer, payment_method=None)["id"]
    params.done()
    return session


def _lines(params: Params) -> tuple[int, str]:
    total, currencies = 0, set()
    for line in params.many("line_items"):
        price = line.inner("price_data")
        price.inner("product_data").needed("name")
        quantity, amount = line.number("quantity", 1) or 0, price.number("unit_amount") or 0
        currency = price.needed("currency")
        balance.check_amount(amount, currency)
        currencies.add(currency)
        total += quantity * amount
    if len(currencies) != 1 or total <= 0:
        raise Problem(400, "One currency and more than nothing are needed.", param="line_items")
    return total, currencies.pop()


def retrieve(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    return world.get("checkout.session", identifier)


def list_sessions(world: World, params: Params) -> Thing:
    customer, status = params.text("customer"), params.text("status")

    def keep(each: Thing) -> bool:
        return (customer is None or each["customer"] == customer) and (status is None or each["status"] == status)

    found = listed("/v1/checkout/sessions", world.every("checkout.session"), params, keep)
    params.done()
    return found


def expire(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    session = _open(world, identifier)
    session |= {"status": "expired", "url": None}
    world.tell("checkout.session.expired", session)
    return session


def complete(world: World, identifier: str, behaviour: str = "good") -> Thing:
    """What a customer does on the page: pays with a method, or stores it. A declined one leaves the page open."""
    session = _open(world, identifier)
    method = customers.store_method(world, session["customer"], behaviour, is_default=False)
    if session["mode"] == "setup":
        world.get("setup_intent", session["setup_intent"])["payment_method"] = method["id"]
        _finish(world, session)
        return session
    intent = charging.new_intent(
        world,
        customer=session["customer"],
        amount=session["amount_total"],
        currency=session["currency"],
        metadata=session["_intent_metadata"],
        _session=identifier,
    )
    session["payment_intent"] = intent["id"]
    charging.attempt(world, intent, method)
    session["payment_status"] = "paid" if intent["status"] == "succeeded" else "unpaid"
    _finish(world, session)
    return session


def after(world: World, intent: Thing) -> None:
    """What the end of a slow payment means for the page that it was begun on."""
    identifier = intent.get("_session")
    if identifier is None:
        return
    session = world.get("checkout.session", identifier)
    if intent["status"] == "succeeded":
        session["payment_status"] = "paid"
        world.tell("checkout.session.async_payment_succeeded", session)
    else:
        world.tell("checkout.session.async_payment_failed", session)


def expire_due(world: World) -> None:
    """Pages end by themselves."""
    for session in world.every("checkout.session"):
        if session["status"] == "open" and session["expires_at"] <= world.seconds:
            session |= {"status": "expired", "url": None}
            world.tell("checkout.session.expired", session)


def _open(world: World, identifier: str) -> Thing:
    session = world.get("checkout.session", identifier)
    if session["status"] != "open":
        raise Problem(400, f"The page is {session['status']}, not open.", param="session")
    return session


def _finish(world: World, session: Thing) -> None:
    session |= {"status": "complete", "url": None}
    world.tell("checkout.session.completed", session)


def open_portal(world: World, params: Params) -> Thing:
    customer = customers.living(world, params.needed("customer"))["id"]
    back = params.needed("return_url")
    params.done()
    opened = world.new("bps", "billing_portal.session", customer=customer, return_url=back)
    opened["url"] = f"https://billing.stripe.test/p/session/{opened['id']}"
    return opened
