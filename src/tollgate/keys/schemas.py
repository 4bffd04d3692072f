"""The API shapes of keys."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from tollgate.accounts.model import Limits
from tollgate.accounts.schemas import LimitsChange, LimitsView, RoutingChange, RoutingView, changed_policy
from tollgate.infra import web
from tollgate.infra.web import Body, Instant, Paging
from tollgate.keys.model import ApiKey, Filters, MintedKey, NewKey
from tollgate.kit.ids import KeyId, OrganizationId, ProjectId, typed
from tollgate.kit.principal import NO_POLICY, KeyKind


class CreateKey(Body, kw_only=True, frozen=True):
    """A new key; what is `null` or left out takes its default: an inference key without bounds."""

    name: str
    kind: Literal["inference", "management"] | None = None
    project: str | None = None
    models: tuple[str, ...] | None = None
    routing: RoutingChange | None = None
    limits: LimitsChange | None = None
    tags: tuple[str, ...] | None = None
    expires_at: Instant | None = None

    def order(self, organization_id: OrganizationId, *, created_by: KeyId) -> NewKey:
        return NewKey(
            organization_id=organization_id,
            kind=KeyKind(self.kind or KeyKind.INFERENCE),
            name=self.name,
            project_id=_project_id(self.project),
            models=self.models,
            tags=self.tags or (),
            expires_at=self.expires_at,
            created_by=created_by,
            routing=changed_policy(NO_POLICY, self.routing),
        )


class ChangeKey(Body, kw_only=True, frozen=True):
    """What to change of a key; a `routing` of `null` is no policy at all."""

    name: str | UnsetType = UNSET
    project: str | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    routing: RoutingChange | UnsetType | None = UNSET
    limits: LimitsChange | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    expires_at: Instant | UnsetType | None = UNSET
    disabled: bool | UnsetType = UNSET

    def applied_to(self, key: ApiKey) -> ApiKey:
        return replace(
            key,
            name=key.name if self.name is UNSET else self.name,
            project_id=key.project_id if self.project is UNSET else _project_id(self.project),
            models=key.models if self.models is UNSET else self.models,
            tags=key.tags if self.tags is UNSET else self.tags,
            expires_at=key.expires_at if self.expires_at is UNSET else self.expires_at,
            disabled=key.disabled if self.disabled is UNSET else self.disabled,
            routing=changed_policy(key.routing, self.routing),
        )


class ListKeys(Paging, kw_only=True, frozen=True):
    """Which keys to list."""

    project: str | None = None
    tag: str | None = None
    q: str | None = None
    """Part of the name or the label."""
    include_revoked: bool = False

    @property
    def filters(self) -> Filters:
        return Filters(
            project_id=_project_id(self.project), tag=self.tag, text=self.q, include_revoked=self.include_revoked
        )


class KeyView(Struct, kw_only=True, frozen=True):
    """A key as the API shows it: everything but the secret."""

    id: str
    kind: KeyKind
    name: str
    label: str
    project: str | None
    models: tuple[str, ...] | None
    routing: RoutingView
    limits: LimitsView
    tags: tuple[str, ...]
    expires_at: datetime | None
    disabled: bool
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey, limits: Limits) -> "KeyView":
        return cls(
            id=typed("key", key.id),
            kind=key.kind,
            name=key.name,
            label=key.label,
            project=None if key.project_id is None else typed("prj", key.project_id),
            models=key.models,
            routing=RoutingView.of(key.routing),
            limits=LimitsView.of(limits),
            tags=key.tags,
            expires_at=None if key.expires_at is None else key.expires_at.astimezone(UTC),
            disabled=key.disabled,
            created_at=key.created_at,
            revoked_at=key.revoked_at,
        )


class MintedKeyView(Struct, kw_only=True, frozen=True):
    """A key with its text, which is shown this once."""

    data: KeyView
    key: str

    @classmethod
    def of(cls, minted: MintedKey, limits: Limits) -> "MintedKeyView":
        return cls(data=KeyView.of(minted.key, limits), key=minted.text)


def _project_id(text: str | None) -> ProjectId | None:
    return None if text is None else ProjectId(web.parse_id("prj", text, field="project"))
