"""Providers that send anything but an answer: told as the provider's failure, recorded once, never a fault of ours."""

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import asyncpg
import httpx
import pytest
from tests.gateway import asking, telling
from tests.gateway.corpus import Entry, entries
from tests.gateway.fake_provider import Behaviour, body_of, dead, event, stream
from tests.gateway.matrix import CLIENTS, PRICES, PROVIDERS, Matrix, as_sent, cost_of

from tollgate.gateway.model import Wire

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
WORDS = "the disk is full"
ERRORS: Mapping[Wire, Any] = {
    Wire.CHAT: {"error": {"message": WORDS, "type": "server_error", "code": 500}},
    Wire.RESPONSES: {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "failed", "model": "m", "output": [],
        "error": {"code": "server_error", "message": WORDS}, "incomplete_details": None, "usage": None,
    },
    Wire.MESSAGES: {"type": "error", "error": {"type": "api_error", "message": WORDS}, "request_id": "req_1"},
    Wire.GENERATE_CONTENT: {"error": {"code": 500, "message": WORDS, "status": "INTERNAL"}},
}  # fmt: skip
"""Errors inside an answer of status 200."""
ERROR_EVENTS: Mapping[Wire, Any] = {
    **ERRORS,
    Wire.RESPONSES: {"type": "response.failed", "sequence_number": 3, "response": ERRORS[Wire.RESPONSES]},
}


@cache
def plain(wire: Wire) -> Entry:
    """An ordinary answer in this format."""
    return next(entry for entry in entries(wire) if entry.case == "plain" and entry.whole and entry.stream)


def foreign(wire: Wire) -> Entry:
    """An ordinary answer in another format."""
    return plain(Wire.MESSAGES if wire is not Wire.MESSAGES else Wire.CHAT)


def _whole(wire: Wire) -> bytes:
    whole = plain(wire).whole
    assert whole is not None
    return whole


def _cut_json(wire: Wire) -> Behaviour:
    return body_of(_whole(wire)[:-20])


def _foreign(wire: Wire) -> Behaviour:
    return body_of(foreign(wire).whole or b"")


def _error(wire: Wire) -> Behaviour:
    return body_of(json.dumps(ERRORS[wire]).encode())


BAD: Mapping[str, Callable[[Wire], Behaviour]] = {
    "garbage": lambda _: body_of(bytes(range(256)) * 4),
    "HTML": lambda _: body_of(HTML, headers={"content-type": "text/html"}),
    "nothing": lambda _: body_of(b""),
    "null": lambda _: body_of(b"null"),
    "an array": lambda _: body_of(b'[{"a": 1}]'),
    "an empty object": lambda _: body_of(b"{}"),
    "a nest": lambda _: body_of(b"[" * 100_000),
    "half of it": _cut_json,
    "another format": _foreign,
    "an error inside": _error,
    "a refusal in HTML": lambda _: body_of(HTML, 500, {"content-type": "text/html"}),
    "a refusal without a word": lambda _: body_of(b"", 503),
    "a broken connection": lambda _: dead,
}
"""Whole answers that are none."""
BAD_STREAMS: Mapping[str, Callable[[Wire], Behaviour]] = {
    "garbage": lambda _: stream([bytes(range(256)) * 4]),
    "garbage events": lambda _: stream([event(bytes(range(128, 256))), event(b"{]")]),
    "HTML": lambda _: stream([HTML]),
    "nothing": lambda _: stream([]),
    "an empty object": lambda _: stream([event({})]),
    "a nest": lambda _: stream([event(b"[" * 100_000)]),
    "a whole answer": lambda wire: body_of(_whole(wire)),
    "another format": lambda wire: stream([as_sent(foreign(wire).wire, foreign(wire).stream)]),
    "an error at once": lambda wire: stream([as_sent(wire, [_encoded(ERROR_EVENTS[wire])])]),
    "an error inside": _error,
    "a refusal in HTML": BAD["a refusal in HTML"],
    "a broken connection": BAD["a broken connection"],
}
"""Streams that never begin."""


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def by_turns(cases: Iterable[Any]) -> list[tuple[Any, Wire, Wire]]:
    """Every case with every provider, each with another client in its turn: all meet each other."""
    return [
        (case, provider, CLIENTS[(number + place) % len(CLIENTS)])
        for number, case in enumerate(cases)
        for place, provider in enumerate(PROVIDERS)
    ]


