"""One customer who asks in every format, and one model for each format in which a provider answers."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
from tests.gateway.fake_provider import DONE, Behaviour, Served, event
from tests.gateway.installation import Customer, Installation, provider_of

from tollgate.catalog.model import Format
from tollgate.gateway.model import Wire
from tollgate.kit.tokens import BASE_KIND, Kind

GRANT = 1_000_000
PRICES = {
    "prompt": "3", "input_cache_read": "0.3", "input_cache_write_5m": "3.75", "input_cache_write_1h": "6",
    "input_cache_write": "4", "input_audio": "7", "input_image": "5", "completion": "15", "output_audio": "20",
    "output_image": "30", "web_search": "0.01",
}  # fmt: skip
"""Reasoning has no price of its own: it is charged as completion."""
PATHS = {
    Wire.CHAT: "/v1/chat/completions",
    Wire.RESPONSES: "/v1/responses",
    Wire.MESSAGES: "/anthropic/v1/messages",
    Wire.EMBEDDINGS: "/v1/embeddings",
}
CLIENTS = (Wire.CHAT, Wire.RESPONSES, Wire.MESSAGES)
PROVIDERS = (*CLIENTS, Wire.GENERATE_CONTENT)
FORMATS = {
    Wire.CHAT: Format.OPENAI_COMPATIBLE,
    Wire.RESPONSES: Format.OPENAI_COMPATIBLE,
    Wire.MESSAGES: Format.ANTHROPIC,
    Wire.GENERATE_CONTENT: Format.GEMINI,
    Wire.EMBEDDINGS: Format.OPENAI_COMPATIBLE,
}
"""Who speaks a wire format, and no other that clients speak."""
_PROTOCOLS = {Wire.RESPONSES: "responses", Wire.MESSAGES: "anthropic", Wire.EMBEDDINGS: "embeddings"}
_NUMBER = "SELECT count(*) FROM calls WHERE organization_id = $1"
_LAST = """
    SELECT calls.*, (SELECT count(*) FROM calls WHERE organization_id = $1) AS number,
           (SELECT count(*) FROM attempts WHERE organization_id = $1 AND call_id = calls.id) AS attempts,
           (SELECT count(*) FROM holds WHERE organization_id = $1) AS holds,
           (SELECT sum(total_held) FROM counters WHERE organization_id = $1) AS held
    FROM calls WHERE organization_id = $1 ORDER BY id DESC LIMIT 1
"""


class Matrix:
    """Asks one call after the other. Models are made by the first call that needs them."""

    def __init__(self, gateway: Installation, customer: Customer) -> None:
        self.customer = customer
        self._gateway = gateway
        self._models: dict[tuple[Format, Wire], str] = {}
        self._before = 0
        self._provider = ""

    async def post(
        self, client: Wire, provider: Wire, behaviour: Behaviour, body: Mapping[str, Any], *,
        speaks: Format | None = None,
    ) -> httpx.Response:  # fmt: skip
        """Ask in the client's format a model whose provider answers in another, and behaves like this."""
        model = await self.model(provider, speaks or FORMATS[provider])
        self._provider = provider_of(model)
        self._gateway.provider.behaviours[self._provider] = behaviour
        self._gateway.provider.served.clear()
        self._before = await self._gateway.pool.fetchval(_NUMBER, self.customer.organization_id)
        address = self._gateway.base_url.removesuffix("/v1") + PATHS[client]
        headers = {"x-api-key": self.customer.key}
        return await self._gateway.http.post(address, json={"model": model, **body}, headers=headers)

    async def model(self, wire: Wire, speaks: Format) -> str:
        """The model whose provider is of this format and speaks nothing but this."""
        if (speaks, wire) not in self._models:
            self._models[speaks, wire] = await self._gateway.model(
                _nothing, prices=PRICES, format=speaks, protocols=protocols_of(wire), credential="env:ACME_API_KEY"
            )
        return self._models[speaks, wire]

    @property
    def served(self) -> Served:
        """The one request that reached the provider of the last call."""
        [served] = self._gateway.provider.served_by(self._provider)
        return served

    async def record(self) -> asyncpg.Record:
        """The record of the last call: there is one more than before it, and nothing is held."""
        row = await self._gateway.pool.fetchrow(_LAST, self.customer.organization_id)
        assert row is not None
        assert (row["number"], row["holds"], row["held"]) == (self._before + 1, 0, 0)
        return row

    async def adds_up(self) -> bool:
        """Whether all that was recorded, and nothing else, was taken from the grant."""
        recorded = sum(call["amount"] for call in await self.customer.calls())
        [(rolled, _)] = await self.customer.rollups()
        return bool((rolled or 0) == recorded and await self.customer.balance() == GRANT - recorded)


def protocols_of(wire: Wire) -> list[str]:
    """What the catalogue says of an endpoint that speaks nothing but this."""
    return [_PROTOCOLS.get(wire, "openai")]


async def _nothing(_: Any) -> None:
    """What a provider does before it is told otherwise."""


def as_sent(wire: Wire, data: Iterable[bytes]) -> bytes:
    """The events of a stream in the bytes of their format."""
    named = wire in {Wire.MESSAGES, Wire.RESPONSES}
    return b"".join(DONE if each == DONE[6:-2] else event(each, _name(each) if named else None) for each in data)


def _name(data: bytes) -> str:
    return str(json.loads(data)["type"])


def cost_of(quantities: Mapping[Kind, int]) -> Decimal:
    """The sum of quantity times price, in US dollars."""
    tokens = sum(
        (Decimal(PRICES.get(kind) or PRICES[BASE_KIND[kind]]) * count for kind, count in quantities.items()
         if kind is not Kind.WEB_SEARCH),
        Decimal(0),
    )  # fmt: skip
    return tokens / 1_000_000 + Decimal(PRICES["web_search"]) * quantities.get(Kind.WEB_SEARCH, 0)
