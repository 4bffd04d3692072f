"""OpenAI Chat Completions, as clients speak it: bytes to `ChatRequest`, and a provider's answer back to the client.

The body is decoded once and shallowly: fields the gateway has no business with pass through as the bytes they came in.
Wire format: https://platform.openai.com/docs/api-reference/chat
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from tollgate.gateway.model import Attribution, ChatRequest, Preferences, Prompt, Receipt
from tollgate.kit import money
from tollgate.kit.errors import InvalidRequest, TollgateError

NAME = "openai"
API = "chat.completions"
DONE = b"data: [DONE]\n\n"

_OWN_FIELDS = frozenset({"models", "provider", "user", "session_id", "metadata"})
"""For the gateway alone: they never reach a provider."""
_ALWAYS_ALLOWED = frozenset(
    {"model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"}
)
_UNBOUNDED = frozenset({
    "best_of", "max_gen_len", "max_length", "max_new_tokens", "max_output_tokens", "min_tokens", "n_predict",
    "num_predict",
})  # fmt: skip
"""What some servers take for the length or the number of answers besides `max_tokens` and `n`: it would let them write
more than was held for. Refused, because what is left out silently is not what was asked for."""
_UNREAD = _OWN_FIELDS | _ALWAYS_ALLOWED | {
    "audio", "frequency_penalty", "function_call", "logit_bias", "logprobs", "min_p", "modalities",
    "parallel_tool_calls", "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "reasoning",
    "reasoning_effort", "repetition_penalty", "safety_identifier", "seed", "service_tier", "stop", "store",
    "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "verbosity", "web_search_options",
}  # fmt: skip
"""What the model does not read as part of its prompt. Any other field counts, or a prompt could hide in it."""
_IMAGES = frozenset({"image_url", "input_image", "image"})
_IMAGE_FIELDS = _IMAGES | {"type", "detail", "source", "file_id"}
"""What a lump stands for in a part that is an image."""

_METADATA_PAIRS_MAX = 16
_FALLBACKS_MAX = 16
_CHOICES_MAX = 128
_NAMES_MAX = 100
_FIELDS_MAX = 256
_MESSAGES_MAX = 10_000
_MESSAGE_FIELDS_MAX = 100_000
_PARTS_MAX = 10_000
_MARKS_MAX = 500_000
"""A million tokens of dense JSON have fewer. Objects without number take seconds to read, and all other calls wait."""

Decoded = TypeVar("Decoded")
Text = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Names = Annotated[tuple[Slug, ...], msgspec.Meta(max_length=_NAMES_MAX)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _MaxPrice(msgspec.Struct, forbid_unknown_fields=True):
    prompt: Decimal | None = None
    completion: Decimal | None = None


class _Provider(msgspec.Struct, forbid_unknown_fields=True):
    order: Names = ()
    only: Names = ()
    ignore: Names = ()
    allow_fallbacks: bool = True
    sort: str | None = None
    max_price: _MaxPrice = msgspec.field(default_factory=_MaxPrice)
    data_collection: str = "allow"
    zdr: bool = False
    require_parameters: bool = False


class _Part(msgspec.Struct, gc=False):
    """An object: what is in it is decoded once it is known that there are not too many."""


_NULL = msgspec.Raw(b"null")
_USER = msgspec.Raw(b'"user"')
_ROLES = tuple(msgspec.Raw(b'"%s"' % role) for role in (b"system", b"developer", b"user", b"assistant", b"tool"))
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SLUG = msgspec.json.Decoder(Slug | None)
_SLUGS = msgspec.json.Decoder(Annotated[tuple[Slug, ...], msgspec.Meta(max_length=_FALLBACKS_MAX)] | None)
_MESSAGES = msgspec.json.Decoder(
    Annotated[tuple[dict[str, msgspec.Raw], ...], msgspec.Meta(max_length=_MESSAGES_MAX)] | None
)
_SHAPE = msgspec.json.Decoder(Annotated[tuple[_Part | str, ...], msgspec.Meta(max_length=_PARTS_MAX)])
_PARTS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_STRING = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool | None)
_COUNT = msgspec.json.Decoder(Count | None)
_CHOICES = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=1, le=_CHOICES_MAX)] | None)
_TEXT = msgspec.json.Decoder(Text | None)
_METADATA = msgspec.json.Decoder(Annotated[dict[Text, Text], msgspec.Meta(max_length=_METADATA_PAIRS_MAX)] | None)
_OPTIONS = msgspec.json.Decoder(_StreamOptions | None)
_PROVIDER = msgspec.json.Decoder(_Provider | None)
_USAGE = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def decode(body: bytes) -> ChatRequest:
    """Read a request body.

    Raises:
        InvalidRequest: it is not JSON, has more parts than a chat has, or a field the gateway needs is missing or has
            the wrong form.
    """
    if body.count(b"{") + body.count(b":") > _MARKS_MAX:
        raise InvalidRequest(f"The body has more than {_MARKS_MAX:,} braces and colons; send fewer, larger parts.")
    try:
        body.decode()
        fields = _FIELDS.decode(body)
    except _UNREADABLE as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from error
    if len(fields) > _FIELDS_MAX:
        raise InvalidRequest(f"The body has more than {_FIELDS_MAX} fields.")
    for name in sorted(_UNBOUNDED & fields.keys()):
        if fields[name] != _NULL:
            raise InvalidRequest(f"{name} is not supported; bound answers by max_tokens and n.", field=name)
    model = _field(fields, "model", _SLUG)
    if model is None:
        raise InvalidRequest("Name the model to call.", field="model")
    messages = _field(fields, "messages", _MESSAGES)
    if not messages:
        raise InvalidRequest("Give at least one message.", field="messages")
    stream = _field(fields, "stream", _FLAG) or False
    return ChatRequest(
        fields={name: value for name, value in fields.items() if name not in _OWN_FIELDS},
        models=(model, *(_field(fields, "models", _SLUGS) or ())),
        prompt=_prompt(messages, fields),
        parameters=frozenset(name for name in fields if name not in _OWN_FIELDS | _ALWAYS_ALLOWED),
        stream=stream,
        include_usage=_include_usage(fields, stream=stream),
        max_tokens=_max_tokens(fields),
        choices=_field(fields, "n", _CHOICES) or 1,
        service_tier=_field(fields, "service_tier", _TEXT),
        preferences=_preferences(fields),
        attribution=Attribution(
            user=_field(fields, "user", _TEXT),
            session_id=_field(fields, "session_id", _TEXT),
            metadata=_field(fields, "metadata", _METADATA),
        ),
    )


def _field(fields: Mapping[str, msgspec.Raw], name: str, form: msgspec.json.Decoder[Decoded | None]) -> Decoded | None:
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return form.decode(raw)
    except _UNREADABLE as error:
        raise InvalidRequest(f"{name}: {error}.", field=name) from error


def _max_tokens(fields: Mapping[str, msgspec.Raw]) -> int | None:
    """The output limit by either of its names; the larger, where both are given and a provider may heed either."""
    limits = [_field(fields, name, _COUNT) for name in ("max_completion_tokens", "max_tokens")]
    return max((limit for limit in limits if limit is not None), default=None)


def _prompt(messages: Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    """What counts as prompt. Audio and files are beyond counting: what stands for them counts instead."""
    if sum(map(len, messages)) > _MESSAGE_FIELDS_MAX:
        raise InvalidRequest(f"The messages have more than {_MESSAGE_FIELDS_MAX:,} fields.", field="messages")
    try:
        return _counted(messages, fields)
    except _UNREADABLE as error:
        raise InvalidRequest(f"messages: {error}.", field="messages") from error


def _counted(messages: Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    texts: list[str] = []
    images = parts = 0
    for message in messages:
        content = _parts(message)
        parts += len(content)
        if parts > _PARTS_MAX:
            raise InvalidRequest(f"The messages have more than {_PARTS_MAX:,} content parts.", field="messages")
        for part in content:
            kind, text = _part(part)
            images += kind in _IMAGES
            texts.append(text)
        texts += [_text(value) for name, value in message.items() if not _is_counted_apart(name, value)]
    texts += [_text(value) for name, value in fields.items() if name not in _UNREAD]
    return Prompt(tuple(text for text in texts if text), len(messages), images)


def _parts(message: Mapping[str, msgspec.Raw]) -> tuple[msgspec.Raw, ...]:
    content = message.get("content", _NULL)
    if not bytes(content).startswith(b"["):
        return (content,)
    _SHAPE.decode(content)
    return _PARTS.decode(content)


def _is_counted_apart(name: str, value: msgspec.Raw) -> bool:
    """Whether a message's field is counted elsewhere: content by its parts, a usual role with the message itself."""
    return name == "content" or (name == "role" and value in _ROLES)