@pytest.mark.parametrize(("bad", "provider", "client"), by_turns(BAD))
async def test_an_answer_that_is_none_is_the_providers_failure(
    matrix: Matrix, bad: str, provider: Wire, client: Wire
) -> None:
    answer = await matrix.post(client, provider, BAD[bad](provider), asking.body(client, asking.PLAIN))
    _is_their_failure(client, answer, await matrix.record())
    assert (WORDS in answer.text) == ("error inside" in bad and client is not Wire.MESSAGES)


@pytest.mark.parametrize(("bad", "provider", "client"), by_turns(BAD_STREAMS))
async def test_a_stream_that_never_begins_is_the_providers_failure(
    matrix: Matrix, bad: str, provider: Wire, client: Wire
) -> None:
    behaviour, body = BAD_STREAMS[bad](provider), asking.body(client, asking.PLAIN, stream=True)
    answer = await matrix.post(client, provider, behaviour, body)
    _is_their_failure(client, answer, await matrix.record())


def _is_their_failure(client: Wire, answer: httpx.Response, call: asyncpg.Record) -> None:
    """The error is in the client's own shape, and nobody pays."""
    assert answer.status_code == 502, answer.text
    error = answer.json()["error"]
    if client is Wire.MESSAGES:
        assert (answer.json()["type"], error["type"]) == ("error", "api_error")
    else:
        assert error["type"] in {"provider_error", "provider_unavailable"}
    assert (call["status"], call["amount"], call["attempts"]) == ("failed", 0, 1)


