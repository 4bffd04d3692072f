"""Ids: UUIDv7 values made by us, and the typed text the API shows (`gen_…`, `key_…`).

An id embeds the millisecond it was minted, so rows arrive in index order and a month of calls is a range of ids.
Minting is pure: time and entropy are arguments (`infra.identity` supplies both).
"""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import NewType
from uuid import UUID

OrganizationId = NewType("OrganizationId", UUID)
ProjectId = NewType("ProjectId", UUID)
KeyId = NewType("KeyId", UUID)
CallId = NewType("CallId", UUID)
AttemptId = NewType("AttemptId", UUID)
GrantId = NewType("GrantId", UUID)
AdjustmentId = NewType("AdjustmentId", UUID)
EndpointId = NewType("EndpointId", UUID)
PriceVersionId = NewType("PriceVersionId", UUID)
PriceAdjustmentId = NewType("PriceAdjustmentId", UUID)
InvoiceId = NewType("InvoiceId", UUID)
PaymentId = NewType("PaymentId", UUID)
AgreementId = NewType("AgreementId", UUID)
CreditNoteId = NewType("CreditNoteId", UUID)
TopUpId = NewType("TopUpId", UUID)
RerateId = NewType("RerateId", UUID)
EventId = NewType("EventId", UUID)
WebhookId = NewType("WebhookId", UUID)
DeliveryId = NewType("DeliveryId", UUID)

PLATFORM = OrganizationId(UUID(int=0))
"""The installation itself, where an organization is expected: operator keys belong to it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LOWEST_VARIANT = 0b10 << 62


class NotAnId(ValueError):
    """The text is not an id of the expected type."""


def uuid7(at: datetime, entropy: int) -> UUID:
    """A UUIDv7 (RFC 9562 §5.7) of the given instant; `entropy` supplies its 74 random bits."""
    return UUID(bytes=uuid7_bytes(at, entropy))


def uuid7_bytes(at: datetime, entropy: int) -> bytes:
    """The bytes of such a UUID."""
    since = at - _EPOCH
    milliseconds = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    random_a, random_b = (entropy >> 62) & 0xFFF, entropy & ((1 << 62) - 1)
    return ((milliseconds << 80) | (0x7 << 76) | (random_a << 64) | _LOWEST_VARIANT | random_b).to_bytes(16)


def lowest_uuid7(at: datetime) -> UUID:
    """The smallest UUIDv7 of the instant: every id minted before it is smaller."""
    return uuid7(at, 0)


def derived_id(cause: UUID, purpose: str) -> UUID:
    """The id of a row that follows from `cause`.

    The same cause and purpose give the same id, so a replay cannot duplicate the row. It keeps the cause's
    timestamp and takes its other bits from SHA-256; the database's function `derived_id` computes the same.
    """
    digest = hashlib.sha256(cause.bytes + purpose.encode()).digest()
    raw = bytearray(cause.bytes[:6] + digest[:10])
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return UUID(bytes=bytes(raw))


def timestamp_bits(identifier: UUID) -> int:
    """The first 48 bits: of a UUIDv7, the milliseconds since 1970. An id keeps those of the id it is derived from."""
    return identifier.int >> 80


def minted_at(identifier: UUID) -> datetime:
    """The instant in a UUIDv7, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=timestamp_bits(identifier))


def typed(prefix: str, identifier: UUID) -> str:
    """The id as the API shows it: `typed("gen", …)` is `gen_0198…`."""
    return f"{prefix}_{identifier}"


def typed_or_none(prefix: str, identifier: UUID | None) -> str | None:
    """The id as the API shows it, where there may be none."""
    return None if identifier is None else typed(prefix, identifier)


def parse(prefix: str, text: str) -> UUID:
    """Read a typed id back, as `typed` wrote it but for capital letters.

    Raises:
        NotAnId: the prefix is another one, or what follows is no UUID.
    """
    kind, _, value = text.partition("_")
    if kind != prefix or _UUID_TEXT.fullmatch(value) is None:
        raise NotAnId(f"{text[:80]!r} is no id: it has to be {prefix}_ and a UUID")
    return UUID(value)
