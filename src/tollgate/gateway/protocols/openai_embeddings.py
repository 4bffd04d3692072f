"""An embeddings request and its answer: bytes to `Request`, and a provider's answer as the client gets it.

Wire format: https://platform.openai.com/docs/api-reference/embeddings
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from tollgate.gateway import wire
from tollgate.gateway.model import Prompt, Receipt, Request, Wire
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.tally import text_in
from tollgate.kit.errors import InvalidRequest

WIRE = Wire.EMBEDDINGS

_ALWAYS_ALLOWED = frozenset({"model", "input", "encoding_format", "stream"})
_UNREAD = envelope.OWN_FIELDS | _ALWAYS_ALLOWED | {"dimensions", "service_tier"}
"""What the model does not read. Any other field counts, or a prompt could hide in it."""
_ENCODINGS = frozenset({"float", "base64"})
_INPUTS_MAX = 2_048
_TOKENS_MAX = 500_000
"""More than any provider takes in one request; OpenAI takes 300,000."""

Input = str | tuple[int, ...]
"""A text, or a text as the ids of its tokens."""

_Id = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_TEXT = msgspec.json.Decoder(str)
_TEXTS = msgspec.json.Decoder(tuple[str, ...])
_TOKENS = msgspec.json.Decoder(tuple[_Id | tuple[_Id, ...], ...])
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_ASKED = envelope.Form(envelope.OpenAIAsked)


def decode(body: bytes, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request body; no header matters.

    Raises:
        InvalidRequest: it is not JSON, or a field the gateway needs is missing or has the wrong form.
    """
    del headers
    fields = envelope.opened(body)
    asked = _ASKED.read(body, fields)
    models = envelope.models(asked)
    if envelope.field(fields, "stream", envelope.FLAG):
        raise InvalidRequest("Embeddings do not stream; leave stream out.", field="stream")
    if envelope.field(fields, "encoding_format", envelope.TEXT) not in {None, *_ENCODINGS}:
        raise InvalidRequest("Embeddings are encoded as float or base64.", field="encoding_format")
    envelope.field(fields, "dimensions", envelope.COUNT)
    return Request(
        wire=WIRE,
        fields=envelope.for_provider(fields),
        models=models,
        prompt=_prompt(_inputs(fields), fields),
        parameters=envelope.used(fields, always_allowed=_ALWAYS_ALLOWED),
        stream=False,
        include_usage=False,
        max_tokens=None,
        choices=0,
        service_tier=asked.service_tier,
        preferences=envelope.preferences(asked),
        attribution=envelope.attribution(asked),
    )


def inputs(request: Request) -> tuple[Input, ...]:
    """What a request that was decoded here wants embedded, in order."""
    return _inputs(request.fields)


def dimensions(request: Request) -> int | None:
    """How many numbers each embedding is to have, if the request says."""
    return envelope.field(request.fields, "dimensions", envelope.COUNT)


def encoding_format(request: Request) -> str:
    """`float` or `base64`."""
    return envelope.field(request.fields, "encoding_format", envelope.TEXT) or "float"


def _inputs(fields: Mapping[str, msgspec.Raw]) -> tuple[Input, ...]:
    """The input in its one form: it may be a text, several, a text's tokens, or those of several.

    Elements are counted before they are decoded: millions of them would hold up all other calls.
    """
    encoded = bytes(fields.get("input", envelope.NULL))
    try:
        if not encoded.startswith(b"["):
            return (_TEXT.decode(encoded),)
        if encoded[1:].lstrip().startswith(b'"'):
            return _texts(encoded)
        return _tokens(encoded)
    except wire.UNREADABLE as error:
        raise InvalidRequest(f"input: {error}.", field="input") from error


def _texts(encoded: bytes) -> tuple[str, ...]:
    quotes = encoded.count(b'"') - encoded.count(b'\\"')
    texts = _TEXTS.decode(encoded) if quotes <= 2 * _INPUTS_MAX else ()
    if not 0 < len(texts) <= _INPUTS_MAX:
        raise InvalidRequest(f"Give at most {_INPUTS_MAX:,} inputs at a time.", field="input")
    return texts


def _tokens(encoded: bytes) -> tuple[tuple[int, ...], ...]:
    if encoded.count(b",") >= _TOKENS_MAX:
        raise InvalidRequest(f"The input has more than {_TOKENS_MAX:,} tokens.", field="input")
    given = _TOKENS.decode(encoded)
    texts = tuple(item for item in given if isinstance(item, tuple))
    ids = tuple(item for item in given if isinstance(item, int))
    if bool(texts) is bool(ids) or () in texts:
        raise InvalidRequest("Give texts, the tokens of texts, or those of one text; at least one.", field="input")
    if len(texts) > _INPUTS_MAX:
        raise InvalidRequest(f"Give at most {_INPUTS_MAX:,} inputs at a time.", field="input")
    return texts or (ids,)


def _prompt(given: tuple[Input, ...], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    """What counts as prompt: texts by their tokens, and tokens as they are."""
    texts = [item for item in given if isinstance(item, str)]
    try:
        texts += [text_in(value) for name, value in fields.items() if name not in _UNREAD]
    except wire.UNREADABLE as error:
        raise InvalidRequest(f"A field is not readable: {error}.") from error
    return Prompt(
        tuple(texts), messages=0, images=0, tokens=sum(len(item) for item in given if isinstance(item, tuple))
    )


def passed_answer(body: bytes, receipt: Receipt) -> bytes:
    """A provider's whole answer as the client gets it: the same bytes, with model, provider and cost."""
    fields = _FIELDS.decode(wire.mended(body))
    read = receipt.quantities.prompt_tokens
    totals = {"prompt_tokens": read, "total_tokens": read} if receipt.estimated else {}
    return msgspec.json.encode({
        **fields,
        "model": receipt.model,
        "provider": receipt.provider,
        "usage": {**envelope.object_in(fields, "usage"), **totals, **envelope.cost(receipt)},
    })  # fmt: skip
