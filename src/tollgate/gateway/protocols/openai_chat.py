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
_TOOLS = ("tools", "functions", "response_format")
"""Definitions that the model reads as part of its prompt."""
_SPOKEN = ("name", "tool_calls", "function_call")
"""What the model reads of a message besides its content."""
_IMAGES = frozenset({"image_url", "input_image", "image"})
_METADATA_PAIRS_MAX = 16
_FALLBACKS_MAX = 16

_CHOICES_MAX = 128

Decoded = TypeVar("Decoded")
Text = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _MaxPrice(msgspec.Struct, forbid_unknown_fields=True):
    prompt: Decimal | None = None
    completion: Decimal | None = None


class _Provider(msgspec.Struct, forbid_unknown_fields=True):
    order: tuple[Slug, ...] = ()
    only: tuple[Slug, ...] = ()
    ignore: tuple[Slug, ...] = ()
    allow_fallbacks: bool = True
    sort: str | None = None
    max_price: _MaxPrice = msgspec.field(default_factory=_MaxPrice)
    data_collection: str = "allow"
    zdr: bool = False
    require_parameters: bool = False


_NULL = msgspec.Raw(b"null")
_USER = msgspec.Raw(b'"user"')
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SLUG = msgspec.json.Decoder(Slug | None)
_SLUGS = msgspec.json.Decoder(Annotated[tuple[Slug, ...], msgspec.Meta(max_length=_FALLBACKS_MAX)] | None)
_MESSAGES = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...] | None)
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
        InvalidRequest: it is not JSON, or a field the gateway needs is missing or has the wrong form.
    """
    try:
        body.decode()
        fields = _FIELDS.decode(body)
    except _UNREADABLE as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from error
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
    try:
        return _counted(messages, fields)
    except _UNREADABLE as error:
        raise InvalidRequest(f"messages: {error}.", field="messages") from error


def _counted(messages: Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    texts: list[str] = []
    images = 0
    for message in messages:
        for part in _parts(message):
            kind, text = _part(part)
            if kind in _IMAGES:
                images += 1
            else:
                texts.append(text)
        texts += [_text(message[name]) for name in _SPOKEN if name in message]
    texts += [_text(fields[name]) for name in _TOOLS if name in fields]
    return Prompt(tuple(text for text in texts if text), len(messages), images)


def _parts(message: Mapping[str, msgspec.Raw]) -> tuple[msgspec.Raw, ...]:
    content = message.get("content", _NULL)
    return _PARTS.decode(content) if bytes(content).startswith(b"[") else (content,)


def _part(part: msgspec.Raw) -> tuple[str, str]:
    """The type and the text of a content part: all of its JSON where it is not a text."""
    if not bytes(part).startswith(b"{"):
        return "text", _text(part)
    fields = _FIELDS.decode(part)
    return _text(fields.get("type", _NULL)), _text(fields.get("text", part))


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