def _part(part: msgspec.Raw) -> tuple[str, str]:
    """The type of a content part, and what counts of it besides an image's lump: all its JSON where it is no text."""
    if not bytes(part).startswith(b"{"):
        return "text", _text(part)
    fields = _FIELDS.decode(part)
    kind, text = _text(fields.get("type", _NULL)), fields.get("text", _NULL)
    if kind == "text" and bytes(text).startswith(b'"'):
        return kind, _text(text)
    if kind in _IMAGES:
        return kind, "\n".join(_text(value) for name, value in fields.items() if name not in _IMAGE_FIELDS)
    return kind, _text(part)


def _text(value: msgspec.Raw) -> str:
    """A JSON string's text; nothing for null; the JSON itself of anything else."""
    encoded = bytes(value)
    if encoded == b"null":
        return ""
    return _STRING.decode(value) if encoded.startswith(b'"') else encoded.decode()


def last_words(chat: ChatRequest) -> str:
    """The text of the user's last message; empty if it has none."""
    said = [message for message in _MESSAGES.decode(chat.fields["messages"]) or () if message.get("role") == _USER]
    parts = [_part(part) for part in _parts(said[-1])] if said else []
    return "\n".join(text for kind, text in parts if kind == "text")


def _include_usage(fields: Mapping[str, msgspec.Raw], *, stream: bool) -> bool:
    options = _field(fields, "stream_options", _OPTIONS)
    if options is not None and not stream:
        raise InvalidRequest("stream_options are for streams; set stream to true.", field="stream_options")
    return bool(options is not None and options.include_usage)


