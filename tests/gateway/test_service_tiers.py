"""Service tiers: the one that served is charged, else the one that was asked for, else the standard one."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.gateway import asking, matrix
from tests.gateway.fake_provider import body_of, event, stream
from tests.gateway.installation import Customer, Installation, provider_of
from tests.gateway.matrix import FORMATS, PATHS

from tollgate.gateway.model import Wire

STANDARD = {"prompt": "0.25", "input_cache_read": "0.025", "completion": "2"}
FLEX = {"prompt": "0.125", "input_cache_read": "0.0125", "completion": "1"}
"""Half of it: the worked number of the billing rules."""
PRIORITY = {"prompt": "0.5", "input_cache_read": "0.05", "completion": "4"}
STANDARD_COST, FLEX_COST, PRIORITY_COST = "0.001275", "0.0006375", "0.00255"
"""2,000 tokens read, 1,000 of them from the cache, and 500 written."""
UNPRICED = "tollgate_unpriced_tiers_total"
CASES = [
    (None, "flex", FLEX_COST),
    (None, "priority", PRIORITY_COST),
    (None, "default", STANDARD_COST),
    (None, None, STANDARD_COST),
    ("auto", "flex", FLEX_COST),
    ("flex", None, FLEX_COST),
    ("flex", "flex", FLEX_COST),
    ("priority", "default", STANDARD_COST),
    ("priority", "standard", STANDARD_COST),
    ("priority", "priority", PRIORITY_COST),
]
"""(asked for, served, what it costs)."""


def told(wire: Wire, served: str | None) -> tuple[bytes, list[bytes]]:
    """An answer of this format, whole and streamed, that tells the service tier at most."""
    tier = {} if served is None else {"service_tier": served}
    match wire:
        case Wire.CHAT:
            usage: Any = {"prompt_tokens": 2000, "completion_tokens": 500,
                          "prompt_tokens_details": {"cached_tokens": 1000}}  # fmt: skip
            said: Any = {"index": 0, "message": {"role": "assistant", "content": "Done."}, "finish_reason": "stop"}
            piece = {"index": 0, "delta": {"content": "Done."}, "finish_reason": "stop"}
            head: Any = {"id": "c", "object": "chat.completion", **tier}
            return _both({**head, "choices": [said], "usage": usage}, [{**head, "choices": [piece], "usage": usage}])
        case Wire.RESPONSES:
            usage = {"input_tokens": 2000, "output_tokens": 500, "input_tokens_details": {"cached_tokens": 1000}}
            content = [{"type": "output_text", "text": "Done.", "annotations": []}]
            said = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
            head = {"id": "r", "object": "response", "output": [], "service_tier": "auto"}
            whole = {**head, **tier, "status": "completed", "output": [said], "usage": usage}
            begun = {"type": "response.created", "sequence_number": 0, "response": {**head, "status": "in_progress"}}
            piece = {"type": "response.output_text.delta", "sequence_number": 1, "output_index": 0, "content_index": 0,
                     "item_id": "m", "delta": "Done."}  # fmt: skip
            return _both(whole, [begun, piece, {"type": "response.completed", "sequence_number": 2, "response": whole}])
        case _:
            usage = {"input_tokens": 1000, "cache_read_input_tokens": 1000, "output_tokens": 500, **tier}
            head = {"id": "m", "type": "message", "role": "assistant", "model": "upstream-name"}
            whole = {**head, "content": [{"type": "text", "text": "Done."}], "stop_reason": "end_turn", "usage": usage}
            begun = {**head, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
            block = {"index": 0, "type": "content_block_start", "content_block": {"type": "text", "text": ""}}
            delta = {"index": 0, "type": "content_block_delta", "delta": {"type": "text_delta", "text": "Done."}}
            ended = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 500}}
            closed = {"type": "content_block_stop", "index": 0}
            return _both(whole, [{"type": "message_start", "message": begun}, block, delta, closed, ended,
                                 {"type": "message_stop"}])  # fmt: skip


def _both(whole: Any, events: list[Any]) -> tuple[bytes, list[bytes]]:
    return json.dumps(whole).encode(), [event(each, each.get("type")) for each in events]


class Shop:
    """A model for each format, with prices of three tiers, and who calls it."""

    def __init__(self, gateway: Installation, customer: Customer) -> None:
        self._gateway = gateway
        self._customer = customer
        self._models: dict[Wire, str] = {}

    async def model(self, wire: Wire) -> str:
        if wire not in self._models:
            protocols = ["responses"] if wire is Wire.RESPONSES else ["openai"]
            model = self._models[wire] = await self._gateway.model(
                body_of(b""), prices=STANDARD, format=FORMATS[wire], protocols=protocols, credential="env:ACME_API_KEY"
            )
            for tier, prices in (("flex", FLEX), ("priority", PRIORITY)):
                items = [{"kind": kind, "price": price, "unit": "per_million_tokens"} for kind, price in prices.items()]
                order = {"model": model, "provider": provider_of(model), "items": items, "service_tier": tier}
                await self._gateway.admin("/prices", order)
        return self._models[wire]

    async def call(
        self, client: Wire, provider: Wire, asked: str | None, served: str | None, *, streams: bool
    ) -> httpx.Response:
        """Ask for a service tier in one format, and be served in another."""
        model = await self.model(provider)
        whole, events = told(provider, served)
        self._gateway.provider.behaviours[provider_of(model)] = stream(events) if streams else body_of(whole)
        tier = {} if asked is None else {"service_tier": asked}
        body = {"model": model, **asking.body(client, asking.PLAIN, stream=streams), **tier}
        address = self._gateway.base_url.removesuffix("/v1") + PATHS[client]
        answer = await self._gateway.http.post(address, json=body, headers={"x-api-key": self._customer.key})
        assert answer.status_code == 200, answer.text
        return answer

    async def amounts(self) -> list[Decimal]:
        return [call["amount"] for call in await self._customer.calls()]

    async def unpriced(self, wire: Wire) -> float:
        """How many calls of this provider were served in a tier that has no price."""
        address = self._gateway.base_url.removesuffix("/api/v1") + "/metrics"
        lines = (await self._gateway.http.get(address)).text.splitlines()
        label = f'provider="{provider_of(await self.model(wire))}"'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(UNPRICED) and label in line)


@pytest.fixture
async def shop(gateway: Installation) -> Shop:
    return Shop(gateway, await gateway.customer())


@pytest.mark.parametrize("wire", [Wire.CHAT, Wire.RESPONSES])
async def test_the_tier_that_served_decides_the_price(shop: Shop, wire: Wire) -> None:
    for asked, served, _ in CASES:
        for streams in (False, True):
            await shop.call(wire, wire, asked, served, streams=streams)
    assert await shop.amounts() == [Decimal(cost) for *_, cost in CASES for _ in range(2)]
    assert await shop.unpriced(wire) == 0


@pytest.mark.parametrize("client", matrix.CLIENTS)
async def test_a_tier_that_a_usage_object_tells_decides_the_price(shop: Shop, client: Wire) -> None:
    cases = [("priority", PRIORITY_COST), ("standard", STANDARD_COST), (None, STANDARD_COST), ("batch", STANDARD_COST)]
    for served, _ in cases:
        for streams in (False, True):
            await shop.call(client, Wire.MESSAGES, None, served, streams=streams)
    assert await shop.amounts() == [Decimal(cost) for _, cost in cases for _ in range(2)]
    assert await shop.unpriced(Wire.MESSAGES) == 2


@pytest.mark.parametrize("wire", [Wire.CHAT, Wire.RESPONSES])
async def test_a_tier_without_a_price_is_charged_as_planned_and_counted(shop: Shop, wire: Wire) -> None:
    for asked in (None, "flex"):
        await shop.call(wire, wire, asked, "scale", streams=False)
    assert await shop.amounts() == [Decimal(STANDARD_COST), Decimal(FLEX_COST)]
    assert await shop.unpriced(wire) == 2


async def test_what_the_client_is_told_it_cost_is_the_price_of_the_tier_that_served(shop: Shop) -> None:
    answer = await shop.call(Wire.CHAT, Wire.CHAT, None, "flex", streams=False)
    assert json.loads(answer.text, parse_float=str)["usage"]["cost"] == FLEX_COST
