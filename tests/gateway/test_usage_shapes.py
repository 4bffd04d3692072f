"""The shapes in which providers stream their usage: each is billed right, and shown to those who asked only."""

import json
from typing import Any

import pytest
from tests.gateway.fake_provider import DONE, USAGE, Behaviour, chunk, event, spoken, stream
from tests.gateway.installation import MESSAGES, PRICES, Installation

EARLY = {**USAGE, "completion_tokens": 1, "total_tokens": 1001}
TOKENS = 8
"""Of "Hello, wörld 🌍!" in o200k_base."""
STOP = chunk(finish="stop")
SHAPES: dict[str, list[bytes]] = {
    "in a chunk without choices": [*spoken(usage=None), STOP, chunk(choices=[], usage=USAGE), DONE],
    "with the finish reason": [*spoken(), chunk(finish="stop", usage=USAGE), DONE],
    "with an empty delta": [*spoken(), STOP, chunk({}, usage=USAGE), DONE],
    "on every chunk, growing": [*spoken(usage=EARLY), chunk(finish="stop", usage=USAGE), DONE],
    "twice": [*spoken(), STOP, chunk(choices=[], usage=EARLY), chunk(choices=[], usage=USAGE), DONE],
    "without DONE": [*spoken(), STOP, chunk(choices=[], usage=USAGE)],
    "without the last line's end": [*spoken(), STOP, chunk(choices=[], usage=USAGE), DONE.strip()],
    "without the usage line's end": [*spoken(), STOP, chunk(choices=[], usage=USAGE).strip()],
    "among comments and carriage returns": [
        b": processing\r\n\r\n",
        *(each.replace(b"\n", b"\r\n") for each in [*spoken(), STOP, chunk(choices=[], usage=USAGE)]),
        b": bye\n\n",
        b"event: done\ndata: [DONE]\n\n",
    ],
    "with blanks in the JSON": [
        *(b"data: " + json.dumps({**json.loads(each[6:]), "usage": None}).encode() + b"\n\n" for each in spoken()),
        STOP,
        b"data: " + json.dumps({"choices": [], "usage": USAGE}, indent=1).replace("\n", "\ndata: ").encode() + b"\n\n",
        DONE,
    ],
}


def glued(events: list[bytes]) -> Behaviour:
    """All of it in one piece."""
    return stream([b"".join(events)])


def crumbled(events: list[bytes]) -> Behaviour:
    """In pieces of seven bytes, which cut characters and line ends in two."""
    whole = b"".join(events)
    return stream([whole[at : at + 7] for at in range(0, len(whole), 7)])


@pytest.mark.parametrize("cut", [stream, glued, crumbled])
@pytest.mark.parametrize("shape", SHAPES)
async def test_usage_is_billed_wherever_it_comes(gateway: Installation, shape: str, cut: Any) -> None:
    customer, model = await gateway.customer(), await gateway.model(cut(SHAPES[shape]))
    seen = await customer.streamed(model)
    _reads_well(seen)
    last = json.loads(seen[-2], parse_float=str)
    assert (last["choices"], last["usage"]["cost"], last["usage"]["total_tokens"]) == ([], "0.00082", 1300)
    assert [json.loads(data).get("usage") for data in seen[:-2]] == [None] * (len(seen) - 2)
    call = await customer.call()
    assert json.loads(call["quantities"]) == {"prompt": 800, "input_cache_read": 200, "completion": 300}
    assert (call["status"], call["estimated"], call["anomalous"]) == ("settled", False, False)
    assert [json.loads(attempt["usage"]) for attempt in await customer.attempts()] == [USAGE]


@pytest.mark.parametrize("shape", SHAPES)
async def test_who_did_not_ask_sees_no_usage(gateway: Installation, shape: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(stream(SHAPES[shape]))
    seen = await customer.streamed(model, usage=False)
    _reads_well(seen)
    assert "usage" not in "".join(seen)
    assert str((await customer.call())["amount"]).startswith("0.00082")


def _reads_well(seen: list[str]) -> None:
    """The answer is whole and ends once."""
    assert seen[-1] == "[DONE]"
    assert seen.count("[DONE]") == 1
    chunks = [json.loads(data) for data in seen[:-1]]
    deltas = [choice["delta"] for each in chunks for choice in each["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == "Hello, wörld 🌍!"
    assert [choice["finish_reason"] for each in chunks for choice in each["choices"]].count("stop") == 1


async def test_a_provider_that_counts_nothing_is_counted_for(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await gateway.model(stream([*spoken(), STOP, DONE]))
    usage = json.loads((await customer.streamed(model))[-2], parse_float=str)["usage"]
    prompt = usage["prompt_tokens"]
    assert usage["completion_tokens"] == TOKENS
    assert 3 <= prompt <= 12
    call = await customer.call()
    assert (call["status"], call["estimated"]) == ("settled", True)
    assert str(call["amount"].normalize()) == usage["cost"]
    assert float(call["amount"]) == pytest.approx((prompt * 0.4 + TOKENS * 1.6) / 1e6)


async def test_bytes_between_the_usage_are_not_touched(gateway: Installation) -> None:
    content = b'"\\u00e9 \\ud83d\\ude00 ,\\"usage\\":null"'
    odd = b'data: {"id":"1", "choices":[{"index":0,"delta":{"content":%s}}],"x":1.10}\n\n' % content
    customer, model = await gateway.customer(), await gateway.model(stream([odd, STOP, chunk(choices=[], usage=USAGE)]))
    seen = await customer.streamed(model, usage=False)
    assert seen[0].encode() == odd[6:-2]


async def test_odd_usage_is_no_usage(gateway: Installation) -> None:
    odd: list[Any] = [5, "many", [], {}, {"prompt_tokens": "7"}, {"prompt_tokens": -1, "completion_tokens": None}]
    customer = await gateway.customer()
    for usage in odd:
        model = await gateway.model(stream([*spoken(), event({"choices": [], "usage": usage}), STOP, DONE]))
        assert json.loads((await customer.streamed(model))[-2])["usage"]["completion_tokens"] == TOKENS
    assert {call["estimated"] for call in await customer.calls()} == {True}


async def test_usage_larger_than_its_total_bills_the_total(gateway: Installation) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 11}}
    customer, model = await gateway.customer(), await gateway.model(stream([*spoken(), STOP, chunk(usage=usage)]))
    await customer.streamed(model)
    call = await customer.call()
    assert (json.loads(call["quantities"]), call["anomalous"]) == ({"prompt": 10, "completion": 5}, True)
    assert float(call["amount"]) == pytest.approx(float(PRICES["prompt"]) * 1e-5 + float(PRICES["completion"]) * 5e-6)


async def test_the_sdk_reads_every_shape(gateway: Installation) -> None:
    customer = await gateway.customer()
    for events in SHAPES.values():
        model = await gateway.model(stream(events))
        async with customer.client.chat.completions.stream(model=model, messages=MESSAGES) as answer:
            completion = await answer.get_final_completion()
        assert completion.choices[0].message.content == "Hello, wörld 🌍!"
