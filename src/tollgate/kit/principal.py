"""Principal: who is calling, as far as a presented API key proves it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tollgate.kit.ids import KeyId, OrganizationId, ProjectId


class KeyKind(StrEnum):
    """The three audiences of the interface, by what their keys may do."""

    INFERENCE = "inference"
    MANAGEMENT = "management"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of a valid key. Operator keys belong to `ids.PLATFORM` and to no project."""

    kind: KeyKind
    key_id: KeyId
    organization_id: OrganizationId
    project_id: ProjectId | None
    models: tuple[str, ...] | None
    """The slugs this key may call; `None` allows all."""
    expires_at: datetime | None
