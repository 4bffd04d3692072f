"""Customers, and what they pay with."""

import re

from tests.payments.stripe_double.wire import Params, Problem, Thing, listed, missing
from tests.payments.stripe_double.world import World

CARDS = {
    "good": "4242",
    "declining": "0002",
    "declines_once": "9995",
    "needs_confirmation": "3155",
    "slow": "3000",
}
"""How a stored method behaves, by name, and its last digits. A slow one takes days, as a bank debit does."""
_QUERY = re.compile(r"metadata\['([^']+)'\]:'([^']*)'")


def create(world: World, params: Params) -> Thing:
    customer = world.new(
        "cus",
        "customer",
        name=params.text("name"),
        email=params.text("email"),
        metadata=params.mapping("metadata"),
        invoice_settings={"default_payment_method": None},
    )
    params.done()
    world.tell("customer.created", customer)
    return customer


def retrieve(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    customer = world.get("customer", identifier)
    if customer.get("deleted"):
        return {"id": identifier, "object": "customer", "deleted": True}
    return customer


def update(world: World, params: Params, identifier: str) -> Thing:
    customer = living(world, identifier)
    customer["name"] = params.text("name", customer["name"])
    customer["metadata"] |= params.mapping("metadata")
    settings = params.inner("invoice_settings")
    chosen = settings.text("default_payment_method")
    if chosen is not None:
        method_of(world, identifier, chosen)
        customer["invoice_settings"]["default_payment_method"] = chosen
    settings.done()
    params.done()
    world.tell("customer.updated", customer)
    return customer


def delete(world: World, params: Params, identifier: str) -> Thing:
    params.done()
    customer = living(world, identifier)
    customer["deleted"] = True
    world.tell("customer.deleted", customer)
    return {"id": identifier, "object": "customer", "deleted": True}


def search(world: World, params: Params) -> Thing:
    query = _QUERY.fullmatch(params.needed("query"))
    if query is None:
        raise Problem(400, "The query cannot be understood", param="query")
    name, value = query.groups()
    found = listed(
        "/v1/customers/search",
        world.every("customer"),
        params,
        lambda each: not each.get("deleted") and each["metadata"].get(name) == value,
    )
    params.done()
    return {**found, "object": "search_result", "next_page": None}


def living(world: World, identifier: str) -> Thing:
    """The customer, who has not been deleted."""
    customer = world.get("customer", identifier)
    if customer.get("deleted"):
        raise missing("customer", identifier)
    return customer


def list_methods(world: World, params: Params, identifier: str) -> Thing:
    living(world, identifier)
    found = listed(
        f"/v1/customers/{identifier}/payment_methods",
        world.every("payment_method"),
        params,
        lambda each: bool(each["customer"] == identifier),
    )
    params.done()
    return found


def retrieve_method(world: World, params: Params, customer: str, identifier: str) -> Thing:
    params.done()
    return method_of(world, customer, identifier)


def method_of(world: World, customer: str, identifier: str) -> Thing:
    """A method that the customer stored."""
    method = world.get("payment_method", identifier)
    if method["customer"] != customer:
        raise missing("payment_method", identifier)
    return method


def store_method(world: World, customer: str, behaviour: str = "good", *, is_default: bool = True) -> Thing:
    """A method that the customer stores on one of Stripe's pages."""
    details = {"brand": "visa", "last4": CARDS[behaviour], "exp_month": 12, "exp_year": 2030}
    method = world.new("pm", "payment_method", type="card", card=details, customer=customer, _behaviour=behaviour)
    if is_default:
        living(world, customer)["invoice_settings"]["default_payment_method"] = method["id"]
    world.tell("payment_method.attached", method)
    return method
