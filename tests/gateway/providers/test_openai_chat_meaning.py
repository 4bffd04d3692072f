"""OpenAI's chat format at its many providers: what answers in each dialect say and mean, and what they are asked."""

import json
from typing import Any

import pytest
from tests.gateway.builders import a_candidate
from tests.gateway.conversations import asking
from tests.gateway.corpus import Entry, entries
from tests.gateway.readings import check_as_documented, through

from tollgate.catalog.model import Format
from tollgate.gateway.model import Access, Candidate, Wire
from tollgate.gateway.neutral import (
    Audio,
    Cache,
    Choice,
    Conversation,
    Feature,
    Image,
    Inline,
    Link,
    Message,
    Reasoning,
    Role,
    Stop,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tollgate.gateway.providers import openai_chat
from tollgate.gateway.providers.openai_chat.answers import read_usage
from tollgate.gateway.translation import ConversationalProvider, PassingProvider
from tollgate.kit.tokens import Kind

CORPUS = entries(Wire.CHAT)
ACCESS = Access("https://acme.test/v1", "secret")


def test_the_package_is_a_translator() -> None:
    face: ConversationalProvider = openai_chat
    passing: PassingProvider = openai_chat
    assert face.WIRE is passing.WIRE is Wire.CHAT
    assert not face.EXPRESSES & {Feature.FILE_IDS, Feature.FILE_URLS}


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_the_corpus_is_read_as_documented(entry: Entry) -> None:
    answer = check_as_documented(openai_chat, entry)
    assert answer.upstream_id == json.loads(entry.whole or b"")["id"]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_stream_means_what_the_whole_answer_means(entry: Entry) -> None:
    assert entry.whole is not None
    assert through(openai_chat, entry.stream)[1] == openai_chat.completion(entry.whole)


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_the_quantities_sum_to_the_providers_totals(entry: Entry) -> None:
    usage = json.loads(entry.whole or b"{}")["usage"]
    reading = read_usage(usage)
    assert reading is not None
    on_top = entry.expected.get("on_top", False)
    read, written = reading.quantities.prompt_tokens, reading.quantities.completion_tokens
    assert read == usage["prompt_tokens"] + usage.get("citation_tokens", 0)
    assert written == usage["completion_tokens"] + (reading.quantities[Kind.INTERNAL_REASONING] if on_top else 0)


@pytest.mark.parametrize(("usage", "counts"), [
    ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_audio_seconds": 30},
     {Kind.PROMPT: 9, Kind.COMPLETION: 1, Kind.AUDIO_SECONDS: 30}),
    ({"prompt_tokens": 9, "completion_tokens": 1, "server_tool_use": {"web_search_requests": 2}},
     {Kind.PROMPT: 9, Kind.COMPLETION: 1, Kind.WEB_SEARCH: 2}),
    ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
     {Kind.PROMPT: 5, Kind.INPUT_CACHE_READ: 4, Kind.COMPLETION: 1}),
    ({"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cache_creation_input_tokens": 4}},
     {Kind.PROMPT: 5, Kind.INPUT_CACHE_WRITE: 4, Kind.COMPLETION: 1}),
    ({"prompt_tokens": 9, "completion_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 4},
     {Kind.PROMPT: 3, Kind.INPUT_CACHE_READ: 2, Kind.INPUT_CACHE_WRITE: 4, Kind.COMPLETION: 1}),
    ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
      "completion_tokens_details": {"reasoning_tokens": 2}},
     {Kind.PROMPT: 9, Kind.COMPLETION: 1, Kind.INTERNAL_REASONING: 2}),
    ({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 14,
      "completion_tokens_details": {"reasoning_tokens": 2}},
     {Kind.PROMPT: 9, Kind.COMPLETION: 3, Kind.INTERNAL_REASONING: 2}),
])  # fmt: skip
def test_every_dialect_of_usage_is_parted(usage: dict[str, Any], counts: dict[Kind, int]) -> None:
    reading = read_usage(usage)
    assert reading is not None
    assert (dict(reading.quantities), reading.anomalous, reading.unknown) == (counts, False, ())


def test_totals_that_do_not_add_up_are_billed_as_told_and_marked() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 13,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    reading = read_usage(usage)
    assert reading is not None
    assert (reading.quantities.prompt_tokens, reading.quantities.completion_tokens, reading.anomalous) == (9, 3, True)


