"""Anthropic Messages, as clients speak it: what is read of a request, and what of it counts as prompt."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.gateway.model import Attribution, Preferences, Wire
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.protocols.anthropic_messages import conversation, count_tokens, decode
from tollgate.kit.errors import InvalidRequest


def body(**fields: Any) -> bytes:
    given = {"model": "acme/model", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(given).encode()


def field_at_fault(given: bytes, headers: Any = None) -> str | None:
    with pytest.raises(InvalidRequest) as refused:
        decode(given, headers or {})
    return refused.value.field


def test_a_plain_body_says_what_is_asked_for_and_nothing_else() -> None:
    request = decode(body(), {})
    assert (request.wire, request.models, request.stream) == (Wire.MESSAGES, ("acme/model",), False)
    assert (request.max_tokens, request.choices, request.service_tier) == (10, 1, None)
    assert (request.preferences, request.attribution) == (Preferences(), Attribution())
    assert (request.parameters, request.headers) == (frozenset(), {})
    assert request.prompt.texts == ("hi",)
    # This format tells usage whether it was asked for or not.
    assert request.include_usage


def test_a_limit_is_demanded_where_something_is_written() -> None:
    assert field_at_fault(body(max_tokens=None)) == "max_tokens"
    assert decode(body(max_tokens=0), {}).max_tokens == 0
    counting = count_tokens(body(max_tokens=None, system="Be brief.", stream=True), {})
    assert (counting.max_tokens, counting.stream, counting.prompt.texts) == (None, False, ("Be brief.", "hi"))
    assert json.loads(anthropic_messages.token_count(14)) == {"input_tokens": 14}


def test_whom_a_call_is_for_never_reaches_a_provider() -> None:
    request = decode(body(metadata={"user_id": "u1", "team": "blue"}, session_id="s", models=["a/b"], provider={}), {})
    assert request.attribution == Attribution(user="u1", session_id="s", metadata={"team": "blue"})
    assert request.fields.keys() == {"model", "max_tokens", "messages"}
    assert request.models == ("acme/model", "a/b")
    assert decode(body(metadata={"user_id": None}), {}).attribution == Attribution()
    assert decode(body(metadata={"user_id": "u1"}, user="u2"), {}).attribution.user == "u2"


def test_parameters_have_the_catalogues_names() -> None:
    output = {"effort": "low", "format": {"type": "json_schema", "schema": {}}}
    request = decode(
        body(stop_sequences=["a"], thinking={}, output_config=output, top_k=1, top_p=None, system="x", stream=True), {}
    )
    assert request.parameters == {"stop", "reasoning", "response_format", "top_k"}


def test_anthropics_own_headers_are_kept() -> None:
    headers = {"anthropic-beta": "a-1,b-2", "anthropic-version": "2023-06-01", "x-api-key": "secret", "accept": "*/*"}
    assert decode(body(), headers).headers == {"anthropic-beta": "a-1,b-2", "anthropic-version": "2023-06-01"}
    assert field_at_fault(body(), {"anthropic-version": "2099-01-01"}) == "anthropic-version"
    assert field_at_fault(body(), {"anthropic-beta": "a" * 5000}) == "anthropic-beta"
    assert field_at_fault(body(), {"anthropic-beta": "a\r\nx: y"}) == "anthropic-beta"


@pytest.mark.parametrize("name", ["System", "Speed", "Max_Tokens", "Container", "Context_Management", "Inference_Geo"])
def test_what_decides_over_a_call_is_written_as_documented(name: str) -> None:
    given = body(**{name: None})
    assert field_at_fault(given) == name
    with pytest.raises(InvalidRequest):
        count_tokens(given)


def test_fast_mode_is_a_service_tier() -> None:
    assert decode(body(speed="fast", service_tier="auto"), {}).service_tier == "fast"
    assert decode(body(speed="standard", service_tier="auto"), {}).service_tier == "auto"


@pytest.mark.parametrize(("fields", "field"), [
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": {}}, "messages"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"stream": 1}, "stream"),
    ({"metadata": {"user_id": 5}}, "metadata"),
    ({"provider": {"sort": "cheap"}}, "provider.sort"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": 5}]}, "tools[0].type"),
    ({"output_config": 5}, "output_config"),
    ({"speed": 5}, "speed"),
])  # fmt: skip
def test_a_bad_field_is_named(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(body(**fields)) == field


CUSTOM = {"name": "f", "input_schema": {"type": "object"}}


@pytest.mark.parametrize(("fields", "field"), [
    ({"tools": [CUSTOM, {"type": "code_execution_20250825", "name": "code_execution"}]}, "tools[1].type"),
    ({"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "m"}]}, "tools[0].type"),
    ({"tools": [{"type": "something_new", "name": "x"}]}, "tools[0].type"),
    ({"container": "c"}, "container"),
    ({"fallbacks": "default"}, "fallbacks"),
    ({"thread": {"type": "create"}}, "thread"),
    ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management.edits[0].type"),
    ({"inference_geo": "us"}, "inference_geo"),
])  # fmt: skip
def test_what_usage_cannot_tell_the_cost_of_is_refused(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(body(**fields)) == field
    assert decode(body(**dict.fromkeys(fields)), {}).max_tokens == 10


TOLD = (
    "web_search",
    "web_fetch",
    "tool_search_tool_bm25",
    "bash",
    "text_editor",
    "computer",
    "memory",
    "browser_toolset",
)


@pytest.mark.parametrize("fields", [
    {"tools": [CUSTOM, {"type": "custom", **CUSTOM}, {"type": None, **CUSTOM}]},
    {"tools": [{"type": f"{kind}_20250305", "name": kind} for kind in TOLD]},
    {"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}], "tools": [{"type": "mcp_toolset"}]},
    {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
    {"inference_geo": "global"},
])  # fmt: skip
def test_what_usage_tells_passes(fields: dict[str, Any]) -> None:
    assert decode(body(**fields), {}).fields.keys() >= fields.keys()


# What counts as prompt.


def test_everything_the_model_reads_counts_as_prompt() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD" * 99}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}, image]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "two", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "three"},
            {"type": "tool_use", "id": "t1", "name": "four", "input": {"a": 1}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "five"}, image]},
            {"type": "document", "title": "six", "cache_control": {"type": "ephemeral"}},
        ]},
    ]  # fmt: skip
    tools = [{"name": "f", "cache_control": {"type": "ephemeral"}}]
    prompt = decode(body(messages=messages, system=[{"type": "text", "text": "zero"}], tools=tools), {}).prompt
    assert (prompt.messages, prompt.images) == (4, 2)
    assert prompt.texts == (
        "zero", "one", "two", "three", "t1", "four", '{"a": 1}', "five", "t1", "six",
        '{"name":"f"}',
    )  # fmt: skip


WORDS = "secret words here " * 100
HIDEOUTS: tuple[dict[str, Any], ...] = (
    {"system": WORDS},
    {"system": [{"type": "text", "text": WORDS}]},
    {"system": {"x": WORDS}},
    {"messages": [{"role": "user", "content": WORDS}]},
    {"messages": [{"role": WORDS, "content": "a"}]},
    {"messages": [{"role": "user", "content": "a", "name": WORDS}]},
    {"messages": [{"role": "user", "content": [WORDS]}]},
    {"messages": [{"role": "user", "content": [{"type": WORDS}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": [WORDS]}]}]},
    {"messages": [{"role": "user", "content": [{"type": "document", "title": WORDS}]}]},
    {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": WORDS}]}]},
    {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "x", "y": WORDS}]}]}]},
    {"messages": [{"role": "user", "content": [{"type": "search_result", "content": [{"text": WORDS}]}]}]},
    {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": WORDS}]}]},
    {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": {"a": WORDS}}]}]},
    {"tools": [{"name": "f", "description": WORDS}]},
    {"output_config": {"format": {"type": "json_schema", "schema": {"description": WORDS}}}},
    {"mcp_servers": [{"name": WORDS}]},
    {"unknown": WORDS},
)


@pytest.mark.parametrize("fields", HIDEOUTS)
def test_no_field_hides_a_prompt_from_the_count(fields: dict[str, Any]) -> None:
    assert any(WORDS in text for text in decode(body(**fields), {}).prompt.texts)


def test_settings_are_no_prompt() -> None:
    settings = {
        "temperature": 0.5, "stop_sequences": ["x"], "thinking": {"type": "disabled"}, "tool_choice": {"type": "auto"},
        "cache_control": {"type": "ephemeral"}, "service_tier": "auto", "top_k": 5, "metadata": {"user_id": "u"},
    }  # fmt: skip
    assert decode(body(**settings), {}).prompt.texts == ("hi",)


@pytest.mark.parametrize("given", [
    b'{"model":"m","max_tokens":1,"messages":[%s{}]}' % (b"{}," * 10_000),
    b'{"model":"m","max_tokens":1,"messages":[{"content":[%s""]}]}' % (b'"",' * 10_000),
    b'{"model":"m","max_tokens":1,"messages":[%s{}]}' % (b'{"content":["",""]},' * 5_001),
    b'{"model":"m","max_tokens":1,"messages":[{"content":[{"type":"tool_result","content":[%s""]}]}]}'
    % (b'"",' * 10_000),
])  # fmt: skip
def test_more_parts_than_a_conversation_has_are_refused(given: bytes) -> None:
    assert field_at_fault(given) == "messages"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a\x00\ud83d\ude00é\u2028", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "type", "text", "role", "content", "source", "thinking", "signature", "input", "name", "id", "tool_use_id",
        "cache_control", "ttl", "data", "input_schema", "edits", "effort", "format", "schema", "budget_tokens",
    ]), inner | st.sampled_from([
        "text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result", "base64", "url",
        "user", "assistant", "enabled", "adaptive", "custom", "any", "tool", "tollgate:", "tollgate:x", "tollgate:x:y",
    ]), max_size=5),
    max_leaves=20,
)  # fmt: skip
FIELDS = st.sampled_from([
    "messages", "system", "tools", "tool_choice", "thinking", "output_config", "metadata", "context_management",
    "stop_sequences", "temperature", "speed", "service_tier", "x",
])  # fmt: skip
CONTENT = st.lists(st.dictionaries(st.just("content"), JSON).map(lambda given: {"role": "user", **given}), max_size=3)


@settings(max_examples=100)
@given(st.dictionaries(FIELDS, JSON) | CONTENT.map(lambda messages: {"messages": messages}))
def test_no_json_raises_anything_but_a_refusal(fields: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        request = decode(body(**fields), {})
        assert all(isinstance(text, str) for text in request.prompt.texts)
        tuple(conversation(request).features())


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise_anything_but_a_refusal(given: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(given, {})


@pytest.mark.parametrize("depth", [10, 300, 900, 990, 1000, 3000])
def test_depth_is_refused_or_read(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    call = b'{"type":"tool_use","id":"a","name":"b","input":{"x":%s}}' % nested
    given = b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[%s]}],"tools":[{"name":"f",' % call
    with suppress(InvalidRequest):
        conversation(decode(given + b'"input_schema":{"x":%s}}]}' % nested, {}))
