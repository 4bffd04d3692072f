"""Responses as providers answer them: bytes to an `Answer`, with usage in disjoint quantities.

Wire format: https://platform.openai.com/docs/api-reference/responses/object
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from tollgate.gateway import streams, wire
from tollgate.gateway.model import Answer
from tollgate.gateway.neutral import Delta
from tollgate.gateway.providers.openai_responses import meaning, usage

_TELLING = re.compile(
    rb'"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|error|web_search_call)"|"error"\s*:\s*[{"]'
)
"""What makes an event worth decoding. It cannot occur inside a JSON string, where quotes are escaped."""
_OF_RESPONSE = re.compile(
    rb'"(?:response\.(?:created|queued|in_progress|completed|incomplete|failed)|error|web_search_call)"'
)
"""What is in every event that tells of the response as a whole, and in those above."""
_NAME = re.compile(r"response\.|error$")
_LAST = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete)"')
_DONE = b"[DONE]"
_WRITTEN_WHOLE = ("action", "operation")
"""Where tools without a stream of their own have what the model wrote."""


def read_answer(body: bytes) -> Answer | None:
    """What a whole response says; `None` if it is none at all."""
    decoded = wire.decoded(body)
    if decoded is None or not (isinstance(decoded.get("output"), list) or decoded.get("error")):
        return None
    return _answer(decoded)


def _answer(response: Mapping[str, Any], searches_seen: int = 0) -> Answer:
    """What a response object says; whatever is wrong with a failed one is an error."""
    ended = meaning.ending(response)
    failed = bool(response.get("error")) or wire.text(response.get("status")) in meaning.FAILED
    return Answer(
        usage=usage.of_response(response, searches_seen),
        finish_reason=None if ended is None else ended.stop.value,
        native_finish_reason=None if ended is None else ended.native_stop,
        upstream_id=wire.text(response.get("id")),
        service_tier=wire.text(response.get("service_tier")),
        error=wire.error_message(response) if failed else None,
        text="".join(text for item in wire.objects(response.get("output")) for text in _written(item)),
    )


class ResponseReader:
    """A stream of events, read for what it says about itself."""

    find_telling = staticmethod(partial(streams.find_first, _OF_RESPONSE, _DONE))
    """Where there is more than a response's content, or a search in that."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._begun = False
        self._searches = 0
        self._meaning = meaning.Meaning()

    def look(self, data: bytes) -> bool:
        """Take note of the response's id, its end, errors and web searches; all other events go undecoded."""
        if data == _DONE or (self._begun and _TELLING.search(data) is None):
            return True
        event = wire.decoded(data)
        if event is None or not (_NAME.match(wire.text(event.get("type")) or "") or event.get("error")):
            return False
        self._begun = True
        match event:
            case {"type": "response.completed" | "response.incomplete" | "response.failed" as kind}:
                self._end(meaning.response_of(event, kind.removeprefix("response.")))
            case {"type": "response.output_item.done", "item": dict(item)} if usage.is_search(item):
                self._searches += 1
                self.answer = replace(self.answer, usage=usage.read({}, self._searches))
            case {"type": "error"} | {"error": dict() | str()}:
                self.answer = replace(self.answer, error=_words(event))
            case _:
                identifier = wire.text(wire.mapping(event.get("response")).get("id"))
                self.answer = replace(self.answer, upstream_id=self.answer.upstream_id or identifier)
        return True

    def _end(self, response: Mapping[str, Any]) -> None:
        said, known = _answer(response, self._searches), self.answer
        self.answer = replace(said, upstream_id=said.upstream_id or known.upstream_id, text="")

    def is_last(self, data: bytes) -> bool:
        """Whether the response is complete with this event. Failures are not asked for: they are errors."""
        if data == _DONE:
            return True
        if _LAST.search(data) is None:
            return False
        return wire.text((wire.decoded(data) or {}).get("type")) in {"response.completed", "response.incomplete"}

    def deltas(self, data: bytes) -> Iterator[Delta]:
        """What an event adds to the answer."""
        event = wire.decoded(data)
        return iter(()) if event is None else self._meaning.deltas(event)


def reader() -> ResponseReader:
    """A stream about to begin."""
    return ResponseReader()


def _words(event: Mapping[str, Any]) -> str:
    """What an event of an error says: OpenAI puts it at its top, others into an object."""
    return wire.error_message(event if event.get("error") else {"error": event})


def text_of(events: Iterable[bytes]) -> str:
    """Everything the model wrote in these events: what to count when the provider counted nothing."""
    return "".join(text for data in events for text in _written_in(wire.decoded(data) or {}))


def _written_in(event: Mapping[str, Any]) -> Iterator[str]:
    kind, item = wire.text(event.get("type")) or "", wire.mapping(event.get("item"))
    if kind.endswith(".delta"):
        yield wire.text(event.get("delta")) or ""
    elif kind == "response.output_item.added":
        yield wire.text(item.get("name")) or ""
    elif kind == "response.output_item.done":
        yield from _written_at_once(item)


def _written(item: Mapping[str, Any]) -> Iterator[str]:
    """What the model wrote of an output item."""
    for name in ("name", "arguments", "input", "code"):
        yield wire.text(item.get(name)) or ""
    for part in (*wire.objects(item.get("summary")), *wire.objects(item.get("content"))):
        yield wire.text(part.get("text")) or ""
        yield wire.text(part.get("refusal")) or ""
    yield from _written_at_once(item)


def _written_at_once(item: Mapping[str, Any]) -> Iterator[str]:
    """What comes whole even in a stream: a command, a patch, a search."""
    for name in _WRITTEN_WHOLE:
        if isinstance(item.get(name), dict):
            written = {field: value for field, value in item[name].items() if field != "sources"}
            yield msgspec.json.encode(written).decode()
