"""A chat completion request: bytes to `Request`, decoded as far as routing and metering need.

Wire format: https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

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


class _Asked(envelope.OpenAIAsked):
    """The fields of a chat that the gateway reads, but for its messages: decoded in one go."""

    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: envelope.Count | None = None
    max_completion_tokens: envelope.Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=_CHOICES_MAX)] | None = None


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A message that is words alone."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str


_USER = msgspec.Raw(b'"user"')
_ROLES = tuple(msgspec.Raw(b'"%s"' % role) for role in (b"system", b"developer", b"user", b"assistant", b"tool"))
_MESSAGES = msgspec.json.Decoder(
    Annotated[tuple[dict[str, msgspec.Raw], ...], msgspec.Meta(max_length=_MESSAGES_MAX)] | None
)
_PLAIN = msgspec.json.Decoder(Annotated[list[_Plain], msgspec.Meta(min_length=1, max_length=_MESSAGES_MAX)])
_PARTS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_ASKED = envelope.Form(_Asked)


def decode(body: bytes, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request body; no header matters.

    Raises:
        InvalidRequest: it is not JSON, has more parts than a chat has, asks for what could not be bounded or
            metered, or a field the gateway needs is missing or has the wrong form.
    """
    del headers
    fields = envelope.opened(body, metered.REFUSED)
    metered.check(fields)
    asked = _ASKED.read(body, fields)
    models = envelope.models(asked)
    prompt = _prompt(fields)
    stream = asked.stream or False
    return Request(
        wire=Wire.CHAT,
        fields=envelope.for_provider(fields),
        models=models,
        prompt=prompt,
        parameters=envelope.used(fields, always_allowed=_ALWAYS_ALLOWED),
        stream=stream,
        include_usage=_include_usage(asked, stream=stream),
        max_tokens=_max_tokens(asked),
        choices=asked.n or 1,
        service_tier=asked.service_tier,
        preferences=envelope.preferences(asked),
        attribution=envelope.attribution(asked),
    )


def _max_tokens(asked: _Asked) -> int | None:
    """The output limit by either of its names; the larger, where both are given and a provider may heed either."""
    if asked.max_completion_tokens is None or asked.max_tokens is None:
        return asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    return max(asked.max_completion_tokens, asked.max_tokens)


def _prompt(fields: Mapping[str, msgspec.Raw]) -> Prompt:
    """What counts as prompt."""
    if fields.keys() <= _UNREAD and "messages" in fields:
        try:
            plain = _PLAIN.decode(fields["messages"])
        except UNREADABLE:
            pass  # more than words, or nothing that can be read: whichever it is turns out below
        else:
            return Prompt(tuple([message.content for message in plain if message.content]), len(plain), 0)
    messages = envelope.field(fields, "messages", _MESSAGES)
    if not messages:
        raise InvalidRequest("Give at least one message.", field="messages")
    return _tallied(messages, fields)


def _tallied(messages: Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
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


def _include_usage(asked: _Asked, *, stream: bool) -> bool:
    if asked.stream_options is not None and not stream:
        raise InvalidRequest("stream_options are for streams; set stream to true.", field="stream_options")
    return bool(asked.stream_options is not None and asked.stream_options.include_usage)
