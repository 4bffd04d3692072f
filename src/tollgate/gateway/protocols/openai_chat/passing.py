"""A chat completion that came from a provider in this very format: bytes unchanged, but for model, provider and usage.

Wire format: https://platform.openai.com/docs/api-reference/chat/streaming
"""

import re
from collections.abc import Mapping

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Receipt, Request
from tollgate.gateway.protocols import envelope
from tollgate.kit.errors import TollgateError

_DONE = b"[DONE]"
DONE = b"data: " + _DONE + b"\n\n"

_NO_USAGE = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,')
"""What OpenAI adds to every chunk when usage is asked for; inside a JSON string its quotes would be escaped."""
_NO_USAGE_COMPACT = b',"usage":null'
"""The same as OpenAI writes it."""
_USAGE_NAME = b'"usage"'
_HAS_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_MODEL = re.compile(rb'"model"\s*:\s*"[^"\\]*"')
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_USAGE = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_CHOICES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)
_TOTALS = frozenset({"prompt_tokens", "completion_tokens"})


def passed_answer(body: bytes, receipt: Receipt) -> bytes:
    """A provider's whole answer as the client gets it: the same bytes, with model, provider and cost."""
    return msgspec.json.encode(_with_receipt(_FIELDS.decode(wire.mended(body)), receipt))


class ChatPassage:
    """A stream of chat completion chunks on its way through; the one with the usage waits for the settlement."""

    def __init__(self, request: Request, *, model: str) -> None:
        self._include_usage = request.include_usage
        self._usage_chunk: Mapping[str, msgspec.Raw] | None = None
        self._model = wire.raw(model)
        self._our_name = b'"model":' + bytes(self._model)
        self._their_name: bytes | None = None

    def take(self, event: bytes, data: bytes) -> bytes:
        """The event under our name for the model; without usage, if it carries one, or for who did not ask for it.

        `[DONE]` is ours to say.
        """
        if data == _DONE:
            return b""
        return self.pass_on(event if _HAS_USAGE.search(data) is None else self._without_usage(data, event))

    def pass_on(self, events: bytes) -> bytes:
        """The events under our name for the model; without their null for usage, for who did not ask for it."""
        if self._their_name is None and (named := _MODEL.search(events)) is not None:
            self._their_name = named[0]
        if self._their_name is not None:
            events = events.replace(self._their_name, self._our_name)
        if self._include_usage:
            return events
        events = events.replace(_NO_USAGE_COMPACT, b"")
        # `in` takes longer.
        return events if events.find(_USAGE_NAME) == -1 else _NO_USAGE.sub(b"", events)

    def _without_usage(self, data: bytes, event: bytes) -> bytes:
        try:
            chunk = _FIELDS.decode(wire.mended(data))
        except wire.UNREADABLE:
            return event
        rest, usage = _parted(chunk)
        if usage is None:
            return event
        self._usage_chunk = {**rest, "usage": usage}
        if "model" in rest:
            rest["model"] = self._model
        if not bytes(rest.get("choices", b"[]")).strip(b"[] \t\r\n"):
            return b""
        return wire.event(msgspec.json.encode(rest))

    def end(self, receipt: Receipt) -> bytes:
        """The usage chunk for who asked for it, with model, provider and cost; and `[DONE]`."""
        if not self._include_usage:
            return DONE
        chunk = self._usage_chunk
        if chunk is None:
            chunk = {
                "id": wire.raw(receipt.generation_id),
                "object": wire.raw("chat.completion.chunk"),
                "created": wire.raw(0),
            }
        return wire.event(msgspec.json.encode({**_with_receipt(chunk, receipt), "choices": []})) + DONE

    def fail(self, error: TollgateError, status: int) -> bytes:
        """A chunk that says what went wrong, and `[DONE]`."""
        return failure(error, status)


def passage(request: Request, *, model: str) -> ChatPassage:
    """A stream about to pass."""
    return ChatPassage(request, model=model)


def failure(error: TollgateError, status: int) -> bytes:
    """How a stream of chunks that already began says that it failed."""
    problem = {"code": status, "type": error.type, "message": error.message, "metadata": error.metadata}
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    chunk = {"error": problem, "object": "chat.completion.chunk", "choices": [choice]}
    return wire.event(msgspec.json.encode(chunk)) + DONE


def _parted(chunk: Mapping[str, msgspec.Raw]) -> tuple[dict[str, msgspec.Raw], msgspec.Raw | None]:
    """A chunk without its usage, and the usage: at Groq it is in an object of its own, at Moonshot in a choice."""
    rest = dict(chunk)
    found = [rest.pop("usage", envelope.NULL)]
    try:
        groq = _USAGE.decode(rest.get("x_groq", envelope.NULL)) or {}
        choices = _CHOICES.decode(rest.get("choices", envelope.NULL)) or ()
    except wire.UNREADABLE:
        groq, choices = {}, ()
    if "usage" in groq:
        found.append(groq.pop("usage"))
        rest["x_groq"] = wire.raw(groq)
    if any("usage" in choice for choice in choices):
        found += [choice.pop("usage", envelope.NULL) for choice in choices]
        rest["choices"] = wire.raw(choices)
    return rest, next((usage for usage in found if bytes(usage) != b"null"), None)


def _with_receipt(fields: Mapping[str, msgspec.Raw], receipt: Receipt) -> dict[str, object]:
    told = envelope.object_in(fields, "usage")
    counted = totals(receipt) if receipt.estimated or not told.keys() >= _TOTALS else {}
    return {
        **fields,
        "model": receipt.model,
        "provider": receipt.provider,
        "usage": {**told, **counted, **envelope.cost(receipt)},
    }


def totals(receipt: Receipt) -> dict[str, int]:
    """The totals that were billed."""
    prompt, completion = receipt.quantities.prompt_tokens, receipt.quantities.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
