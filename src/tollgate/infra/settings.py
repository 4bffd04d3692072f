"""Settings: everything the environment may decide, read once at start and passed down."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

PREFIX = "TOLLGATE_"
METRICS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the processes of a group count together, in files of their own; the metrics' library reads it when imported."""
LIFELINE_VARIABLE = "TOLLGATE_LIFELINE"
"""Set by a process for those it starts, and by nobody else; see infra.children."""
_OF_TESTS = "TOLLGATE_TEST_"
_LISTENERS = 2
"""Connections that only hear what changes: keys, and the catalogue."""
_CLOSING_SECONDS = 10
"""What a process may take to close, beside what its calls and their records do."""
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+(/[A-Za-z0-9._~-]+)*")
_STRIPE_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
_STRIPE_WEBHOOK_SECRETS = re.compile(r"whsec_[A-Za-z0-9+/=_-]+(,whsec_[A-Za-z0-9+/=_-]+)*")
_STRIPE_BASE = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]+)?|http://(127\.0\.0\.1|localhost|\[::1\]):[0-9]+")
_DAYS = re.compile(r"[1-9][0-9]{0,2}(,[1-9][0-9]{0,2})*")
_LEASE_SECONDS_MIN = 15
"""Leases are renewed every few seconds, once half of one is over."""
_SEALING_KEY_CHARACTERS_MIN = 32
"""The text may be any, so its length is all that can be asked of it."""
_POOL_MIN = 6
"""The listeners, and two connections for each share."""


class BadSetting(ValueError):
    """An environment variable has a value we cannot use."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation decides about itself. Every field is `TOLLGATE_` and its name in capitals."""

    database_url: str = field(repr=False)
    """`postgresql://…` of the one database; the embedded server's own when serving without an external one."""
    data_dir: Path = Path(".tollgate")
    """Where the embedded server keeps its data, the process group its notes, and processes what the ledger lacks."""
    allow_private_upstreams: bool = False
    """Permit provider URLs on loopback and private networks."""
    allow_private_webhooks: bool = False
    """Permit webhooks on loopback and private networks, and over plain http."""
    sealing_key: str | None = field(default=None, repr=False)
    """What seals secrets that have to be read again: the same on every host; without it, a file in `data_dir`."""
    body_bytes_max: int = 32 * 1024 * 1024
    """The largest request body accepted, in bytes."""
    connect_timeout_seconds: int = 5
    first_byte_timeout_seconds: int = 120
    idle_timeout_seconds: int = 60
    """How long a provider may take to accept a connection, to begin its answer, and between two pieces of it."""
    settle_timeout_seconds: int = 3
    """How long an answer waits for the ledger before its record goes to the local disk instead, and a stop for it."""
    lease_seconds: int = 900
    """How long what is held for calls stays held if the machine that made them is lost."""
    offline_allowance: Decimal = Decimal(0)
    """US dollars each organization may spend in each gateway process while the ledger is away; 0 refuses its calls."""
    drain_timeout_seconds: int = 30
    """How long calls in flight may go on after a stop was asked for."""
    invoice_grace_seconds: int = 3600
    """How long after a period's end its invoice waits for late records before the worker finalises it."""
    public_url: str | None = None
    """Where people and programs reach this installation, for sample code; without it, where a page was asked for."""
    stripe_secret_key: str | None = field(default=None, repr=False)
    """Of the Stripe account that collects payments; without it everything else works."""
    stripe_webhook_secrets: str | None = field(default=None, repr=False)
    """What Stripe signs its webhooks with, separated by commas while one takes over from another."""
    stripe_api_base: str | None = None
    """Where Stripe is, for tests."""
    payment_retry_days: tuple[int, ...] = (1, 3, 5, 7)
    """On which days after the first failure an invoice's money is tried to be taken again."""
    suspend_after_days: int | None = None
    """How many days after it was due an unpaid invoice suspends its organization; without it, none does."""
    database_pool_max: int = 14
    """Connections each gateway process keeps to the database at most, all told."""

    @property
    def stop_seconds_max(self) -> int:
        """How long a process may take to stop: for calls in flight, then for records of calls, then to close."""
        return self.drain_timeout_seconds + self.settle_timeout_seconds + _CLOSING_SECONDS

    @property
    def stripe_signing_secrets(self) -> tuple[str, ...]:
        """What a webhook may be signed with: any of these."""
        return tuple(self.stripe_webhook_secrets.split(",")) if self.stripe_webhook_secrets else ()

    @property
    def invoice_grace(self) -> timedelta:
        """The grace as a stretch of time."""
        return timedelta(seconds=self.invoice_grace_seconds)

    @property
    def control_plane_connections(self) -> int:
        """The share for sessions."""
        return (self.database_pool_max - _LISTENERS) // 2

    @property
    def data_plane_connections(self) -> int:
        """The share for admitting, settling and looking up keys."""
        return self.database_pool_max - _LISTENERS - self.control_plane_connections


