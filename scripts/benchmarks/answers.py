"""What a fake provider answers, made ready: for each answer only its id is put in place of another one.

Answers differ in what they say was used, in turn, so that a ledger that takes one for another is found out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.benchmarks.behaviour import EVENTS_MIN, Behaviour, Usage

VARIANTS = 16
RETRY_AFTER_SECONDS = 1
NO_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

_ID = "chatcmpl-" + 20 * "0"
_ID_BYTES = _ID.encode()
_COMPLETION_TOKENS, _CACHED_TOKENS, _REASONING_TOKENS = 8, 5, 4
"""The least of them; less than is held for a call that may write 64."""
_DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Prepared:
    """One answer, whole and streamed, and what a log says of it."""

    quantities: bytes
    """By kind, as JSON; empty if nobody is told."""
    head: bytes
    """Of a stream."""
    whole: tuple[bytes, ...]
    """One piece: head and body."""
    streamed: tuple[bytes, ...]
    """The head and the first event, and the others, with what was used."""
    untold: tuple[bytes, ...]
    """The same without."""


def answer_id(run: int, number: int) -> bytes:
    """The id of an answer, of which there is no other, and always as long as any other."""
    return b"chatcmpl-%08x%012d" % (run, number)


def with_id(pieces: Sequence[bytes], answer: bytes) -> bytes:
    """These pieces of an answer, with its id."""
    return b"".join(pieces).replace(_ID_BYTES, answer)


def prepared(model: str, behaviour: Behaviour) -> list[Prepared]:
    """The answers of a model, to be given in turn."""
    return [_prepared(model, behaviour, variant) for variant in range(VARIANTS)]


def _prepared(model: str, behaviour: Behaviour, variant: int) -> Prepared:
    usage, events = behaviour.usage, max(behaviour.events, EVENTS_MIN)
    told, quantities = _usage(usage, behaviour.prompt_tokens, variant)
    first, *others, last = (_chunk(event) for event in _events(model, told, events))
    untold = (_STREAM_HEAD + first, *others, _DONE)
    streamed = (*untold[:-1], last, _DONE) if told else untold
    return Prepared(
        quantities=json.dumps(quantities).encode() if told else b"",
        head=_STREAM_HEAD,
        whole=(_whole(model, told),),
        streamed=streamed,
        untold=streamed if usage is Usage.ALWAYS else untold,
    )


def _usage(usage: Usage, prompt_tokens: int, variant: int) -> tuple[dict[str, Any] | None, dict[str, int]]:
    """What an answer says was used, and what that is by kind."""
    prompt, completion = prompt_tokens + variant % 4, _COMPLETION_TOKENS + variant
    cached = _CACHED_TOKENS if usage is Usage.CACHED else 0
    reasoning = _REASONING_TOKENS if usage is Usage.REASONING else 0
    told = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }
    quantities = {
        "prompt": prompt - cached,
        "input_cache_read": cached,
        "completion": completion - reasoning,
        "internal_reasoning": reasoning,
    }
    return (None if usage is Usage.NONE else told), {kind: count for kind, count in quantities.items() if count}


def _whole(model: str, usage: Mapping[str, Any] | None) -> bytes:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "Nothing is said above.",
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = _stamped("chat.completion", model) | {"choices": [choice], "service_tier": "default"}
    return body(200, json.dumps(answer | ({} if usage is None else {"usage": usage})).encode())


def _events(model: str, usage: Mapping[str, Any] | None, count: int) -> Iterator[dict[str, Any]]:
    """Every event but the last, which says `[DONE]`."""
    stamp = _stamped("chat.completion.chunk", model) | {"service_tier": "default"}
    for at in range(count - EVENTS_MIN + 1):
        delta = ({"role": "assistant"} if at == 0 else {}) | {"content": " word"}
        yield stamp | {"choices": [_choice(delta, None)], "usage": None}
    yield stamp | {"choices": [_choice({}, "stop")], "usage": None}
    yield stamp | {"choices": [], "usage": usage}


def _choice(delta: Mapping[str, str], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _stamped(kind: str, model: str) -> dict[str, Any]:
    return {"id": _ID, "object": kind, "created": 1_700_000_000, "model": model}


def _chunk(event: Mapping[str, Any]) -> bytes:
    data = f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def body(status: int, content: bytes, *headers: str) -> bytes:
    """A whole answer over HTTP."""
    lines = [
        f"HTTP/1.1 {status} X",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def refusal(status: int) -> bytes:
    """What a provider says that does not want to."""
    error = {"error": {"message": "not now", "type": "server_error", "code": None}}
    return body(status, json.dumps(error).encode(), f"retry-after: {RETRY_AFTER_SECONDS}")
