"""The text of a key, and what a key may do: composing, reading back, masking, and who is let in.

    sk-tg-7Hn2kQ0xPz4L-<43 characters of secret><6 characters of checksum>

Everything but the secret may be shown. The checksum is a CRC-32 of all before it, which no typo of one character,
nor two neighbours swapped, can satisfy: scanners and servers refuse such a text without looking anything up.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from tollgate.accounts.model import OrganizationStatus
from tollgate.accounts.rules import check_name, check_policy
from tollgate.keys.model import ApiKey, KeyEnd, PresentedKey, Standing
from tollgate.kit import instants
from tollgate.kit.errors import AuthenticationFailed, Conflict, InvalidRequest, PermissionDenied
from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.principal import KeyKind, Principal
from tollgate.kit.slugs import MODEL_SLUG
from tollgate.webhooks.model import Event, EventType
from tollgate.webhooks.rules import event

PREFIX = {KeyKind.INFERENCE: "sk-tg-", KeyKind.MANAGEMENT: "mk-tg-", KeyKind.OPERATOR: "ok-tg-"}
TAGS_MAX = 32
TAG_CHARACTERS_MAX = 64
MODELS_MAX = 500

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE = {digit: value for value, digit in enumerate(_DIGITS)}
_PUBLIC_ID_CHARACTERS = 12
_SECRET_BYTES = 32
_SECRET_CHARACTERS = 43
_CHECKSUM_CHARACTERS = 6
_KIND = {prefix: kind for kind, prefix in PREFIX.items()}
_KEY = re.compile(r"([smo]k-tg-)([0-9A-Za-z]{12})-([0-9A-Za-z]{43})[0-9A-Za-z]{6}")
_NOT_A_KEY = "This is not a Tollgate API key: it is mistyped, cut short, or belongs to someone else's service."
_HEADERS = (b"x-api-key", b"x-goog-api-key")


def public_id(entropy: bytes) -> str:
    """Twelve base-62 characters of the entropy."""
    return _encode(int.from_bytes(entropy, "big") % 62**_PUBLIC_ID_CHARACTERS, _PUBLIC_ID_CHARACTERS)


def compose(kind: KeyKind, *, public_id: str, secret: bytes) -> str:
    """The key text its bearer keeps; `secret` is 32 bytes."""
    begun = f"{PREFIX[kind]}{public_id}-{_encode(int.from_bytes(secret, 'big'), _SECRET_CHARACTERS)}"
    return begun + _checksum(begun)


def parse_presented(text: str) -> PresentedKey:
    """Read a key text.

    Raises:
        AuthenticationFailed: it has another form, or its checksum shows a typo.
    """
    match = _KEY.fullmatch(text)
    if match is None or _checksum(text[:-_CHECKSUM_CHARACTERS]) != text[-_CHECKSUM_CHARACTERS:]:
        raise AuthenticationFailed(_NOT_A_KEY)
    secret = _decode(match[3])
    if secret >= 1 << (8 * _SECRET_BYTES):
        raise AuthenticationFailed(_NOT_A_KEY)
    return PresentedKey(_KIND[match[1]], match[2], secret.to_bytes(_SECRET_BYTES, "big"))


def presented_in(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key text among raw ASGI headers: `Authorization: Bearer` before `x-api-key` before `x-goog-api-key`.

    Raises:
        AuthenticationFailed: there is none.
    """
    given = dict(headers)
    scheme, _, bearer = given.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    for name in _HEADERS:
        if given.get(name):
            return given[name].decode("latin-1").strip()
    raise AuthenticationFailed("This needs an API key: send it as `Authorization: Bearer …`.")


def label(text: str) -> str:
    """The key text with its middle masked. The characters shown are of the public id and the checksum only."""
    shown = text.index("-tg-") + len("-tg-") + 3
    return f"{text[:shown]}…{text[-4:]}"


def secret_hash(secret: bytes) -> bytes:
    """What is stored of a secret. It has 256 random bits, so a fast hash is as good as a slow one."""
    return hashlib.sha256(secret).digest()


def is_secret_of(standing: Standing, presented: PresentedKey) -> bool:
    """Whether the presented secret and kind are the stored key's; the comparison takes as long when they are not."""
    matches = hmac.compare_digest(secret_hash(presented.secret), standing.secret_hash)
    return matches and presented.kind is standing.principal.kind


