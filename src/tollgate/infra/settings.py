"""Settings: everything the environment may decide, read once at start and passed down."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
_LEASE_SECONDS_MIN = 15
"""Leases are renewed every few seconds, once half of one is over."""
_POOL_MIN = 6
"""The listeners, and two connections for each share."""


class BadSetting(ValueError):
    """An environment variable has a value we cannot use."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an installation decides about itself. Every field is `TOLLGATE_` and its name in capitals."""

    database_url: str
    """`postgresql://…` of the one database; the embedded server's own when serving without an external one."""
    data_dir: Path = Path(".tollgate")
    """Where the embedded server keeps its data, the process group its notes, and processes what the ledger lacks."""
    allow_private_upstreams: bool = False
    """Permit provider URLs on loopback and private networks."""
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
    database_pool_max: int = 14
    """Connections each gateway process keeps to the database at most, all told."""

    @property
    def stop_seconds_max(self) -> int:
        """How long a process may take to stop: for calls in flight, then for records of calls, then to close."""
        return self.drain_timeout_seconds + self.settle_timeout_seconds + _CLOSING_SECONDS

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
    if settings.lease_seconds < _LEASE_SECONDS_MIN:
        raise BadSetting(f"{PREFIX}LEASE_SECONDS is {settings.lease_seconds}; use {_LEASE_SECONDS_MIN} or more")
    if settings.database_pool_max < _POOL_MIN:
        raise BadSetting(f"{PREFIX}DATABASE_POOL_MAX is {settings.database_pool_max}; use {_POOL_MIN} or more")
    return settings


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
    if kind is int:
        if not text.isdecimal() or not int(text):
            raise BadSetting(f"{variable} is {text!r}; use a whole number above zero")
        return int(text)
    if kind is Decimal:
        if not _AMOUNT.fullmatch(text):
            raise BadSetting(f"{variable} is {text!r}; use an amount such as 0.50")
        return Decimal(text)
    return Path(text) if kind is Path else text
