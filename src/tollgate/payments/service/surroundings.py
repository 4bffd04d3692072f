"""What a step needs that asks Stripe: the database before and after, the door in between, and the clock."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.payments.model import StripeEvent
from tollgate.payments.states import Policy
from tollgate.payments.stripe_client import StripeClient


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Handed to every step. None of its transactions is open while Stripe is asked."""

    database: Database
    stripe: StripeClient
    clock: Clock
    policy: Policy = Policy()  # noqa: RUF009 - it is frozen
    """What happens to whoever does not pay."""


Handler = Callable[[Surroundings, StripeEvent], Awaitable[None]]
"""What is done about an event of one type. It fetches what the event is about, and may be repeated at any time."""

Handlers = Mapping[str, Handler]
"""By type of event."""
