"""A running gateway for tests: the real application under the real server, on a database and a provider of its own."""

import asyncio
import itertools
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import httpx2
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from tests.gateway.fake_provider import Behaviour, FakeProvider

from tollgate.catalog import seed as catalogue
from tollgate.infra import children
from tollgate.infra import database as databases
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit import ids
from tollgate.kit.clock import SystemClock
from tollgate.kit.principal import KeyKind
from tollgate.kit.tokens import TOKEN_KINDS
from tollgate.metering import service as metering
from tollgate.pricing import seed as prices

PRICES = {"prompt": "0.4", "input_cache_read": "0.1", "completion": "1.6"}
"""Those of the seed model."""
PROMPT = "Say hello."
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
PATIENCE = {"FIRST_BYTE_TIMEOUT_SECONDS": "2", "IDLE_TIMEOUT_SECONDS": "2", "DRAIN_TIMEOUT_SECONDS": "3",
            "BODY_BYTES_MAX": str(4 * 1024 * 1024), "ALLOW_PRIVATE_UPSTREAMS": "1"}  # fmt: skip
_NUMBERS = itertools.count(1)
_READY_SECONDS_MAX = 60


def provider_of(model: str, place: int = 0) -> str:
    """The provider of the model's endpoint that was made at this place."""
    return f"{model.partition('/')[2]}-{place}"


