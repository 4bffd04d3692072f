"""A message that came from a provider in this very format: bytes unchanged, but for model, provider and usage.

Wire format: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Receipt, Request
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.anthropic_messages import failures, usage
from tollgate.kit.errors import TollgateError

_Fields = Mapping[str, msgspec.Raw]

_WAITING = re.compile(rb'"type"\s*:\s*"(?:message_start|message_delta|message_stop|error)"')
"""What cannot pass as it is. It cannot occur inside a JSON string, where quotes are escaped."""
_MODEL = re.compile(rb'"model"\s*:\s*"[^"\\]*"')
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_STOP = {"type": "message_stop"}


def passed_answer(body: bytes, receipt: Receipt) -> bytes:
    """A provider's whole answer as the client gets it: the same bytes, with model, provider and cost."""
    fields = _FIELDS.decode(wire.mended(body))
    return msgspec.json.encode({**fields, **_told(receipt, envelope.object_in(fields, "usage"))})


class MessagePassage:
    """A stream of message events on its way through; what says how the message ended waits for the settlement."""

    def __init__(self, *, model: str) -> None:
        self._model = model
        self._delta: dict[str, Any] = {}
        """What the provider's own `message_delta` says."""
        self._usage: dict[str, Any] = {}
        self._rest: _Fields = {}

    def take(self, event: bytes, data: bytes) -> bytes:
        """The event; the beginning under our name for the model, and nothing yet of the end."""
        if _WAITING.search(data) is None:
            return event
        try:
            fields = _FIELDS.decode(wire.mended(data))
        except wire.UNREADABLE:
            return event
        match bytes(fields.get("type", b"")):
            case b'"message_start"':
                return self._named(event, data, fields)
            case b'"message_delta"':
                self._keep(fields)
                return b""
            case b'"message_stop"' | b'"error"':
                return b""
            case _:
                return event

    def pass_on(self, events: bytes) -> bytes:
        """Events of the message's content, as they are."""
        return events

    def _named(self, event: bytes, data: bytes, fields: _Fields) -> bytes:
        """The beginning of the message, with our name for its model."""
        our_name = msgspec.json.encode(self._model)
        if len(_MODEL.findall(data)) == 1 == len(_MODEL.findall(event)):
            return _MODEL.sub(lambda _: b'"model":' + our_name, event)
        message = {**envelope.object_in(fields, "message"), "model": msgspec.Raw(our_name)}
        return _event({**fields, "message": message}, "message_start")

    def _keep(self, fields: _Fields) -> None:
        """Remember an end that is told; of several, what each adds."""
        delta = envelope.object_in(fields, "delta")
        self._usage |= {**envelope.object_in(delta, "usage"), **envelope.object_in(fields, "usage")}
        said = {name: value for name, value in delta.items() if name != "usage"}
        self._delta |= {
            name: value for name, value in said.items() if value != envelope.NULL or name not in self._delta
        }
        self._rest = {**self._rest, **fields}

    def end(self, receipt: Receipt) -> bytes:
        """The end of the message with usage and cost, and of the stream."""
        last = {"type": "message_delta", **self._rest, "delta": self._delta, **_told(receipt, self._usage)}
        return _event(last, "message_delta") + _event(_STOP, "message_stop")

    def fail(self, error: TollgateError, status: int) -> bytes:
        """An event that says what went wrong."""
        return failures.failure(error, status)


def passage(request: Request, *, model: str) -> MessagePassage:
    """A stream about to pass."""
    del request
    return MessagePassage(model=model)


def _told(receipt: Receipt, given: Mapping[str, object]) -> dict[str, object]:
    """Model, provider and usage. Of the usage what the provider said, or, where that was not to be had, our count."""
    counted = usage.told(receipt.quantities) if receipt.estimated else {}
    told = {**given, **counted, **envelope.cost(receipt)}
    return {"model": receipt.model, "provider": receipt.provider, "usage": told}


def _event(fields: Mapping[str, object], name: str) -> bytes:
    """An event of one line: what a provider wrote on several has no line ends inside its strings."""
    data = msgspec.json.encode(fields).replace(b"\r", b" ").replace(b"\n", b" ")
    return wire.event(data, name)
