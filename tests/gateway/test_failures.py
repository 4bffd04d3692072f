"""Providers that fail: the next one serves, the customer pays once, and what nobody could serve costs nothing."""

import json
from decimal import Decimal
from typing import Any

import openai
import pytest
from tests.gateway.conftest import SECRET
from tests.gateway.fake_provider import (
    DONE,
    USAGE,
    WORDS,
    Behaviour,
    body_of,
    chunk,
    dead,
    event,
    refusal,
    silent,
    silent_stream,
    spoken,
    stream,
    streamed,
    whole,
)
from tests.gateway.installation import MESSAGES, Customer, Installation, provider_of

OWN_WORDS = f"Incorrect API key provided: {SECRET}"
EITHER_WAY: dict[str, tuple[Behaviour, str, int | None]] = {
    "500": (refusal(500), "provider_error", 500),
    "503": (refusal(503), "provider_error", 503),
    "429": (refusal(429), "rate_limit", 429),
    "408": (refusal(408), "provider_error", 408),
    "409": (refusal(409), "provider_error", 409),
    "401": (refusal(401, OWN_WORDS), "provider_error", 401),
    "403": (refusal(403, OWN_WORDS), "provider_error", 403),
    "404": (refusal(404, "model gone"), "provider_error", 404),
    "302": (refusal(302, "elsewhere", {"location": "http://127.0.0.1:1/"}), "provider_error", 302),
    "400 for a prompt too long for it": (refusal(400, "maximum context length is 10 tokens"), "invalid_request", 400),
    "a broken connection": (dead, "provider_unavailable", None),
    "silence": (silent, "provider_timeout", None),
    "an HTML page": (body_of(b"<html>502</html>"), "provider_error", 200),
    "an error with status 200": (body_of(b'{"error": {"message": "overloaded"}}'), "provider_error", 200),
    "an error nested without end": (body_of(b'{"error":' + b"[" * 9000 + b"]" * 9000 + b"}"), "provider_error", 200),
    "nothing": (body_of(b""), "provider_error", 200),
    "a list": (body_of(b"[]"), "provider_error", 200),
    "another object": (body_of(b'{"object": "list"}'), "provider_error", 200),
    "an error page that breaks off": (body_of(b"x", 502, {"content-length": "5"}), "provider_error", 502),
}
STREAMED: dict[str, tuple[Behaviour, str, int | None]] = {
    "a stream without events": (stream([]), "provider_error", 200),
    "a stream of comments": (stream([b": nothing\n\n"]), "provider_error", 200),
    "an end without a beginning": (stream([DONE]), "provider_error", 200),
    "a stream that says nothing": (silent_stream, "provider_timeout", 200),
    "a stream that breaks off at once": (stream([b"da"], cut=True), "provider_error", 200),
    "a stream of something else": (stream([b"data: hello\n\n"]), "provider_error", 200),
    "an error as first event": (stream([event({"error": {"message": "overloaded"}})]), "provider_error", 200),
    "a stream without a line's end": (stream([b"x" * 1_000_000] * 17), "provider_error", 200),
}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("failure", EITHER_WAY)
async def test_the_next_endpoint_serves(gateway: Installation, failure: str, streams: bool) -> None:  # noqa: FBT001 - a parameter of the test, not an option
    await _is_served_by_the_second(gateway, *EITHER_WAY[failure], streams=streams)


@pytest.mark.parametrize("failure", STREAMED)
async def test_the_next_endpoint_serves_the_stream(gateway: Installation, failure: str) -> None:
    await _is_served_by_the_second(gateway, *STREAMED[failure], streams=True)


async def _is_served_by_the_second(
    gateway: Installation, first: Behaviour, error: str, status: int | None, *, streams: bool
) -> None:
    customer, model = await gateway.customer(), await gateway.model(first)
    dearer = {"prompt": "4", "input_cache_read": "1", "completion": "16"}
    second = streamed() if streams else whole()
    await gateway.endpoint(model, provider_of(model, 1), second, prices=dearer)
    if streams:
        assert json.loads((await customer.streamed(model))[-2], parse_float=str)["usage"]["cost"] == "0.0082"
    else:
        answer = await customer.ask(model)
        assert (answer.status_code, answer.headers["x-tollgate-provider"]) == (200, provider_of(model, 1))
        assert SECRET not in answer.text
    call = await customer.call()
    assert (call["status"], call["amount"], call["provider"]) == ("settled", Decimal("0.0082"), provider_of(model, 1))
    attempts = [(row["ordinal"], row["status"], row["error"], row["http_status"]) for row in await customer.attempts()]
    assert attempts == [(1, "failed", error, status), (2, "served", None, 200)]
    assert await customer.held() == 0


