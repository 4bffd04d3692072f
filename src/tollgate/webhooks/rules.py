"""The decisions of webhooks that need no database."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit
from uuid import UUID

from tollgate.kit import addresses
from tollgate.kit.backoff import doubled
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import EventId, OrganizationId, derived_id
from tollgate.webhooks.model import DeliveryState, Event, EventType, Fate, NewWebhook, Outcome

WEBHOOKS_MAX = 20
"""How many endpoints an organization may have."""
TRIED_FOR = timedelta(hours=72)
"""How long a delivery is tried before it is given up."""
SIGNED_BY_BOTH = timedelta(hours=24)
"""How long the secret before a rotation signs as well."""
SECRET_PREFIX = "whsec-"  # noqa: S105 - what secrets begin with is none
PERMISSION = "TOLLGATE_ALLOW_PRIVATE_WEBHOOKS"
"""The variable that permits http and private networks, as the installation's settings read it."""
CHANCES = 1000
"""What is drawn to spread attempts is below this."""

_FIRST_WAIT = timedelta(seconds=10)
_WAIT_MAX = timedelta(hours=6)
_URL_CHARACTERS_MAX = 2000
_DESCRIPTION_CHARACTERS_MAX = 500
_ANSWER_CHARACTERS_MAX = 500
_GONE = 410
_SECRETS = re.compile(r"(?:whsec|[smo]k-tg)-[A-Za-z0-9_-]+|v1=[0-9a-f]{64}")
_HOW_TO_PERMIT = f"The installation permits http and private networks only with {PERMISSION}=1."


def event(
    organization_id: OrganizationId, cause: UUID, kind: EventType, data: Mapping[str, object], *, now: datetime
) -> Event:
    """The event of this type that `cause` (an invoice, a payment, a key, …) brings about: one, however often."""
    return Event(organization_id, EventId(derived_id(cause, f"event:{kind}")), kind, data, now)


def check_webhook(webhook: NewWebhook, *, private: bool) -> None:
    """Refuse an endpoint that nothing could be sent to, or must not be.

    Only what the address says itself is judged; what its name leads to, by `check_addresses`, and at every delivery.

    Raises:
        InvalidRequest: naming the field at fault.
    """
    _check_url(webhook.url, private=private)
    if webhook.types is not None and not webhook.types:
        raise InvalidRequest("Name at least one type of event, or leave the types out for all.", field="types")
    if len(webhook.description) > _DESCRIPTION_CHARACTERS_MAX:
        raise InvalidRequest(
            f"A description has at most {_DESCRIPTION_CHARACTERS_MAX} characters.", field="description"
        )


def _check_url(url: str, *, private: bool) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"This is not a URL: {error}.", field="url") from error
    if parts.scheme not in {"http", "https"} or not host or port == 0 or len(url) > _URL_CHARACTERS_MAX:
        raise InvalidRequest(f"A url is an https URL of at most {_URL_CHARACTERS_MAX} characters.", field="url")
    if "@" in parts.netloc or parts.fragment or not url.isascii() or addresses.is_unprintable(url):
        raise InvalidRequest("A url is plain ASCII, without user, password, fragment or blanks.", field="url")
    if private:
        return
    if parts.scheme == "http":
        raise InvalidRequest(f"Use https. {_HOW_TO_PERMIT}", field="url")
    if addresses.is_private(host):
        raise InvalidRequest(f"{host} is not on the public network. {_HOW_TO_PERMIT}", field="url")


def host_of(url: str) -> str:
    """The name in an address that passed `check_webhook`."""
    return urlsplit(url).hostname or ""


def check_addresses(name: str, found: Iterable[str]) -> None:
    """Refuse a name of which any address is outside the public network; which one is not told.

    Raises:
        InvalidRequest: with `url` as the field.
    """
    if any(addresses.is_private(address) for address in found):
        raise InvalidRequest(f"{name} leads outside the public network. {_HOW_TO_PERMIT}", field="url")


def secret_text(secret: bytes) -> str:
    """A fresh secret as its owner keeps it, whose every byte signs."""
    return SECRET_PREFIX + urlsafe_b64encode(secret).decode().rstrip("=")


def signature(body: bytes, secrets: Sequence[str], *, now: datetime) -> str:
    """The header `Tollgate-Signature`: when it was signed, and the HMAC-SHA256 of "second.body" by each secret."""
    second = int(now.timestamp())
    signed = str(second).encode() + b"." + body
    marks = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={second}", *(f"v1={mark}" for mark in marks)])


def fate(outcome: Outcome, *, attempt: int, first_at: datetime, now: datetime, chance: int) -> Fate:
    """What follows from what an attempt came to: done, another attempt, or none any more.

    Only 2xx is success. The waits double from ten seconds to six hours, each longer or shorter by up to a fifth as
    `chance` (below CHANCES) has it, so that what failed together does not come again together. The last attempt is at
    the end of the 72 hours.
    """
    if succeeded(outcome):
        return Fate(DeliveryState.DELIVERED, None)
    last_at = first_at + TRIED_FOR
    if is_gone(outcome) or now >= last_at:
        return Fate(DeliveryState.FAILED, None)
    wait = doubled(_FIRST_WAIT, _WAIT_MAX, times=attempt - 1) * (4 * CHANCES + 2 * chance) / (5 * CHANCES)
    return Fate(DeliveryState.PENDING, min(now + wait, last_at))


def succeeded(outcome: Outcome) -> bool:
    """Whether the endpoint said that it has the event."""
    return outcome.status is not None and outcome.status // 100 == 2  # noqa: PLR2004 - 2xx


def is_gone(outcome: Outcome) -> bool:
    """Whether the endpoint said that it is there no more."""
    return outcome.status == _GONE


def readable(answer: bytes, secrets: Iterable[str] = ()) -> str:
    """The beginning of an answer as it may be kept: text, short, and without secrets that it sent back."""
    text = answer.decode(errors="replace")
    for secret in secrets:
        text = text.replace(secret, "…")
    text = _SECRETS.sub("…", text)
    shown = (
        character if character.isprintable() or character == "\n" else "\N{REPLACEMENT CHARACTER}" for character in text
    )
    return "".join(shown)[:_ANSWER_CHARACTERS_MAX]