def read(environment: Mapping[str, str]) -> Settings:
    """Read the settings of an environment.

    Raises:
        BadSetting: a variable is missing or cannot be understood; the message names it.
    """
    if not environment.get(PREFIX + "DATABASE_URL"):
        raise BadSetting("TOLLGATE_DATABASE_URL is not set; `tollgate serve` sets it for the processes it starts")
    given: dict[str, object] = {}
    for name, kind in Settings.__annotations__.items():
        text = environment.get(PREFIX + name.upper())
        if text is not None and text != "":
            given[name] = _parsed(name, kind, text)
    settings = Settings(**given)  # type: ignore[arg-type]  # each value was parsed to its field's own type
    if settings.public_url is not None and not _ORIGIN.fullmatch(settings.public_url):
        raise BadSetting(f"{PREFIX}PUBLIC_URL is {settings.public_url!r}; use one such as https://gateway.example.com")
    if settings.sealing_key is not None and len(settings.sealing_key) < _SEALING_KEY_CHARACTERS_MIN:
        raise BadSetting(
            f"{PREFIX}SEALING_KEY is too short; use {_SEALING_KEY_CHARACTERS_MIN} random characters or more"
        )
    _check_stripe(settings)
    if settings.lease_seconds < _LEASE_SECONDS_MIN:
        raise BadSetting(f"{PREFIX}LEASE_SECONDS is {settings.lease_seconds}; use {_LEASE_SECONDS_MIN} or more")
    if settings.database_pool_max < _POOL_MIN:
        raise BadSetting(f"{PREFIX}DATABASE_POOL_MAX is {settings.database_pool_max}; use {_POOL_MIN} or more")
    return settings


def _check_stripe(settings: Settings) -> None:
    """Secrets are not repeated, whatever is wrong with them."""
    key, secrets, base = settings.stripe_secret_key, settings.stripe_webhook_secrets, settings.stripe_api_base
    if key is not None and not _STRIPE_KEY.fullmatch(key):
        raise BadSetting(f"{PREFIX}STRIPE_SECRET_KEY is no secret key: it begins with sk_ or rk_, then test_ or live_")
    if secrets is not None and not _STRIPE_WEBHOOK_SECRETS.fullmatch(secrets):
        raise BadSetting(f"{PREFIX}STRIPE_WEBHOOK_SECRETS is no list of secrets: each begins with whsec_")
    if base is not None and not _STRIPE_BASE.fullmatch(base):
        raise BadSetting(f"{PREFIX}STRIPE_API_BASE is {base!r}; use https, or http with a port on loopback")


def unknown(environment: Mapping[str, str]) -> list[str]:
    """The variables that look like ours and mean nothing: misspelt, or from another version."""
    ours = {PREFIX + name.upper() for name in Settings.__annotations__} | {LIFELINE_VARIABLE}
    return sorted(
        name for name in environment if name.startswith(PREFIX) and not name.startswith(_OF_TESTS) and name not in ours
    )


def _parsed(name: str, kind: object, text: str) -> object:
    variable = PREFIX + name.upper()
    if kind is bool:
        if text not in {"0", "1", "true", "false"}:
            raise BadSetting(f"{variable} is {text!r}; use 1 or 0")
        return text in {"1", "true"}
    if kind == tuple[int, ...]:
        if not _DAYS.fullmatch(text) or (days := [int(part) for part in text.split(",")]) != sorted(set(days)):
            raise BadSetting(f"{variable} is {text!r}; use rising whole numbers above zero, such as 1,3,5,7")
        return tuple(days)
    if kind in {int, int | None}:
        if not text.isdecimal() or not int(text):
            raise BadSetting(f"{variable} is {text!r}; use a whole number above zero")
        return int(text)
    if kind is Decimal:
        if not _AMOUNT.fullmatch(text):
            raise BadSetting(f"{variable} is {text!r}; use an amount such as 0.50")
        return Decimal(text)
    return Path(text) if kind is Path else text
