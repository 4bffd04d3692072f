"""Attempts one by one: whatever a call went through, it leaves one record of itself and one of each try."""

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal

import httpx
import pytest
from tests.gateway import asking
from tests.gateway.fake_provider import (
    USAGE,
    Behaviour,
    Line,
    body_of,
    chunk,
    dead,
    event,
    refusal,
    spoken,
    stream,
    streamed,
    whole,
)
from tests.gateway.installation import MESSAGES, Customer, Installation, provider_of, serving
from tests.gateway.matrix import CLIENTS, PATHS
from tests.gateway.scripted import Script, events
from tests.gateway.stage import staged

from tollgate.gateway.model import Wire
from tollgate.kit import ids

DEARER = {"prompt": "4", "input_cache_read": "1", "completion": "16"}
"""Ten times the prices of the first endpoint."""
FAILED = {"error": {"message": "the engine died", "code": 500}, "usage": USAGE}
ANTHROPIC_USAGE = {"input_tokens": 800, "cache_read_input_tokens": 200, "output_tokens": 300}
TOLD_IN_VAIN: dict[str, tuple[Behaviour, str, bool]] = {
    "a refusal": (body_of(json.dumps(FAILED).encode(), 503), "openai_compatible", False),
    "a refused stream": (body_of(json.dumps(FAILED).encode(), 503), "openai_compatible", True),
    "an answer that is an error": (body_of(json.dumps(FAILED).encode()), "openai_compatible", False),
    "a stream that begins with an error": (stream([event(FAILED)]), "openai_compatible", True),
    "a refusal in another format": (
        body_of(json.dumps({"type": "error", **FAILED, "usage": ANTHROPIC_USAGE}).encode(), 529), "anthropic", False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("first", TOLD_IN_VAIN)
async def test_what_a_failed_attempt_used_is_our_cost_and_the_next_one_is_charged(
    gateway: Installation, first: str
) -> None:
    behaviour, speaks, streams = TOLD_IN_VAIN[first]
    customer = await gateway.customer()
    model = await gateway.model(behaviour, format=speaks, credential="env:ACME_API_KEY")
    second = streamed() if streams else whole()
    await gateway.endpoint(model, provider_of(model, 1), second, prices=DEARER)
    assert (await customer.ask(model, stream=streams)).status_code == 200
    call = await customer.call()
    assert (call["status"], call["provider"]) == ("settled", provider_of(model, 1))
    assert (call["amount"], call["provider_cost"]) == (Decimal("0.0082"), Decimal("0.0082"))
    assert await customer.balance() == 5 - Decimal("0.0082")
    failed, served = await customer.attempts()
    assert (failed["status"], failed["provider"], failed["provider_cost"]) == (
        "failed", provider_of(model), Decimal("0.00082"),
    )  # fmt: skip
    assert json.loads(failed["usage"])
    assert (served["status"], served["provider_cost"]) == ("served", Decimal("0.0082"))
    told = await customer.generation(ids.typed("gen", call["id"]))
    assert [Decimal(one["provider_cost"]) for one in told["attempts"]] == [Decimal("0.00082"), Decimal("0.0082")]


async def _interrupted(line: Line) -> None:
    await line.answer(200, b"{", {"content-length": "9"})
    line.cut()


PATHS_THROUGH: dict[str, tuple[Sequence[Behaviour], bool, str, list[str]]] = {
    "a stream that is interrupted": ([stream(spoken(), cut=True)], True, "failed", ["served"]),
    "an answer that is interrupted": ([_interrupted, whole()], False, "settled",
                                      ["failed", "served"]),
    "504": ([refusal(504)], False, "failed", ["failed"]),
    "504 to a stream": ([refusal(504)], True, "failed", ["failed"]),
    "5xx everywhere": ([refusal(500), refusal(502), refusal(503)], False, "failed", ["failed"] * 3),
    "one after the other": ([dead, refusal(429), refusal(503), whole()], False, "settled",
                            ["failed", "failed", "failed", "served"]),
    "a stream after three others": ([dead, refusal(429), stream([event(FAILED)]), streamed()], True, "settled",
                                    ["failed", "failed", "failed", "served"]),
    "a refusal nobody would take back": ([refusal(400, "no"), whole()], False, "failed", ["failed"]),
}  # fmt: skip
"""(what the endpoints do, whether it streams, the record's status, those of its attempts)."""


@pytest.mark.parametrize("path", PATHS_THROUGH)
async def test_every_path_leaves_one_record_and_one_of_each_attempt(gateway: Installation, path: str) -> None:
    behaviours, streams, status, attempts = PATHS_THROUGH[path]
    customer, model = await gateway.customer(), await gateway.model(*behaviours)
    await customer.ask(model, stream=streams)
    await _is_recorded_once(customer, status, attempts)
    for place, behaviour in enumerate(behaviours):
        tries = len(gateway.provider.served_by(provider_of(model, place)))
        assert tries == (place < len(attempts)), behaviour


@pytest.mark.parametrize("client", CLIENTS)
async def test_who_hangs_up_leaves_one_record_whatever_it_speaks(gateway: Installation, client: Wire) -> None:
    customer = await gateway.customer()
    model = await gateway.model(stream(spoken(["nevertheless "] * 100), pause=0.02))
    body = {"model": model, **asking.body(client, asking.PLAIN, stream=True)}
    address, headers = gateway.base_url.removesuffix("/v1") + PATHS[client], {"x-api-key": customer.key}
    async with gateway.http.stream("POST", address, json=body, headers=headers) as answer:
        async for line in answer.aiter_lines():
            if "nevertheless" in line:
                break
    await customer.call()
    await _is_recorded_once(customer, "cancelled", ["served"])
    call = await customer.call()
    assert call["estimated"]
    assert 0 < json.loads(call["quantities"])["completion"] < 200


@pytest.mark.parametrize("provider", [Wire.CHAT, Wire.MESSAGES])
async def test_a_fault_of_our_own_leaves_one_record_wherever_it_happens(gateway: Installation, provider: Wire) -> None:
    async with staged(gateway) as stage:
        told = events(provider)
        scripts = [Script(Wire.CHAT, told[:place], RuntimeError("a fault")) for place in range(len(told))]
        records = await stage.play(await stage.model(provider, cancels=True), scripts)
        assert all(isinstance(script.error, RuntimeError) for script in scripts)
    assert [len(json.loads(record["attempts"])) for record in records.values()] == [1] * len(scripts)
    assert {record["status"] for record in records.values()} == {"failed"}
    amounts = [record["amount"] for record in records.values()]
    assert amounts[0] == 0
    assert amounts == sorted(amounts)
    assert amounts[-1] > 0


async def test_a_process_that_is_told_to_end_records_what_it_was_serving(gateway: Installation) -> None:
    customer, begun = await gateway.customer(), asyncio.Event()

    async def slow(line: Line) -> None:
        await line.begin()
        for piece in [*spoken(["nevertheless "] * 10), chunk(finish="stop", usage=USAGE)]:
            await line.send(piece)
            begun.set()
            await asyncio.sleep(0.05)
        await line.finish()

    model = await gateway.model(slow, slow)
    async with serving(gateway.database_url) as base_url:
        body = {"model": model, "messages": MESSAGES, "stream": True}
        calling = asyncio.create_task(gateway.post(customer.key, body, base_url=base_url))
        await begun.wait()
    [answer] = await asyncio.gather(calling, return_exceptions=True)
    assert isinstance(answer, httpx.Response | httpx.TransportError)
    call = await customer.call()
    assert call["status"] in {"settled", "cancelled", "failed"}
    assert call["amount"] > 0
    await _is_recorded_once(customer, call["status"], ["served"])


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_ids_of_providers_that_repeat_or_are_none_lose_no_record(gateway: Installation, *, streams: bool) -> None:
    customer = await gateway.customer()
    model = await gateway.model(dead)
    given = ["chatcmpl-1", "chatcmpl-1", None, "None", "", "\x00", "x" * 10_000, 7, {"id": 1}]
    for identifier in given:
        pieces = [chunk({"content": "Hello!"}, "stop", id=identifier, usage=USAGE)]
        gateway.provider.behaviours[provider_of(model)] = stream(pieces) if streams else whole(id=identifier)
        assert (await customer.ask(model, stream=streams)).status_code == 200
    assert [call["amount"] for call in await customer.calls()] == [Decimal("0.00082")] * len(given)
    assert len({row["id"] for row in await customer.attempts()}) == len(given)


async def test_reading_of_a_call_again_charges_nothing(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    generation = (await customer.ask(model)).headers["x-generation-id"]
    told = [await customer.generation(generation) for _ in range(4)]
    assert told == told[:1] * 4
    await _is_recorded_once(customer, "settled", ["served"])


async def _is_recorded_once(customer: Customer, status: str, attempts: list[str]) -> None:
    [call] = await customer.calls()
    assert call["status"] == status
    rows = await customer.attempts()
    assert [(row["ordinal"], row["status"]) for row in rows] == list(enumerate(attempts, start=1))
    assert {row["call_id"] for row in rows} == {call["id"]}
    assert not await customer.holds()
    assert await customer.held() == 0
    assert await customer.balance() == 5 - call["amount"]
