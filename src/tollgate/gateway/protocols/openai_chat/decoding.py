"""A chat completion request: bytes to `Request`, decoded as far as routing and metering need.

Wire format: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from tollgate.gateway.model import Prompt, Request, Wire
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.openai_chat import metered
from tollgate.gateway.protocols.tally import Tally, first_byte, words_of
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit.errors import InvalidRequest

_ALWAYS_ALLOWED = frozenset(
    {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}
)
_UNREAD = envelope.OWN_FIELDS | _ALWAYS_ALLOWED | {
    "audio", "frequency_penalty", "function_call", "logit_bias", "logprobs", "min_p", "modalities",
    "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning",
    "reasoning_effort", "repetition_penalty", "safety_identifier", "seed", "service_tier", "stop", "store",
    "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "verbosity",
}  # fmt: skip
"""What the model does not read as part of its prompt. Any other field counts, or a prompt could hide in it."""

_CHOICES_MAX = 128
_MESSAGES_MAX = 10_000
_MESSAGE_FIELDS_MAX = 100_000


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_USER = msgspec.Raw(b'"user"')
_ROLES = tuple(msgspec.Raw(b'"%s"' % role) for role in (b"system", b"developer", b"user", b"assistant", b"tool"))
_MESSAGES = msgspec.json.Decoder(
    Annotated[tuple[dict[str, msgspec.Raw], ...], msgspec.Meta(max_length=_MESSAGES_MAX)] | None
)
_PARTS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_CHOICES = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1, le=_CHOICES_MAX)] | None)
_OPTIONS = msgspec.json.Decoder(_StreamOptions | None)


def decode(body: bytes, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request body; no header matters.

    Raises:
        InvalidRequest: it is not JSON, has more parts than a chat has, asks for what could not be bounded or
            metered, or a field the gateway needs is missing or has the wrong form.
    """
    del headers
    fields = envelope.opened(body, metered.REFUSED)
    metered.check(fields)
    models = envelope.models(fields)
    messages = envelope.field(fields, "messages", _MESSAGES)
    if not messages:
        raise InvalidRequest("Give at least one message.", field="messages")
    stream = envelope.field(fields, "stream", envelope.FLAG) or False
    return Request(
        wire=Wire.CHAT,
        fields=envelope.for_provider(fields),
        models=models,
        prompt=_prompt(messages, fields),
        parameters=envelope.used(fields, always_allowed=_ALWAYS_ALLOWED),
        stream=stream,
        include_usage=_include_usage(fields, stream=stream),
        max_tokens=_max_tokens(fields),
        choices=envelope.field(fields, "n", _CHOICES) or 1,
        service_tier=envelope.field(fields, "service_tier", envelope.TEXT),
        preferences=envelope.preferences(fields),
        attribution=envelope.attribution(fields),
    )


def _max_tokens(fields: Mapping[str, msgspec.Raw]) -> int | None:
    """The output limit by either of its names; the larger, where both are given and a provider may heed either."""
    newer: int | None = envelope.field(fields, "max_completion_tokens", envelope.COUNT)
    older: int | None = envelope.field(fields, "max_tokens", envelope.COUNT)
    if newer is None or older is None:
        return older if newer is None else newer
    return max(newer, older)


def _prompt(messages: Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    """What counts as prompt."""
    if sum(map(len, messages)) > _MESSAGE_FIELDS_MAX:
        raise InvalidRequest(f"The messages have more than {_MESSAGE_FIELDS_MAX:,} fields.", field="messages")
    tally = Tally()
    try:
        for message in messages:
            tally.content(message.get("content", envelope.NULL))
            for name, value in message.items():
                if not _is_counted_apart(name, value):
                    tally.value(value)
        for name, value in fields.items():
            if name not in _UNREAD:
                tally.value(value)
    except UNREADABLE as error:
        raise InvalidRequest(f"messages: {error}.", field="messages") from error
    return tally.prompt(len(messages))


def _is_counted_apart(name: str, value: msgspec.Raw) -> bool:
    """Whether a message's field is counted elsewhere: content by its parts, a usual role with the message itself."""
    return name == "content" or (name == "role" and value in _ROLES)


def last_words(chat: Request) -> str:
    """The text of the user's last message; empty if it has none."""
    said = [message for message in _MESSAGES.decode(chat.fields["messages"]) or () if message.get("role") == _USER]
    content = said[-1].get("content", envelope.NULL) if said else envelope.NULL
    parts = _PARTS.decode(content) if first_byte(content) == b"[" else (content,)
    return "\n".join(words for words in map(words_of, parts) if words is not None)


def _include_usage(fields: Mapping[str, msgspec.Raw], *, stream: bool) -> bool:
    options = envelope.field(fields, "stream_options", _OPTIONS)
    if options is not None and not stream:
        raise InvalidRequest("stream_options are for streams; set stream to true.", field="stream_options")
    return bool(options is not None and options.include_usage)
