"""Gemini's answers: usage becomes disjoint quantities, whole and streamed alike, and nothing Google says raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.corpus import Entry, entries
from tests.gateway.readings import check_as_documented, through

from tollgate.gateway.model import Answer, Wire
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    Reasoning,
    Stop,
    StopDelta,
    Text,
    TextDelta,
    TokenLogprob,
    ToolCall,
)
from tollgate.gateway.providers import gemini
from tollgate.gateway.providers.gemini.usage import read_usage
from tollgate.gateway.translation import ConversationalProvider
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind

CORPUS = entries(Wire.GENERATE_CONTENT)
OURS = Wire.GENERATE_CONTENT.value


def response(*parts: dict[str, Any], **fields: Any) -> bytes:
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return json.dumps({"candidates": [{**candidate, **fields}], "responseId": "r1"}).encode()


def ended(reason: str, *parts: dict[str, Any]) -> Answer:
    read = gemini.read_answer(response(*parts, finishReason=reason))
    assert read is not None
    return read


def test_the_package_is_a_translator() -> None:
    face: ConversationalProvider = gemini
    assert face.WIRE is Wire.GENERATE_CONTENT


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_the_corpus_is_read_as_documented(entry: Entry) -> None:
    answer = check_as_documented(gemini, entry)
    assert answer.upstream_id == json.loads(entry.whole or b"")["responseId"]
    assert not any(gemini.reader().is_last(data) for data in entry.stream)


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_stream_means_what_the_whole_answer_means(entry: Entry) -> None:
    assert entry.whole is not None
    assert through(gemini, entry.stream)[1] == gemini.completion(entry.whole)


def test_thoughts_calls_and_signatures_are_told_apart() -> None:
    body = response(
        {"text": "Hm", "thought": True},
        {"text": "m", "thought": True, "thoughtSignature": "s1"},
        {"text": "Let me "},
        {"text": "see.", "thoughtSignature": "s2"},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "s3"},
        {"functionCall": {"id": "c2", "name": "g"}},
    )
    assert gemini.completion(body) == Completion((
        Choice(
            (
                Reasoning("Hmm", "s1", OURS),
                Text("Let me see."),
                Reasoning("", "s2", OURS),
                ToolCall("c1", "f", '{"a":1}', "s3"),
                ToolCall("c2", "g", "{}"),
            ),
            Stop.TOOL_CALLS,
            "STOP",
        ),
    ))  # fmt: skip


def test_a_call_without_id_gets_one_of_its_own_that_stays() -> None:
    calls = [{"functionCall": {"name": "f", "args": {}}}] * 2
    [choice] = gemini.completion(response(*calls)).choices
    ids = [part.id for part in choice.parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 2
    _, streamed = through(gemini, [response(call) for call in calls])
    assert [part.id for part in streamed.choices[0].parts if isinstance(part, ToolCall)] == ids
    assert all(given.startswith("call_") and len(given) < 40 for given in ids)


def test_candidates_are_choices() -> None:
    parts = [{"content": {"parts": [{"text": text}]}, "index": at} for at, text in ((1, "b"), (0, "a"))]
    parts[0]["finishReason"], parts[1]["finishReason"] = "MAX_TOKENS", "STOP"
    body = json.dumps({"candidates": parts}).encode()
    first, second = Choice((Text("a"),), Stop.STOP, "STOP"), Choice((Text("b"),), Stop.LENGTH, "MAX_TOKENS")
    assert gemini.completion(body) == Completion((first, second))
    read = gemini.read_answer(body)
    assert read is not None
    assert (read.finish_reason, read.text) == ("stop", "ba")


def test_logprobs_survive() -> None:
    likely = {"token": "Hi", "tokenId": 5, "logProbability": -0.1}
    other = {"token": "Yo", "tokenId": 6, "logProbability": -2}
    result = {"chosenCandidates": [likely], "topCandidates": [{"candidates": [likely, other]}]}
    [choice] = gemini.completion(response({"text": "Hi"}, logprobsResult=result)).choices
    one, two = TokenLogprob("Hi", -0.1), TokenLogprob("Yo", -2.0)
    assert choice.logprobs == (TokenLogprob("Hi", -0.1, None, (one, two)),)
    [delta, _] = gemini.reader().deltas(response({"text": "Hi"}, logprobsResult=result))
    assert isinstance(delta, TextDelta)
    assert delta.logprobs == choice.logprobs


def test_a_picture_is_shown_and_not_counted_as_text() -> None:
    body = response({"text": "See: "}, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}})
    read = gemini.read_answer(body)
    assert read is not None
    assert read.text == "See: "
    assert gemini.completion(body).choices[0].parts == (Text("See: ![](data:image/png;base64,QUJD)"),)


FAILURES = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE", "OTHER")


@pytest.mark.parametrize(("reason", "stop"), [
    ("STOP", "stop"), ("MAX_TOKENS", "length"), ("A_NEW_WORD", "stop"), ("FINISH_REASON_UNSPECIFIED", None),
    ("SAFETY", "content_filter"), ("RECITATION", "content_filter"), ("LANGUAGE", "content_filter"),
    ("BLOCKLIST", "content_filter"), ("PROHIBITED_CONTENT", "content_filter"), ("SPII", "content_filter"),
    ("IMAGE_SAFETY", "content_filter"), *((reason, "stop") for reason in FAILURES),
])  # fmt: skip
def test_each_finish_reason_has_its_word(reason: str, stop: str | None) -> None:
    said = ended(reason, {"text": "a"})
    assert (said.finish_reason, said.native_finish_reason) == (stop, None if stop is None else reason)


@pytest.mark.parametrize("reason", FAILURES)
@pytest.mark.parametrize(("parts", "stop"), [
    ((), "error"), (({"text": ""},), "error"), (({"text": "", "thoughtSignature": "s"},), "error"),
    (({"text": "a"},), "stop"), (({"text": "Hm", "thought": True},), "stop"),
    (({"functionCall": {"name": "f"}},), "stop"),
    (({"inlineData": {"mimeType": "image/png", "data": "QUJD"}},), "stop"),
])  # fmt: skip
def test_an_answer_failed_only_if_nothing_came_of_it(reason: str, parts: tuple[dict[str, Any], ...], stop: str) -> None:
    said = ended(reason, *parts)
    assert (said.finish_reason, said.native_finish_reason) == (stop, reason)
    streamed, meant = through(gemini, [response(*parts, finishReason=None), response(finishReason=reason)])
    assert (streamed.finish_reason, streamed.native_finish_reason) == (stop, reason)
    assert [choice.stop for choice in meant.choices] == [stop]


@pytest.mark.parametrize(("first", "second", "stop"), [
    ({"finishReason": "OTHER"}, {"finishReason": "OTHER"}, "error"),
    ({"finishReason": "OTHER"}, {}, "error"),
    ({"finishReason": "OTHER"}, {"finishReason": "STOP"}, "stop"),
    ({"finishReason": "OTHER"}, {"content": {"parts": [{"text": "a"}]}}, "stop"),
    ({"finishReason": "OTHER"}, {"content": {"parts": [{"text": "a"}]}, "finishReason": "OTHER"}, "stop"),
    ({"finishReason": "STOP"}, {"finishReason": "OTHER"}, "stop"),
])  # fmt: skip
def test_an_answer_of_several_failed_only_if_every_candidate_did(first: Any, second: Any, stop: str) -> None:
    candidates = [{**first, "index": 0}, {**second, "index": 1}]
    read = gemini.read_answer(json.dumps({"candidates": candidates}).encode())
    streamed, _ = through(gemini, [json.dumps({"candidates": [each]}).encode() for each in candidates])
    assert read is not None
    assert read.finish_reason == streamed.finish_reason == stop


def test_calls_end_an_answer_in_tool_calls_unless_it_was_cut() -> None:
    call = {"functionCall": {"name": "f"}}
    assert ended("STOP", call).finish_reason == "tool_calls"
    assert ended("MAX_TOKENS", call).finish_reason == "length"
    answer, meant = through(gemini, [response(call, finishReason=None), response({"text": ""})])
    assert (answer.finish_reason, meant.choices[0].stop) == ("tool_calls", Stop.TOOL_CALLS)


def test_the_last_reason_of_a_stream_counts() -> None:
    answer, meant = through(gemini, [response({"text": "a"}), response({"text": "b"}, finishReason="MAX_TOKENS")])
    assert (answer.finish_reason, meant.choices[0].stop) == ("length", Stop.LENGTH)


def test_a_refused_prompt_is_filtered_content() -> None:
    body = b'{"promptFeedback":{"blockReason":"SAFETY"}}'
    assert gemini.completion(body) == Completion((Choice((), Stop.CONTENT_FILTER, "SAFETY"),))
    assert list(gemini.reader().deltas(body)) == [StopDelta(Stop.CONTENT_FILTER, "SAFETY")]


USAGE_CASES: dict[str, tuple[dict[str, Any], dict[Kind, int]]] = {
    "thoughts are output (billing rules, worked number)": (
        {"promptTokenCount": 9, "candidatesTokenCount": 1, "thoughtsTokenCount": 21, "totalTokenCount": 31},
        {Kind.PROMPT: 9, Kind.COMPLETION: 1, Kind.INTERNAL_REASONING: 21},
    ),
    "tools add to the prompt": (
        {"promptTokenCount": 9, "toolUsePromptTokenCount": 90, "candidatesTokenCount": 1, "totalTokenCount": 100},
        {Kind.PROMPT: 99, Kind.COMPLETION: 1},
    ),
    "output known from the total": (
        {"promptTokenCount": 9, "totalTokenCount": 15}, {Kind.PROMPT: 9, Kind.COMPLETION: 6},
    ),
    "nothing but thoughts": (
        {"promptTokenCount": 9, "thoughtsTokenCount": 6, "totalTokenCount": 15},
        {Kind.PROMPT: 9, Kind.INTERNAL_REASONING: 6},
    ),
    "sound that was not cached": (
        {"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 1, "totalTokenCount": 101,
         "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 80}, {"modality": "TEXT", "tokenCount": 20}],
         "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}, {"modality": "TEXT", "tokenCount": 10}]},
        {Kind.PROMPT: 10, Kind.INPUT_CACHE_READ: 60, Kind.INPUT_AUDIO: 30, Kind.COMPLETION: 1},
    ),
    "nobody knows what was cached": (
        {"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 1, "totalTokenCount": 101,
         "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 80}, {"modality": "TEXT", "tokenCount": 20}]},
        {Kind.PROMPT: 20, Kind.INPUT_CACHE_READ: 60, Kind.INPUT_AUDIO: 20, Kind.COMPLETION: 1},
    ),
    "films and documents are prompt": (
        {"promptTokenCount": 100, "candidatesTokenCount": 1, "totalTokenCount": 101,
         "promptTokensDetails": [{"modality": "VIDEO", "tokenCount": 80}, {"modality": "DOCUMENT", "tokenCount": 20}]},
        {Kind.PROMPT: 100, Kind.COMPLETION: 1},
    ),
    "sound made": (
        {"promptTokenCount": 5, "candidatesTokenCount": 50, "totalTokenCount": 55,
         "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}]},
        {Kind.PROMPT: 5, Kind.OUTPUT_AUDIO: 50},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", USAGE_CASES)
def test_usage_is_parted(case: str) -> None:
    usage, counts = USAGE_CASES[case]
    reading = read_usage(usage)
    assert reading is not None
    assert dict(reading.quantities) == counts
    assert (reading.anomalous, reading.unknown, reading.raw) == (False, (), usage)


@pytest.mark.parametrize(("usage", "counts"), [
    ({"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 99}, {Kind.PROMPT: 9, Kind.COMPLETION: 1}),
    ({"promptTokenCount": 9, "cachedContentTokenCount": 10, "candidatesTokenCount": 1, "totalTokenCount": 10},
     {Kind.PROMPT: 9, Kind.COMPLETION: 1}),
    ({"promptTokenCount": 9, "cachedContentTokenCount": 5, "totalTokenCount": 9,
      "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}]}, {Kind.PROMPT: 4, Kind.INPUT_CACHE_READ: 5}),
    ({"promptTokenCount": 9, "candidatesTokenCount": 1, "totalTokenCount": 10,
      "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 5}]}, {Kind.PROMPT: 9, Kind.COMPLETION: 1}),
    ({"promptTokenCount": 9, "totalTokenCount": 5}, {Kind.PROMPT: 9}),
])  # fmt: skip
def test_usage_that_contradicts_itself_is_told_and_bills_the_totals(usage: Any, counts: dict[Kind, int]) -> None:
    reading = read_usage(usage)
    assert reading is not None
    assert (dict(reading.quantities), reading.anomalous) == (counts, True)


def test_missing_is_not_zero() -> None:
    assert read_usage({}) is None
    assert read_usage({"totalTokenCount": 5}) is None
    half = read_usage({"promptTokenCount": 5})
    assert half is not None
    assert (dict(half.quantities), half.prompt_known, half.completion_known) == ({Kind.PROMPT: 5}, True, False)


def test_counts_nobody_knows_are_named() -> None:
    details = [{"modality": "SMELL", "tokenCount": 2}]
    usage = {"promptTokenCount": 5, "totalTokenCount": 5, "dreamTokenCount": 3, "promptTokensDetails": details}
    reading = read_usage(usage)
    assert reading is not None
    assert reading.unknown == ("dreamTokenCount", "promptTokensDetails.SMELL")


COUNTS = st.none() | st.integers(0, 10**6)
MODALITIES = st.sampled_from(["TEXT", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"])
DETAILS = st.none() | st.lists(st.fixed_dictionaries({"modality": MODALITIES, "tokenCount": COUNTS}), max_size=4)
USAGES = st.fixed_dictionaries({}, optional={
    **dict.fromkeys(("promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount",
                     "toolUsePromptTokenCount", "totalTokenCount"), COUNTS),
    **dict.fromkeys(("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails"), DETAILS),
})  # fmt: skip


@given(USAGES)
@settings(max_examples=100)
def test_the_parts_sum_to_the_providers_totals(usage: dict[str, Any]) -> None:
    reading = read_usage(usage)
    prompt, candidates, total = (usage.get(f"{name}TokenCount") for name in ("prompt", "candidates", "total"))
    if reading is None:
        assert candidates is None
        assert prompt is None
        return
    tools, thoughts = usage.get("toolUsePromptTokenCount") or 0, usage.get("thoughtsTokenCount") or 0
    assert reading.prompt_known is (prompt is not None)
    assert reading.completion_known is (candidates is not None or (prompt is not None and total is not None))
    assert reading.quantities.prompt_tokens == (0 if prompt is None else prompt + tools)
    if candidates is not None:
        assert reading.quantities.completion_tokens == candidates + thoughts
    assert set(reading.quantities.counts) <= PROMPT_KINDS | COMPLETION_KINDS
    if prompt is not None and total is not None and not reading.anomalous:
        assert reading.quantities.prompt_tokens + reading.quantities.completion_tokens == total


@pytest.mark.parametrize(("usage", "tier"), [
    ({"serviceTier": "priority"}, "priority"), ({"serviceTier": "SERVICE_TIER_FLEX"}, "flex"),
    ({"serviceTier": "unspecified", "trafficType": "ON_DEMAND"}, "standard"),
    ({"trafficType": "ON_DEMAND_FLEX"}, "flex"), ({"trafficType": "PROVISIONED_THROUGHPUT"}, None),
    ({"serviceTier": 5}, None), ({}, None),
])  # fmt: skip
def test_the_tier_that_served_is_told(usage: dict[str, Any], tier: str | None) -> None:
    read = gemini.read_answer(json.dumps({"candidates": [], "usageMetadata": usage}).encode())
    assert read is not None
    assert read.service_tier == tier


ERROR = b'{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}'


@pytest.mark.parametrize("body", [ERROR, b"[%s]" % ERROR])
def test_an_error_is_read_alone_and_in_an_array(body: bytes) -> None:
    assert gemini.read_error(body) == "The model is overloaded."
    read = gemini.read_answer(body)
    assert read is not None
    assert (read.error, read.text) == ("The model is overloaded.", "")
    answer, meant = through(gemini, [response({"text": "a"}, finishReason=None), body])
    assert (answer.error, answer.finish_reason, meant.choices[0].parts) == (read.error, None, (Text("a"),))


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"[{},{}]", b"null", b"{}", b'{"candidates":5}', b'{"choices":[]}']
)
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert gemini.read_answer(body) is None
    assert gemini.completion(body).choices == ()


def test_an_answer_without_candidates_is_an_answer_without_end() -> None:
    read = gemini.read_answer(b'{"usageMetadata":{"promptTokenCount":5,"totalTokenCount":5}}')
    assert read is not None
    assert (read.finish_reason, read.text) == (None, "")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = st.fixed_dictionaries({}, optional={
    "text": JSON, "thought": JSON, "thoughtSignature": JSON, "inlineData": JSON,
    "functionCall": JSON | st.fixed_dictionaries({}, optional={"name": JSON, "args": JSON, "id": JSON}),
})  # fmt: skip
LIKELY = JSON | st.lists(st.fixed_dictionaries({"token": JSON, "logProbability": JSON}), max_size=2)
CANDIDATES = st.fixed_dictionaries({}, optional={
    "content": JSON | st.fixed_dictionaries({"parts": st.lists(JSON | PARTS, max_size=3)}), "index": JSON,
    "finishReason": JSON | st.sampled_from(["STOP", "SAFETY"]),
    "logprobsResult": JSON | st.fixed_dictionaries({}, optional={"chosenCandidates": LIKELY, "topCandidates": JSON}),
})  # fmt: skip
RESPONSES = st.fixed_dictionaries({}, optional={
    "candidates": JSON | st.lists(JSON | CANDIDATES, max_size=2), "usageMetadata": JSON | USAGES, "responseId": JSON,
    "promptFeedback": JSON | st.fixed_dictionaries({"blockReason": JSON}), "error": JSON,
}).map(lambda value: json.dumps(value).encode())  # fmt: skip


@given(st.lists(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()) | RESPONSES, max_size=3))
@settings(max_examples=100)
def test_no_answer_raises_anything(bodies: list[bytes]) -> None:
    reader = gemini.reader()
    for body in bodies:
        gemini.read_answer(body)
        gemini.read_error(body)
        gemini.completion(body)
        reader.look(body)
        list(reader.deltas(body))
    gemini.text_of(bodies)


@pytest.mark.parametrize("depth", [100, 900, 1_000, 5_000, 100_000])
def test_no_depth_raises_anything(depth: int) -> None:
    deep = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":%s}}}]}}]}'
    body = deep % (b"[" * depth + b"]" * depth)
    gemini.read_answer(body)
    gemini.completion(body)
    list(gemini.reader().deltas(body))
