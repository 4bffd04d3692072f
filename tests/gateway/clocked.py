"""Processes whose clocks a test sets by hand: the application as it is served, on one database, in this process."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from tests.builders import BORN
from tests.conftest import a_copy
from tests.control_plane import ControlPlane, control_plane
from tests.gateway.installation import MESSAGES

from tollgate.infra import database as databases
from tollgate.kit.clock import FixedClock

MODEL = "acme/echo"
NEEDED = "0.3"
"""What a call of ours needs at least, and holds: a hundred tokens of output; those of the prompt are free."""
PROMPT_TOKENS, OUTPUT_TOKENS = 10, 3
"""What it uses, for 0.009: the sandbox says "Say hello." again."""
TOKENS = PROMPT_TOKENS + 100
"""What it counts against tokens per minute while it is under way."""
PATHS = {
    "chat": "/api/v1/chat/completions",
    "responses": "/api/v1/responses",
    "messages": "/api/anthropic/v1/messages",
}
_BODIES: Mapping[str, Mapping[str, Any]] = {
    "chat": {"messages": MESSAGES, "max_tokens": 100},
    "responses": {"input": MESSAGES[0]["content"], "max_output_tokens": 100},
    "messages": {"messages": MESSAGES, "max_tokens": 100},
}


@dataclass(frozen=True, slots=True)
class Tenant:
    """An organization with a project, an inference key of the project, and a management key."""

    organization: str
    project: str
    key_id: str
    key: str
    manager: str

    def id_of(self, scope: str) -> UUID:
        typed = {"organization": self.organization, "project": self.project, "key": self.key_id}[scope]
        return UUID(typed.partition("_")[2])


@dataclass(frozen=True, slots=True)
class Clocked:
    """One process, or several, each with a clock of its own; the first is the one that is managed by."""

    processes: tuple[ControlPlane, ...]

    @property
    def plane(self) -> ControlPlane:
        return self.processes[0]

    @property
    def pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        return self.plane.pool

    def set(self, *instants: datetime) -> None:
        """Set the clocks: all alike, or each to its own instant."""
        told = instants * len(self.processes) if len(instants) == 1 else instants
        for process, instant in zip(self.processes, told, strict=True):
            process.clock.at = instant

    async def tenant(
        self, *, grant: str = "1000", limits: Mapping[str, Mapping[str, Any]] | None = None, **organization: Any
    ) -> Tenant:
        """A new one with so much credit and, by scope, limits."""
        given = limits or {}
        body = {"name": "Acme", "limits": given.get("organization"), **organization}
        owner = str((await self.manage("POST", "/admin/organizations", body))["data"]["id"])
        if grant != "0":
            terms = {"amount": grant, "category": "paid", "reason": "a test"}
            await self.manage("POST", f"/admin/organizations/{owner}/grants", terms)
        manager = await self.plane.a_key(owner)
        project = await self.manage("POST", "/projects", {"name": "a", "limits": given.get("project")}, key=manager)
        made = project["data"]["id"]
        minted = await self.manage(
            "POST", "/keys", {"name": "a key", "project": made, "limits": given.get("key")}, key=manager
        )
        return Tenant(owner, made, minted["data"]["id"], minted["key"], manager)

    async def limit(self, tenant: Tenant, scope: str, **limits: Any) -> None:
        """Change the limits of a scope."""
        if scope == "organization":
            await self.manage("PATCH", "/limits", limits, key=tenant.manager)
            return
        path = {"project": f"/projects/{tenant.project}", "key": f"/keys/{tenant.key_id}"}[scope]
        await self.manage("PATCH", path, {"limits": limits}, key=tenant.manager)

    async def manage(self, method: str, path: str, body: Any, *, key: str | None = None) -> Any:
        answer = await self.plane.call(method, path, key=key, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def call(
        self,
        tenant: Tenant,
        *,
        by: int = 0,
        speaking: str = "chat",
        headers: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> httpx.Response:
        """One call through one of the processes, in one of the formats."""
        given = {"authorization": f"Bearer {tenant.key}", **(headers or {})}
        body = {"model": MODEL, **_BODIES[speaking], **rest}
        return await self.processes[by].client.post(PATHS[speaking], json=body, headers=given)

    async def counter(self, tenant: Tenant, scope: str = "organization") -> asyncpg.Record:
        row = await self.pool.fetchrow("SELECT * FROM counters WHERE scope_id = $1", tenant.id_of(scope))
        assert row is not None
        return row


@asynccontextmanager
async def clocked(server_url: str, template: str, *, processes: int = 1) -> AsyncIterator[Clocked]:
    """So many processes on a database of their own, and one model at the sandbox."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(a_copy(server_url, template, f"clocked_{template}"))
        database, pool = databases.connect(url), await databases.connect_pool(url, connections_max=4)
        stack.push_async_callback(database.close)
        stack.push_async_callback(pool.close)
        clocks = [FixedClock(BORN) for _ in range(processes)]
        planes = [
            await stack.enter_async_context(control_plane(database, pool, clock, database_url=url)) for clock in clocks
        ]
        running = Clocked(tuple(planes))
        await running.manage("POST", "/admin/models", {"slug": MODEL, "name": "An echo"})
        await running.manage("POST", "/admin/providers", {"slug": "sand", "name": "A sandbox", "format": "sandbox"})
        await running.manage("POST", "/admin/endpoints", {"model": MODEL, "provider": "sand"})
        items = [
            {"kind": "prompt", "price": "0", "unit": "per_million_tokens"},
            {"kind": "completion", "price": "3000", "unit": "per_million_tokens"},
        ]
        await running.manage("POST", "/admin/prices", {"model": MODEL, "provider": "sand", "items": items})
        yield running
