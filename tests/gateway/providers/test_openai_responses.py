"""Responses as providers answer them: usage becomes disjoint quantities, and nothing they say raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.corpus import Entry, entries
from tests.gateway.readings import check_as_documented, through

from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    Reasoning,
    Refusal,
    Stop,
    Text,
    TokenLogprob,
    ToolCall,
)
from tollgate.gateway.providers import openai_responses as upstream
from tollgate.gateway.providers.openai_responses import usage as usages
from tollgate.gateway.translation import ConversationalProvider, PassingProvider
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind

CORPUS = entries(Wire.RESPONSES)
OURS = Wire.RESPONSES.value


def response(*items: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps({"id": "resp_1", "status": "completed", "output": items, **fields}).encode()


def event(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


def test_the_package_is_a_translator() -> None:
    faces: tuple[ConversationalProvider, PassingProvider] = (upstream, upstream)
    assert {face.WIRE for face in faces} == {Wire.RESPONSES}


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_the_corpus_is_read_as_documented(entry: Entry) -> None:
    answer = check_as_documented(upstream, entry)
    assert answer.upstream_id == json.loads(entry.whole or b"")["id"]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_stream_means_what_the_whole_answer_means(entry: Entry) -> None:
    assert entry.whole is not None
    whole = upstream.completion(entry.whole)
    # A stream has no bounds between messages.
    assert _joined(through(upstream, entry.stream)[1]) == _joined(whole)


def _joined(completion: Completion) -> tuple[Any, ...]:
    [choice] = completion.choices
    texts = "".join(part.text for part in choice.parts if isinstance(part, Text))
    others = tuple(part for part in choice.parts if not isinstance(part, Text))
    return texts, others, choice.stop, choice.native_stop, choice.logprobs


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_only_the_last_event_of_a_stream_is_the_last(entry: Entry) -> None:
    reader = upstream.reader()
    assert [reader.is_last(data) for data in entry.stream] == [False] * (len(entry.stream) - 1) + [True]


def test_what_is_written_inside_an_answer_ends_nothing() -> None:
    reader = upstream.reader()
    words = event("response.output_text.delta", delta='{"type":"response.completed"}')
    assert not reader.is_last(words)
    assert not reader.is_last(event("response.created", response={"metadata": {"type": "response.completed"}}))
    assert reader.is_last(b"[DONE]")


def test_each_part_of_an_answer_has_its_meaning() -> None:
    body = response(
        {"type": "reasoning", "summary": [{"text": "One."}, {"text": "Two."}], "encrypted_content": "sealed"},
        {"type": "reasoning", "summary": [], "encrypted_content": "hidden"},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Aloud."}]},
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi", "logprobs": [
            {"token": "Hi", "logprob": -1, "top_logprobs": [{"token": "Yo", "logprob": -2.5, "bytes": [89]}]},
            {"token": "odd", "logprob": "no"},
        ]}, {"type": "refusal", "refusal": "No."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"},
    )  # fmt: skip
    likely = TokenLogprob("Hi", -1.0, None, (TokenLogprob("Yo", -2.5, (89,)),))
    assert upstream.completion(body) == Completion((
        Choice(
            (
                Reasoning("One.\n\nTwo.", "sealed", OURS),
                Reasoning("", "hidden", OURS, redacted=True),
                Reasoning("Aloud."),
                Text("Hi"),
                Refusal("No."),
                ToolCall("call_1", "f", "{}"),
            ),
            Stop.TOOL_CALLS,
            "completed",
            logprobs=(likely,),
        ),
    ))  # fmt: skip


def test_paragraphs_of_a_summary_are_parted_in_a_stream_too() -> None:
    at = {"output_index": 0}
    item = {"type": "reasoning", "summary": [{"text": "One."}, {"text": "Two."}], "encrypted_content": "sealed"}
    events = [event("response.output_item.added", item={**item, "summary": []}, **at)]
    for number, part in enumerate(item["summary"]):
        events.append(event("response.reasoning_summary_part.added", summary_index=number, part={"text": ""}, **at))
        events.append(event("response.reasoning_summary_text.delta", summary_index=number, delta=part["text"], **at))  # type: ignore[index]  # a part is a dictionary
    events.append(event("response.output_item.done", item=item, **at))
    assert through(upstream, events)[1].choices[0].parts == (Reasoning("One.\n\nTwo.", "sealed", OURS),)


def test_what_a_server_does_not_stream_is_read_from_the_items() -> None:
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "summary": [{"text": "Hm."}]},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}]},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
    ]
    events = [event("response.output_item.done", output_index=place, item=item) for place, item in enumerate(items)] + [
        event("response.completed", response={"id": "resp_1", "output": []})
    ]
    assert _joined(through(upstream, events)[1]) == _joined(upstream.completion(response(*items)))


def test_calls_that_interleave_are_told_apart() -> None:
    def call(place: int, arguments: str) -> bytes:
        return event("response.function_call_arguments.delta", output_index=place, delta=arguments)

    begun = [
        event("response.output_item.added", output_index=place,
              item={"type": "function_call", "call_id": f"call_{place}", "name": "f", "arguments": ""})
        for place in (1, 2)
    ]  # fmt: skip
    _, meant = through(upstream, [*begun, call(1, '{"a"'), call(2, "{"), call(1, ":1}"), call(2, "}"), call(7, "lost")])
    assert meant.choices[0].parts == (ToolCall("call_1", "f", '{"a":1}'), ToolCall("call_2", "f", "{}"))


@pytest.mark.parametrize(("fields", "words", "native"), [
    ({"status": "completed"}, "stop", "completed"),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", "max_output_tokens"),
    ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter", "content_filter"),
    ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "pause", "steered"),
    ({"status": "incomplete", "incomplete_details": None}, "pause", "incomplete"),
    ({"status": "failed", "error": {"code": "server_error", "message": "m"}}, "error", "failed"),
    ({"status": "cancelled"}, "error", "cancelled"),
    ({"status": "in_progress"}, None, None),
    ({"status": None}, None, None),
])  # fmt: skip
def test_each_status_has_its_word(fields: dict[str, Any], words: str | None, native: str | None) -> None:
    answer = upstream.read_answer(response(**fields))
    assert answer is not None
    assert (answer.finish_reason, answer.native_finish_reason) == (words, native)
    assert (answer.error is not None) == (words == "error")


@pytest.mark.parametrize("kind", ["function_call", "custom_tool_call", "local_shell_call", "computer_call"])
def test_a_response_that_waits_for_its_client_ends_in_tool_calls(kind: str) -> None:
    answer = upstream.read_answer(response({"type": kind, "name": "f"}))
    assert answer is not None
    assert answer.finish_reason == "tool_calls"


def test_failures_are_told_in_the_providers_words_and_never_counted_as_text() -> None:
    failed = {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "The disk is full."},
              "output": [], "usage": {"input_tokens": 5, "output_tokens": 0, "total_tokens": 5}}  # fmt: skip
    whole = upstream.read_answer(json.dumps(failed).encode())
    begun = [event("response.created", response={"id": "resp_1"})]
    streamed, _ = through(upstream, [*begun, event("response.failed", response=failed)])
    for answer in (whole, streamed):
        assert answer is not None
        assert (answer.error, answer.text, answer.upstream_id) == ("The disk is full.", "", "resp_1")
        assert answer.usage is not None
        assert dict(answer.usage.quantities) == {Kind.PROMPT: 5}
    assert upstream.text_of([event("response.failed", response=failed)]) == ""


@pytest.mark.parametrize("data", [
    {"type": "error", "code": "server_error", "message": "Overloaded.", "param": None, "sequence_number": 3},
    {"type": "error", "error": {"message": "Overloaded."}},
    {"error": {"message": "Overloaded."}},
    {"error": "Overloaded."},
])  # fmt: skip
def test_an_error_in_a_stream_is_an_error_wherever_it_stands(data: dict[str, Any]) -> None:
    created = event("response.created", response={"id": "resp_1", "error": None})
    for events in ([created, json.dumps(data).encode()], [json.dumps(data).encode()]):
        answer, _ = through(upstream, events)
        assert answer.error == "Overloaded."
        assert answer.finish_reason is None
    assert not upstream.reader().is_last(json.dumps(data).encode())


def test_the_providers_own_words_of_a_refusal_are_shown() -> None:
    assert upstream.read_error(b'{"error":{"message":"No such model.","type":"invalid_request_error"}}') == (
        "No such model."
    )
    assert upstream.read_error(b"<html>") is None
    assert upstream.read_error(b'{"detail":"secret"}') is None


def test_a_likelihood_that_is_no_number_of_any_size_is_left_out() -> None:
    huge = b'{"token":"a","logprob":' + b"9" * 400 + b'},{"token":"b","logprob":-1}'
    body = b'{"output":[{"type":"message","content":[{"type":"output_text","text":"ab","logprobs":[' + huge + b"]}]}]}"
    [choice] = upstream.completion(body).choices
    assert choice.logprobs == (TokenLogprob("b", -1.0),)


@pytest.mark.parametrize("body", [
    b"", b"<html>", b"[]", b"null", b"{}", b'{"choices":[]}', b'{"output":5}', b'{"output":{}}', b"[" * 100_000,
])  # fmt: skip
def test_what_is_no_response_is_none(body: bytes) -> None:
    assert upstream.read_answer(body) is None
    assert upstream.completion(body).choices[0].parts == ()


@pytest.mark.parametrize("data", [
    b"", b"<html>", b"{}", b'{"choices":[]}', b'{"object":"chat.completion.chunk"}', b'{"type":"message_start"}',
    b'{"type":5}',
])  # fmt: skip
def test_what_is_no_event_of_a_response_is_none(data: bytes) -> None:
    assert not upstream.reader().look(data)


def test_searches_are_counted_as_they_come() -> None:
    def search(kind: str) -> bytes:
        item = {"type": "web_search_call", "status": "completed", "action": {"type": kind}}
        return event("response.output_item.done", item=item)

    created = event("response.created", response={"id": "resp_1"})
    answer, _ = through(upstream, [created, search("search"), search("open_page"), search("search")])
    assert answer.usage is not None
    assert dict(answer.usage.quantities) == {Kind.WEB_SEARCH: 2}
    assert (answer.usage.prompt_known, answer.usage.completion_known, answer.usage.anomalous) == (False, False, False)


def test_pictures_that_a_hosted_tool_drew_are_told_as_unknown() -> None:
    answer = upstream.read_answer(response(
        usage={"input_tokens": 1, "output_tokens": 1}, tool_usage={"image_gen": {"total_tokens": 9}}
    ))  # fmt: skip
    assert answer is not None
    assert answer.usage is not None
    assert answer.usage.unknown == ("tool_usage.image_gen",)


def test_counts_nobody_knows_are_named() -> None:
    usage = {"input_tokens": 5, "output_tokens": 1, "dream_tokens": 3, "input_tokens_details": {"smell_tokens": 2},
             "output_tokens_details": {"taste_tokens": 1}}  # fmt: skip
    reading = usages.read(usage)
    assert reading is not None
    assert reading.unknown == ("dream_tokens", "smell_tokens", "taste_tokens")


def test_missing_is_not_zero() -> None:
    assert usages.read({}) is None
    assert usages.read({"total_tokens": 5}) is None
    half = usages.read({"input_tokens": 5})
    assert half is not None
    assert (dict(half.quantities), half.prompt_known, half.completion_known) == ({Kind.PROMPT: 5}, True, False)
    assert half.anomalous
    zero = usages.read({"input_tokens": 0, "output_tokens": 0})
    assert zero is not None
    assert (zero.prompt_known, zero.completion_known, zero.anomalous) == (True, True, False)


COUNTS = st.none() | st.integers(0, 10**6) | st.integers(0, 3)
DETAILS = st.none() | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("cached_tokens", "cache_write_tokens", "reasoning_tokens"), COUNTS)
)
USAGES = st.fixed_dictionaries({}, optional={
    "input_tokens": COUNTS, "output_tokens": COUNTS, "total_tokens": COUNTS,
    "input_tokens_details": DETAILS, "output_tokens_details": DETAILS,
})  # fmt: skip


@given(USAGES)
@settings(max_examples=100)
def test_the_parts_sum_to_the_providers_totals(usage: dict[str, Any]) -> None:
    reading = usages.read(usage)
    read, written = usage.get("input_tokens"), usage.get("output_tokens")
    if read is None and written is None:
        assert reading is None
        return
    assert reading is not None
    assert reading.quantities.prompt_tokens == (read or 0)
    assert reading.quantities.completion_tokens == (written or 0)
    assert set(reading.quantities.counts) <= PROMPT_KINDS | COMPLETION_KINDS
    assert (reading.prompt_known, reading.completion_known) == (read is not None, written is not None)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KNOWN = st.sampled_from([
    "response.created", "response.completed", "response.failed", "response.incomplete", "response.output_item.added",
    "response.output_item.done", "response.output_text.delta", "response.refusal.delta",
    "response.reasoning_summary_part.added", "response.function_call_arguments.delta", "error", "message", "reasoning",
    "function_call", "web_search_call",
])  # fmt: skip
NAMED = ("type", "response", "item", "output", "usage", "error", "status", "content", "summary", "delta", "action",
         "output_index", "summary_index", "logprobs", "incomplete_details", "tool_usage", "input_tokens",
         "input_tokens_details")  # fmt: skip
HOSTILE = st.recursive(
    TREES | KNOWN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.fixed_dictionaries({"type": KNOWN}, optional=dict.fromkeys(NAMED[1:], inner))
    ),
    max_leaves=12,
)


@given(st.lists(HOSTILE.map(lambda tree: json.dumps(tree).encode()) | st.binary(max_size=30), max_size=4))
@settings(max_examples=60)
def test_nothing_a_provider_sends_raises(pieces: list[bytes]) -> None:
    reader = upstream.reader()
    for data in pieces:
        upstream.read_answer(data)
        upstream.read_error(data)
        upstream.completion(data)
        reader.look(data)
        reader.is_last(data)
        list(reader.deltas(data))
    upstream.text_of(pieces)
