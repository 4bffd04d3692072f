"""Calls that are refused before any provider hears of them: the right word, and nothing written."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.fake_provider import whole
from tests.gateway.installation import MESSAGES, Installation


def with_field(name: str, value: Any) -> bytes:
    """A body with one more field."""
    return json.dumps({"model": "m", "messages": [{}], name: value}).encode()


def told(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, type and field of an error, whose code is its status."""
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["message"]
    return answer.status_code, error["type"], error["metadata"].get("field")


BAD_BODIES: dict[str, tuple[bytes, str | None]] = {
    "nothing": (b"", None),
    "half an object": (b'{"model": "x"', None),
    "a list": (b"[]", None),
    "a number": (b"1", None),
    "not UTF-8": (b'{"model": "\xff", "messages": [{}]}', None),
    "not UTF-8 where nobody looks": (b'{"model": "m", "messages": [{}], "x": "\xff"}', None),
    "an unpaired surrogate": (b'{"model": "m", "messages": [{"content": "\\ud83d"}]}', None),
    "nested without end": (b'{"model": "m", "messages": [{}], "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    "no model": (b'{"messages": [{"role": "user", "content": "hi"}]}', "model"),
    "null for a model": (b'{"model": null, "messages": [{}]}', "model"),
    "an empty model": (b'{"model": "", "messages": [{}]}', "model"),
    "NUL in the model": (b'{"model": "a/b\\u0000", "messages": [{}]}', "model"),
    "a model too long": (b'{"model": "' + b"a" * 300 + b'", "messages": [{}]}', "model"),
    "no messages": (b'{"model": "m"}', "messages"),
    "empty messages": (b'{"model": "m", "messages": []}', "messages"),
    "text for messages": (b'{"model": "m", "messages": "hi"}', "messages"),
    "text for a message": (b'{"model": "m", "messages": ["hi"]}', "messages"),
    "text for stream": (b'{"model": "m", "messages": [{}], "stream": "yes"}', "stream"),
    "options without a stream": (b'{"model": "m", "messages": [{}], "stream_options": {}}', "stream_options"),
    "no tokens": (b'{"model": "m", "messages": [{}], "max_tokens": 0}', "max_tokens"),
    "fewer tokens": (b'{"model": "m", "messages": [{}], "max_completion_tokens": -1}', "max_completion_tokens"),
    "too many tokens": (b'{"model": "m", "messages": [{}], "max_tokens": 1e30}', "max_tokens"),
    "a fraction of an answer": (b'{"model": "m", "messages": [{}], "n": 1.5}', "n"),
    "too many answers": (b'{"model": "m", "messages": [{}], "n": 129}', "n"),
    "NUL in the user": (b'{"model": "m", "messages": [{}], "user": "a\\u0000"}', "user"),
    "a number for a user": (b'{"model": "m", "messages": [{}], "user": 5}', "user"),
    "NUL in metadata": (b'{"model": "m", "messages": [{}], "metadata": {"a": "\\u0000"}}', "metadata"),
    "a number in metadata": (b'{"model": "m", "messages": [{}], "metadata": {"a": 1}}', "metadata"),
    "seventeen pairs": (with_field("metadata", {str(number): "" for number in range(17)}), "metadata"),
    "metadata of 2 MB": (with_field("metadata", {"a": "x" * 2_000_000}), "metadata"),
    "a key of 2 MB": (with_field("metadata", {"x" * 2_000_000: "a"}), "metadata"),
    "an unknown preference": (b'{"model": "m", "messages": [{}], "provider": {"cheap": 1}}', "provider"),
    "an unknown sorting": (b'{"model": "m", "messages": [{}], "provider": {"sort": "x"}}', "provider.sort"),
    "neither allow nor deny": (b'{"model": "m", "messages": [{}], "provider": {"data_collection": 1}}', "provider"),
    "no ceiling at all": (b'{"model": "m", "messages": [{}], "provider": {"max_price": {"prompt": "NaN"}}}',
                          "provider.max_price"),
    "a ceiling below zero": (b'{"model": "m", "messages": [{}], "provider": {"max_price": {"prompt": -1}}}',
                             "provider.max_price"),
    "too many fallbacks": (with_field("models", ["m"] * 17), "models"),
}  # fmt: skip


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_a_bad_body_names_the_field_at_fault(gateway: Installation, body: str) -> None:
    customer = await gateway.customer()
    content, field = BAD_BODIES[body]
    assert told(await customer.post(content=content)) == (400, "invalid_request", field)
    assert await customer.is_untouched()


async def test_a_body_too_large_is_refused(gateway: Installation) -> None:
    customer = await gateway.customer()
    answer = await customer.ask("m", user="x" * 5_000_000)
    assert told(answer) == (413, "payload_too_large", None)
    assert await customer.is_untouched()
    assert (await customer.ask(await gateway.model(whole()))).status_code == 200


async def test_a_body_of_unknown_length_is_refused_once_it_is_too_large(gateway: Installation) -> None:
    customer = await gateway.customer()

    async def long() -> Any:
        for _ in range(100):
            yield b" " * 100_000

    headers = {"authorization": f"Bearer {customer.key}"}
    answer = await gateway.http.post("/chat/completions", content=long(), headers=headers)
    assert told(answer) == (413, "payload_too_large", None)
    assert await customer.is_untouched()


async def test_a_caller_who_leaves_within_the_body_leaves_nothing(gateway: Installation) -> None:
    customer = await gateway.customer()
    address = urlsplit(gateway.base_url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {address.path}/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {customer.key}\r\n"
    writer.write(head.encode() + b'content-length: 100\r\n\r\n{"model":')
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    assert await customer.is_untouched()


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_calls_are_posted(gateway: Installation, method: str) -> None:
    customer = await gateway.customer()
    headers = {"authorization": f"Bearer {customer.key}"}
    answer = await gateway.http.request(method, "/chat/completions", headers=headers)
    assert told(answer)[0] == 405


async def test_a_model_nobody_knows_is_not_found(gateway: Installation) -> None:
    customer = await gateway.customer()
    with pytest.raises(openai.NotFoundError) as refused:
        await customer.client.chat.completions.create(model="nobody/knows🌍", messages=MESSAGES)
    body: Any = refused.value.body
    assert (body["type"], body["metadata"]["field"]) == ("model_not_found", "model")
    assert await customer.is_untouched()


async def test_a_model_without_a_price_is_not_served(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole(), prices=None)
    assert told(await customer.ask(model)) == (404, "model_not_priced", "model")
    assert await customer.is_untouched()


async def test_an_endpoint_without_its_credential_is_not_served(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole(), credential="env:NOBODYS_API_KEY")
    answer = await customer.ask(model)
    assert told(answer) == (404, "no_endpoint", None)
    assert "credential" in answer.text
    assert await customer.is_untouched()


async def test_a_disabled_endpoint_is_not_served(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(whole(), enabled=False)
    assert told(await customer.ask(model)) == (404, "no_endpoint", None)
    assert await customer.is_untouched()


async def test_a_key_serves_the_models_it_allows_only(gateway: Installation) -> None:
    allowed, other = await gateway.model(whole()), await gateway.model(whole())
    customer = await gateway.customer(models=[allowed])
    assert told(await customer.ask(other)) == (403, "model_not_allowed", "model")
    assert await customer.is_untouched()
    assert (await customer.ask(other, models=[allowed])).json()["model"] == allowed


async def test_a_key_of_another_kind_is_told_which_is_needed(gateway: Installation) -> None:
    manager = await gateway.customer(kind="management")
    answer = await manager.ask("m")
    assert told(answer) == (403, "permission", None)
    assert "of the kind inference (sk-tg-" in answer.text
    assert await manager.is_untouched()


@pytest.mark.parametrize("key", [b"", b"Bearer", b"Basic x", b"Bearer sk-tg-nonsense", b"Bearer \xe9", b"x" * 5000])
async def test_without_a_valid_key_nothing_is_served(gateway: Installation, key: bytes) -> None:
    headers = {b"authorization": key} if key else None
    answer = await gateway.http.post("/chat/completions", json={}, headers=headers)
    assert told(answer) == (401, "authentication", None)
    assert "www-authenticate" in answer.headers


TEXT = st.text(max_size=8) | st.text("a\x00\ud83d\ude00é{}", max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "messages", "models", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "service_tier",
    "provider", "user", "session_id", "metadata", "tools", "response_format", "functions", "usage",
)  # fmt: skip
PREFERENCES = ["order", "only", "ignore", "allow_fallbacks", "sort", "max_price", "zdr"]
NESTED = {
    "messages": st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(("role", "content", "tool_calls", "name"), JSON))
    ),
    "provider": st.fixed_dictionaries({}, optional=dict.fromkeys(PREFERENCES, JSON)),
    "stream_options": st.fixed_dictionaries({"include_usage": JSON}),
    "metadata": st.dictionaries(TEXT, TEXT, max_size=3),
}
BODIES = st.fixed_dictionaries({}, optional={name: JSON | NESTED.get(name, st.nothing()) for name in FIELDS})


async def test_no_body_is_an_internal_error(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await gateway.model(whole())
    loop = asyncio.get_running_loop()

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=BODIES)
    def sweep(body: dict[str, Any]) -> None:
        filled = {"messages": MESSAGES, **body, "model": model}
        call = asyncio.run_coroutine_threadsafe(customer.post(content=json.dumps(filled).encode()), loop)
        answer = call.result(timeout=20)
        assert answer.status_code in {200, 400, 404}, answer.text

    await asyncio.to_thread(sweep)
    assert {call["status"] for call in await customer.calls()} <= {"settled", "failed"}
    assert not await customer.holds()
    assert await customer.held() == 0
