"""Webhooks of the double: signed, and delivered in whatever order and however often a test says."""

import json
from collections.abc import Awaitable, Callable, Iterable

from stripe import WebhookSignature
from tests.payments.stripe_double.wire import Thing
from tests.payments.stripe_double.world import World

WEBHOOK_SECRET = "whsec_double"

Receiver = Callable[[bytes, str], Awaitable[int]]
"""Takes a body and its signature; answers the HTTP status."""


def sign(payload: bytes, seconds: int, secret: str = WEBHOOK_SECRET) -> str:
    """The `Stripe-Signature` of a body, made at that second."""
    return str(WebhookSignature.generate_signature_header(payload.decode(), secret, seconds))


async def deliver(world: World, receive: Receiver, events: Iterable[Thing]) -> list[int]:
    """Send these events, one after another; answers the statuses."""
    statuses = []
    for event in events:
        payload = json.dumps(event, indent=2).encode()
        statuses.append(await receive(payload, sign(payload, world.seconds)))
    return statuses
