"""Principal: who is calling, as far as a presented API key proves it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tollgate.kit.ids import KeyId, OrganizationId, ProjectId


class KeyKind(StrEnum):
    """The three audiences of the interface, by what their keys may do."""

    INFERENCE = "inference"
    MANAGEMENT = "management"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """Where calls may go at all, whatever they ask for themselves: an organization's rules, or a key's."""

    models: tuple[str, ...] | None = None
    """The slugs that may be called; `None` allows all."""
    providers: tuple[str, ...] | None = None
    """The providers that may serve; `None` allows all."""
    ignored_providers: tuple[str, ...] = ()
    denies_training: bool = False
    """Only endpoints that are known not to train on prompts."""
    zdr: bool = False
    """Zero data retention: only endpoints that log nothing and train on nothing."""
    max_prompt_price: Decimal | None = None
    max_completion_price: Decimal | None = None
    """In US dollars per million tokens."""


NO_POLICY = RoutingPolicy()


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
    policies: tuple[RoutingPolicy, ...] = ()
    """Every one of them binds: the organization's, and the key's own."""
