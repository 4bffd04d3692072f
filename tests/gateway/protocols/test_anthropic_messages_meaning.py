"""Anthropic Messages in neutral form: what a request means to a provider of another format."""

import json
from typing import Any

import pytest

from tollgate.gateway.neutral import (
    Cache,
    Feature,
    File,
    Image,
    Inline,
    Link,
    Message,
    Reasoning,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Uploaded,
)
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.protocols.anthropic_messages import conversation, decode
from tollgate.kit.errors import InvalidRequest

CUSTOM = {"name": "f", "input_schema": {"type": "object"}}


def body(**fields: Any) -> bytes:
    given = {"model": "acme/model", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(given).encode()


def meaning(**fields: Any) -> Any:
    return conversation(decode(body(**fields), {}))


def test_content_is_read_block_by_block() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    said = meaning(system="Be brief.", messages=[
        {"role": "user", "content": [
            {"type": "text", "text": "a", "cache_control": mark},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"},
             "title": "a.pdf", "citations": {"enabled": False}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        ]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "b", "signature": "s1"},
            {"type": "thinking", "thinking": "c", "signature": "tollgate:responses:s2"},
            {"type": "redacted_thinking", "data": "d"},
            {"type": "thinking", "thinking": "", "signature": "tollgate:generate_content:s3"},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}},
            {"type": "thinking", "thinking": "e", "signature": ""},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "cache_control": {"type": "ephemeral"},
             "content": [{"type": "text", "text": "g"},
                         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "h"},
            {"type": "text", "text": "i"},
        ]},
    ])  # fmt: skip
    assert said.messages == (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (
            Text("a", Cache("1h")), Image(Link("https://x.test/a.png")), Image(Uploaded("file_1")),
            File(Inline("application/pdf", "QUJD"), "a.pdf"), File(Inline("text/plain", "w6k=")),
        )),
        Message(Role.ASSISTANT, (
            Reasoning("b", "s1", "messages"), Reasoning("c", "s2", "responses"),
            Reasoning("", "d", "messages", redacted=True), ToolCall("t1", "f", '{"x": 1}', "s3"), Reasoning("e"),
        )),
        Message(Role.TOOL, (
            ToolResult("t1", (Text("g"), Image(Inline("image/png", "QQ=="))), "f", failed=True, cache=Cache()),
            ToolResult("t2", (Text("h"),)),
        )),
        Message(Role.USER, (Text("i"),)),
    )  # fmt: skip
    assert said.others == ()


def test_arguments_keep_their_digits() -> None:
    given = b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[%s]}]}' % (
        b'{"type":"tool_use","id":"t","name":"f","input":{"x":1.10,"y":12345678901234567890123}}'
    )
    [message] = conversation(decode(given, {})).messages
    assert message.parts == (ToolCall("t", "f", '{"x":1.10,"y":12345678901234567890123}'),)


def test_settings_are_read() -> None:
    said = meaning(
        temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["a"], service_tier="standard_only",
        tools=[{**CUSTOM, "description": "d", "strict": True, "cache_control": {"type": "ephemeral"}}],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )  # fmt: skip
    assert (said.max_tokens, said.temperature, said.top_p, said.top_k, said.stop) == (10, 0.5, 0.9, 5, ("a",))
    assert said.tools == (Tool("f", "d", {"type": "object"}, strict=True, cache=Cache()),)
    assert (said.tool_choice, said.parallel_tool_calls) == (ToolChoice("named", "f"), False)
    assert (said.response_format, said.service_tier) == (ResponseFormat({"type": "object"}), "default")
    older = meaning(output_format={"type": "json_schema", "schema": {"type": "object"}})
    assert older.response_format == said.response_format


@pytest.mark.parametrize(("fields", "thinking"), [
    ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Thinking(budget_tokens=2000)),
    ({"thinking": {"type": "disabled"}}, Thinking("none")),
    ({"thinking": {"type": "adaptive", "display": "omitted"}}, Thinking("high", shown=False)),
    ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, Thinking("max")),
    ({"output_config": {"effort": "low"}}, Thinking("low")),
    ({"thinking": None}, None),
])  # fmt: skip
def test_thinking_is_an_effort_or_a_budget(fields: dict[str, Any], thinking: Thinking | None) -> None:
    assert meaning(**fields).reasoning == thinking


def test_what_asks_for_nothing_is_not_listed() -> None:
    assert meaning(
        mcp_servers=[], context_management=None, speed="standard", service_tier="auto", inference_geo="global",
        tools=[{**CUSTOM, "defer_loading": False, "allowed_callers": ["direct"], "eager_input_streaming": True}],
        tool_choice={"type": "auto"}, cache_control={"type": "ephemeral"},
    ).others == ()  # fmt: skip


@pytest.mark.parametrize(("fields", "name"), [
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
    ({"tools": [{**CUSTOM, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
    ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management"),
    ({"speed": "fast"}, "speed"),
    ({"output_config": {"task_budget": {"type": "tokens", "total": 5}}}, "output_config.task_budget"),
    ({"thinking": {"type": "between_tools"}}, "thinking.type"),
    ({"something_new": 1}, "something_new"),
    ({"messages": [{"role": "user", "content": [{"type": "search_result", "source": "x"}]}]},
     "messages[0].content[0].search_result"),
    ({"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "url", "url": "x"}, "citations": {"enabled": True}}]}]},
     "messages[0].content[0].citations"),
])  # fmt: skip
def test_what_means_something_here_alone_goes_by_its_name(fields: dict[str, Any], name: str) -> None:
    assert meaning(**fields).others == (name,)


@pytest.mark.parametrize(("fields", "field"), [
    ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]}]},
     "messages[0].content[0].source.type"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": 5}]}]},
     "messages[0].content[0].input"),
    ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
    ({"temperature": "hot"}, "temperature"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
])  # fmt: skip
def test_a_form_that_means_nothing_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        meaning(**fields)
    assert refused.value.field == field


def test_every_feature_a_client_can_use_has_this_formats_name() -> None:
    named = {"stop_sequences", "tool_choice.disable_parallel_tool_use", "output_config.format", "thinking"}
    assert named <= set(anthropic_messages.NAMES.values())
    assert anthropic_messages.NAMES.keys() < set(Feature)
