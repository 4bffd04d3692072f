"""API keys: as their owners know them, as they are made, and as they are recognised when presented."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tollgate.accounts.model import OrganizationStatus
from tollgate.kit.ids import KeyId, OrganizationId, ProjectId
from tollgate.kit.principal import NO_POLICY, KeyKind, Principal, RoutingPolicy


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key. A revoked key never comes back; a disabled one may."""

    organization_id: OrganizationId
    id: KeyId
    kind: KeyKind
    name: str
    project_id: ProjectId | None
    public_id: str
    """The part of the key text that finds the key without proving anything."""
    label: str
    """The key text with its middle masked, for people to tell keys apart."""
    models: tuple[str, ...] | None
    """The model slugs it may call; `None` allows all."""
    tags: tuple[str, ...]
    expires_at: datetime | None
    disabled: bool
    revoked_at: datetime | None
    created_at: datetime
    created_by: KeyId | None
    """The key that made this one; `None` when the command line did."""
    routing: RoutingPolicy = NO_POLICY
    """Where its calls may go, beside what its organization says; its models are `models`."""


class KeyEnd(StrEnum):
    """Why the text of a key opens nothing any more."""

    REVOKED = "revoked"
    DISABLED = "disabled"
    ROTATED = "rotated"
    """There is another text."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """What is decided when a key is made."""

    organization_id: OrganizationId
    kind: KeyKind
    name: str
    project_id: ProjectId | None = None
    models: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    expires_at: datetime | None = None
    created_by: KeyId | None = None
    routing: RoutingPolicy = NO_POLICY


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A key together with the text its bearer keeps: the only moment that text exists on our side."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Which keys to list."""

    project_id: ProjectId | None = None
    tag: str | None = None
    text: str | None = None
    """Part of the name or the label, in any case of letters."""
    include_revoked: bool = False


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """The parts of a well-formed key text. That it is well-formed proves nothing about the bearer."""

    kind: KeyKind
    public_id: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether a key opens anything right now."""

    principal: Principal
    secret_hash: bytes
    disabled: bool
    revoked_at: datetime | None
    organization_status: OrganizationStatus
    project_archived: bool