async def test_an_endpoint_nobody_listens_at_is_left_for_the_next(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model()
    for place, url in enumerate(("http://127.0.0.1:1/v1", gateway.provider.url(provider_of(model, 1)))):
        await gateway.endpoint(model, provider_of(model, place), whole(), prices={"prompt": "1", "completion": "1"},
                               base_url=url)  # fmt: skip
    assert (await customer.ask(model)).status_code == 200
    assert [row["error"] for row in await customer.attempts()] == ["provider_unavailable", None]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_what_another_would_refuse_as_well_is_told_at_once(gateway: Installation, status: int) -> None:
    customer, model = await gateway.customer(), await gateway.model(refusal(status, "seed must be odd"), whole())
    with pytest.raises(openai.BadRequestError) as refused:
        await customer.client.chat.completions.create(model=model, messages=MESSAGES)
    body: Any = refused.value.body
    assert (body["code"], body["type"], body["message"]) == (400, "invalid_request", "seed must be odd")
    assert body["metadata"]["provider_message"] == "seed must be odd"
    assert not gateway.provider.served_by(provider_of(model, 1))
    await _cost_nothing(customer, attempts=1)


@pytest.mark.parametrize(("behaviour", "status", "kind"), [
    (refusal(500, "boom"), 502, "provider_error"),
    (dead, 502, "provider_unavailable"),
    (silent, 504, "provider_timeout"),
    (refusal(429, "slow down"), 429, "rate_limit"),
    (refusal(401, OWN_WORDS), 502, "provider_error"),
    (body_of(b'{"error": "\\ud83d \\u0000"}', 500), 502, "provider_error"),
])  # fmt: skip
async def test_a_call_nobody_can_serve_costs_nothing(
    gateway: Installation, behaviour: Behaviour, status: int, kind: str
) -> None:
    customer, model = await gateway.customer(), await gateway.model(refusal(503), behaviour)
    for streams in (False, True):
        answer = await customer.ask(model, stream=streams)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (status, status, kind)
        assert SECRET not in answer.text
        assert ("retry-after" in answer.headers) == (status == 429)
        generation = await customer.generation(error["metadata"]["generation_id"])
        assert (generation["status"], generation["charge"]["amount"]) == ("failed", "0")
    assert {(row["status"], row["amount"], row["provider"]) for row in await customer.calls()} == {("failed", 0, None)}
    assert len(await customer.attempts()) == 4
    assert await customer.balance() == 5
    assert await customer.held() == 0


async def test_headers_that_are_no_text_take_nothing_away(gateway: Installation) -> None:
    odd = {"x-region": "Zürich", "retry-after": "é"}
    answered, refused = whole(headers=odd), refusal(429, "slow down", odd)
    customer, model = await gateway.customer(), await gateway.model(refused, answered)
    answer = await customer.ask(model)
    assert (answer.status_code, answer.json()["usage"]["cost"]) == (200, 0.00082)


@pytest.mark.parametrize("header", ["7", "3600"])
async def test_a_provider_that_asks_to_be_spared_is_not_asked_before_then(gateway: Installation, header: str) -> None:
    customer, model = await gateway.customer(), await gateway.model(refusal(429, "slow down", {"retry-after": header}))
    first, second = await customer.ask(model), await customer.ask(model, stream=True)
    for answer in (first, second):
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit")
    wait = int(second.headers["retry-after"])
    assert 0 < wait <= int(header)
    assert first.headers["retry-after"] == header
    assert len(await customer.attempts()) == 1
    assert await customer.balance() == 5


async def _cost_nothing(customer: Customer, *, attempts: int) -> None:
    call = await customer.call()
    assert (call["status"], call["amount"]) == ("failed", 0)
    assert [row["status"] for row in await customer.attempts()] == ["failed"] * attempts
    assert await customer.balance() == 5
    assert not await customer.holds()
    assert await customer.held() == 0


@pytest.mark.parametrize("broken", [
    stream(spoken(), cut=True),
    stream([*spoken(), b'data: {"id":'], cut=True),
    stream(spoken()),
    stream([*spoken(), event({"error": {"message": "engine died"}}), DONE]),
    stream([*spoken(), b"x" * 1_000_000 * 17]),
], ids=["cut", "cut in an event", "ended too soon", "said so", "garbage"])  # fmt: skip
async def test_a_stream_that_breaks_off_charges_what_was_delivered(gateway: Installation, broken: Behaviour) -> None:
    customer, model = await gateway.customer(), await gateway.model(broken, whole())
    seen = await customer.streamed(model)
    assert seen[-1] == "[DONE]"
    last = json.loads(seen[-2])
    assert (last["error"]["code"], last["error"]["type"]) == (502, "provider_error")
    assert last["choices"][0]["finish_reason"] == "error"
    assert "".join(json.loads(data)["choices"][0]["delta"]["content"] for data in seen[:-2]) == "".join(WORDS)
    call = await customer.call()
    assert (call["status"], call["estimated"]) == ("failed", True)
    quantities = json.loads(call["quantities"])
    assert quantities["completion"] == 8
    assert call["amount"] == (Decimal("0.4") * quantities["prompt"] + Decimal("1.6") * 8) / 1_000_000
    assert [row["status"] for row in await customer.attempts()] == ["served"]
    assert await customer.balance() == 5 - call["amount"]
    assert await customer.held() == 0


async def test_a_stream_that_breaks_off_after_its_usage_bills_the_usage(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(stream([*spoken(usage=USAGE)], cut=True))
    assert json.loads((await customer.streamed(model))[-2])["error"]
    call = await customer.call()
    assert (call["status"], call["amount"], call["estimated"]) == ("failed", Decimal("0.00082"), False)


async def test_the_sdk_raises_when_a_stream_breaks_off(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(stream(spoken(), cut=True))
    answer = await customer.client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="broke off"):
        async for _ in answer:
            pass


async def test_a_whole_answer_that_breaks_off_is_left_for_the_next(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await gateway.model(body_of(b'{"choices": [', 200, {"content-length": "999"}), whole())
    assert (await customer.ask(model)).status_code == 200
    assert [row["error"] for row in await customer.attempts()] == ["provider_timeout", None]


@pytest.mark.parametrize("said", [
    {"usage": USAGE, "finish": "error"},
    {"content": "", "usage": {**USAGE, "completion_tokens": 0}, "finish": None},
    {"content": "", "usage": None, "finish": None},
])  # fmt: skip
async def test_an_answer_that_is_none_is_insured(gateway: Installation, said: Any) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole(**said))
    answer = await customer.ask(model)
    assert answer.json()["usage"]["cost"] == 0
    call = await customer.call()
    assert (call["status"], call["amount"]) == ("insured", 0)
    assert call["provider_cost"] > 0
    assert await customer.balance() == 5
    events = [chunk(), chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 0}), DONE]
    model = await gateway.model(stream(events))
    assert json.loads((await customer.streamed(model))[-2])["usage"]["cost"] == 0


