"""Usual chat completions, read in one go: the same is read of them as of any other, and most of them are usual."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.corpus import Entry, entries

from tollgate.gateway import wire
from tollgate.gateway.model import Wire
from tollgate.gateway.providers.openai_chat import answers, usual

OPENAI: dict[str, Any] = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "service_tier": "default",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": None, "annotations": []},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21,
              "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": 0, "accepted_prediction_tokens": 1}},
}  # fmt: skip
VLLM: dict[str, Any] = {
    "id": "cmpl-1", "choices": [{"index": 0, "message": {"content": "Hi", "reasoning_content": None, "tool_calls": []},
                                 "finish_reason": "length", "stop_reason": None}],
    "usage": {"prompt_tokens": 12, "completion_tokens": 9, "total_tokens": 21, "prompt_tokens_details": None},
}  # fmt: skip
ODD: st.SearchStrategy[Any] = st.sampled_from([
    None, 0, 1, 3, 21, -1, 10**12, 10**12 + 1, 2.0, 2.5, True, "", "x", "stop", "error", [], ["x"], {}, {"x": 1},
    {"message": "no"}, {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}, {"cached_tokens": 2}, [{}],
])  # fmt: skip
NAMES = st.sampled_from([
    "id", "choices", "usage", "error", "x_groq", "service_tier", "message", "finish_reason", "native_finish_reason",
    "index", "content", "refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls", "function_call",
    "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "prompt_token_details",
    "completion_tokens_details", "cached_tokens", "reasoning_tokens", "audio_tokens", "text_tokens", "cost", "other",
])  # fmt: skip
MISSING = object()


def changed(value: Any, way: list[Any], name: str, odd: Any) -> Any:
    """The value with a field, somewhere along a way into it, that is odd or missing."""
    if isinstance(value, list):
        return [changed(each, way, name, odd) for each in value]
    if not isinstance(value, dict):
        return value
    inner = [key for key, each in value.items() if isinstance(each, dict | list) and each]
    if way and inner and way[0]:
        into = inner[way[0] % len(inner)]
        return {**value, into: changed(value[into], way[1:], name, odd)}
    rest = {key: each for key, each in value.items() if key != name}
    return rest if odd is MISSING else {**rest, name: odd}


CHANGES = st.tuples(st.lists(st.integers(0, 4), max_size=3), NAMES, ODD | st.just(MISSING))


@given(st.sampled_from([OPENAI, VLLM]), st.lists(CHANGES, max_size=3))
def test_what_is_read_in_one_go_is_what_would_be_read_field_by_field(said: Any, changes: list[Any]) -> None:
    for way, name, odd in changes:
        said = changed(said, way, name, odd)
    read = usual.answer(said)
    assert read is None or read == answers.read_fields(said)
    if isinstance(said.get("usage"), dict):
        used = usual.usage(said["usage"])
        assert used is None or used == answers.read_usage(said["usage"])


CHUNK: dict[str, Any] = {
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": None, "finish_reason": None}], "usage": None,
}  # fmt: skip
END: dict[str, Any] = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE: dict[str, Any] = {**CHUNK, "choices": [], "usage": OPENAI["usage"]}


@given(st.lists(st.tuples(st.sampled_from([CHUNK, END, USAGE]), st.lists(CHANGES, max_size=2)), max_size=4))
def test_chunks_are_read_in_one_go_as_they_would_be_field_by_field(stream: list[Any]) -> None:
    quick, thorough = answers.reader(), answers.reader()
    for chunk, changes in stream:
        for way, name, odd in changes:
            chunk = changed(chunk, way, name, odd)  # noqa: PLW2901 - the same one, ever odder
        data = json.dumps(chunk).encode()
        is_quiet = quick._begun and quick.find_telling(data, 0) == -1
        assert quick.look(data) == (is_quiet or thorough.look_closely(data))
        assert quick.answer == thorough.answer


@pytest.mark.parametrize("said", [CHUNK, END, USAGE])
def test_chunks_of_words_their_end_and_usage_are_usual(said: dict[str, Any]) -> None:
    assert usual.chunk(json.dumps(said).encode()) is not None


def test_a_chunk_with_half_a_character_is_not_usual() -> None:
    assert usual.chunk(json.dumps(CHUNK).encode().replace(b'"id"', b'"\xe4\xb8": 0, "id"')) is None


@pytest.mark.parametrize("entry", entries(Wire.CHAT), ids=lambda entry: entry.name)
def test_it_is_so_for_every_provider_that_is_known(entry: Entry) -> None:
    said = wire.decoded(entry.whole or b"{}") or {}
    read = usual.answer(said)
    assert read is None or read == answers.read_fields(said)


@pytest.mark.parametrize("said", [OPENAI, VLLM])
def test_words_with_usage_that_adds_up_are_usual(said: dict[str, Any]) -> None:
    assert usual.answer(said) is not None
    assert usual.usage(said["usage"]) is not None