def _halves(wire: Wire) -> tuple[list[bytes], list[bytes]]:
    """A stream cut where words have been said, but nothing of the end."""
    events = list(plain(wire).stream)
    middle = max(len(events) // 2, 1)
    return events[:middle], events[middle:]


BREAKS: Mapping[str, Callable[[Wire], list[bytes]]] = {
    "an error": lambda wire: [as_sent(wire, [_encoded(ERROR_EVENTS[wire])])],
    "half an event": lambda wire: [as_sent(wire, _halves(wire)[1][:1])[:-9]],
    "nothing more": lambda _: [],
}


@pytest.mark.parametrize("end", BREAKS)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_stream_that_breaks_off_says_so_in_the_clients_words(matrix: Matrix, provider: Wire, end: str) -> None:
    begun, _ = _halves(provider)
    for place, client in enumerate(CLIENTS):
        behaviour = stream([as_sent(provider, begun), *BREAKS[end](provider)], cut=place % 2 == 1)
        answer = await matrix.post(client, provider, behaviour, asking.body(client, asking.PLAIN, stream=True))
        call = await matrix.record()
        if answer.status_code != 200:
            _is_their_failure(client, answer, call)
            continue
        _ends_in_an_error(client, answer.content)
        assert (call["status"], call["attempts"]) == ("failed", 1)
        # Where no usage came before the end, what came is counted here, and in another vocabulary.
        assert call["amount"] <= cost_of(plain(provider).quantities) + Decimal("0.0005")


def _ends_in_an_error(client: Wire, body: bytes) -> None:
    """The protocol's own way to say that a stream failed after it had begun."""
    data = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
    match client:
        case Wire.CHAT:
            assert data[-1] == b"[DONE]"
            last = json.loads(data[-2])
            assert last["error"]["type"] == "provider_error"
            assert last["choices"][0]["finish_reason"] == "error"
        case Wire.MESSAGES:
            last = json.loads(data[-1])
            assert (last["type"], last["error"]["type"]) == ("error", "api_error")
            assert b"event: error\n" in body
            assert b"message_stop" not in body
        case _:
            last = json.loads(data[-1])
            assert last["type"] == "response.failed"
            assert last["response"]["status"] == "failed"
            assert last["response"]["error"]["message"]
            assert b"response.completed" not in body


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
async def test_what_the_answer_is_called_is_no_matter(matrix: Matrix, provider: Wire, *, streams: bool) -> None:
    entry = plain(provider)
    sent = as_sent(provider, entry.stream) if streams else _whole(provider)
    for client in CLIENTS:
        behaviour = body_of(sent, headers={"content-type": "text/plain"})
        answer = await matrix.post(client, provider, behaviour, asking.body(client, asking.PLAIN, stream=streams))
        assert answer.status_code == 200, answer.text
        call = await matrix.record()
        assert json.loads(call["quantities"]) == {kind.value: count for kind, count in entry.quantities.items()}


ODD: tuple[Any, ...] = ("many", -5, 1.5, None, [], {}, 10**30, True, "\ud800")
"""What is no count."""
USAGE_AT = {
    Wire.CHAT: "usage", Wire.RESPONSES: "usage", Wire.MESSAGES: "usage", Wire.GENERATE_CONTENT: "usageMetadata",
}  # fmt: skip


def _with_usage(entry: Entry, change: Callable[[Any], Any]) -> tuple[bytes, bytes]:
    """The answer, whole and streamed, with every usage object in it changed."""
    name = USAGE_AT[entry.wire]

    def walked(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: change(inner) if key == name and inner else walked(inner) for key, inner in value.items()}
        return [walked(inner) for inner in value] if isinstance(value, list) else value

    stream = [each if each == b"[DONE]" else _encoded(walked(json.loads(each))) for each in entry.stream]
    return _encoded(walked(json.loads(entry.whole or b"{}"))), as_sent(entry.wire, stream)


@pytest.mark.parametrize(("odd", "provider", "client"), by_turns(ODD), ids=repr)
async def test_odd_usage_is_counted_by_us(matrix: Matrix, odd: Any, provider: Wire, client: Wire) -> None:
    whole, streamed = _with_usage(plain(provider), lambda usage: dict.fromkeys(usage, odd))
    for streams in (False, True):
        behaviour = stream([streamed]) if streams else body_of(whole)
        answer = await matrix.post(client, provider, behaviour, asking.body(client, asking.PLAIN, stream=streams))
        assert answer.status_code == 200, answer.text
        call = await matrix.record()
        assert (call["status"], call["estimated"]) == ("settled", True)
        quantities = json.loads(call["quantities"])
        assert quantities["prompt"] > 0
        assert quantities["completion"] > 0
        told = _told(client, answer, streams=streams)
        assert told.usage is not None
        assert told.usage["cost"] == call["amount"]


def _told(client: Wire, answer: httpx.Response, *, streams: bool) -> telling.Told:
    if streams:
        return telling.streamed(client, telling.events(client, answer.content))
    return telling.whole(client, json.loads(answer.text, parse_float=Decimal))


CONTRADICTED: Mapping[str, tuple[int, str, Any]] = {
    "prompt_tokens": (10, "prompt_tokens_details", {"cached_tokens": 11}),
    "completion_tokens": (5, "completion_tokens_details", {"reasoning_tokens": 6}),
    "input_tokens": (10, "input_tokens_details", {"cached_tokens": 11}),
    "output_tokens": (5, "output_tokens_details", {"reasoning_tokens": 6}),
    "promptTokenCount": (10, "cachedContentTokenCount", 11),
}
"""Totals, and details that are larger."""


def _contradicted(usage: Any) -> Any:
    for total, (count, detail, more) in CONTRADICTED.items():
        if total in usage:
            usage = {**usage, total: count, detail: more}
    return usage


@pytest.mark.parametrize("provider", [wire for wire in PROVIDERS if wire is not Wire.MESSAGES])
async def test_usage_that_contradicts_itself_is_marked_and_bills_no_more_than_its_totals(
    matrix: Matrix, provider: Wire
) -> None:
    whole, streamed = _with_usage(plain(provider), _contradicted)
    for client in CLIENTS:
        for streams in (False, True):
            behaviour = stream([streamed]) if streams else body_of(whole)
            answer = await matrix.post(client, provider, behaviour, asking.body(client, asking.PLAIN, stream=streams))
            assert answer.status_code == 200, answer.text
            call = await matrix.record()
            assert (call["status"], call["anomalous"], call["estimated"]) == ("settled", True, False)
            quantities = json.loads(call["quantities"])
            assert quantities["prompt"] == 10
            told = _told(client, answer, streams=streams)
            assert told.usage is not None
            price = Decimal(PRICES["prompt"]) * 10 + Decimal(PRICES["completion"]) * quantities["completion"]
            assert told.usage["cost"] == call["amount"] == price / 1_000_000
