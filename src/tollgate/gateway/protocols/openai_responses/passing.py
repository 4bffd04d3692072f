"""A response that came from a provider in this very format: bytes unchanged, but for model, provider and usage.

Wire format: https://platform.openai.com/docs/api-reference/responses-streaming
"""

import re
from collections.abc import Mapping

import msgspec

from tollgate.gateway import streams, wire
from tollgate.gateway.model import Receipt, Request
from tollgate.gateway.protocols.openai_responses import response
from tollgate.kit.errors import TollgateError

_BEGINNINGS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_TELLING = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress|completed|incomplete|failed)"')
"""An event that may have the whole response in it; inside a JSON string its quotes would be escaped."""
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KIND = msgspec.json.Decoder(str)


def passed_answer(body: bytes, receipt: Receipt) -> bytes:
    """A provider's whole response as the client gets it: the same bytes, with model, provider and cost."""
    return msgspec.json.encode(response.with_receipt(_FIELDS.decode(wire.mended(body)), receipt))


class ResponsePassage:
    """A stream of events on its way through; the one that says how the response ended waits for the settlement."""

    def __init__(self, *, model: str) -> None:
        self._model = wire.raw(model)
        self._response: dict[str, msgspec.Raw] = {}
        """The response as it was told last."""
        self._final: tuple[str, Mapping[str, msgspec.Raw]] = ("response.completed", {})
        """The type and the fields of the last event."""
        self._last = b""
        """The events that came last."""

    def take(self, event: bytes, data: bytes) -> bytes:
        """The event; under our name for the model, where it tells one."""
        self._last = event
        if _TELLING.search(data) is None:
            return event
        try:
            fields = _FIELDS.decode(wire.mended(data))
            kind = _KIND.decode(fields["type"])
            told = _FIELDS.decode(fields["response"])
        except (*wire.UNREADABLE, KeyError):
            return event
        if kind not in _BEGINNINGS | _ENDS:
            return event
        self._response = {**told, "model": self._model}
        if kind in _ENDS:
            self._final = (kind, fields)
            return b""
        return wire.event(msgspec.json.encode({**fields, "response": self._response}), kind)

    def pass_on(self, events: bytes) -> bytes:
        """Events of the response's content, as they are."""
        self._last = events
        return events

    def end(self, receipt: Receipt) -> bytes:
        """The last event, with model, provider, usage and cost."""
        kind, fields = self._final
        told = {"type": wire.raw(kind), **fields, "response": response.with_receipt(self._response, receipt)}
        return wire.event(msgspec.json.encode(told), kind)

    def fail(self, error: TollgateError, status: int) -> bytes:
        """The response as far as it was told, failed."""
        del status
        last = [*streams.data_in(self._last)][-1:]
        number = wire.count((wire.decoded(b"".join(last)) or {}).get("sequence_number"))
        failed = {
            "type": "response.failed",
            "sequence_number": 0 if number is None else number + 1,
            "response": {"object": "response", "output": [], **self._response, **response.failure(error)},
            "error_type": error.type,
        }
        return wire.event(msgspec.json.encode(failed), "response.failed")


def passage(request: Request, *, model: str) -> ResponsePassage:
    """A stream about to pass."""
    del request
    return ResponsePassage(model=model)