def _preferences(fields: Mapping[str, msgspec.Raw]) -> Preferences:
    given = _field(fields, "provider", _PROVIDER) or _Provider()
    for ceiling in (given.max_price.prompt, given.max_price.completion):
        if ceiling is not None and not (ceiling.is_finite() and ceiling >= 0):
            raise InvalidRequest("A price ceiling is a number from 0 on.", field="provider.max_price")
    if given.sort not in {None, "price", "latency", "throughput"}:
        raise InvalidRequest("Sort by price, latency or throughput.", field="provider.sort")
    if given.data_collection not in {"allow", "deny"}:
        raise InvalidRequest("Allow or deny data collection.", field="provider.data_collection")
    return Preferences(
        order=given.order,
        only=given.only,
        ignore=given.ignore,
        allow_fallbacks=given.allow_fallbacks,
        sort=given.sort,
        max_prompt_price=given.max_price.prompt,
        max_completion_price=given.max_price.completion,
        data_collection=given.data_collection,
        zdr=given.zdr,
        require_parameters=given.require_parameters,
    )


def encode_answer(body: bytes, receipt: Receipt) -> bytes:
    """A provider's whole answer as the client gets it: the same bytes, with model, provider and cost."""
    return msgspec.json.encode(_with_receipt(_FIELDS.decode(body), receipt))


def encode_usage_event(chunk: Mapping[str, msgspec.Raw] | None, receipt: Receipt) -> bytes:
    """The stream's last event before `[DONE]`: the provider's usage chunk, or ours, with model, provider and cost."""
    if chunk is None:
        chunk = {"id": _raw(receipt.generation_id), "object": _raw("chat.completion.chunk"), "created": _raw(0)}
    return event(msgspec.json.encode({**_with_receipt(chunk, receipt), "choices": []}))


def _with_receipt(fields: Mapping[str, msgspec.Raw], receipt: Receipt) -> dict[str, object]:
    usage = _usage(fields)
    return {
        **fields,
        "model": receipt.model,
        "provider": receipt.provider,
        "usage": {
            **usage,
            **(_totals(receipt) if receipt.estimated else {}),
            # A JSON number printed digit by digit: no float is ever made of it.
            "cost": msgspec.Raw(money.amount_text(receipt.charge.amount).encode()),
            "cost_details": [
                {
                    "kind": item.kind,
                    "quantity": item.quantity,
                    "unit": item.unit,
                    "unit_price": money.amount_text(item.unit_price),
                    "amount": money.amount_text(item.amount),
                }
                for item in receipt.charge.items
            ],
        },
    }


def _usage(fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The provider's own usage object, or nothing if there is none."""
    try:
        return _USAGE.decode(fields.get("usage", _NULL)) or {}
    except msgspec.DecodeError:
        return {}


def _totals(receipt: Receipt) -> Mapping[str, int]:
    prompt, completion = receipt.quantities.prompt_tokens, receipt.quantities.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def without_usage(chunk: Mapping[str, msgspec.Raw]) -> bytes | None:
    """The event of a chunk for a client that did not ask for usage; `None` if nothing else was in it."""
    if not bytes(chunk.get("choices", b"[]")).strip(b"[] \t\r\n"):
        return None
    return event(msgspec.json.encode({name: value for name, value in chunk.items() if name != "usage"}))


def error_event(error: TollgateError, code: int) -> bytes:
    """How a stream that already began says that it failed."""
    return event(
        msgspec.json.encode(
            {
                "error": {"code": code, "type": error.type, "message": error.message, "metadata": error.metadata},
                "object": "chat.completion.chunk",
                "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
            }
        )
    )


def event(data: bytes) -> bytes:
    """One server-sent event."""
    return b"data: " + data + b"\n\n"


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
