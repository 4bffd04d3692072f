"""An API key as everyone but its bearer may know it. The secret is in none of these values."""

from dataclasses import dataclass
from datetime import datetime

from tollgate.kit.ids import KeyId, OrganizationId, ProjectId
from tollgate.kit.principal import KeyKind


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
