"""A gateway in the test's own process: the real one with its database, among providers and callers with scripts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from tests.gateway import matrix
from tests.gateway.installation import Customer, Installation
from tests.gateway.matrix import FORMATS, GRANT
from tests.gateway.outlooks import an_outlook
from tests.gateway.scripted import Script, ScriptedUpstream
from tests.metering.scene import LEASE
from tests.safes import a_safe

from tollgate.catalog.rules import PERMISSION
from tollgate.entrypoints.errors import status_of
from tollgate.gateway.model import Wire
from tollgate.gateway.service import Gateway, Inquiry, Surroundings
from tollgate.gateway.snapshot import Shelf
from tollgate.infra import database as databases
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import SystemClock
from tollgate.kit.errors import ProviderFailed
from tollgate.kit.principal import Principal
from tollgate.metering.service import Meter

_RECORDS = """
    SELECT calls.*, (SELECT json_agg(attempts.status) FROM attempts WHERE call_id = calls.id) AS attempts
    FROM calls WHERE organization_id = $1 AND user_id = ANY($2)
"""


class Stage:
    """A gateway of our own, and a customer who calls it."""

    def __init__(self, installation: Installation, customer: Customer, gateway: Gateway) -> None:
        self.customer = customer
        self.installation = installation
        self.gateway = gateway
        self.upstream = ScriptedUpstream()
        self._models: dict[tuple[Wire, bool], str] = {}

    async def model(self, provider: Wire, *, cancels: bool) -> str:
        """The model whose provider speaks this format, and does or does not stop when it is left."""
        if (provider, cancels) not in self._models:
            protocols = ["responses"] if provider is Wire.RESPONSES else ["openai"]
            self._models[provider, cancels] = await self.installation.model(
                lambda _: asyncio.sleep(0), prices=matrix.PRICES, format=FORMATS[provider], protocols=protocols,
                credential="env:ACME_API_KEY", supports_cancel=cancels,
            )  # fmt: skip
        return self._models[provider, cancels]

    async def play(self, model: str, scripts: Sequence[Script]) -> dict[Script, asyncpg.Record]:
        """Make all these calls at once; the record of each, of which there is exactly one."""
        principal = (await self.gateway.door.authenticate([(b"x-api-key", self.customer.key.encode())])).principal
        self.upstream.scripts = {script.number: script for script in scripts}
        async with asyncio.TaskGroup() as group:
            for script in scripts:
                group.create_task(self._call(principal, model, script))
        await self.gateway.drained()
        users = [script.user for script in scripts]
        rows = await self.installation.pool.fetch(_RECORDS, self.customer.organization_id, users)
        assert sorted(row["user_id"] for row in rows) == sorted(users)
        assert not await self.customer.holds()
        assert await self.customer.held() == 0
        found = {row["user_id"]: row for row in rows}
        return {script: found[script.user] for script in scripts}

    async def _call(self, principal: Principal, model: str, script: Script) -> None:
        inquiry = Inquiry(principal, script.client, script.body(model), {})
        try:
            await self.gateway.serve(inquiry, script.caller)
        except (ProviderFailed, RuntimeError) as error:
            script.error = error
        finally:
            script.caller.rest()


@asynccontextmanager
async def staged(gateway: Installation) -> AsyncIterator[Stage]:
    """A stage on the installation's database."""
    clock = SystemClock()
    database = databases.connect(gateway.database_url)
    pool = await databases.connect_pool(gateway.database_url, connections_max=4)
    shelf = Shelf(database, clock, database_url=gateway.database_url)
    upstreams: dict[Any, Any] = {}
    own = Gateway(
        keys=KeyRing(pool, database_url=gateway.database_url),
        outlook=an_outlook(shelf, pool, clock, {"ACME_API_KEY": "k", PERMISSION: "1"}),
        meter=Meter(pool, clock, a_safe(), settle_timeout_seconds=5, lease=LEASE),
        upstreams=upstreams,
        clock=clock,
        surroundings=Surroundings(body_bytes_max=10_000, drain_seconds=1, status_of=status_of),
    )
    opened = Stage(gateway, await gateway.customer(str(GRANT)), own)
    upstreams.update(dict.fromkeys(FORMATS.values(), opened.upstream))
    yield opened
    await pool.close()
    await database.close()
