"""What all client formats share: opening a body, the fields that are for the gateway alone, telling a cost.

The body is decoded once and shallowly: fields the gateway has no business with pass through as the bytes they came in.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from tollgate.gateway.model import Attribution, Preferences, Prompt, Receipt
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit import money
from tollgate.kit.errors import InvalidRequest

OWN_FIELDS = frozenset({"models", "provider", "user", "session_id", "metadata"})
"""For the gateway alone: they never reach a provider."""
NULL = msgspec.Raw(b"null")

_METADATA_PAIRS_MAX = 16
_FALLBACKS_MAX = 16
_NAMES_MAX = 100
_FIELDS_MAX = 256
_PARTS_MAX = 10_000
_MARKS_MAX = 500_000
"""A million tokens of dense JSON have fewer. Objects without number take seconds to read, and all other calls wait."""
_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_IMAGE_FIELDS = _IMAGES | {"type", "detail", "source", "file_id", "cache_control"}
"""What a lump stands for in a part that is an image."""
_TEXTS = frozenset({"text", "input_text", "output_text"})

Decoded = TypeVar("Decoded")
Text = Annotated[str, msgspec.Meta(max_length=512, pattern=r"^[^\x00]*$")]
Slug = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Names = Annotated[tuple[Slug, ...], msgspec.Meta(max_length=_NAMES_MAX)]
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


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


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SLUG = msgspec.json.Decoder(Slug | None)
_SLUGS = msgspec.json.Decoder(Annotated[tuple[Slug, ...], msgspec.Meta(max_length=_FALLBACKS_MAX)] | None)
_SHAPE = msgspec.json.Decoder(Annotated[tuple[_Part | str, ...], msgspec.Meta(max_length=_PARTS_MAX)])
_PARTS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_STRING = msgspec.json.Decoder(str)
_METADATA = msgspec.json.Decoder(Annotated[dict[Text, Text], msgspec.Meta(max_length=_METADATA_PAIRS_MAX)] | None)
_PROVIDER = msgspec.json.Decoder(_Provider | None)

FLAG = msgspec.json.Decoder(bool | None)
COUNT = msgspec.json.Decoder(Count | None)
TEXT = msgspec.json.Decoder(Text | None)


def opened(body: bytes) -> dict[str, msgspec.Raw]:
    """The body's fields, each still encoded.

    Raises:
        InvalidRequest: it is not a JSON object, or has more in it than any call has.
    """
    if body.count(b"{") + body.count(b":") > _MARKS_MAX:
        raise InvalidRequest(f"The body has more than {_MARKS_MAX:,} braces and colons; send fewer, larger parts.")
    try:
        body.decode()
        fields = _FIELDS.decode(body)
    except UNREADABLE as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from error
    if len(fields) > _FIELDS_MAX:
        raise InvalidRequest(f"The body has more than {_FIELDS_MAX} fields.")
    return fields


def field(fields: Mapping[str, msgspec.Raw], name: str, form: msgspec.json.Decoder[Decoded | None]) -> Decoded | None:
    """One field decoded; `None` if it is missing or null.

    Raises:
        InvalidRequest: it has another form.
    """
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return form.decode(raw)
    except UNREADABLE as error:
        raise InvalidRequest(f"{name}: {error}.", field=name) from error


def refuse(fields: Mapping[str, msgspec.Raw], names: AbstractSet[str], why: str) -> None:
    """Raise `InvalidRequest` for the first of these fields that is given: `{name} is not supported; {why}`."""
    for name in sorted(names & fields.keys()):
        if fields[name] != NULL:
            raise InvalidRequest(f"{name} is not supported; {why}", field=name)


def models(fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """The model asked for, and the ones to fall back to."""
    model = field(fields, "model", _SLUG)
    if model is None:
        raise InvalidRequest("Name the model to call.", field="model")
    return (model, *(field(fields, "models", _SLUGS) or ()))


def attribution(fields: Mapping[str, msgspec.Raw]) -> Attribution:
    """Whom the call is for."""
    return Attribution(
        user=field(fields, "user", TEXT),
        session_id=field(fields, "session_id", TEXT),
        metadata=field(fields, "metadata", _METADATA),
    )


def preferences(fields: Mapping[str, msgspec.Raw]) -> Preferences:
    """How the call is to be routed."""
    given = field(fields, "provider", _PROVIDER) or _Provider()
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


class Tally:
    """What of a request counts as prompt, added up piece by piece.

    Audio and files are beyond counting: what stands for them counts instead. Every method may raise one of
    `wire.UNREADABLE`: `counted` makes that the caller's fault.
    """

    def __init__(self, field: str = "messages") -> None:
        self._field = field
        """Where the messages stand, for who sends too much."""
        self._texts: list[str] = []
        self._images = 0
        self._parts = 0

    def content(self, value: msgspec.Raw) -> None:
        """A message's content: a string, or an array of parts."""
        if not bytes(value).startswith(b"["):
            self.value(value)
            return
        _SHAPE.decode(value)
        for part in _PARTS.decode(value):
            self.part(part)

    def part(self, part: msgspec.Raw) -> None:
        """One content part: the words of a text, a lump for an image, and the JSON of anything else."""
        self._parts += 1
        if self._parts > _PARTS_MAX:
            raise InvalidRequest(f"{self._field}: there are more than {_PARTS_MAX:,} content parts.", field=self._field)
        kind, text = kind_and_text(part)
        self._images += kind in _IMAGES
        self.words(text)

    def value(self, value: msgspec.Raw) -> None:
        """A string's words, or the JSON itself of anything else."""
        self.words(text_in(value))

    def words(self, text: str) -> None:
        """Words as they are."""
        if text:
            self._texts.append(text)

    def prompt(self, messages: int) -> Prompt:
        """All of it, in this many messages."""
        return Prompt(tuple(self._texts), messages, self._images)


def kind_and_text(part: msgspec.Raw) -> tuple[str, str]:
    """The type of a content part, and what counts of it besides an image's lump: all its JSON where it is no text."""
    if not bytes(part).startswith(b"{"):
        return "text", text_in(part)
    fields = _FIELDS.decode(part)
    kind, text = text_in(fields.get("type", NULL)), fields.get("text", NULL)
    if kind in _TEXTS and bytes(text).startswith(b'"'):
        return "text", text_in(text)
    if kind in _IMAGES:
        return kind, "\n".join(text_in(value) for name, value in fields.items() if name not in _IMAGE_FIELDS)
    return kind, text_in(part)


def text_in(value: msgspec.Raw) -> str:
    """A JSON string's text; nothing for null; the JSON itself of anything else."""
    encoded = bytes(value)
    if encoded == b"null":
        return ""
    return _STRING.decode(value) if encoded.startswith(b'"') else encoded.decode()


def cost(receipt: Receipt) -> dict[str, object]:
    """What a usage object tells of the charge."""
    return {
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
    }
