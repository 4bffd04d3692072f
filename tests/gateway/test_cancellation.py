"""A call whose task is cancelled, at whatever point, is recorded once and holds nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
from tests.gateway.fake_client import FakeClient
from tests.gateway.installation import MESSAGES, Customer, Installation
from tests.gateway.outlooks import an_outlook
from tests.gateway.test_other_processes import CLOCK, sandbox
from tests.metering.scene import LEASE
from tests.safes import a_safe

from tollgate.catalog.model import Format
from tollgate.entrypoints.errors import status_of
from tollgate.gateway.model import Reply, UpstreamRequest, Wire
from tollgate.gateway.sandbox import SandboxUpstream
from tollgate.gateway.service import Gateway, Inquiry, Surroundings
from tollgate.gateway.snapshot import Shelf
from tollgate.infra import database as databases
from tollgate.keys.service import KeyRing
from tollgate.kit.errors import Unavailable
from tollgate.metering.service import Meter


class Gate:
    """Where a provider waits until the test lets it go on."""

    def __init__(self, *, pieces: int = 1) -> None:
        self.pieces = pieces
        """How many pieces of a stream come before it."""
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class GatedUpstream:
    """The sandbox behind gates: before it answers, in the middle of its answer, and when it is let go of."""

    def __init__(self, gates: dict[str, Gate]) -> None:
        self._gates = gates
        self._sandbox = SandboxUpstream()

    async def send(self, request: UpstreamRequest) -> Reply:
        if "send" in self._gates:
            await self._gates["send"].pass_through()
        return GatedReply(await self._sandbox.send(request), self._gates)


class GatedReply:
    """One answer behind gates."""

    def __init__(self, reply: Reply, gates: dict[str, Gate]) -> None:
        self.status, self.headers = reply.status, reply.headers
        self._reply = reply
        self._gates = gates
        self._pieces = 0

    async def body(self) -> bytes:
        return await self._reply.body()

    async def piece(self) -> bytes:
        if "stream" in self._gates and self._pieces >= self._gates["stream"].pieces:
            await self._gates["stream"].pass_through()
        self._pieces += 1
        return await self._reply.piece()

    async def close(self) -> None:
        if "close" in self._gates:
            await self._gates["close"].pass_through()
        await self._reply.close()


@asynccontextmanager
async def a_gateway(installation: Installation, gates: dict[str, Gate]) -> AsyncIterator[Gateway]:
    database = databases.connect(installation.database_url)
    pool = await databases.connect_pool(installation.database_url, connections_max=4)
    yield Gateway(
        keys=KeyRing(pool, database_url=installation.database_url),
        outlook=an_outlook(Shelf(database, CLOCK, database_url=installation.database_url), pool, CLOCK),
        meter=Meter(pool, CLOCK, a_safe(), settle_timeout_seconds=5, lease=LEASE),
        upstreams={Format.SANDBOX: GatedUpstream(gates)},
        clock=CLOCK,
        surroundings=Surroundings(body_bytes_max=1000, drain_seconds=1, status_of=status_of),
    )
    await pool.close()
    await database.close()


async def begun(
    own: Gateway, customer: Customer, model: str, *, stream: bool
) -> tuple["asyncio.Task[None]", FakeClient]:
    principal = (await own.door.authenticate([(b"x-api-key", customer.key.encode())])).principal
    body = json.dumps({"model": model, "messages": MESSAGES, "stream": stream}).encode()
    client = FakeClient()
    return asyncio.create_task(own.serve(Inquiry(principal, Wire.CHAT, body, {}), client)), client


@pytest.mark.parametrize(
    ("point", "form", "told"),
    [
        ("send", "whole", Unavailable),
        ("stream", "stream", None),
        ("close", "stream", asyncio.CancelledError),
        ("close", "whole", asyncio.CancelledError),
    ],
)
async def test_a_cancelled_call_is_recorded_once_and_its_client_told_where_there_is_time(
    gateway: Installation, point: str, form: str, told: type[BaseException] | None
) -> None:
    customer, model = await gateway.customer(), await sandbox(gateway)
    gate = Gate()
    async with a_gateway(gateway, {point: gate}) as own:
        calling, client = await begun(own, customer, model, stream=form == "stream")
        await gate.reached.wait()
        calling.cancel()
        gate.opened.set()
        with nullcontext() if told is None else pytest.raises(told):
            await calling
        assert client.finished.is_set() == (told is None)
        assert (b'"overloaded"' in b"".join(client.pieces)) == (told is None)
        await own.drained()
    assert len(await customer.calls()) == 1
    assert await customer.holds() == []


async def test_a_stream_is_charged_for_what_it_delivered_however_often_its_call_is_cancelled(
    gateway: Installation,
) -> None:
    customer, model = await gateway.customer(), await sandbox(gateway)
    for times in (1, 2):
        gates = {"stream": Gate(pieces=3), "close": Gate()}
        async with a_gateway(gateway, gates) as own:
            calling, _ = await begun(own, customer, model, stream=True)
            await gates["stream"].reached.wait()
            calling.cancel()
            await gates["close"].reached.wait()
            for _ in range(times - 1):
                calling.cancel()
                await asyncio.sleep(0)
            gates["close"].opened.set()
            with suppress(asyncio.CancelledError):
                await calling
            await own.drained()
    once, twice = [json.loads(call["quantities"]) for call in await customer.calls()]
    assert once == twice
    assert once["completion"] > 0
