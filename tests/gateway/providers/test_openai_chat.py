"""OpenAI's chat format, as providers speak it: usage becomes disjoint quantities, and nothing they say raises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import a_candidate

from tollgate.catalog.model import Format
from tollgate.gateway import wire
from tollgate.gateway.model import Access, Candidate
from tollgate.gateway.protocols.openai_chat import decode
from tollgate.gateway.providers import openai_chat
from tollgate.gateway.providers.openai_chat.answers import read_usage
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind

CORPUS: dict[str, tuple[dict[str, Any], dict[Kind, int]]] = {
    "OpenAI, cached": (
        {"prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300,
         "prompt_tokens_details": {"cached_tokens": 200, "audio_tokens": 0},
         "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0}},
        {Kind.PROMPT: 800, Kind.INPUT_CACHE_READ: 200, Kind.COMPLETION: 300},
    ),
    "OpenAI, reasoning": (
        {"prompt_tokens": 13, "completion_tokens": 629, "total_tokens": 642,
         "completion_tokens_details": {"reasoning_tokens": 384}, "prompt_tokens_details": {"cached_tokens": 0}},
        {Kind.PROMPT: 13, Kind.COMPLETION: 245, Kind.INTERNAL_REASONING: 384},
    ),
    "OpenRouter, written to a cache": (
        {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.95, "is_byok": True,
         "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0}},
        {Kind.PROMPT: 94, Kind.INPUT_CACHE_WRITE: 100, Kind.COMPLETION: 2},
    ),
    "audio both ways": (
        {"prompt_tokens": 50, "completion_tokens": 60, "prompt_tokens_details": {"audio_tokens": 20, "text_tokens": 30},
         "completion_tokens_details": {"audio_tokens": 45, "text_tokens": 15}},
        {Kind.PROMPT: 30, Kind.INPUT_AUDIO: 20, Kind.COMPLETION: 15, Kind.OUTPUT_AUDIO: 45},
    ),
    "llama.cpp, without details": (
        {"completion_tokens": 5, "prompt_tokens": 7, "total_tokens": 12}, {Kind.PROMPT: 7, Kind.COMPLETION: 5},
    ),
    "vLLM, null details": (
        {"prompt_tokens": 7, "total_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": None},
        {Kind.PROMPT: 7, Kind.COMPLETION: 5},
    ),
    "all of it cached": (
        {"prompt_tokens": 7, "completion_tokens": 0, "prompt_tokens_details": {"cached_tokens": 7}},
        {Kind.INPUT_CACHE_READ: 7},
    ),
}  # fmt: skip


@pytest.mark.parametrize("example", CORPUS)
def test_usage_is_parted(example: str) -> None:
    usage, counts = CORPUS[example]
    reading = read_usage(usage)
    assert reading is not None
    assert dict(reading.quantities) == counts
    assert (reading.anomalous, reading.unknown, reading.raw) == (False, (), usage)


COUNTS = st.none() | st.integers(0, 10**6) | st.integers(0, 3)
DETAIL_NAMES = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens", "reasoning_tokens")
DETAILS = st.none() | st.fixed_dictionaries({}, optional=dict.fromkeys(DETAIL_NAMES, COUNTS))
USAGES = st.fixed_dictionaries({}, optional={
    "prompt_tokens": COUNTS, "completion_tokens": COUNTS, "total_tokens": COUNTS,
    "prompt_tokens_details": DETAILS, "completion_tokens_details": DETAILS,
})  # fmt: skip


@given(USAGES)
def test_the_parts_sum_to_the_providers_totals(usage: dict[str, Any]) -> None:
    reading = read_usage(usage)
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if prompt is None and completion is None:
        assert reading is None
        return
    assert reading is not None
    thoughts = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    both = prompt is not None and completion is not None
    on_top = both and usage.get("total_tokens") == (prompt or 0) + (completion or 0) + thoughts
    assert reading.quantities.prompt_tokens == (prompt or 0)
    assert reading.quantities.completion_tokens == (completion or 0) + (thoughts if on_top else 0)
    assert (reading.prompt_known, reading.completion_known) == (prompt is not None, completion is not None)
    assert set(reading.quantities.counts) <= PROMPT_KINDS | COMPLETION_KINDS


@given(USAGES)
def test_an_anomaly_is_told_and_bills_the_total_as_its_base_kind(usage: dict[str, Any]) -> None:
    reading = read_usage(usage)
    if reading is None:
        return
    details = usage.get("prompt_tokens_details") or {}
    names = ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens")
    parts = sum(details.get(name) or 0 for name in names)
    total = usage.get("prompt_tokens")
    if total is None or parts > total:
        assert reading.anomalous
        assert [kind for kind, _ in reading.quantities if kind in PROMPT_KINDS] in ([], [Kind.PROMPT])


def test_missing_is_not_zero() -> None:
    assert read_usage({"total_tokens": 5}) is None
    assert read_usage({"prompt_tokens": None, "completion_tokens": "5"}) is None
    zero = read_usage({"prompt_tokens": 0, "completion_tokens": 0})
    half = read_usage({"prompt_tokens": 5})
    assert zero is not None
    assert half is not None
    assert (dict(zero.quantities), zero.anomalous) == ({}, False)
    assert (dict(half.quantities), half.anomalous) == ({Kind.PROMPT: 5}, True)


@pytest.mark.parametrize("odd", [None, True, 1.5, -1, -1.0, 1e13, float("inf"), float("nan"), 10**13, "5", [5]])
def test_what_is_no_count_is_missing(odd: object) -> None:
    assert read_usage({"prompt_tokens": odd}) is None
    written = read_usage({"prompt_tokens": odd, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}})
    read = read_usage({"prompt_tokens": 5, "completion_tokens": odd})
    assert written is not None
    assert read is not None
    assert (written.prompt_known, written.completion_known, written.anomalous) == (False, True, True)
    assert (read.prompt_known, read.completion_known, read.anomalous) == (True, False, True)
    assert (dict(written.quantities), dict(read.quantities)) == ({Kind.COMPLETION: 5}, {Kind.PROMPT: 5})


def test_a_whole_float_is_a_count() -> None:
    reading = read_usage({"prompt_tokens": 1000.0, "completion_tokens": 500.0})
    assert reading is not None
    assert (dict(reading.quantities), reading.anomalous) == ({Kind.PROMPT: 1000, Kind.COMPLETION: 500}, False)
    assert {type(count) for _, count in reading.quantities} == {int}


def test_unknown_counts_are_named() -> None:
    usage = {
        "prompt_tokens": 5,
        "completion_tokens": 5,
        "new_tokens": 3,
        "zero_tokens": 0,
        "cost": 0.5,
        "prompt_tokens_details": {"video_tokens": 1, "scent_tokens": 1},
        "completion_tokens_details": {"dream_tokens": 2},
    }
    reading = read_usage(usage)
    assert reading is not None
    assert reading.unknown == ("new_tokens", "scent_tokens", "dream_tokens")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["usage", "choices", "error", "message", "delta", "content", "tool_calls", "function",
                         "prompt_tokens", "prompt_tokens_details", "finish_reason", "id", "reasoning_details", "index",
                         "logprobs", "token", "logprob", "bytes", "top_logprobs", "arguments", "x_groq"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.booleans())
def test_nothing_a_provider_says_raises(said: Any, ascii_only: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    data = json.dumps(said, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    openai_chat.read_answer(data)
    openai_chat.read_error(data)
    openai_chat.completion(data)
    openai_chat.text_of([data, wire.mended(data)])
    reader = openai_chat.reader()
    reader.look(data)
    list(reader.deltas(data))
    if isinstance(said, dict):
        read_usage(said)


@given(st.binary())
def test_no_bytes_raise(data: bytes) -> None:
    reader = openai_chat.reader()
    assert not reader.look(data) or data.strip()
    assert not list(reader.deltas(data))
    assert not openai_chat.completion(data).choices
    openai_chat.read_error(data)
    wire.mended(data)


@pytest.mark.parametrize(("said", "telling"), [
    ({"choices": [], "usage": {"prompt_tokens": 1}}, True),
    ({"choices": [{"finish_reason": "stop"}]}, True),
    ({"error": {"message": "x"}}, True),
    ({"error": "x"}, True),
    ({"choices": [{"finish_reason": None, "delta": {"content": "x"}}], "usage": None, "error": None}, False),
    ({"choices": [{"delta": {"content": '"usage":{"finish_reason":"stop"'}}]}, False),
])  # fmt: skip
def test_telling_events_are_told_from_the_others(said: Any, telling: bool) -> None:  # noqa: FBT001 - the answer expected
    for separators in ((",", ":"), (", ", ": ")):
        reader = openai_chat.reader()
        assert reader.look(b'{"choices":[]}')
        before = reader.answer
        assert reader.look(json.dumps(said, separators=separators).encode())
        assert (reader.answer is not before) is telling


@pytest.mark.parametrize(("words", "word"), [
    (["error"], "error"), (["error", "error"], "error"), (["error", None], "error"), (["error", "stop"], "stop"),
    (["length", "error"], "length"), (["error", "error", "length"], "length"), (["stop", "length"], "stop"),
    ([None], None),
])  # fmt: skip
def test_an_answer_failed_only_if_every_choice_that_ended_did(words: list[str | None], word: str | None) -> None:
    choices = [{"index": index, "finish_reason": each} for index, each in enumerate(words)]
    read = openai_chat.read_answer(json.dumps({"choices": choices}).encode())
    assert read is not None
    assert (read.finish_reason, read.native_finish_reason) == (word, word)
    for order in (choices, choices[::-1]):
        reader = openai_chat.reader()
        assert all(reader.look(json.dumps({"choices": [choice]}).encode()) for choice in order)
        assert (reader.answer.finish_reason, reader.answer.native_finish_reason) == (word, word)


@given(st.text('\\u"dD8bBcCf09x\ud83d\ude00', max_size=30))
def test_mending_leaves_whole_pairs_alone(text: str) -> None:
    encoded = json.dumps(text).encode()
    mended = json.loads(wire.mended(encoded))
    repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert mended.count("\ufffd") == repaired.count("\ufffd")
    assert wire.mended(wire.mended(encoded)) == wire.mended(encoded)
    if "\ufffd" not in repaired:
        assert wire.mended(encoded) == encoded


def sent(output_cap: int | None = None, *, candidate: Candidate | None = None, **fields: Any) -> Any:
    body = {"model": "acme/model", "messages": [{"role": "user", "content": "x"}], **fields}
    chat = decode(json.dumps(body).encode())
    access = Access("https://acme.test/v1", "secret")
    return openai_chat.passed_request(
        chat, candidate or a_candidate(max_output=1000), access=access, output_cap=output_cap
    )


def limits(request: Any) -> dict[str, Any]:
    return {name: value for name, value in json.loads(request.body).items() if name.startswith("max")}


def test_a_request_goes_under_the_providers_name_for_the_model() -> None:
    request = sent(seed=1)
    assert (request.url, request.stream) == ("https://acme.test/v1/chat/completions", False)
    assert request.headers == {"authorization": "Bearer secret", "content-type": "application/json"}
    assert json.loads(request.body)["model"] == "upstream-name"


def test_a_stream_is_always_asked_for_its_usage() -> None:
    for options in ({}, {"stream_options": None}, {"stream_options": {"include_usage": False}}):
        assert json.loads(sent(stream=True, **options).body)["stream_options"] == {"include_usage": True}
    body = json.loads(sent(stream=True, stream_options={"other": 1.5}).body)
    assert body["stream_options"] == {"other": 1.5, "include_usage": True}


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, {"max_completion_tokens": 300}),
    ({"max_tokens": 500}, {"max_completion_tokens": 300}),
    ({"max_tokens": 200}, {"max_tokens": 200}),
    ({"max_completion_tokens": 500, "max_tokens": 600}, {"max_completion_tokens": 300}),
    ({"max_completion_tokens": 1, "max_tokens": 100_000}, {"max_completion_tokens": 300}),
])  # fmt: skip
def test_an_output_cap_is_the_only_limit_that_is_sent(fields: Any, expected: Any) -> None:
    assert limits(sent(output_cap=300, **fields)) == expected


@pytest.mark.parametrize("supported", [(), ("max_tokens",), ("max_completion_tokens",)])
@pytest.mark.parametrize("speaks", [Format.OPENAI, Format.AZURE_OPENAI, Format.OPENAI_COMPATIBLE])
def test_an_output_limit_has_the_name_the_endpoint_knows(speaks: Format, supported: tuple[str, ...]) -> None:
    candidate = a_candidate(speaks=speaks, supported_parameters=supported)
    default = "max_tokens" if speaks is Format.OPENAI_COMPATIBLE else "max_completion_tokens"
    known = supported[0] if supported else default
    assert limits(sent(candidate=candidate, max_tokens=7, max_completion_tokens=9)) == {known: 9}
    assert limits(sent(output_cap=5, candidate=candidate, max_tokens=7)) == {known: 5}
    for alone in ("max_tokens", "max_completion_tokens"):
        assert limits(sent(candidate=candidate, **{alone: 7})) == {known if supported else alone: 7}


@pytest.mark.parametrize(("known", "expected"), [
    ({}, {"max_completion_tokens": 131_072}), ({"context_length": 8000}, {}), ({"max_output": 8000}, {}),
])  # fmt: skip
def test_what_nothing_else_bounds_is_asked_to_stay_within_what_was_held(known: Any, expected: Any) -> None:
    assert limits(sent(candidate=a_candidate(**known))) == limits(sent(candidate=a_candidate(**known), max_tokens=None))
    assert limits(sent(candidate=a_candidate(**known))) == expected


def test_an_output_cap_never_exceeds_what_the_endpoint_gives() -> None:
    assert json.loads(sent(output_cap=5000).body)["max_completion_tokens"] == 1000


def test_azure_has_an_address_and_a_header_of_its_own() -> None:
    chat = decode(b'{"model":"m","messages":[{"role":"user"}]}')
    candidate = a_candidate(speaks=Format.AZURE_OPENAI)
    request = openai_chat.passed_request(chat, candidate, access=Access("https://x.test", "secret"), output_cap=None)
    assert request.url == "https://x.test/openai/v1/chat/completions"
    assert request.headers["api-key"] == "secret"
