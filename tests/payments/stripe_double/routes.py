"""Which request does what, and which objects come along with an answer when they are asked for."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from tests.payments.stripe_double import balance, charging, checkout, customers, invoices
from tests.payments.stripe_double.wire import Params, Problem, Thing, listed
from tests.payments.stripe_double.world import World

Route = Callable[..., Thing]


def _list_events(world: World, params: Params) -> Thing:
    types = params.texts("types")
    found = listed("/v1/events", world.every_event(), params, lambda each: not types or each["type"] in types)
    params.done()
    return found


ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/v1/customers"): customers.create,
    ("GET", "/v1/customers/search"): customers.search,
    ("GET", "/v1/customers/{}"): customers.retrieve,
    ("POST", "/v1/customers/{}"): customers.update,
    ("DELETE", "/v1/customers/{}"): customers.delete,
    ("GET", "/v1/customers/{}/payment_methods"): customers.list_methods,
    ("GET", "/v1/customers/{}/payment_methods/{}"): customers.retrieve_method,
    ("POST", "/v1/invoices"): invoices.create,
    ("GET", "/v1/invoices"): invoices.list_invoices,
    ("GET", "/v1/invoices/{}"): invoices.retrieve,
    ("DELETE", "/v1/invoices/{}"): invoices.delete,
    ("POST", "/v1/invoices/{}/finalize"): invoices.finalise,
    ("POST", "/v1/invoices/{}/pay"): invoices.pay,
    ("POST", "/v1/invoices/{}/void"): invoices.void,
    ("POST", "/v1/invoiceitems"): invoices.add_item,
    ("GET", "/v1/invoice_payments"): invoices.list_payments,
    ("GET", "/v1/payment_intents/{}"): charging.retrieve_intent,
    ("GET", "/v1/charges/{}"): charging.retrieve_charge,
    ("POST", "/v1/refunds"): charging.create_refund,
    ("GET", "/v1/refunds"): charging.list_refunds,
    ("GET", "/v1/refunds/{}"): charging.retrieve_refund,
    ("GET", "/v1/disputes"): charging.list_disputes,
    ("GET", "/v1/disputes/{}"): charging.retrieve_dispute,
    ("POST", "/v1/checkout/sessions"): checkout.create,
    ("GET", "/v1/checkout/sessions"): checkout.list_sessions,
    ("GET", "/v1/checkout/sessions/{}"): checkout.retrieve,
    ("POST", "/v1/checkout/sessions/{}/expire"): checkout.expire,
    ("POST", "/v1/billing_portal/sessions"): checkout.open_portal,
    ("GET", "/v1/balance"): balance.retrieve,
    ("GET", "/v1/balance_transactions"): balance.list_transactions,
    ("GET", "/v1/payouts"): balance.list_payouts,
    ("GET", "/v1/payouts/{}"): balance.retrieve_payout,
    ("GET", "/v1/events"): _list_events,
}

_PATTERNS = [
    (method, re.compile(re.escape(path).replace(r"\{\}", "([^/]+)")), route) for (method, path), route in ROUTES.items()
]
_EXPANDABLE = {
    "setup_intent": "setup_intent",
    "latest_charge": "charge",
    "payment_intent": "payment_intent",
    "customer": "customer",
    "charge": "charge",
    "balance_transaction": "balance_transaction",
}
_ONLY_IF_ASKED = {"invoice": ("payments",)}


def perform(world: World, method: str, path: str, params: Params) -> Thing:
    """Do what is asked, and answer with copies."""
    expand = params.texts("expand")
    for named, pattern, route in _PATTERNS:
        found = pattern.fullmatch(path)
        if found is not None and named == method:
            return _answer(world, route(world, params, *found.groups()), expand)
    raise Problem(404, f"Unrecognized request URL ({method}: {path}).")


def _answer(world: World, thing: Thing, expand: Iterable[str]) -> Thing:
    if thing["object"] in {"list", "search_result"}:
        inner = [each.removeprefix("data.") for each in expand]
        return {**thing, "data": [_answer(world, each, inner) for each in thing["data"]]}
    hidden = [name for name in _ONLY_IF_ASKED.get(thing["object"], ()) if name not in expand]
    answer: dict[str, Any] = {name: value for name, value in thing.items() if name not in hidden}
    for name in expand:
        if name in _EXPANDABLE and answer.get(name):
            answer[name] = dict(world.get(_EXPANDABLE[name], answer[name]))
        elif name not in answer:
            raise Problem(400, f"This property cannot be expanded ({name}).", param="expand")
    return answer
