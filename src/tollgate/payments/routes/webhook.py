"""Where Stripe tells of events: no key is asked for, the signature is the proof."""

from typing import Any

from litestar import Request, post
from litestar.openapi import ResponseSpec

from tollgate.infra import telemetry, web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected
from tollgate.kit.clock import Clock
from tollgate.kit.errors import InvalidRequest
from tollgate.payments.model import NotConfigured
from tollgate.payments.rules import signatures
from tollgate.payments.service import configured, inbox
from tollgate.payments.stripe_client import StripeClient

BODY_BYTES_MAX = 512 * 1024
"""Stripe's events are far smaller."""


@post(
    "/webhooks/stripe",
    status_code=200,
    summary="An event of Stripe's",
    description="Takes no key: Stripe's signature is the proof.",
    tags=["Payments"],
    request_max_body_size=BODY_BYTES_MAX,
    responses={200: ResponseSpec(None, description="It is kept, now or before, and will be acted on.")},
)
async def receive(
    request: Request[Any, Any, Any],
    database: Injected[Database],
    stripe: Injected[StripeClient | None],
    clock: Injected[Clock],
) -> None:
    """Nothing of an event is believed but that it happened: what it is about is fetched when it is acted on."""
    web.query(request, web.Nothing)
    at, now = configured.surroundings(database, stripe, clock), clock.now()
    if not at.stripe.webhook_secrets:
        raise NotConfigured("Stripe's webhooks are not set up here: TOLLGATE_STRIPE_WEBHOOK_SECRETS is not set.")
    try:
        event = at.stripe.read_event(await request.body(), request.headers.get(signatures.HEADER), now=now)
        async with database.write() as session:
            await inbox.receive(session, event=event, is_live=at.stripe.is_live, now=now)
    except InvalidRequest:
        telemetry.STRIPE_EVENTS.labels("refused").inc()
        raise