@dataclass
class Customer:
    """An organization with an inference key, seen from outside and from its rows."""

    gateway: "Installation"
    organization: str
    key: str
    key_id: str
    client: AsyncOpenAI
    anthropic: AsyncAnthropic

    @property
    def organization_id(self) -> UUID:
        return UUID(self.organization.removeprefix("org_"))

    async def post(self, body: Any = None, *, content: bytes | None = None) -> httpx.Response:
        """A raw call: a JSON body, or these bytes."""
        return await self.gateway.post(self.key, body, content=content)

    async def ask(self, model: str, **rest: Any) -> httpx.Response:
        """A raw call with a plain prompt."""
        return await self.post({"model": model, "messages": MESSAGES, **rest})

    async def streamed(self, model: str, *, usage: bool = True, **rest: Any) -> list[str]:
        """The data of each event of a raw streamed call."""
        options = {"stream_options": {"include_usage": True}} if usage else {}
        answer = await self.ask(model, stream=True, **options, **rest)
        assert answer.status_code == 200, answer.text
        assert answer.text.endswith("\n\n")
        events = answer.text.replace("\r\n", "\n").split("\n\n")
        return [event.removeprefix("data: ") for event in events if event]

    async def generation(self, generation_id: str) -> Any:
        headers = {"authorization": f"Bearer {self.key}"}
        answer = await self.gateway.http.get("/generation", params={"id": generation_id}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def calls(self) -> list[asyncpg.Record]:
        """The organization's records, oldest first."""
        return await self._rows("SELECT * FROM calls WHERE organization_id = $1 ORDER BY id")

    async def call(self) -> asyncpg.Record:
        """Its only record, once it is there; a client that hung up does not wait for it."""
        for _ in range(400):
            if rows := await self.calls():
                assert len(rows) == 1
                return rows[0]
            await asyncio.sleep(0.02)
        raise AssertionError("nothing was recorded")

    async def attempts(self) -> list[asyncpg.Record]:
        return await self._rows("SELECT * FROM attempts WHERE organization_id = $1 ORDER BY call_id, ordinal")

    async def holds(self) -> list[asyncpg.Record]:
        return await self._rows("SELECT * FROM holds WHERE organization_id = $1")

    async def held(self) -> Decimal:
        """What the organization's counter says is held, which is nothing between calls."""
        rows = await self._rows("SELECT sum(total_held) AS held FROM counters WHERE organization_id = $1")
        return rows[0]["held"] or Decimal(0)

    async def rollups(self) -> list[asyncpg.Record]:
        """One row: the sum of all amounts, and the number of calls."""
        return await self._rows("SELECT sum(amount), sum(calls) FROM rollups WHERE organization_id = $1")

    async def balance(self) -> Decimal:
        """What is left of the grants."""
        rows = await self._rows("SELECT sum(remaining) FROM grants WHERE organization_id = $1")
        return Decimal(rows[0][0])

    async def is_untouched(self) -> bool:
        """Whether nothing at all was recorded or held."""
        return not (await self.calls() or await self.attempts() or await self.holds() or await self.held())

    async def _rows(self, query: str) -> list[asyncpg.Record]:
        return await self.gateway.pool.fetch(query, self.organization_id)


@dataclass
class Installation:
    """What a test drives, and what it may look into."""

    base_url: str
    database_url: str
    http: httpx.AsyncClient
    sdk_http: httpx2.AsyncClient
    operator_key: str
    pool: "asyncpg.Pool[asyncpg.Record]"
    provider: FakeProvider

    async def customer(self, grant: str | None = "5", **key: Any) -> Customer:
        """A new organization with credit and one inference key."""
        created = await self.admin("/organizations", {"name": "Acme"})
        organization = str(created["data"]["id"])
        if grant is not None:
            terms = {"amount": grant, "category": "paid", "reason": "a test"}
            await self.admin(f"/organizations/{organization}/grants", terms)
        minted = await self.key(organization, **key)
        key_text = minted["key"]
        return Customer(
            self, organization, key_text, minted["data"]["id"], self.sdk(key_text), self.anthropic_sdk(key_text)
        )

    def sdk(self, key: str) -> AsyncOpenAI:
        """OpenAI's own client."""
        return AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=0, http_client=self.sdk_http)

    def anthropic_sdk(self, key: str) -> AsyncAnthropic:
        """Anthropic's own client."""
        return AsyncAnthropic(base_url=self.anthropic_url, api_key=key, max_retries=0, http_client=self.sdk_http)

    @property
    def anthropic_url(self) -> str:
        """What Anthropic's clients take for its base address."""
        return self.base_url.removesuffix("/v1") + "/anthropic"

    async def post(
        self, key: str | None, body: Any = None, *, content: bytes | None = None, base_url: str = ""
    ) -> httpx.Response:
        """A raw call, here or at another process of the installation."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return await self.http.post(f"{base_url}/chat/completions", json=body, content=content, headers=headers)

    async def key(self, organization: str, **key: Any) -> Any:
        body = {"kind": "inference", "name": "a key", **key}
        return await self.admin(f"/organizations/{organization}/keys", body)

    async def model(self, *behaviours: Behaviour, prices: Mapping[str, str] | None = PRICES, **endpoint: Any) -> str:
        """A new model with one endpoint for each behaviour, tried in that order; its slug."""
        slug = f"acme/model-{next(_NUMBERS)}"
        await self.admin("/models", {"slug": slug, "name": "A model"})
        for place, behaviour in enumerate(behaviours):
            await self.endpoint(slug, provider_of(slug, place), behaviour, prices=prices, **endpoint)
        return slug

    async def endpoint(
        self, model: str, name: str, behaviour: Behaviour, *, prices: Mapping[str, str] | None, **endpoint: Any
    ) -> None:
        """An endpoint of the model at a provider of this name; its `format` is the provider's."""
        self.provider.behaviours[name] = behaviour
        provider = {"format": "openai_compatible", "base_url": self.provider.url(name), "credential": None}
        provider = {field: endpoint.pop(field, default) for field, default in provider.items()}
        await self.admin("/providers", {"slug": name, "name": name, **provider})
        await self.admin("/endpoints", {"model": model, "provider": name, "upstream_model": "upstream-name",
                                        "max_output": 32768, **endpoint})  # fmt: skip
        if prices is not None:
            await self.publish(model, name, prices)

    async def publish(self, model: str, provider: str, prices: Mapping[str, str]) -> None:
        """Prices of tokens, or of what is counted otherwise, in force from now on."""
        items = [
            {"kind": kind, "price": price, "unit": "per_million_tokens" if kind in TOKEN_KINDS else "per_count"}
            for kind, price in prices.items()
        ]
        await self.admin("/prices", {"model": model, "provider": provider, "items": items})

    async def admin(self, path: str, body: Any) -> Any:
        headers = {"authorization": f"Bearer {self.operator_key}"}
        answer = await self.http.post(f"/admin{path}", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()


@asynccontextmanager
async def installation(database_url: str, workers: int = 1, /, **environment: str) -> AsyncIterator[Installation]:
    """A gateway on a migrated database, with a provider beside it."""
    async with serving(database_url, workers, **environment) as base_url:
        operator_key = await founded(database_url)
        limits = httpx.Limits(max_connections=200)
        async with (
            asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool,
            httpx.AsyncClient(base_url=base_url, timeout=30, limits=limits) as http,
            httpx2.AsyncClient(timeout=30) as sdk_http,
            FakeProvider().listening() as provider,
        ):
            yield Installation(base_url, database_url, http, sdk_http, operator_key, pool, provider)


async def founded(database_url: str) -> str:
    """Give a migrated database the first catalogue and prices, and an operator's key; its text."""
    opened, now = databases.connect(database_url), SystemClock().now()
    async with opened.write() as session:
        minted = await keys.create(session, order=NewKey(ids.PLATFORM, KeyKind.OPERATOR, "operator"), now=now)
        await prices.seed(session, await catalogue.seed(session, now), now)
        await metering.ensure_partitions(session, now=now)
    await opened.close()
    return minted.text


@asynccontextmanager
async def serving(database_url: str, workers: int = 1, /, **environment: str) -> AsyncIterator[str]:
    """The base URL of a gateway of its own."""
    port = free_port()
    patience = {"DATABASE_URL": database_url, **PATIENCE}
    settings = {f"TOLLGATE_{name}": value for name, value in patience.items()}
    command = [sys.executable, "-m", "tollgate.entrypoints.gateway_process"]  # as `serve` runs it, so it loads once
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    with TemporaryDirectory(prefix="tollgate-") as folder:
        given = {**os.environ, "TOLLGATE_DATA_DIR": folder, **settings, **environment}
        process = await children.start("gateway", [*command, *options], given)
        process.begin()
        try:
            assert await is_ready(port, process), "the gateway did not start"
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            await process.stop(patience_seconds=10)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def is_ready(port: int, process: children.Child) -> bool:
    """Wait until a gateway answers that it can take calls; false if it ends instead."""
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
        asyncio.timeout(_READY_SECONDS_MAX),
    ):
        while not process.has_ended:
            try:
                if (await client.get("/health/ready")).status_code == httpx.codes.OK:
                    return True
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    return False
