"""A request for a response: bytes to `Request`, decoded as far as routing and metering need.

Wire format: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import msgspec

from tollgate.gateway.model import Prompt, Request, Wire
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_responses import metered
from tollgate.gateway.protocols.tally import Tally, first_byte
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit.errors import InvalidRequest

_ALWAYS_ALLOWED = frozenset({
    "background", "include", "input", "instructions", "max_output_tokens", "model", "store", "stream", "stream_options",
})  # fmt: skip
_UNREAD = envelope.OWN_FIELDS | _ALWAYS_ALLOWED - {"instructions"} | {
    "access_programs", "background_options", "frequency_penalty", "image", "logit_bias",
    "max_tool_calls", "moderation", "parallel_tool_calls", "presence_penalty", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "seed", "service_tier", "stop",
    "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "truncation",
}  # fmt: skip
"""What the model does not read as part of its prompt. Any other field counts, or a prompt could hide in it."""
_CONTENTS = frozenset({"content", "output", "summary"})
"""The fields of an item that may hold content parts."""
_LABELS = frozenset({"id", "role", "status", "type"})
_LABEL_BYTES_MAX = 100
"""A longer label is none."""

_ITEMS_MAX = 10_000
_ITEM_FIELDS_MAX = 100_000


class _TextFormat(msgspec.Struct):
    type: str = "text"


class _Text(msgspec.Struct):
    format: _TextFormat | None = None
    verbosity: str | None = None


_Items = Annotated[tuple[dict[str, msgspec.Raw], ...], msgspec.Meta(max_length=_ITEMS_MAX)]
_INPUT = msgspec.json.Decoder(str | _Items | None)
_TEXT = msgspec.json.Decoder(_Text | None)


class _Asked(envelope.OpenAIAsked):
    """The fields that the gateway reads, but for the input."""

    stream: bool | None = None
    max_output_tokens: envelope.Count | None = None


_ASKED = envelope.Form(_Asked)


def decode(body: bytes, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request body; no header matters.

    Raises:
        InvalidRequest: it is not JSON, has more items than a prompt has, asks for what could not be bounded or
            metered, or a field the gateway needs is missing or has the wrong form.
    """
    del headers
    fields = envelope.opened(body, metered.REFUSED)
    metered.check_settings(fields)
    asked = _ASKED.read(body, fields)
    models = envelope.models(asked)
    given = envelope.field(fields, "input", _INPUT)
    if given is None or given == ():
        raise InvalidRequest("Give some input: text, or at least one item.", field="input")
    metered.check_tools(fields, () if isinstance(given, str) else given)
    return Request(
        wire=Wire.RESPONSES,
        fields=envelope.for_provider(fields),
        models=models,
        prompt=_prompt(given, fields),
        parameters=frozenset(_parameters(fields)),
        stream=asked.stream or False,
        include_usage=True,
        max_tokens=asked.max_output_tokens,
        choices=1,
        service_tier=asked.service_tier,
        preferences=envelope.preferences(asked),
        attribution=envelope.attribution(asked),
    )


def _parameters(fields: Mapping[str, msgspec.Raw]) -> Iterator[str]:
    """The optional parameters used, as the catalogue names them."""
    yield from envelope.used(fields, always_allowed=_ALWAYS_ALLOWED) - {"text"}
    text = envelope.field(fields, "text", _TEXT) or _Text()
    if text.format is not None and text.format.type != "text":
        yield "response_format"
    if text.verbosity is not None:
        yield "verbosity"


def _prompt(given: str | Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    """What counts as prompt."""
    tally = Tally("input")
    items = () if isinstance(given, str) else given
    if sum(map(len, items)) > _ITEM_FIELDS_MAX:
        raise InvalidRequest(f"The input's items have more than {_ITEM_FIELDS_MAX:,} fields.", field="input")
    try:
        if isinstance(given, str):
            tally.words(given)
        for item in items:
            _add_item(item, tally)
        for name, value in fields.items():
            if name not in _UNREAD:
                tally.value(value)
    except UNREADABLE as error:
        raise InvalidRequest(f"input: {error}.", field="input") from error
    return tally.prompt(max(len(items), 1))


def _add_item(item: Mapping[str, msgspec.Raw], tally: Tally) -> None:
    """One item: a turn, a tool call or its result, or earlier thoughts; even encrypted, these are read once more."""
    for name in _CONTENTS & item.keys():
        if first_byte(item[name]) == b"{":
            tally.part(item[name])
        else:
            tally.content(item[name])
    for name, value in item.items():
        if name not in _CONTENTS and (name not in _LABELS or len(memoryview(value)) > _LABEL_BYTES_MAX):
            tally.value(value)
