"""Letters: what to record of a call as bytes, for whoever has to record it in the place of a process that cannot.

A settlement says it outright. What a call that has just begun would leave follows from what is known of it then; most
calls have a letter of that kind and, a moment later, one of the other.
"""

from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from tollgate.kit.ids import AttemptId, CallId, EndpointId, KeyId, OrganizationId, PriceVersionId, ProjectId
from tollgate.metering import rules
from tollgate.metering.model import Begun, Settlement
from tollgate.pricing.model import PriceItem, PriceVersion

_BEGUN = b'["begun",'
_PRICES_MAX = 4096

_Facts: TypeAlias = tuple[
    OrganizationId, CallId, ProjectId | None, KeyId, datetime, str, str, str, EndpointId, str, bool,
    str | None, str | None, str | None, AttemptId, int, bool,
]  # fmt: skip
"""The fields of `Begun` before its price, which is written once for many calls."""


class _Price(NamedTuple):
    """A price, as far as rating by it goes."""

    id: PriceVersionId
    endpoint_id: EndpointId
    organization_id: OrganizationId | None
    service_tier: str
    effective_from: datetime
    items: tuple[PriceItem, ...]
    base: "_Price | None"


class Unreadable(ValueError):
    """The bytes are no settlement of this version."""


_SETTLEMENT = msgspec.json.Decoder(Settlement)
_PARTS = msgspec.json.Decoder(tuple[str, msgspec.Raw, msgspec.Raw])
_FACTS: msgspec.json.Decoder[_Facts] = msgspec.json.Decoder(_Facts)
_PRICE = msgspec.json.Decoder(_Price)
_ENCODER = msgspec.json.Encoder(decimal_format="string")
_PRICES: dict[PriceVersionId, bytes] = {}
"""Prices as they are written: what is rated by never changes under the same id."""


def written(settlement: Settlement) -> bytes:
    """The settlement as JSON: amounts as text, records as arrays in the order of their fields.

    What a caller or a provider wrote in characters that no encoding has is left out: who, what and how much remain.
    """
    try:
        return _ENCODER.encode(settlement)
    except UnicodeEncodeError:
        return _ENCODER.encode(rules.bare(settlement))


def begun(call: Begun) -> bytes:
    """A call as it begins: `read` makes of it what the call leaves behind if nothing more is heard of it."""
    price = _PRICES.get(call.price.id)
    if price is None:
        if len(_PRICES) >= _PRICES_MAX:
            _PRICES.clear()
        price = _PRICES[call.price.id] = _ENCODER.encode(_terms(call.price))
    facts: _Facts = call[:-1]
    try:
        return b"".join((_BEGUN, _ENCODER.encode(facts), b",", price, b"]"))
    except UnicodeEncodeError:
        return written(rules.settlement_of(call))


def read(letter: bytes | str) -> Settlement:
    """The settlement that was written, or that follows from how its call began.

    Raises:
        Unreadable: it was not written by `written` or `begun`.
    """
    text = letter.encode() if isinstance(letter, str) else letter
    try:
        if not text.startswith(_BEGUN):
            return _SETTLEMENT.decode(text)
        _, facts, price = _PARTS.decode(text)
        return rules.settlement_of(Begun(*_FACTS.decode(facts), _price(_PRICE.decode(price))))
    except (msgspec.DecodeError, TypeError) as error:
        raise Unreadable(str(error)) from error


def _terms(price: PriceVersion) -> _Price:
    base = None if price.base is None else _terms(price.base)
    return _Price(
        price.id, price.endpoint_id, price.organization_id, price.service_tier, price.effective_from, price.items, base
    )


def _price(terms: _Price) -> PriceVersion:
    return PriceVersion(
        id=terms.id,
        endpoint_id=terms.endpoint_id,
        organization_id=terms.organization_id,
        service_tier=terms.service_tier,
        effective_from=terms.effective_from,
        effective_to=None,
        items=terms.items,
        base=None if terms.base is None else _price(terms.base),
    )
