"""Requests to Anthropic: a client's own, and conversations that came in another format."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from tests.gateway.builders import a_candidate
from tests.gateway.conversations import ALL, Nuance, asking, conversations, merged

from tollgate.catalog.model import Format
from tollgate.gateway.model import Access, Candidate, UpstreamRequest, Wire
from tollgate.gateway.neutral import (
    Conversation,
    Feature,
    File,
    Image,
    Inline,
    Link,
    Message,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.providers import anthropic
from tollgate.kit.errors import InvalidRequest

ACCESS = Access("https://api.anthropic.com/v1", "secret")
PNG = Inline("image/png", "QUJD")


def a_speaker(**endpoint: Any) -> Candidate:
    return a_candidate(speaks=Format.ANTHROPIC, **endpoint)


# Requests that are passed.


def passed(*, cap: int | None = None, candidate: Candidate | None = None, headers: Any = None, **fields: Any) -> Any:
    given = {"model": "m", "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}], **fields}
    request = anthropic_messages.decode(json.dumps(given).encode(), headers or {})
    return anthropic.passed_request(request, candidate or a_speaker(), access=ACCESS, output_cap=cap)


def test_a_passed_request_is_the_clients_under_the_providers_name() -> None:
    sent = passed(metadata={"user_id": "u"}, provider={"sort": "price"}, stream=True, odd=1.50)
    assert sent.url == "https://api.anthropic.com/v1/messages"
    assert sent.headers == {
        "content-type": "application/json", "anthropic-version": "2023-06-01", "x-api-key": "secret",
    }  # fmt: skip
    assert sent.stream
    assert json.loads(sent.body) == {
        "model": "upstream-name", "max_tokens": 5000, "messages": [{"role": "user", "content": "hi"}], "stream": True,
        "odd": 1.5,
    }  # fmt: skip


def test_thoughts_that_came_from_other_formats_are_not_passed_on() -> None:
    thought = {"type": "thinking", "thinking": "Hm", "signature": "s"}
    mine, theirs = (thought, {**thought, "signature": "tollgate:responses:s"})
    hidden = {"type": "redacted_thinking", "data": "tollgate:generate_content:s"}
    words = {"type": "text", "text": "thinking with tollgate:"}
    user, plain = {"role": "user", "content": "Say tollgate:"}, {"role": "assistant", "content": "tollgate:"}
    turns = [user, {"role": "assistant", "content": [theirs, words, mine, hidden]}, user,
             {"role": "assistant", "content": [hidden]}, user, plain]  # fmt: skip
    assert json.loads(passed(messages=turns).body)["messages"] == [
        user, {"role": "assistant", "content": [words, mine]}, user, user, plain,
    ]  # fmt: skip


def test_anthropics_own_headers_pass() -> None:
    headers = {"anthropic-beta": "context-1m-2025-08-07", "anthropic-version": "2023-06-01", "x-api-key": "theirs"}
    sent = passed(headers=headers)
    assert (sent.headers["anthropic-beta"], sent.headers["x-api-key"]) == ("context-1m-2025-08-07", "secret")


@pytest.mark.parametrize(("base", "url"), [
    ("https://api.anthropic.com/v1", "https://api.anthropic.com/v1/messages"),
    ("https://x.test/anthropic", "https://x.test/anthropic/v1/messages"),
    ("https://x.test/v1/", "https://x.test/v1/messages"),
])  # fmt: skip
def test_the_address_is_below_v1_once(base: str, url: str) -> None:
    request = anthropic_messages.decode(b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}]}')
    sent = anthropic.passed_request(request, a_speaker(), access=Access(base, None), output_cap=None)
    assert sent.url == url
    assert "x-api-key" not in sent.headers


def test_a_cap_lowers_the_limit_and_the_budget_below_it() -> None:
    thinking = {"type": "enabled", "budget_tokens": 4000, "display": "omitted"}
    body = json.loads(passed(cap=3000, thinking=thinking).body)
    assert (body["max_tokens"], body["thinking"]) == (3000, {**thinking, "budget_tokens": 2999})
    assert json.loads(passed(cap=700, thinking=thinking).body)["thinking"] == {"type": "disabled"}
    assert json.loads(passed(cap=4500, thinking=thinking).body)["thinking"] == thinking
    adaptive = {"type": "adaptive"}
    assert json.loads(passed(cap=700, thinking=adaptive).body)["thinking"] == adaptive


# Conversations that are translated.


def translated(conversation: Conversation, *, candidate: Candidate | None = None, **fields: Any) -> UpstreamRequest:
    cap = fields.pop("cap", None)
    request = asking(conversation, **fields)
    return anthropic.translated_request(
        conversation, request, candidate or a_speaker(max_output=64_000), access=ACCESS, output_cap=cap
    )


def body_of(conversation: Conversation, **given: Any) -> Any:
    return json.loads(translated(conversation, **given).body)


def a_conversation(*parts: Any, **settings: Any) -> Conversation:
    return Conversation((Message(Role.USER, parts or (Text("hi"),)),), **settings)


NUANCES = ALL - {
    Nuance.REFUSALS, Nuance.CALL_SIGNATURES, Nuance.UNSIGNED, Nuance.NO_LIMIT, Nuance.FORMAT_NAMES, Nuance.ANY_OBJECT,
}  # fmt: skip
THINKING = {Feature.REASONING}


def canonical(conversation: Conversation) -> Conversation:
    """The conversation with no blank texts, which Anthropic refuses, and whose form is as strict as it always is."""
    messages = tuple(
        Message(message.role, tuple(map(_spoken, message.parts))) for message in merged(conversation).messages
    )
    form = conversation.response_format
    return replace(conversation, messages=messages, response_format=form and replace(form, strict=None))


def _spoken(part: Any) -> Any:
    if isinstance(part, ToolResult):
        return replace(part, parts=tuple(map(_spoken, part.parts)))
    return replace(part, text="words") if isinstance(part, Text) and not part.text.strip() else part


@settings(max_examples=100, deadline=None)
@given(conversations(anthropic.EXPRESSES - THINKING - {Feature.SERVICE_TIER}, NUANCES, origin=Wire.MESSAGES))
def test_translation_there_and_back_keeps_meaning(drawn: Conversation) -> None:
    conversation = canonical(drawn)
    sent = translated(conversation)
    request = anthropic_messages.decode(sent.body, {})
    back = anthropic_messages.conversation(request)
    assert merged(back) == one_at_most(conversation)
    assert back.others == ()


def one_at_most(conversation: Conversation) -> Conversation:
    """The conversation as a format says it that has "one call at most" as part of its choice of tools."""
    choice = conversation.tool_choice
    if conversation.parallel_tool_calls is None:
        return conversation
    if choice is not None and choice.mode == "none":
        return replace(conversation, parallel_tool_calls=None)
    return replace(conversation, tool_choice=choice or ToolChoice("auto"))


def test_instructions_stand_apart_and_neighbours_of_one_role_are_joined() -> None:
    body = body_of(Conversation((
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("a"),)),
        Message(Role.USER, (Text("b"),)),
        Message(Role.ASSISTANT, (Text(" "), ToolCall("call|1", "f", '{"x": 1.10}'), ToolCall("c2", "g", "{"))),
        Message(Role.TOOL, (ToolResult("call|1", (Text("one"),), failed=True),)),
        Message(Role.SYSTEM, (Text("And kind."),)),
        Message(Role.USER, (Text("c"),)),
        Message(Role.TOOL, (ToolResult("c2", (Text(""), Image(PNG))),)),
        Message(Role.ASSISTANT, (Refusal("No,"),)),
    )))  # fmt: skip
    assert body["system"] == [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "And kind."}]
    user, call, result, prefill = body["messages"]
    assert user == {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    first, second = call["content"]
    assert (first["name"], first["input"], second["input"]) == ("f", {"x": 1.1}, {"arguments": "{"})
    assert [block["type"] for block in result["content"]] == ["tool_result", "tool_result", "text"]
    assert result["content"][0] == {
        "type": "tool_result", "tool_use_id": first["id"], "content": [{"type": "text", "text": "one"}],
        "is_error": True,
    }  # fmt: skip
    assert [block["type"] for block in result["content"][1]["content"]] == ["image"]
    assert first["id"].replace("_", "").isalnum()
    assert second["id"] == "c2"
    assert prefill == {"role": "assistant", "content": [{"type": "text", "text": "No,"}]}


def test_arguments_keep_their_digits() -> None:
    said = Conversation(
        (Message(Role.USER, (Text("a"),)), Message(Role.ASSISTANT, (ToolCall("c", "f", '{"x":1.10}'),)))
    )
    assert b'"input":{"x":1.10}' in translated(said).body


def test_thoughts_go_to_their_own_provider_alone() -> None:
    thoughts = (
        Reasoning("mine", "sig", Wire.MESSAGES.value), Reasoning("theirs", "sig", Wire.RESPONSES.value),
        Reasoning("unsigned"), Reasoning("", "data", Wire.MESSAGES.value, redacted=True),
        Reasoning("", "data", Wire.GENERATE_CONTENT.value, redacted=True),
    )  # fmt: skip
    said = Conversation((Message(Role.USER, (Text("a"),)), Message(Role.ASSISTANT, (*thoughts, Text("b")))))
    assert body_of(said)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "mine", "signature": "sig"}, {"type": "redacted_thinking", "data": "data"},
        {"type": "text", "text": "b"},
    ]  # fmt: skip


def test_documents_are_pdf_text_or_links() -> None:
    parts = (
        File(Inline("application/pdf", "QUJD"), "a.pdf"), File(Inline("text/csv", "YSxi")),
        File(Link("https://x.test/a.pdf")),
    )  # fmt: skip
    pdf, text, link = body_of(a_conversation(*parts))["messages"][0]["content"]
    base64 = {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}
    assert pdf == {"type": "document", "source": base64, "title": "a.pdf"}
    assert text["source"] == {"type": "text", "media_type": "text/plain", "data": "a,b"}
    assert link["source"] == {"type": "url", "url": "https://x.test/a.pdf"}


@pytest.mark.parametrize(("limits", "expected"), [
    ({}, 64_000), ({"max_tokens": 500}, 500), ({"cap": 700}, 700), ({"max_tokens": 500, "cap": 300}, 300),
])  # fmt: skip
def test_there_always_is_a_limit(limits: Any, expected: int) -> None:
    settings = {"max_tokens": limits.pop("max_tokens")} if "max_tokens" in limits else {}
    assert body_of(a_conversation(**settings), **limits)["max_tokens"] == expected


def test_where_nobody_knows_a_limit_it_is_what_answers_need() -> None:
    high = Thinking("high")
    for known in ({}, {"context_length": 200_000}):
        assert body_of(a_conversation(), candidate=a_speaker(**known))["max_tokens"] == 4096
        body = body_of(a_conversation(reasoning=high), candidate=a_speaker(**known))
        assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (4096 + 10_240, 14_336 // 2)


@pytest.mark.parametrize(("thinking", "limit", "expected"), [
    (Thinking("minimal"), 20_000, {"type": "enabled", "budget_tokens": 1024}),
    (Thinking("low"), 20_000, {"type": "enabled", "budget_tokens": 2048}),
    (Thinking("medium"), 20_000, {"type": "enabled", "budget_tokens": 5120}),
    (Thinking("high", shown=True), 40_000, {"type": "enabled", "budget_tokens": 10_240, "display": "summarized"}),
    (Thinking("high"), 1500, {"type": "enabled", "budget_tokens": 1024}),
    (Thinking(budget_tokens=9000, shown=False), 5000,
     {"type": "enabled", "budget_tokens": 4999, "display": "omitted"}),
    (Thinking(budget_tokens=10), 5000, {"type": "enabled", "budget_tokens": 1024}),
    (Thinking("none"), 5000, {"type": "disabled"}),
    (Thinking(budget_tokens=0), 5000, {"type": "disabled"}),
    (Thinking(shown=False), 5000, None),
])  # fmt: skip
def test_thinking_has_a_budget_below_the_limit(thinking: Thinking, limit: int, expected: Any) -> None:
    assert body_of(a_conversation(reasoning=thinking, max_tokens=limit)).get("thinking") == expected


@pytest.mark.parametrize(("thinking", "effort"), [
    (Thinking("minimal"), "low"), (Thinking("max"), "max"), (Thinking(budget_tokens=5000), "medium"),
    (Thinking(budget_tokens=90_000), "high"),
])  # fmt: skip
def test_models_that_choose_for_themselves_are_told_an_effort(thinking: Thinking, effort: str) -> None:
    candidate = a_speaker(supported_parameters=("effort",))
    form = ResponseFormat({"type": "object"})
    body = body_of(a_conversation(reasoning=thinking, response_format=form), candidate=candidate)
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"] == {"effort": effort, "format": {"type": "json_schema", "schema": {"type": "object"}}}


def test_thinking_says_temperature_one_by_itself() -> None:
    body = body_of(a_conversation(reasoning=Thinking("low"), temperature=1, max_tokens=9000))
    assert "temperature" not in body
    assert body_of(a_conversation(reasoning=Thinking("none"), temperature=1, max_tokens=9000))["temperature"] == 1


@pytest.mark.parametrize(("settings", "field"), [
    ({"reasoning": Thinking("low"), "temperature": 0.5}, "temperature"),
    ({"reasoning": Thinking("low"), "top_k": 5}, "top_k"),
    ({"reasoning": Thinking("low"), "top_p": 0.5}, "top_p"),
    ({"reasoning": Thinking("low"), "tool_choice": ToolChoice("required"), "tools": (Tool("f", None, None),)},
     "tool_choice"),
    ({"reasoning": Thinking("low"), "max_tokens": 1024}, "max_tokens"),
    ({"reasoning": Thinking("utmost")}, "reasoning"),
    ({"temperature": 1.5}, "temperature"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"response_format": ResponseFormat()}, "response_format"),
])  # fmt: skip
def test_what_anthropic_would_refuse_is_refused_by_name(settings: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translated(a_conversation(**settings))
    assert refused.value.field == field


def test_sampling_that_the_catalogue_leaves_out_is_not_sent() -> None:
    candidate = a_speaker(ignorable_parameters=("temperature", "top_k"))
    body = body_of(a_conversation(temperature=0.2, top_k=5, top_p=0.9), candidate=candidate)
    assert body.keys() == {"model", "max_tokens", "messages", "top_p"}


@pytest.mark.parametrize("part", [
    File(Inline("application/zip", "QUJD")), File(Inline("text/plain", "Q")), Text(" \n"),
])  # fmt: skip
def test_content_that_cannot_be_said_is_refused(part: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translated(a_conversation(part))
    assert refused.value.field == "messages"


def test_funds_that_buy_no_room_to_think_still_buy_an_answer() -> None:
    body = body_of(a_conversation(reasoning=Thinking("high"), max_tokens=9000), cap=700)
    assert body["max_tokens"] == 700
    assert "thinking" not in body


def test_one_call_at_a_time_is_part_of_the_choice() -> None:
    tools = (Tool("f", None, {"properties": {}}),)
    one = {"disable_parallel_tool_use": True}
    assert body_of(a_conversation(tools=tools, parallel_tool_calls=False))["tool_choice"] == {"type": "auto", **one}
    named = a_conversation(tools=tools, parallel_tool_calls=False, tool_choice=ToolChoice("named", "f"))
    assert body_of(named)["tool_choice"] == {"type": "tool", "name": "f", **one}
    assert "tool_choice" not in body_of(a_conversation(tools=tools, parallel_tool_calls=True))
    assert body_of(a_conversation(tools=tools))["tools"] == [
        {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    ]


@pytest.mark.parametrize(("asked", "sent"), [
    ("auto", "auto"), ("priority", "auto"), ("default", "standard_only"), (None, None),
])  # fmt: skip
def test_service_tiers_have_anthropics_words(asked: str | None, sent: str | None) -> None:
    assert body_of(a_conversation(service_tier=asked)).get("service_tier") == sent


def test_a_stream_is_asked_for_only_if_one_is_wanted() -> None:
    assert "stream" not in body_of(a_conversation())
    sent = translated(a_conversation(), stream=True)
    assert sent.stream
    assert json.loads(sent.body)["stream"] is True
    assert "anthropic-beta" not in sent.headers
