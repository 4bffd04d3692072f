"""Gemini's answers as they tell of themselves: bytes to an `Answer`, with usage in disjoint quantities.

Wire format: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse. Streamed, each event is such a
response; usage comes with each and grows, and nothing but the end of the body says that it was the last.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tollgate.gateway import wire
from tollgate.gateway.model import Answer
from tollgate.gateway.neutral import Delta, Stop
from tollgate.gateway.providers.gemini import meaning, usage


def read_answer(body: bytes) -> Answer | None:
    """What a whole answer says; `None` if it is none of Gemini's at all."""
    response = meaning.chunk(body)
    if response is None or not _is_answer(response):
        return None
    reader = GeminiReader()
    reader.take_note(response)
    return replace(reader.answer, text=_text(response))


def _is_answer(response: Mapping[str, Any]) -> bool:
    return (
        isinstance(response.get("candidates"), list)
        or bool(response.get("error"))
        or any(isinstance(response.get(name), dict) for name in ("promptFeedback", "usageMetadata"))
    )


class GeminiReader:
    """A stream of responses, read for what it says about itself."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._begun = False
        self._usage: dict[str, Any] = {}
        self._ends: dict[int, str] = {}
        self._has_called = False
        self._has_written = False
        self._telling = meaning.Telling()

    def look(self, data: bytes) -> bool:
        """Take note of an event; there is usage in each."""
        response = meaning.chunk(data)
        if response is None or not (self._begun or _is_answer(response)):
            return False
        self._begun = True
        self.take_note(response)
        return True

    def take_note(self, response: Mapping[str, Any]) -> None:
        """What a response says besides its content. Of several candidates the first one's end counts."""
        known = self.answer
        told = response.get("usageMetadata")
        if isinstance(told, dict):
            self._usage = usage.merged(self._usage, told)
        finish, native = self._ending(response)
        error = response.get("error")
        self.answer = replace(
            known,
            usage=usage.read_usage(self._usage) if isinstance(told, dict) else known.usage,
            # The last reason seen: Gemini's older models give one with every chunk.
            finish_reason=finish or known.finish_reason,
            native_finish_reason=native or known.native_finish_reason,
            upstream_id=wire.text(response.get("responseId")) or known.upstream_id,
            service_tier=usage.service_tier(self._usage),
            error=wire.error_message(response) if error else known.error,
        )

    def _ending(self, response: Mapping[str, Any]) -> tuple[Stop | None, str | None]:
        """The end as far as it is known. The answer failed only if all candidates did, and none said anything."""
        blocked = meaning.block_of(response)
        if blocked is not None:
            return Stop.CONTENT_FILTER, blocked
        for choice, candidate in meaning.candidates_in(response):
            parts = meaning.parts_of(candidate)
            self._has_written |= any(map(meaning.says_something, parts))
            self._has_called |= choice == 0 and any(map(meaning.is_call, parts))
            reason = meaning.reason_of(candidate)
            if reason is not None:
                self._ends[choice] = reason
        first = self._ends.get(0)
        if first is None:
            return None, None
        is_used = self._has_written or not all(map(meaning.is_failure, self._ends.values()))
        return meaning.stop_of(first, has_called=self._has_called, has_written=is_used), first

    def find_telling(self, events: bytes, start: int) -> int:
        """At once: there is usage in each."""
        return start if start < len(events) else -1

    def is_last(self, data: bytes) -> bool:
        """Never: the stream is over where its body is."""
        del data
        return False

    def deltas(self, data: bytes) -> Iterable[Delta]:
        """What an event adds to the answer."""
        response = meaning.chunk(data)
        return () if response is None else self._telling.deltas(response)


def reader() -> GeminiReader:
    """A stream about to begin."""
    return GeminiReader()


def read_error(body: bytes) -> str | None:
    """The provider's own words in an error body, if it has any we can show."""
    response = meaning.chunk(body)
    return wire.error_message(response) if response is not None and "error" in response else None


def text_of(events: Iterable[bytes]) -> str:
    """Everything the model wrote in these events: what to count when the provider counted nothing."""
    return "".join(_text(response) for data in events if (response := meaning.chunk(data)) is not None)


def _text(response: Mapping[str, Any]) -> str:
    return "".join(
        written
        for _, candidate in meaning.candidates_in(response)
        for part in meaning.parts_of(candidate)
        for written in _written(part)
    )


def _written(part: Mapping[str, Any]) -> Iterator[str]:
    """Words, thoughts and function calls; pictures are not written."""
    yield wire.text(part.get("text")) or ""
    if meaning.is_call(part):
        call = part["functionCall"]
        yield (wire.text(call.get("name")) or "") + meaning.arguments_of(call)
