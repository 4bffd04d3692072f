"""The routes of what customers pay with."""

import hashlib

from litestar import Controller, get, post
from litestar.params import JSONBody

from tollgate.infra import idempotency, identity
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One
from tollgate.kit.clock import Clock
from tollgate.kit.principal import Principal
from tollgate.payments.schemas.payments import Link, MethodView, OpenPortal, OpenSetup
from tollgate.payments.service import configured
from tollgate.payments.service import methods as service
from tollgate.payments.stripe_client import StripeClient

_ITSELF = {idempotency.ANSWERS_ONCE_ITSELF: True}


class MethodsController(Controller):
    """What invoices are paid with. Card numbers are typed at Stripe, never here."""

    path = "/payments"
    tags = ("Payments",)

    @post("/set-up", status_code=200, summary="A page at Stripe to store what to pay with", opt=_ITSELF)
    async def open_setup(
        self,
        data: JSONBody[OpenSetup],
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        once: Injected[str | None],
        manager: Injected[Principal],
    ) -> One[Link]:
        at = configured.surroundings(database, stripe, clock)
        url = await service.open_setup(
            at, organization_id=manager.organization_id, pages=data.pages(), once=_once(once, clock)
        )
        return One(data=Link(url=url))

    @post("/portal", status_code=200, summary="The customer's own pages at Stripe", opt=_ITSELF)
    async def open_portal(
        self,
        data: JSONBody[OpenPortal],
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        once: Injected[str | None],
        manager: Injected[Principal],
    ) -> One[Link]:
        at = configured.surroundings(database, stripe, clock)
        owner = manager.organization_id
        url = await service.open_portal(at, organization_id=owner, return_url=data.return_url, once=_once(once, clock))
        return One(data=Link(url=url))

    @get("/method", summary="What invoices are paid with, or null")
    async def get_method(
        self,
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[MethodView | None]:
        at = configured.surroundings(database, stripe, clock)
        found = await service.current(at, organization_id=manager.organization_id)
        return One(data=None if found is None else MethodView.of(found))


def _once(given: str | None, clock: Clock) -> str:
    """What makes this request the same as another: Stripe answers the first page again for the same key."""
    return str(identity.new_id(clock.now())) if given is None else hashlib.sha256(given.encode()).hexdigest()
