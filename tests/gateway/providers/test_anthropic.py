"""Anthropic's wire format, as providers speak it: usage becomes disjoint quantities, and nothing they say raises."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.corpus import Entry, entries
from tests.gateway.readings import check_as_documented, through

from tollgate.gateway.model import Answer, Wire
from tollgate.gateway.neutral import (
    Stop,
    Text,
    ToolCall,
)
from tollgate.gateway.providers import anthropic
from tollgate.gateway.providers.anthropic import usage
from tollgate.gateway.translation import ConversationalProvider, PassingProvider
from tollgate.kit.tokens import Kind

PASSING: PassingProvider = anthropic
CONVERSING: ConversationalProvider = anthropic
CORPUS = entries(Wire.MESSAGES)


def read_stream(events: Any) -> Answer:
    reader = anthropic.reader()
    for data in events:
        assert reader.look(data if isinstance(data, bytes) else json.dumps(data).encode())
    return reader.answer


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_whole_answer_is_read(entry: Entry) -> None:
    answer = check_as_documented(anthropic, entry)
    assert answer.upstream_id == json.loads(entry.whole or b"")["id"]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_stream_tells_what_the_whole_tells(entry: Entry) -> None:
    check_as_documented(anthropic, entry)
    assert [anthropic.reader().is_last(data) for data in entry.stream] == [False] * (len(entry.stream) - 1) + [True]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_the_deltas_of_a_stream_are_the_whole_answer(entry: Entry) -> None:
    _, streamed = through(anthropic, entry.stream)
    assert joined(streamed.choices[0]) == joined(anthropic.completion(entry.whole or b"").choices[0])


def joined(choice: Any) -> Any:
    """The answer with neighbouring texts made one: streams do not tell where one ends."""
    parts: list[Any] = []
    for part in choice.parts:
        if parts and isinstance(part, Text) and isinstance(parts[-1], Text):
            parts[-1] = Text(parts[-1].text + part.text)
        else:
            parts.append(replace(part, arguments=json.loads(part.arguments)) if isinstance(part, ToolCall) else part)
    return replace(choice, parts=tuple(parts))


def quantities(**counts: Any) -> tuple[dict[Kind, int], bool]:
    reading = usage.read({"input_tokens": 10, "output_tokens": 5, **counts}, whole=True)
    assert reading is not None
    return {kind: count for kind, count in reading.quantities.counts.items() if count}, reading.anomalous


def test_an_hours_writes_are_billed_as_told_and_what_is_left_of_the_total_as_five_minutes() -> None:
    split = {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 600}
    assert quantities(cache_creation_input_tokens=500, cache_creation=split) == (
        {Kind.PROMPT: 10, Kind.INPUT_CACHE_WRITE_5M: 500, Kind.COMPLETION: 5}, True,
    )  # fmt: skip
    assert quantities(cache_creation=split) == (
        {Kind.PROMPT: 10, Kind.INPUT_CACHE_WRITE_5M: 100, Kind.INPUT_CACHE_WRITE_1H: 600, Kind.COMPLETION: 5}, False,
    )  # fmt: skip


@given(*[st.none() | st.integers(0, 1000)] * 3)
def test_cache_writes_add_up_to_their_total(total: int | None, minutes: int | None, hour: int | None) -> None:
    split = {"ephemeral_5m_input_tokens": minutes, "ephemeral_1h_input_tokens": hour}
    counts, anomalous = quantities(cache_creation_input_tokens=total, cache_creation=split)
    billed = counts.get(Kind.INPUT_CACHE_WRITE_5M, 0) + counts.get(Kind.INPUT_CACHE_WRITE_1H, 0)
    told = (minutes or 0) + (hour or 0)
    is_split = minutes is not None or hour is not None
    assert billed == (told if total is None else total)
    assert anomalous == (total is not None and is_split and told != total)


def test_more_thoughts_than_output_are_no_more_output() -> None:
    assert quantities(output_tokens_details={"thinking_tokens": 9}) == ({Kind.PROMPT: 10, Kind.COMPLETION: 5}, True)


def test_a_total_that_is_missing_is_not_zero() -> None:
    reading = usage.read({"output_tokens": 5, "cache_read_input_tokens": 7}, whole=True)
    assert reading is not None
    # What is read from the cache counts in the prompt that is estimated in place of the whole half.
    assert (reading.prompt_known, reading.anomalous, reading.quantities.counts) == (False, True, {Kind.COMPLETION: 5})
    assert usage.read({"cache_read_input_tokens": 7}, whole=True) is None


def test_what_nobody_bills_is_told_by_name() -> None:
    reading = usage.read({
        "input_tokens": 1, "output_tokens": 1, "video_tokens": 3, "nothing": 0,
        "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 2, "code_execution_requests": 3},
        "cache_creation": {"ephemeral_24h_input_tokens": 4},
        "iterations": [{"type": "message"}, {"type": "compaction", "input_tokens": 9}, {"type": "advisor_message"}, 5],
    }, whole=True)  # fmt: skip
    assert reading is not None
    assert reading.quantities[Kind.WEB_SEARCH] == 1
    assert reading.unknown == (
        "video_tokens", "ephemeral_24h_input_tokens", "code_execution_requests", "iterations.compaction",
        "iterations.advisor_message",
    )  # fmt: skip


START = {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 9, "output_tokens": 1}}}


@pytest.mark.parametrize(("told", "tier"), [
    ({"service_tier": "standard", "speed": "fast"}, "fast"), ({"speed": "fast"}, "fast"),
    ({"service_tier": "standard"}, "standard"), ({"service_tier": "standard", "speed": None}, "standard"), ({}, None),
    ({"service_tier": "standard", "speed": "standard"}, "standard_only"), ({"speed": "standard"}, None),
    ({"service_tier": "priority"}, "priority"), ({"service_tier": "priority", "speed": "standard"}, "priority"),
])  # fmt: skip
def test_the_standard_tier_alone_does_not_tell_whether_fast_mode_served(told: dict[str, Any], tier: str | None) -> None:
    assert usage.served_tier(told) == tier


def test_a_stream_that_breaks_off_has_told_its_prompt_but_not_its_output() -> None:
    reading = read_stream([START, {"type": "content_block_start", "index": 0}]).usage
    assert reading is not None
    assert dict(reading.quantities) == {Kind.PROMPT: 9}
    assert (reading.prompt_known, reading.completion_known) == (True, False)
    assert not reading.anomalous


def test_a_prompt_of_nothing_at_the_beginning_is_not_known_yet() -> None:
    begun = {"type": "message_start", "message": {"usage": {"input_tokens": 0, "output_tokens": 0}}}
    reading = read_stream([begun]).usage
    assert reading is not None
    assert (reading.prompt_known, reading.completion_known) == (False, False)


def test_a_field_that_is_told_twice_counts_once_by_the_larger_count() -> None:
    ends = [
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7, "cache_read_input_tokens": 3}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5, "input_tokens": 4},
        },
    ]
    answer = read_stream([START, *ends])
    assert answer.usage is not None
    counts = answer.usage.quantities.counts
    assert counts == {Kind.PROMPT: 9, Kind.INPUT_CACHE_READ: 3, Kind.INPUT_CACHE_WRITE_5M: 0, Kind.COMPLETION: 7}
    assert (answer.finish_reason, answer.usage.completion_known) == ("stop", True)


def test_usage_may_stand_inside_the_delta() -> None:
    told = {"input_tokens": 7, "output_tokens": 80, "cache_read_input_tokens": 2}
    answer = read_stream([START, {"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": told}}])
    assert answer.usage is not None
    assert dict(answer.usage.quantities) == {Kind.PROMPT: 9, Kind.INPUT_CACHE_READ: 2, Kind.COMPLETION: 80}
    assert answer.usage.completion_known


def test_an_error_in_a_stream_is_told_in_the_providers_words() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    answer = read_stream([START, error])
    assert (answer.error, answer.text) == ("Overloaded", "")
    whole = anthropic.read_answer(json.dumps(error).encode())
    assert whole is not None
    assert (whole.error, whole.text, whole.usage) == ("Overloaded", "", None)
    assert anthropic.read_error(json.dumps(error).encode()) == "Overloaded"
    assert anthropic.read_error(b"<html>") is None


@pytest.mark.parametrize(("native", "stop"), [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"),
    ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"),
    ("pause_turn", "pause"), ("some_new_word", "stop"),
])  # fmt: skip
def test_every_reason_to_stop_has_a_word(native: str, stop: str) -> None:
    body = json.dumps({"content": [], "stop_reason": native}).encode()
    answer = anthropic.read_answer(body)
    assert answer is not None
    assert (answer.finish_reason, answer.native_finish_reason) == (stop, native)
    assert anthropic.completion(body).choices[0].stop == Stop(stop)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a\x00\ud83d\ude00é", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([
        "type", "usage", "message", "delta", "error", "content", "content_block", "index", "input", "text", "id",
        "input_tokens", "cache_creation", "server_tool_use", "iterations", "output_tokens", "stop_reason",
    ]), inner | st.sampled_from([
        "message_start", "message_delta", "content_block_start", "content_block_delta", "tool_use", "thinking", "text",
        "input_json_delta", "text_delta", "redacted_thinking", "error", "message",
    ]), max_size=5),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=100)
@given(st.lists(st.binary() | JSON.map(lambda value: json.dumps(value).encode()), max_size=4))
def test_nothing_a_provider_says_raises(bodies: list[bytes]) -> None:
    reader = anthropic.reader()
    for body in bodies:
        reader.look(body)
        reader.is_last(body)
        list(reader.deltas(body))
        anthropic.read_error(body)
        if anthropic.read_answer(body) is not None:
            anthropic.completion(body)
    assert isinstance(anthropic.text_of(bodies), str)


@pytest.mark.parametrize("depth", [10, 300, 900, 990, 1000, 2000])
def test_depth_does_not_raise(depth: int) -> None:
    nested = b'{"x":' * depth + b"1" + b"}" * depth
    call = b'{"type":"tool_use","id":"a","name":"b","input":%s}' % nested
    body = b'{"content":[%s],"usage":{"input_tokens":1,"output_tokens":1,"cache_creation":%s}}' % (call, nested)
    begin = b'{"type":"content_block_start","index":0,"content_block":%s}' % call
    start = b'{"type":"message_start","message":%s}' % body
    end = b'{"type":"message_delta","usage":{"output_tokens":1,"cache_creation":%s}}' % nested
    if anthropic.read_answer(body) is not None:
        anthropic.completion(body)
    reader = anthropic.reader()
    for event in (start, begin, end):
        reader.look(event)
        list(reader.deltas(event))
    anthropic.text_of([begin])
