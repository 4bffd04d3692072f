"""A call from OpenAI's SDK to the provider and back: what the customer is answered is what is recorded."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway.fake_provider import chunk, spoken, stream, streamed, whole
from tests.gateway.installation import MESSAGES, Customer, Installation, provider_of

COST = Decimal("0.00082")
DETAILS = [
    {"kind": "prompt", "quantity": 800, "unit": "per_million_tokens", "unit_price": "0.4", "amount": "0.00032"},
    {"kind": "input_cache_read", "quantity": 200, "unit": "per_million_tokens", "unit_price": "0.1",
     "amount": "0.00002"},
    {"kind": "completion", "quantity": 300, "unit": "per_million_tokens", "unit_price": "1.6", "amount": "0.00048"},
]  # fmt: skip


async def test_a_whole_answer_carries_its_exact_cost(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    raw = await customer.client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    answer = raw.parse()
    assert '"cost":0.00082,' in raw.text
    assert json.loads(raw.text)["usage"]["cost_details"] == DETAILS
    assert answer.choices[0].message.content == "Hello!"
    assert (answer.model, answer.model_extra) == (model, {"provider": provider_of(model)})
    assert raw.headers["x-tollgate-provider"] == provider_of(model)
    assert float(raw.headers["x-tollgate-overhead-ms"]) < 1000
    await _is_recorded(customer, raw.headers["x-generation-id"], streamed=False)


async def test_a_streamed_answer_ends_with_its_exact_cost(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(streamed())
    raw = await customer.client.chat.completions.with_raw_response.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = [each async for each in raw.parse()]
    assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == "Hello, wörld 🌍!"
    assert [each.usage is not None for each in chunks] == [False] * (len(chunks) - 1) + [True]
    usage: Any = chunks[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cost) == (1000, 300, 0.00082)
    assert usage.cost_details == DETAILS
    assert chunks[-1].model == model
    await _is_recorded(customer, raw.headers["x-generation-id"], streamed=True)


async def _is_recorded(customer: Customer, generation_id: str, *, streamed: bool) -> None:
    """The very next request finds the call, with the figures of the answer."""
    found = await customer.generation(generation_id)
    assert (found["id"], found["status"], found["streamed"]) == (generation_id, "settled", streamed)
    assert (found["charge"]["amount"], found["charge"]["items"]) == ("0.00082", DETAILS)
    assert found["quantities"] == {"prompt": 800, "input_cache_read": 200, "completion": 300}
    assert (found["estimated"], found["finish_reason"]) == (False, "stop")
    assert [attempt["status"] for attempt in found["attempts"]] == ["served"]
    assert (await customer.call())["amount"] == COST
    assert not await customer.holds()
    assert await customer.held() == 0


async def test_the_generation_id_comes_before_the_first_byte(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(stream(spoken(), pause=0.05, cut=True))
    async with customer.client.chat.completions.with_streaming_response.create(
        model=model, messages=MESSAGES, stream=True
    ) as raw:
        assert raw.headers["x-generation-id"].startswith("gen_")
        assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert [line async for line in raw.iter_lines()]


async def test_what_the_provider_says_passes_through_untouched(gateway: Installation) -> None:
    odd = {
        "big": 123456789012345678901234567890,
        "float": 0.1234567890123456789,
        "nested": [{"a": None}],
        "é": "\\u00e9",
    }
    tools = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.50}'}}]
    customer, model = await gateway.customer(), await gateway.model(whole(system_fingerprint="fp", odd=odd))
    answer = await customer.ask(model)
    sent = '"odd": {"big": 123456789012345678901234567890, "float": 0.12345678901234568'
    assert sent.replace(" ", "") in answer.text.replace(" ", "")
    assert answer.json()["odd"] == odd
    gateway.provider.behaviours[provider_of(model)] = stream(
        [chunk({"role": "assistant", "tool_calls": tools}, logprobs={"content": []}), chunk(finish="tool_calls")]
    )
    first = json.loads((await customer.streamed(model, usage=False))[0])
    assert first["choices"][0]["delta"]["tool_calls"] == tools


async def test_tools_and_structured_output_reach_the_provider_as_they_are(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "x-é": 1.10}}}
    await customer.client.chat.completions.create(
        model=model, messages=MESSAGES, tools=[tool], response_format={"type": "json_object"}, logprobs=True, seed=7
    )
    [served] = gateway.provider.served_by(provider_of(model))
    assert served.json == {
        "model": "upstream-name", "messages": MESSAGES, "tools": [tool], "logprobs": True, "seed": 7,
        "response_format": {"type": "json_object"},
    }  # fmt: skip


async def test_what_is_for_the_gateway_never_reaches_the_provider(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    ours = {
        "models": [model],
        "provider": {"sort": "price"},
        "user": "u-1",
        "session_id": "s-1",
        "metadata": {"a": "b"},
    }
    answer = await customer.ask(model, **ours)
    assert answer.status_code == 200, answer.text
    [served] = gateway.provider.served_by(provider_of(model))
    assert served.json.keys() == {"model", "messages"}
    assert customer.key not in str(served.headers)
    call = await customer.call()
    assert (call["user_id"], call["session_id"], json.loads(call["metadata"])) == ("u-1", "s-1", {"a": "b"})


async def test_the_provider_is_shown_its_credential_and_nothing_else(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole(), credential="env:ACME_API_KEY")
    assert (await customer.ask(model)).status_code == 200
    [served] = gateway.provider.served_by(provider_of(model))
    assert served.headers["authorization"] == "Bearer the-secret-of-the-operator"
    assert set(served.headers) <= {"authorization", "content-type", "content-length", "host", "user-agent", "accept",
                                   "accept-encoding"}  # fmt: skip


@pytest.mark.parametrize("header", ["x-api-key", "x-goog-api-key"])
async def test_other_headers_carry_the_key_as_well(gateway: Installation, header: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole())
    body = {"model": model, "messages": MESSAGES}
    answer = await gateway.http.post("/chat/completions", json=body, headers={header: customer.key})
    assert answer.status_code == 200


async def test_the_sandbox_counts_exactly_what_it_says(gateway: Installation) -> None:
    customer, slug = await gateway.customer(), "sandbox/echo"
    parts: Any = [{"type": "text", "text": "Hello there"}, {"type": "text", "text": "friend"}]
    answer = await customer.client.chat.completions.create(
        model=slug, messages=[{"role": "user", "content": parts}], n=2
    )
    assert [choice.message.content for choice in answer.choices] == ["Hello there\nfriend"] * 2
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    short = await customer.client.chat.completions.create(model=slug, messages=MESSAGES, max_tokens=1)
    assert (short.choices[0].message.content, short.choices[0].finish_reason) == ("Say", "length")


async def test_a_hundred_mixed_calls_at_once_add_up(gateway: Installation) -> None:
    customer = await gateway.customer()
    models = [await gateway.model(behaviour) for behaviour in (whole(), streamed(), stream(spoken(), cut=True))]

    async def call(number: int) -> Decimal:
        model, streams = models[number % 3], number % 3 > 0
        if not streams:
            answer = await customer.ask(model)
            assert answer.status_code == 200, answer.text
            return Decimal(answer.json(parse_float=str)["usage"]["cost"])
        last = (await customer.streamed(model))[-2]
        return Decimal(json.loads(last, parse_float=str).get("usage", {}).get("cost", "0"))

    costs = await asyncio.gather(*(call(number) for number in range(100)))
    calls = await customer.calls()
    assert len(calls) == 100
    told = sum(row["amount"] for row in calls if row["status"] == "settled")
    assert sum(costs) == told == COST * 67
    [(rolled, counted)] = await customer.rollups()
    assert (rolled, counted) == (sum(row["amount"] for row in calls), 100)
    assert not await customer.holds()
    assert await customer.held() == 0
    assert await customer.balance() == 5 - rolled