async def test_a_model_without_a_price_of_what_it_writes_is_refused_before_the_provider(gateway: Installation) -> None:
    """Served, its calls would be unpriced, and no invoice with one of them could be finalised.

    Nobody can publish such a price, but an endpoint may be listed for more afterwards, and a price list may have one.
    """
    customer = await gateway.customer()
    model = await gateway.model(whole(), prices={"prompt": "1"}, protocols=["embeddings"])
    operator = {"x-api-key": gateway.operator_key}
    listed = await gateway.http.get("/admin/endpoints", params={"model": model}, headers=operator)
    (endpoint,) = listed.json()["data"]
    path = f"/admin/endpoints/{endpoint['id']}"
    assert (await gateway.http.patch(path, json={"protocols": ["openai"]}, headers=operator)).status_code == 200

    answer = await customer.ask(model)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "model_not_priced")
    assert not gateway.provider.served_by(provider_of(model))
    assert await customer.is_untouched()


async def test_a_broken_answer_among_good_text_is_mended(gateway: Installation) -> None:
    """Half of a surrogate pair, escaped, is legal JSON, and some providers split emoji in two."""
    halves = [
        chunk({"content": "x"}).replace(b'"x"', b'"\\ud83d"'),
        chunk({"content": "x"}, "stop", usage=USAGE).replace(b'"x"', b'"\\ude00"'),
    ]
    customer, model = await gateway.customer(), await gateway.model(stream([*halves, DONE]))
    last = json.loads((await customer.streamed(model))[-2], parse_float=str)
    assert last["usage"]["cost"] == "0.00082"
    model = await gateway.model(
        body_of(json.dumps({"choices": [{"message": {"content": "\ud83d"}}], "usage": USAGE}).encode())
    )
    assert (await customer.ask(model)).json()["usage"]["cost"] == 0.00082
