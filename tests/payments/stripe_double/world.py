"""What there is at Stripe: objects by id, the events that tell of them, and a clock that only tests move."""

import itertools
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

from tests.payments.stripe_double.wire import Thing, missing, shown

API_VERSION = "2026-10-28.endive"
_ACCOUNTS = itertools.count(1)


class World:
    """One Stripe account."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.objects: dict[str, Thing] = {}
        self.events: list[Thing] = []
        """Every one there ever was, in order."""
        self.untold: list[Thing] = []
        """Those that no webhook was sent for."""
        self._account = next(_ACCOUNTS)
        self._numbers: dict[str, int] = {}

    @property
    def seconds(self) -> int:
        """Now, as Stripe says it."""
        return int(self.now.timestamp())

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by

    def new(self, prefix: str, kind: str, **fields: Any) -> Thing:
        """An object with an id of its own."""
        thing = {"id": self.fresh(prefix), "object": kind, "created": self.seconds, "livemode": False, **fields}
        self.objects[thing["id"]] = thing
        return thing

    def fresh(self, prefix: str) -> str:
        """An id that nothing has, in this account or another."""
        self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
        return f"{prefix}_{self._account:04}{self._numbers[prefix]:06}"

    def get(self, kind: str, identifier: str) -> Thing:
        """The object of this kind and id."""
        found = self.objects.get(identifier)
        if found is None or found["object"] != kind:
            raise missing(kind, identifier)
        return found

    def every(self, kind: str) -> list[Thing]:
        """All objects of a kind, the newest first."""
        return [each for each in reversed(self.objects.values()) if each["object"] == kind]

    def every_event(self) -> list[Thing]:
        """All events, the newest first."""
        return self.events[::-1]

    def tell(self, name: str, thing: Thing) -> None:
        """Something happened to the object: an event with what it looks like now."""
        event = {
            "id": self.fresh("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.seconds,
            "data": {"object": deepcopy(shown(thing))},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": name,
        }
        self.events.append(event)
        self.untold.append(event)