def check_standing(standing: Standing, now: datetime) -> None:
    """Let a proven key in.

    Raises:
        AuthenticationFailed: the key was revoked, is disabled or expired.
        PermissionDenied: its organization is not active, or its project archived.
    """
    if standing.revoked_at is not None:
        raise AuthenticationFailed("This API key was revoked.")
    if standing.disabled:
        raise AuthenticationFailed("This API key is disabled.")
    check_not_expired(standing.principal, now)
    if standing.organization_status is not OrganizationStatus.ACTIVE:
        raise PermissionDenied(f"The organization of this API key is {standing.organization_status}.")
    if standing.project_archived:
        raise PermissionDenied("The project of this API key is archived.")


def check_not_expired(principal: Principal, now: datetime) -> None:
    """A key works until, and not at, the instant it expires.

    Raises:
        AuthenticationFailed: that instant has come.
    """
    if principal.expires_at is not None and now >= principal.expires_at:
        raise AuthenticationFailed(f"This API key expired at {principal.expires_at:%Y-%m-%dT%H:%M:%SZ}.")


def check_kind(principal: Principal, needed: KeyKind) -> None:
    """Each audience has its own kind of key.

    Raises:
        PermissionDenied: the key is of another kind; the message names the one needed.
    """
    if principal.kind is not needed:
        raise PermissionDenied(
            f"This needs a key of the kind {needed} ({PREFIX[needed]}…); yours is of the kind {principal.kind}."
        )


def check_key(key: ApiKey) -> None:
    """A key has a proper name, short distinct tags, an allowlist of slugs, and a sound policy.

    Raises:
        InvalidRequest: it has not; `field` names the part.
    """
    check_name(key.name)
    _check_tags(key.tags)
    _check_models(key.models)
    check_policy(key.routing)


def check_expiry(expires_at: datetime | None, now: datetime) -> None:
    """A key is not born expired.

    Raises:
        InvalidRequest: the instant is not ahead of us, or beyond all calendars.
    """
    if expires_at is None:
        return
    instants.check(expires_at, "expires_at")
    if expires_at <= now:
        raise InvalidRequest("A key has to expire in the future.", field="expires_at")


def check_not_revoked(key: ApiKey) -> None:
    """A revoked key is history.

    Raises:
        Conflict: the key was revoked.
    """
    if key.revoked_at is not None:
        raise Conflict("This key was revoked. Create another one.")


def _check_tags(tags: tuple[str, ...]) -> None:
    if len(tags) > TAGS_MAX or len(set(tags)) != len(tags):
        raise InvalidRequest(f"A key has at most {TAGS_MAX} tags, each once.", field="tags")
    for tag in tags:
        if not tag.strip() or len(tag) > TAG_CHARACTERS_MAX or "," in tag or not tag.isprintable():
            raise InvalidRequest(
                f"A tag has 1 to {TAG_CHARACTERS_MAX} printable characters and no comma.", field="tags"
            )


def told(key: ApiKey, end: KeyEnd, cause: UUID, *, now: datetime) -> Event:
    """What is told when the text of a key opens nothing any more."""
    data = {
        "key": typed("key", key.id),
        "name": key.name,
        "label": key.label,
        "project": typed_or_none("prj", key.project_id),
        "reason": end.value,
    }
    return event(key.organization_id, cause, EventType.KEY_REVOKED, data, now=now)


def _check_models(models: tuple[str, ...] | None) -> None:
    if models is None:
        return
    if len(models) > MODELS_MAX:
        raise InvalidRequest(f"An allowlist has at most {MODELS_MAX} models.", field="models")
    for slug in models:
        if not MODEL_SLUG.fullmatch(slug):
            raise InvalidRequest(f"{slug[:80]!r} is not a model slug such as 'openai/gpt-4.1-mini'.", field="models")


def _checksum(begun: str) -> str:
    return _encode(zlib.crc32(begun.encode()), _CHECKSUM_CHARACTERS)


def _encode(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _decode(text: str) -> int:
    number = 0
    for digit in text:
        number = number * len(_DIGITS) + _VALUE[digit]
    return number