def answer_of(message: dict[str, Any], **choice: Any) -> Choice:
    body = {"id": "chatcmpl-7", "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}]}
    [read] = openai_chat.completion(json.dumps(body).encode()).choices
    return read


def test_calls_in_every_odd_form_are_calls() -> None:
    calls = [{"function": {"name": "f", "arguments": {"a": 1}}}, {"id": "c", "function": {"name": "g"}}, 5]
    read = answer_of({"content": None, "tool_calls": calls})
    assert read.parts == (ToolCall("call_chatcmpl7_0", "f", '{"a":1}'), ToolCall("c", "g", ""))
    assert (read.stop, read.native_stop) == (Stop.TOOL_CALLS, "stop")
    old = answer_of({"function_call": {"name": "f", "arguments": "{}"}}, finish_reason="function_call")
    assert old.parts == (ToolCall("call_chatcmpl7_0", "f", "{}"),)
    assert old.stop is Stop.TOOL_CALLS


@pytest.mark.parametrize("pieces", [
    [{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
     {"index": 0, "function": {"arguments": "{}"}},
     {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}],
    [{"index": 1, "id": "a", "function": {"name": "f", "arguments": "{"}},
     {"index": 1, "id": "a", "function": {"name": "f", "arguments": "}"}},
     {"index": 2, "id": "b", "function": {"name": "g", "arguments": "{}"}}],
    [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
     {"index": 0, "id": "b", "function": {"name": "g", "arguments": "{}"}}],
    [{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}},
     {"id": "b", "function": {"name": "g", "arguments": "{}"}}],
    [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}},
     {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{"}},
     {"index": 0, "id": "", "function": {"arguments": "}"}}, {"index": 1, "id": None, "function": {"arguments": "}"}}],
])  # fmt: skip
def test_pieces_of_calls_find_their_calls(pieces: list[Any]) -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces]
    events = [json.dumps(chunk).encode() for chunk in [*chunks, {"choices": [{"delta": {}, "finish_reason": "stop"}]}]]
    [choice] = through(openai_chat, events)[1].choices
    assert choice.parts == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"))
    assert choice.stop is Stop.TOOL_CALLS


def test_azures_first_chunk_says_nothing() -> None:
    first = b'{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}'
    answer, said = through(
        openai_chat, [first, b'{"id":"a","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}']
    )
    assert (answer.upstream_id, said.choices[0].parts) == ("a", (Text("x"),))


def test_an_end_told_twice_is_one() -> None:
    end = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
    reader = openai_chat.reader()
    assert len([*reader.deltas(end), *reader.deltas(end)]) == 1


@pytest.mark.parametrize(("word", "stop"), [
    ("stop", Stop.STOP), ("eos", Stop.STOP), ("length", Stop.LENGTH), ("model_length", Stop.LENGTH),
    ("content_filter", Stop.CONTENT_FILTER), ("error", Stop.ERROR), ("insufficient_system_resource", Stop.ERROR),
    ("something new", Stop.STOP),
])  # fmt: skip
def test_reasons_are_normalised_and_kept(word: str, stop: Stop) -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": word}]}).encode()
    answer = openai_chat.read_answer(body)
    assert answer is not None
    assert (answer.finish_reason, answer.native_finish_reason) == (stop.value, word)
    [choice] = openai_chat.completion(body).choices
    assert (choice.stop, choice.native_stop) == (stop, word)


def test_errors_inside_an_answer_are_found_wherever_they_are() -> None:
    for said in (
        {"error": {"message": "no"}},
        {"x_groq": {"error": "no"}},
        {"choices": [{"error": {"message": "no"}}]},
    ):
        reader = openai_chat.reader()
        assert reader.look(json.dumps({"choices": [], **said}).encode())
        assert reader.answer.error == "no"


def test_likelihoods_and_stop_sequences_are_kept() -> None:
    tokens = [{"token": "x", "logprob": -1, "bytes": [120], "top_logprobs": [{"token": "y", "logprob": -2.5}]},
              {"token": "z", "logprob": True}]  # fmt: skip
    read = answer_of({"content": "x"}, logprobs={"content": tokens}, stop_reason="###")
    assert read.logprobs is not None
    [token] = read.logprobs
    assert (token.token, token.logprob, token.bytes, token.top[0].token) == ("x", -1.0, (120,), "y")
    assert read.stop_sequence == "###"


def asked(conversation: Conversation, *, candidate: Candidate | None = None, **fields: Any) -> Any:
    request = openai_chat.translated_request(
        conversation, asking(conversation, **fields), candidate or a_candidate(), access=ACCESS, output_cap=None
    )
    assert request.url == "https://acme.test/v1/chat/completions"
    assert request.stream is bool(fields.get("stream"))
    return json.loads(request.body)


HELLO = (Message(Role.USER, (Text("hi"),)),)


def test_a_conversation_becomes_a_request_with_nothing_nobody_asked_for() -> None:
    assert asked(Conversation(HELLO, max_tokens=5)) == {
        "model": "upstream-name", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5,
    }  # fmt: skip
    assert asked(Conversation(HELLO, max_tokens=5), stream=True)["stream_options"] == {"include_usage": True}
    compatible = a_candidate(speaks=Format.OPENAI_COMPATIBLE, context_length=9)
    assert "max_tokens" in asked(Conversation(HELLO, max_tokens=5), candidate=compatible)
    assert asked(Conversation(HELLO), candidate=compatible).keys() == {"model", "messages"}


