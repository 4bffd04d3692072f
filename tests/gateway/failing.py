"""Providers on ports of their own that suffer whatever a script says, and remember which calls they really answered."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tests.gateway import fake_provider
from tests.gateway.fake_provider import Behaviour, FakeProvider, Line

PATIENCE = {"connect_seconds": 1, "first_byte_seconds": 1, "idle_seconds": 1}
"""How long a call waits for any of them."""


def _asks_for_a_stream(line: Line) -> bool:
    return bool(line.served.json.get("stream"))


async def well(line: Line) -> None:
    """The answer that was asked for."""
    await (fake_provider.streamed() if _asks_for_a_stream(line) else fake_provider.whole())(line)


async def hang(line: Line) -> None:
    """Nothing, not even a status."""
    await fake_provider.silent(line)


async def hang_in_body(line: Line) -> None:
    """The head, and less of the body than it promises, or a stream without events."""
    if _asks_for_a_stream(line):
        await fake_provider.silent_stream(line)
    else:
        await line.answer(200, b'{"id": "chatcmpl-1", "obj', {"content-length": "500"})
        await line.served.left.wait()


async def slow(line: Line) -> None:
    """Right, after a while."""
    await asyncio.sleep(0.3)
    await well(line)


async def garbage(line: Line) -> None:
    """What is no answer."""
    await fake_provider.body_of(b"<html>oops</html>")(line)


FAULTS: Mapping[str, Behaviour] = {
    "well": well,
    "hang": hang,
    "hang in body": hang_in_body,
    "limited": fake_provider.refusal(429, "slow down", {"retry-after": "1"}),
    "limited for long": fake_provider.refusal(429, "slow down", {"retry-after": "60"}),
    "storm": fake_provider.refusal(500, "boom"),
    "slow": slow,
    "garbage": garbage,
}
"""Besides `refused`: nobody listens."""
_ANSWERS = frozenset({"well", "slow"})


@dataclass
class Failing:
    """Four providers, cheapest first."""

    names: tuple[str, ...]
    providers: Mapping[str, FakeProvider]
    truth: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """The prompts that each of them answered to the end."""
    _listening: dict[str, AsyncExitStack] = field(default_factory=dict)

    async def suffer(self, **faults: str) -> None:
        """Have these providers suffer these faults, and the others none."""
        for name in self.names:
            fault = faults.get(name, "well")
            is_refused = fault == "refused"
            if is_refused and name in self._listening:
                await self._listening.pop(name).aclose()
            if not is_refused:
                self.providers[name].behaviours["v1"] = self._behaviour(name, fault)
                await self._listen(name)

    async def _listen(self, name: str) -> None:
        if name not in self._listening:
            stack = AsyncExitStack()
            await stack.enter_async_context(self.providers[name].listening())
            self._listening[name] = stack

    def _behaviour(self, name: str, fault: str) -> Behaviour:
        async def behave(line: Line) -> None:
            await FAULTS[fault](line)
            if fault in _ANSWERS and line.served.body and not line.served.left.is_set():
                self.truth[name][str(line.served.json["messages"][0]["content"])] += 1

        return behave

    async def close(self) -> None:
        for stack in self._listening.values():
            await stack.aclose()


@asynccontextmanager
async def failing() -> AsyncIterator[Failing]:
    """Four providers that listen."""
    names = ("a", "b", "c", "d")
    opened = Failing(names, {name: FakeProvider() for name in names})
    await opened.suffer()
    try:
        yield opened
    finally:
        await opened.close()
