"""What all client formats share: opening a body, fields for the gateway alone, limits, telling what a call cost.

The body is read twice, in C and shallowly: once into fields, which travel on as the bytes they came in, and once into
the few that the gateway reads.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from tollgate.gateway.model import Attribution, Preferences, Receipt
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit import ids, money
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.tokens import Kind, UsageQuantities

OWN_FIELDS = frozenset({"models", "provider", "user", "session_id", "metadata"})
"""For the gateway alone: they never reach a provider."""
UNBOUNDED = frozenset({
    "best_of", "max_gen_len", "max_length", "max_new_tokens", "min_tokens", "n_predict", "num_predict",
})  # fmt: skip
"""What some servers take for the length or the number of answers, besides what OpenAI calls them: it would let them
write more than was held for. Refused, because what is left out silently is not what was asked for."""
_DECISIVE = OWN_FIELDS | UNBOUNDED | {
    "background", "input", "instructions", "max_completion_tokens", "max_output_tokens", "max_tokens", "messages",
    "model", "n", "previous_response_id", "service_tier", "speed", "store", "stream", "stream_options", "system",
    "tools",
}  # fmt: skip
"""What bounds a call, routes it, or is its prompt."""
NULL = msgspec.Raw(b"null")

_NOBODY = Attribution()
_NO_PREFERENCES = Preferences()

_CACHE_WRITES = (Kind.INPUT_CACHE_WRITE, Kind.INPUT_CACHE_WRITE_5M, Kind.INPUT_CACHE_WRITE_1H)
_METADATA_PAIRS_MAX = 16
_FALLBACKS_MAX = 16
_NAMES_MAX = 100
_FIELDS_MAX = 256
_MARKS_MAX = 500_000
"""A million tokens of dense JSON have fewer. Objects without number take seconds to read, and all other calls wait."""

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


class Asked(msgspec.Struct):
    """What every format has: how a call is routed, and whom it is for."""

    model: Slug | None = None
    models: Annotated[tuple[Slug, ...], msgspec.Meta(max_length=_FALLBACKS_MAX)] | None = None
    provider: _Provider | None = None
    user: Text | None = None
    session_id: Text | None = None


class OpenAIAsked(Asked):
    """What OpenAI's formats have besides."""

    service_tier: Text | None = None
    metadata: Annotated[dict[Text, Text], msgspec.Meta(max_length=_METADATA_PAIRS_MAX)] | None = None


Wanted = TypeVar("Wanted", bound=Asked)


class Form(Generic[Wanted]):
    """The fields of a format that the gateway reads, all in one go."""

    def __init__(self, wanted: type[Wanted]) -> None:
        self._whole = msgspec.json.Decoder(wanted)
        self._each: dict[str, msgspec.json.Decoder[Any]] = {
            each.name: msgspec.json.Decoder(each.type) for each in msgspec.structs.fields(wanted)
        }

    def read(self, body: bytes, fields: Mapping[str, msgspec.Raw]) -> Wanted:
        """What the body says.

        Raises:
            InvalidRequest: a field has another form; `field` names it.
        """
        try:
            return self._whole.decode(body)
        except UNREADABLE as error:
            # Which of them it is, is worth another look.
            for name, form in self._each.items():
                field(fields, name, form)
            # A field that is given twice: wrong at first, and right the last time, which is what `fields` has of it.
            raise InvalidRequest(f"{error}.") from error


_ANYTHING: msgspec.json.Decoder[object | None] = msgspec.json.Decoder(object | None)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

FLAG = msgspec.json.Decoder(bool | None)
COUNT = msgspec.json.Decoder(Count | None)
TEXT = msgspec.json.Decoder(Text | None)


def opened(body: bytes, refused: frozenset[str] = frozenset()) -> dict[str, msgspec.Raw]:
    """The body's fields, each still encoded; `refused` are those that the format refuses, whatever else it has.

    Raises:
        InvalidRequest: it is not a JSON object, has more in it than any call has, or has such a field, or one that
            decides over the call, in other letters.
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
    _check_letters(fields, _minded(refused))
    return fields


@cache
def _minded(refused: frozenset[str]) -> frozenset[str]:
    """What decides over a call in a format that refuses these fields."""
    return _DECISIVE | refused


def _check_letters(fields: Mapping[str, msgspec.Raw], names: AbstractSet[str]) -> None:
    """Refuse these names in other letters: servers that do not tell `N` from `n` would heed what nobody here has read.

    Some of them fold even letters beyond ASCII, such as the sign for Kelvin.
    """
    for name in fields:
        if name in names:
            continue
        folded = name.casefold()
        if folded in names:
            raise InvalidRequest(f"{name} is not a field; it is written {folded}.", field=name)


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


def refuse_asked(fields: Mapping[str, msgspec.Raw], names: AbstractSet[str], why: str) -> None:
    """Refuse these fields as `refuse` does, unless they ask for nothing: false, zero, and empty texts and lists.

    An empty object asks for something: for all of its defaults.
    """
    for name in sorted(names & fields.keys()):
        asked = field(fields, name, _ANYTHING)
        if asked or isinstance(asked, dict):
            raise InvalidRequest(f"{name} is not supported; {why}", field=name)


def for_provider(fields: Mapping[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """The fields without those that are for the gateway alone."""
    if OWN_FIELDS.isdisjoint(fields):
        return fields
    return {name: value for name, value in fields.items() if name not in OWN_FIELDS}


def used(fields: Mapping[str, msgspec.Raw], *, always_allowed: AbstractSet[str]) -> frozenset[str]:
    """The optional fields that are used: null is as good as silence."""
    return frozenset([
        name for name, value in fields.items()
        if name not in always_allowed and name not in OWN_FIELDS and value != NULL
    ])  # fmt: skip


def models(asked: Asked) -> tuple[str, ...]:
    """The model asked for, and the ones to fall back to."""
    if asked.model is None:
        raise InvalidRequest("Name the model to call.", field="model")
    return (asked.model, *(asked.models or ()))


def attribution(asked: OpenAIAsked) -> Attribution:
    """Whom the call is for."""
    if asked.user is None and asked.session_id is None and asked.metadata is None:
        return _NOBODY
    return Attribution(user=asked.user, session_id=asked.session_id, metadata=asked.metadata)


def preferences(asked: Asked) -> Preferences:
    """How the call is to be routed."""
    given = asked.provider
    if given is None:
        return _NO_PREFERENCES
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


def object_in(fields: Mapping[str, msgspec.Raw], name: str) -> dict[str, msgspec.Raw]:
    """The object that a field of a provider's answer is, its own fields still encoded; an empty one, if it is none."""
    try:
        return _FIELDS.decode(fields.get(name, NULL))
    except UNREADABLE:
        return {}


def created_at(generation_id: str) -> int:
    """When the call began, in seconds since 1970: its id tells."""
    try:
        return ids.timestamp_bits(ids.parse("gen", generation_id)) // 1000
    except ids.NotAnId:
        return 0


def cache_writes(quantities: UsageQuantities) -> int:
    """Tokens written to a cache, however long it is kept: OpenAI's formats tell no durations."""
    return sum(quantities[kind] for kind in _CACHE_WRITES)


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