def test_what_some_servers_refuse_is_sent_to_those_that_list_it() -> None:
    thoughts = (Reasoning("a", "s", "chat.completions"), Reasoning("b", "t", "messages"),
                Reasoning("", "u", "messages", redacted=True), Reasoning("c"))  # fmt: skip
    said = Message(Role.ASSISTANT, (*thoughts, ToolCall("c", "f", "", "g")))
    conversation = Conversation(
        (Message(Role.USER, (Text("hi", Cache("1h")),)), said), tools=(Tool("f", None, None, cache=Cache()),)
    )
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    plain = asked(conversation)
    assert plain["messages"] == [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": None, "tool_calls": [call]},
    ]  # fmt: skip
    assert plain["tools"] == [{"type": "function", "function": {"name": "f"}}]
    texts = asked(conversation, candidate=a_candidate(supported_parameters=("reasoning_content",)))
    assert texts["messages"][1]["reasoning_content"] == "abc"
    supported = ("reasoning_details", "cache_control", "extra_content")
    full = asked(conversation, candidate=a_candidate(supported_parameters=supported))
    marked = {"type": "ephemeral", "ttl": "1h"}
    assert full["messages"][0]["content"] == [{"type": "text", "text": "hi", "cache_control": marked}]
    assert full["messages"][1]["reasoning_details"] == [
        {"type": "reasoning.text", "text": "a", "signature": "s", "format": "unknown", "index": 0},
        {"type": "reasoning.text", "text": "b", "index": 1},
        {"type": "reasoning.text", "text": "c", "index": 2},
    ]
    assert full["messages"][1]["tool_calls"] == [{**call, "extra_content": {"google": {"thought_signature": "g"}}}]
    assert full["tools"][0]["cache_control"] == {"type": "ephemeral"}


def test_a_signature_comes_back_in_the_format_its_server_named() -> None:
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    [thought] = answer_of({"content": None, "reasoning": "t", "reasoning_details": [detail]}).parts
    assert isinstance(thought, Reasoning)
    assert thought.origin == Wire.CHAT.value
    conversation = Conversation((Message(Role.ASSISTANT, (thought,)),))
    body = asked(conversation, candidate=a_candidate(supported_parameters=("reasoning_details",)))
    assert body["messages"][0]["reasoning_details"] == [detail]


def test_what_tools_returned_is_told_though_only_text_can_stand_there() -> None:
    results = (
        ToolResult("c1", (Text("broken"),), "f", failed=True),
        ToolResult("c2", (Text("see"), Image(Link("https://x.test/a"), "low")), "g"),
        ToolResult("c3", ()),
    )
    assert asked(Conversation((Message(Role.TOOL, results),)))["messages"] == [
        {"role": "tool", "tool_call_id": "c1",
         "content": [{"type": "text", "text": "The tool failed."}, {"type": "text", "text": "broken"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "see"},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {"role": "user", "content": [
            {"type": "text", "text": "Returned by tool call c2:"},
            {"type": "image_url", "image_url": {"url": "https://x.test/a", "detail": "low"}},
        ]},
    ]  # fmt: skip


def test_sound_is_named_by_its_format() -> None:
    sounds = tuple(Audio(Inline(kind, "QUJD")) for kind in ("audio/mpeg", "audio/x-wav", "audio/flac"))
    content = asked(Conversation((Message(Role.USER, sounds),)))["messages"][0]["content"]
    assert [part["input_audio"]["format"] for part in content] == ["mp3", "wav", "flac"]


@pytest.mark.parametrize(("thinking", "supported", "expected"), [
    (Thinking("low"), (), {"reasoning_effort": "low"}),
    (Thinking(budget_tokens=0), (), {"reasoning_effort": "none"}),
    (Thinking(budget_tokens=1024), (), {"reasoning_effort": "low"}),
    (Thinking(budget_tokens=5000), (), {"reasoning_effort": "medium"}),
    (Thinking(budget_tokens=32_000), (), {"reasoning_effort": "high"}),
    (Thinking(shown=True), (), {}),
    (Thinking("high", shown=False), ("reasoning",), {"reasoning": {"effort": "high", "exclude": True}}),
    (Thinking(budget_tokens=5), ("reasoning",), {"reasoning": {"max_tokens": 5}}),
])  # fmt: skip
def test_thoughts_are_asked_for_in_the_endpoints_way(
    thinking: Thinking, supported: tuple[str, ...], expected: dict[str, Any]
) -> None:
    body = asked(Conversation(HELLO, reasoning=thinking), candidate=a_candidate(supported_parameters=supported))
    assert {name: value for name, value in body.items() if name.startswith("reasoning")} == expected
