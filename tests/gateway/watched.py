"""A gateway in this process whose provider says what a test gives it, when it gives it, and the notes of its calls."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from tests.gateway.clocked import MODEL, Clocked, Tenant
from tests.gateway.fake_client import FakeClient
from tests.gateway.fake_provider import DONE, chunk

from tollgate.catalog.model import Format
from tollgate.gateway.model import Reply, UpstreamRequest, Wire
from tollgate.gateway.service import Gateway, Inquiry
from tollgate.infra import journal
from tollgate.metering import letters
from tollgate.metering.model import Settlement
from tollgate.metering.safekeeping import Safekeeping

USAGE = {"prompt_tokens": 10, "completion_tokens": 3}


class Provider:
    """Sends what the test gives it, when the test gives it."""

    def __init__(self) -> None:
        self._given: asyncio.Queue[bytes] = asyncio.Queue()
        self._sent = asyncio.Event()
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = asyncio.Event()
        self.is_let_go_of = False

    async def send(self, _: UpstreamRequest) -> Reply:
        self.asked.set()
        await self.answers.wait()
        return self

    @property
    def headers(self) -> Mapping[str, str]:
        return {}

    async def body(self) -> bytes:
        return await self._given.get()

    async def piece(self) -> bytes:
        return await self._given.get()

    async def close(self) -> None:
        self.is_let_go_of = True

    def say(self, *words: str) -> None:
        for word in words:
            self._given.put_nowait(chunk({"content": word}, usage=None))

    def end(self) -> None:
        for piece in (chunk(finish="stop", usage=None), chunk(choices=[], usage=USAGE), DONE, b""):
            self._given.put_nowait(piece)

    def give(self, whole: bytes) -> None:
        self._given.put_nowait(whole)


class Watched:
    """The gateway of a process with a provider of the test's, and the journal of its calls."""

    def __init__(self, gateway: Clocked) -> None:
        self.gateway = gateway
        self.provider = Provider()
        self.served: Gateway = gateway.plane.app.state.gateway
        self.served._upstreams = {**self.served._upstreams, Format.SANDBOX: self.provider}
        self.safe: Safekeeping = self.served._meter.safe

    async def call(
        self,
        tenant: Tenant,
        client: FakeClient,
        *,
        stream: bool = True,
        wire: Wire = Wire.CHAT,
        **asking: Any,
    ) -> "asyncio.Task[None]":
        principal = (await self.served.door.authenticate([(b"x-api-key", tenant.key.encode())])).principal
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 100}
        body = json.dumps({"model": MODEL, "stream": stream, **asked, **asking}).encode()
        return asyncio.create_task(self.served.serve(Inquiry(principal, wire, body, {}), client))

    def noted(self) -> list[Settlement]:
        """What the journal says of the calls under way."""
        return [letters.read(text) for text in journal.read(self.safe._estate.path / "journal").left.values()]

    async def noted_tokens(self, least: int) -> Settlement:
        """The note of the call under way, once it tells of so many output tokens."""
        async with asyncio.timeout(5):
            while True:
                for noted in self.noted():
                    if json.loads(noted.call.quantities).get("completion", 0) >= least:
                        return noted
                await asyncio.sleep(0.005)

    @property
    def is_clear(self) -> bool:
        """Whether no call has left a note anywhere."""
        return self.noted() == [] and self.safe.known == []


async def finished(call: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(5):
        await call
