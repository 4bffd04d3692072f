"""Chat between a client and a neutral form: what a request means, and how an answer from elsewhere is told."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.builders import a_candidate
from tests.gateway.conversations import ALL, Nuance, asking, collected, completions, conversations, deltas_of
from tests.gateway.conversations import merged as as_merged
from tests.gateway.protocols.test_openai_chat import RECEIPT, body

from tollgate.gateway.model import Access, Wire
from tollgate.gateway.neutral import (
    Audio,
    Cache,
    Choice,
    Completion,
    Conversation,
    Delta,
    Feature,
    File,
    Image,
    Inline,
    Link,
    Message,
    Reasoning,
    ReasoningDelta,
    Refusal,
    ResponseFormat,
    Role,
    Stop,
    StopDelta,
    Text,
    TextDelta,
    Thinking,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
    Uploaded,
)
from tollgate.gateway.protocols import openai_chat
from tollgate.gateway.protocols.openai_chat import decode
from tollgate.gateway.providers import openai_chat as upstream
from tollgate.kit.errors import InvalidRequest, ProviderFailed
from tollgate.kit.tokens import Kind, UsageQuantities

ACCESS = Access("https://acme.test/v1", None)
ALL_KNOWING = a_candidate(
    supported_parameters=("reasoning", "reasoning_details", "extra_content", "cache_control"), context_length=10**6
)
"""An endpoint that takes everything its format can say."""


def meaning(**fields: Any) -> Conversation:
    return openai_chat.conversation(decode(body(**fields)))


def said(*messages: Mapping[str, Any]) -> tuple[Message, ...]:
    return meaning(messages=messages).messages


def field_at_fault(**fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as refused:
        meaning(**fields)
    return refused.value.field


@settings(max_examples=100)
@given(conversations(upstream.EXPRESSES, ALL - {Nuance.FAILURES, Nuance.RESULT_IMAGES}, origin=Wire.CHAT))
def test_a_conversation_sent_and_read_back_means_the_same(conversation: Conversation) -> None:
    request = upstream.translated_request(
        conversation, asking(conversation), ALL_KNOWING, access=ACCESS, output_cap=None
    )
    back = openai_chat.conversation(decode(json.dumps({**json.loads(request.body), "model": "m"}).encode()))
    assert as_merged(back) == as_merged(conversation)
    assert back.others == ()


@settings(max_examples=100)
@given(completions(origin=Wire.CHAT, choices_max=2, logprobs=True))
def test_an_answer_told_and_read_back_means_the_same_whole_and_streamed(completion: Completion) -> None:
    request = decode(body(stream=True, stream_options={"include_usage": True}))
    told = openai_chat.rendered_answer(completion, request, RECEIPT)
    assert upstream.completion(told) == completion
    rendering = openai_chat.rendering(request, model="m", generation_id="gen_1", created=5)
    stream = b"".join(map(rendering.render, deltas_of(completion))) + rendering.end(RECEIPT)
    reader = upstream.reader()
    chunks = [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event]
    assert collected(delta for chunk in chunks for delta in reader.deltas(chunk)) == completion
    assert all(reader.look(chunk) for chunk in chunks)
    answer = upstream.read_answer(told)
    assert answer is not None
    assert reader.answer.usage == answer.usage
    assert sorted(upstream.text_of(chunks)) == sorted(answer.text)


def test_every_kind_of_part_is_understood() -> None:
    content = [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x.test/a"}, "cache_control": {"type": "ephemeral"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "https://x.test/b.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
    assert said({"role": "user", "content": content})[0].parts == (
        Text("a", Cache("1h")),
        Image(Inline("image/png", "QUJD"), "low"),
        Image(Link("https://x.test/a"), cache=Cache()),
        Audio(Inline("audio/mpeg", "QUJD")),
        File(Inline("application/pdf", "QUJD"), "a.pdf"),
        File(Link("https://x.test/b.pdf")),
        File(Uploaded("file-1")),
    )


def test_an_assistants_turn_keeps_thoughts_words_and_calls() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "g"}}}  # fmt: skip
    details = [
        {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "d", "format": "google-gemini-v1", "index": 1},
        {"type": "reasoning.summary", "summary": "u", "index": 2},
        {"type": "reasoning.text", "text": "v", "signature": "w", "format": "xai-responses-v1"},
    ]
    (assistant,) = said({"role": "assistant", "content": "x", "reasoning": "t", "reasoning_details": details,
                         "refusal": "no", "tool_calls": [call]})  # fmt: skip
    assert assistant.parts == (
        Reasoning("t", "s", "messages"),
        Reasoning("", "d", "generate_content", redacted=True),
        Reasoning("u"),
        Reasoning("v", "xai-responses-v1:w", "chat.completions"),
        Text("x"),
        Refusal("no"),
        ToolCall("c1", "f", "{}", "g"),
    )
    assert said({"role": "assistant", "content": None, "reasoning_content": "t"})[0].parts == (Reasoning("t"),)


def test_results_are_told_by_the_name_of_what_was_called() -> None:
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    messages = said(
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}]},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
    )
    assert [message.parts for message in messages[1:]] == [
        (ToolResult("c1", (Text("1"),), "f"),), (ToolResult("c2", ()),),
    ]  # fmt: skip


def test_functions_in_the_old_form_are_calls_of_tools() -> None:
    messages = said(
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    )
    assert messages[1].parts == (ToolCall("call_1", "f", "{}"),)
    assert messages[2].parts == (ToolResult("call_1", (Text("1"),), "f"),)


def test_roles_and_names_are_kept_and_empty_messages_are_not() -> None:
    messages = said(
        {"role": "developer", "content": "a"},
        {"role": "user", "name": "Ann", "content": "b"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": None},
    )
    assert messages == (Message(Role.SYSTEM, (Text("a"),)), Message(Role.USER, (Text("Ann: b"),)))


@pytest.mark.parametrize(("message", "field"), [
    ({"role": "robot", "content": "x"}, "messages[0].role"),
    ({"content": "x"}, "messages[0].role"),
    ({"role": "user", "content": 5}, "messages[0].content"),
    ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
    ({"role": "user", "content": [{"type": "video_url"}]}, "messages[0].content[0].type"),
    ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
    ({"role": "user", "content": [{"type": "image_url"}]}, "messages[0].content[0].image_url.url"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "QUJD"}}]},
     "messages[0].content[0].image_url.url"),
    ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg>"}}]},
     "messages[0].content[0].image_url.url"),
    ({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x"}}]},
     "messages[0].content[0].input_audio.format"),
    ({"role": "user", "content": [{"type": "file", "file": {}}]}, "messages[0].content[0].file"),
    ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
    ({"role": "function", "name": "f", "content": "x"}, "messages[0].name"),
    ({"role": "assistant", "tool_calls": {}}, "messages[0].tool_calls"),
    ({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]},
     "messages[0].tool_calls[0].function"),
    ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
])  # fmt: skip
def test_a_message_that_means_nothing_is_named(message: Mapping[str, Any], field: str) -> None:
    assert field_at_fault(messages=[message]) == field


def test_settings_are_understood() -> None:
    conversation = meaning(
        max_tokens=5, temperature=1, top_p=0.5, top_k=3, stop="x", seed=1, presence_penalty=1, frequency_penalty=-1,
        logit_bias={"1": 2}, logprobs=True, top_logprobs=2, n=2, verbosity="low", service_tier="flex",
        parallel_tool_calls=False,
        tools=[{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": False}},
        reasoning_effort="low",
    )  # fmt: skip
    assert replace(conversation, messages=()) == Conversation(
        messages=(), max_tokens=5, temperature=1.0, top_p=0.5, top_k=3, stop=("x",), seed=1, presence_penalty=1.0,
        frequency_penalty=-1.0, logit_bias={"1": 2.0}, logprobs=True, top_logprobs=2, choices=2, verbosity="low",
        service_tier="flex", parallel_tool_calls=False, tools=(Tool("f", None, {}, strict=True),),
        tool_choice=ToolChoice("named", "f"), response_format=ResponseFormat({}, "a", strict=False),
        reasoning=Thinking("low"),
    )  # fmt: skip
    assert set(conversation.features()) == set(Feature) & {Feature(name) for name in (
        "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "presence_penalty", "frequency_penalty",
        "logit_bias", "logprobs", "top_logprobs", "n", "verbosity", "service_tier", "parallel_tool_calls", "tools",
        "tool_choice", "response_format", "reasoning",
    )}  # fmt: skip


def test_what_is_the_default_asks_for_nothing() -> None:
    defaults: dict[str, Any] = {
        "temperature": None, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "n": 1,
        "logprobs": False, "top_logprobs": 0, "parallel_tool_calls": True, "tools": [], "tool_choice": "auto",
        "response_format": {"type": "text"}, "service_tier": "auto", "store": False, "modalities": ["text"],
        "verbosity": "medium", "functions": None, "prediction": None, "usage": {"include": True}, "stop": [],
        "reasoning": {}, "min_p": 0, "repetition_penalty": 1.0, "stream_options": None,
    }  # fmt: skip
    assert meaning(**defaults) == meaning()
    assert meaning(**defaults).others == ()
    assert list(meaning(**defaults).features()) == []


@pytest.mark.parametrize("fields", [
    {"store": True}, {"modalities": ["text", "audio"]}, {"audio": {"voice": "a"}}, {"prediction": {"type": "content"}},
    {"prompt_cache_key": "x"}, {"functions": [{"name": "f"}]},
    {"function_call": "auto"}, {"min_p": 0.5}, {"tools": [{"type": "custom", "custom": {"name": "f"}}]},
    {"tool_choice": {"type": "allowed_tools"}}, {"response_format": {"type": "grammar"}}, {"something": 1},
])  # fmt: skip
def test_what_only_this_format_has_is_told_by_its_name(fields: dict[str, Any]) -> None:
    assert meaning(**fields).others == tuple(fields)


@pytest.mark.parametrize(("fields", "expected"), [
    ({"reasoning_effort": "high"}, Thinking("high")),
    ({"reasoning": {"effort": "xhigh"}, "reasoning_effort": "low"}, Thinking("xhigh")),
    ({"reasoning": {"max_tokens": 2000, "exclude": True}}, Thinking(None, 2000, shown=False)),
    ({"reasoning": {"enabled": True}}, Thinking("medium")),
    ({"reasoning": {"enabled": False, "effort": "high"}}, Thinking("none")),
    ({"reasoning": {"exclude": False}}, Thinking(shown=True)),
    ({"include_reasoning": False}, Thinking(shown=False)),
])  # fmt: skip
def test_every_way_to_ask_for_thoughts_means_the_same(fields: dict[str, Any], expected: Thinking) -> None:
    assert meaning(**fields).reasoning == expected
    assert meaning(**fields).others == ()


@pytest.mark.parametrize(("fields", "field"), [
    ({"temperature": "hot"}, "temperature"),
    ({"stop": 5}, "stop"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"tool_choice": {"type": "function"}}, "tool_choice"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"reasoning_effort": "much"}, "reasoning_effort"),
    ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
    ({"logit_bias": {"1": "x"}}, "logit_bias"),
])  # fmt: skip
def test_a_setting_that_means_nothing_is_named(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(**fields) == field


KEYS = ("role", "content", "type", "text", "image_url", "url", "tool_calls", "function", "name", "arguments", "id",
        "file", "file_data", "reasoning_details", "extra_content", "tool_call_id", "function_call")  # fmt: skip
WORDS = ("user", "assistant", "tool", "function", "text", "image_url", "file", "f", "data:,", "https://x.test")
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=10,
)  # fmt: skip
SETTINGS = st.dictionaries(
    st.sampled_from(["tools", "tool_choice", "response_format", "stop", "reasoning", "logit_bias", "x", "top_k"]), JSON
)


@given(st.lists(JSON, min_size=1, max_size=4), SETTINGS)
def test_no_request_raises_anything_but_a_refusal(messages: list[Any], fields: dict[str, Any]) -> None:
    roles = [{"role": "user", **message} if isinstance(message, dict) else message for message in messages]
    with suppress(InvalidRequest):
        assert isinstance(meaning(messages=roles, **fields), Conversation)


@given(st.integers(1, 3000))
def test_depth_is_refused_or_read(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    given_body = (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"x","y":%s}}' % nested
    )
    with suppress(InvalidRequest):
        assert openai_chat.conversation(decode(given_body)).others == ("response_format",)


def events(stream: bytes) -> list[Any]:
    return [event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event]


def test_a_stream_keeps_its_end_back_for_the_settlement() -> None:
    rendering = openai_chat.rendering(decode(body(stream=True)), model="m", generation_id="gen_1", created=5)
    assert rendering.render(StopDelta(Stop.PAUSE, "pause_turn")) == b""
    told = [*events(rendering.render(TextDelta("x"))), *events(rendering.end(RECEIPT))]
    assert told[-1] == b"[DONE]"
    head = {"id": "gen_1", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    assert [json.loads(each) for each in told[:-1]] == [
        {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x"}, "logprobs": None,
                              "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]},
    ]  # fmt: skip


def test_a_translated_stream_that_fails_says_so() -> None:
    rendering = openai_chat.rendering(decode(body(stream=True)), model="m", generation_id="gen_1", created=5)
    told, done = events(rendering.fail(ProviderFailed("No."), 502))
    assert (json.loads(told)["error"]["message"], done) == ("No.", b"[DONE]")


def test_usage_is_told_from_what_was_billed_and_reads_back_the_same() -> None:
    counts = {Kind.PROMPT: 1, Kind.INPUT_CACHE_READ: 2, Kind.INPUT_CACHE_WRITE: 4, Kind.INPUT_AUDIO: 8,
              Kind.COMPLETION: 16, Kind.INTERNAL_REASONING: 32, Kind.WEB_SEARCH: 3}  # fmt: skip
    receipt = RECEIPT._replace(
        quantities=UsageQuantities(counts), generation_id="gen_0198f2c4-5a00-7000-8000-000000000000"
    )
    request = decode(body(stream=True, stream_options={"include_usage": True}))
    whole = json.loads(openai_chat.rendered_answer(Completion((Choice((), None, None),)), request, receipt))
    assert (whole["provider"], whole["model"], whole["created"]) == ("acme", "acme/model", 0x0198F2C45A00 // 1000)
    rendering = openai_chat.rendering(request, model="m", generation_id="gen_1", created=5)
    last = json.loads(events(rendering.end(receipt))[0])
    assert (last["provider"], last["model"], last["choices"]) == ("acme", "acme/model", [])
    assert last["usage"] == whole["usage"]
    assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"], last["usage"]["cost"]) == (15, 48, 7e-7)
    answer = upstream.read_answer(json.dumps(whole).encode())
    assert answer is not None
    assert answer.usage is not None
    assert (dict(answer.usage.quantities), answer.usage.anomalous) == (counts, False)


def test_thoughts_that_are_not_shown_stand_apart_in_a_stream() -> None:
    rendering = openai_chat.rendering(decode(body(stream=True)), model="m", generation_id="gen_1", created=5)
    deltas: list[Delta] = [ReasoningDelta("a"), ReasoningDelta("", "s", "messages", redacted=True), ReasoningDelta("b"),
              ToolCallDelta(0, "c", "f", "{}")]  # fmt: skip
    chunks = [json.loads(event) for delta in deltas for event in events(rendering.render(delta))]
    details = [chunk["choices"][0]["delta"].get("reasoning_details", [{}])[0] for chunk in chunks]
    assert [detail.get("index") for detail in details] == [0, 1, 2, None]
    assert details[1] == {"type": "reasoning.encrypted", "data": "s", "format": "anthropic-claude-v1", "index": 1}
