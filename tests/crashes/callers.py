"""Callers: each sends one call and remembers what it saw of it."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

import httpx
from tests.crashes.plant import Plant
from tests.crashes.script import Script
from tests.gateway.installation import Customer

_NUMBERS = itertools.count(1)


class Saw(StrEnum):
    """What became of a call, as its caller sees it."""

    ANSWERED = "answered"
    """The answer came whole, to its proper end: this is acknowledged."""
    AWAY = "503"
    """Told to come again, and when."""
    REFUSED = "refused"
    """Told of some other error, before the answer or in the middle of it."""
    CUT = "cut"
    """The connection broke, or the stream ended without its end."""
    UNREACHED = "unreached"
    """There was nobody to call."""


@dataclass
class Seen:
    """One call, from its caller's side."""

    marker: str
    gateway: int
    streamed: bool
    customer: Customer
    began: float
    saw: Saw | None = None
    ended: float = 0
    status: int | None = None
    generation: str | None = None
    cost: Decimal | None = None
    detail: str = ""


@dataclass
class Callers:
    """Everyone who calls, and what they saw."""

    plant: Plant
    model: str
    seen: dict[str, Seen] = field(default_factory=dict)
    under_way: dict[asyncio.Task[Seen], Seen] = field(default_factory=dict)

    def call(self, customer: Customer, gateway: int, script: Script, *, streamed: bool) -> "asyncio.Task[Seen]":
        """Send one call that the provider will answer as the script says."""
        marker = f"m{next(_NUMBERS)}"
        self.plant.play.scripts[marker] = script
        seen = Seen(marker, gateway, streamed, customer, asyncio.get_running_loop().time())
        self.seen[marker] = seen
        task = asyncio.create_task(self._send(seen, self.model))
        self.under_way[task] = seen
        task.add_done_callback(self.under_way.pop)
        return task

    def are_under_way(self, gateway: int) -> bool:
        """Whether this gateway has calls under way other than those that are to die with it."""
        scripts = self.plant.play.scripts
        return any(seen.gateway == gateway and not scripts[seen.marker].is_victim for seen in self.under_way.values())

    async def all_ended(self, *, seconds_max: float) -> None:
        """Wait until every caller has an answer, or knows that none comes."""
        async with asyncio.timeout(seconds_max):
            while self.under_way:
                await asyncio.gather(*self.under_way)

    async def _send(self, seen: Seen, model: str) -> Seen:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"{seen.marker} please"}],
            "user": seen.marker,
            "max_tokens": 512,
            "stream": seen.streamed,
            **({"stream_options": {"include_usage": True}} if seen.streamed else {}),
        }
        url = f"{self.plant.gateways[seen.gateway].base_url}/chat/completions"
        headers = {"authorization": f"Bearer {seen.customer.key}"}
        try:
            async with self.plant.http.stream("POST", url, json=body, headers=headers) as answer:
                seen.status, seen.generation = answer.status_code, answer.headers.get("x-generation-id")
                _note(seen, answer, await answer.aread())
        except httpx.ConnectError as error:
            seen.saw, seen.detail = Saw.UNREACHED, repr(error)
        except httpx.TransportError as error:
            seen.saw, seen.detail = Saw.CUT, repr(error)
        seen.ended = asyncio.get_running_loop().time()
        return seen


def _note(seen: Seen, answer: httpx.Response, body: bytes) -> None:
    seen.detail = body[-300:].decode(errors="replace")
    if answer.status_code != httpx.codes.OK:
        is_away = answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "retry-after" in answer.headers
        seen.saw = Saw.AWAY if is_away else Saw.REFUSED
    elif not seen.streamed:
        seen.saw, seen.cost = Saw.ANSWERED, _cost(json.loads(body, parse_float=str))
    else:
        _note_stream(seen, [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event])


def _note_stream(seen: Seen, events: Sequence[bytes]) -> None:
    if not events or events[-1] != b"[DONE]":
        seen.saw = Saw.CUT
        return
    told = [json.loads(event, parse_float=str) for event in events[:-1]]
    if any("error" in event for event in told):
        seen.saw = Saw.REFUSED
    else:
        seen.saw, seen.cost = Saw.ANSWERED, _cost(told[-1])


def _cost(told: Any) -> Decimal:
    return Decimal(told["usage"]["cost"])


def table(seen: Iterable[Seen], *, since: float, step: float) -> str:
    """What callers saw, by when their calls began."""
    rows: dict[int, Counter[str]] = {}
    for one in seen:
        rows.setdefault(int((one.began - since) // step), Counter())[str(one.saw)] += 1
    lines = [f"{'from second':>12}" + "".join(f"{saw:>11}" for saw in Saw)]
    for number, row in sorted(rows.items()):
        lines.append(f"{number * step:12.0f}" + "".join(f"{row[saw]:11}" for saw in Saw))
    return "\n".join(lines)
