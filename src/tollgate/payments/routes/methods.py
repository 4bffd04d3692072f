"""The routes of what customers pay with."""

import hashlib
from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import JSONBody

from tollgate.infra import idempotency, identity, web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One
from tollgate.kit.clock import Clock
from tollgate.kit.principal import Principal
from tollgate.payments.schemas.payments import Link, MethodView, OpenPortal, OpenSetup
from tollgate.payments.service import configured
from tollgate.payments.service import methods as service
from tollgate.payments.stripe_client import StripeClient

AnyRequest = Request[Any, Any, Any]
_ITSELF = {idempotency.ANSWERS_ONCE_ITSELF: True}


class MethodsController(Controller):
    """What invoices are paid with. Card numbers are typed at Stripe, never here."""

    path = "/payments"
    tags = ("Payments",)

    @post("/set-up", status_code=200, summary="A page at Stripe to store what to pay with", opt=_ITSELF)
    async def open_setup(
        self,
        request: AnyRequest,
        data: JSONBody[OpenSetup],
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[Link]:
        once, at = _once(request, clock), configured.surroundings(database, stripe, clock)
        url = await service.open_setup(at, organization_id=manager.organization_id, pages=data.pages(), once=once)
        return One(data=Link(url=url))

    @post("/portal", status_code=200, summary="The customer's own pages at Stripe", opt=_ITSELF)
    async def open_portal(
        self,
        request: AnyRequest,
        data: JSONBody[OpenPortal],
        database: Injected[Database],
        stripe: Injected[StripeClient | None],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[Link]:
        once, at = _once(request, clock), configured.surroundings(database, stripe, clock)
        owner = manager.organization_id
        url = await service.open_portal(at, organization_id=owner, return_url=data.return_url, once=once)
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


def _once(request: AnyRequest, clock: Clock) -> str:
    """What makes this request the same as another: Stripe answers the first page again for the same key."""
    web.query(request, web.Nothing)
    given = idempotency.given_key(request)
    return str(identity.new_id(clock.now())) if given is None else hashlib.sha256(given.encode()).hexdigest()
