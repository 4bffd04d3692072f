"""The API shapes of organizations, projects, limits and policies."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from tollgate.accounts.model import BillingMode, Limits, NewOrganization, Organization, OrganizationStatus, Project
from tollgate.infra.web import Amount, Body, Paging
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.kit.principal import NO_POLICY, RoutingPolicy

_Rate = Annotated[int, Meta(ge=0, le=10**12)]
_Percent = Annotated[int, Meta(ge=1, le=100)]


class LimitsChange(Body, kw_only=True, frozen=True):
    """Limits to set; those left out stay as they are, and `null` lifts a limit."""

    total: Amount | UnsetType | None = UNSET
    daily: Amount | UnsetType | None = UNSET
    weekly: Amount | UnsetType | None = UNSET
    monthly: Amount | UnsetType | None = UNSET
    rpm: _Rate | UnsetType | None = UNSET
    tpm: _Rate | UnsetType | None = UNSET
    concurrency: _Rate | UnsetType | None = UNSET
    alert_percent: _Percent | UnsetType | None = UNSET

    def applied_to(self, limits: Limits) -> Limits:
        given = {name: value for name, value in structs.asdict(self).items() if value is not UNSET}
        return replace(limits, **given)


class OrganizationLimitsChange(LimitsChange, kw_only=True, frozen=True):
    """Limits of an organization to set, and how little credit it wants to be told of."""

    credits_alert: Amount | UnsetType | None = UNSET


class LimitsView(Struct, kw_only=True, frozen=True):
    """Limits as they are; `null` is no limit, zero allows nothing."""

    total: str | None
    daily: str | None
    weekly: str | None
    monthly: str | None
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    alert_percent: int | None

    @classmethod
    def of(cls, limits: Limits) -> "LimitsView":
        return cls(
            total=None if limits.total is None else amount_text(limits.total),
            daily=None if limits.daily is None else amount_text(limits.daily),
            weekly=None if limits.weekly is None else amount_text(limits.weekly),
            monthly=None if limits.monthly is None else amount_text(limits.monthly),
            rpm=limits.rpm,
            tpm=limits.tpm,
            concurrency=limits.concurrency,
            alert_percent=limits.alert_percent,
        )


class OrganizationLimitsView(LimitsView, kw_only=True, frozen=True):
    """Limits of an organization as they are, and how little credit it is told of."""

    credits_alert: str | None

    @classmethod
    def of(cls, limits: Limits) -> "OrganizationLimitsView":
        alert = None if limits.credits_alert is None else amount_text(limits.credits_alert)
        return cls(credits_alert=alert, **structs.asdict(LimitsView.of(limits)))


class MaxPriceChange(Body, kw_only=True, frozen=True):
    """The most that a million tokens may cost, in US dollars; what is left out stays, and `null` lifts it."""

    prompt: Amount | UnsetType | None = UNSET
    completion: Amount | UnsetType | None = UNSET

    def applied_to(self, policy: RoutingPolicy) -> RoutingPolicy:
        return replace(
            policy,
            max_prompt_price=_ceiling(policy.max_prompt_price, self.prompt),
            max_completion_price=_ceiling(policy.max_completion_price, self.completion),
        )


_NO_CEILINGS = MaxPriceChange(prompt=None, completion=None)


class RoutingChange(Body, kw_only=True, frozen=True):
    """A policy to set: where calls may go at all. What is left out stays as it is, and `null` lifts it."""

    providers: tuple[str, ...] | UnsetType | None = UNSET
    """Who may serve; an empty list is nobody."""
    ignore: tuple[str, ...] | UnsetType | None = UNSET
    data_collection: Literal["allow", "deny"] | UnsetType | None = UNSET
    """With `deny`, only endpoints that are known not to train on prompts."""
    zdr: bool | UnsetType | None = UNSET
    """Only endpoints that keep nothing and train on nothing."""
    max_price: MaxPriceChange | UnsetType | None = UNSET

    def applied_to(self, policy: RoutingPolicy) -> RoutingPolicy:
        changed = RoutingPolicy(
            models=policy.models,
            providers=policy.providers if self.providers is UNSET else self.providers,
            ignored_providers=policy.ignored_providers if self.ignore is UNSET else self.ignore or (),
            denies_training=policy.denies_training if self.data_collection is UNSET else self.data_collection == "deny",
            zdr=policy.zdr if self.zdr is UNSET else bool(self.zdr),
            max_prompt_price=policy.max_prompt_price,
            max_completion_price=policy.max_completion_price,
        )
        if self.max_price is UNSET:
            return changed
        return (self.max_price or _NO_CEILINGS).applied_to(changed)


class OrganizationRoutingChange(RoutingChange, kw_only=True, frozen=True):
    """An organization's policy to set; it binds every one of its keys, beside what binds the key itself."""

    models: tuple[str, ...] | UnsetType | None = UNSET
    """The slugs that may be called; an empty list is none."""

    def applied_to(self, policy: RoutingPolicy) -> RoutingPolicy:
        changed = super().applied_to(policy)
        return changed if self.models is UNSET else replace(changed, models=self.models)


class MaxPriceView(Struct, kw_only=True, frozen=True):
    """The most that a million tokens may cost, in US dollars; `null` is no ceiling."""

    prompt: str | None
    completion: str | None

    @classmethod
    def of(cls, policy: RoutingPolicy) -> "MaxPriceView | None":
        prompt, completion = policy.max_prompt_price, policy.max_completion_price
        if prompt is None and completion is None:
            return None
        return cls(
            prompt=None if prompt is None else amount_text(prompt),
            completion=None if completion is None else amount_text(completion),
        )


class RoutingView(Struct, kw_only=True, frozen=True):
    """Where calls may go at all; `null` allows everything."""

    providers: tuple[str, ...] | None
    ignore: tuple[str, ...]
    data_collection: Literal["allow", "deny"]
    zdr: bool
    max_price: MaxPriceView | None

    @classmethod
    def of(cls, policy: RoutingPolicy) -> "RoutingView":
        return cls(
            providers=policy.providers,
            ignore=policy.ignored_providers,
            data_collection="deny" if policy.denies_training else "allow",
            zdr=policy.zdr,
            max_price=MaxPriceView.of(policy),
        )


class OrganizationRoutingView(RoutingView, kw_only=True, frozen=True):
    """Where calls of an organization may go at all; `null` allows everything."""

    models: tuple[str, ...] | None

    @classmethod
    def of(cls, policy: RoutingPolicy) -> "OrganizationRoutingView":
        return cls(models=policy.models, **structs.asdict(RoutingView.of(policy)))


class CreateOrganization(Body, kw_only=True, frozen=True):
    """A new organization; what is `null` or left out takes its default."""

    name: str
    billing_mode: BillingMode | None = None
    credit_limit: Amount | None = None
    timezone: str | None = None
    currency: str | None = None
    limits: OrganizationLimitsChange | None = None
    routing: OrganizationRoutingChange | None = None

    def order(self) -> NewOrganization:
        given = {name: getattr(self, name) for name in NewOrganization.__slots__ if name != "routing"}
        routing = NO_POLICY if self.routing is None else self.routing.applied_to(NO_POLICY)
        return NewOrganization(**{name: value for name, value in given.items() if value is not None}, routing=routing)


class ChangeOrganization(Body, kw_only=True, frozen=True):
    """What to change of an organization; `null` is no credit limit, and no policy, at all."""

    name: str | UnsetType = UNSET
    billing_mode: BillingMode | UnsetType = UNSET
    credit_limit: Amount | UnsetType | None = UNSET
    timezone: str | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    status: OrganizationStatus | UnsetType = UNSET
    limits: OrganizationLimitsChange | UnsetType = UNSET
    routing: OrganizationRoutingChange | UnsetType | None = UNSET

    def applied_to(self, organization: Organization) -> Organization:
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name not in {"limits", "routing"}}
        changed = replace(organization, **{name: value for name, value in given.items() if value is not UNSET})
        return replace(changed, routing=changed_policy(organization.routing, self.routing))


class OrganizationView(Struct, kw_only=True, frozen=True):
    """An organization as the API shows it."""

    id: str
    name: str
    billing_mode: BillingMode
    credit_limit: str | None
    timezone: str
    currency: str
    status: OrganizationStatus
    limits: OrganizationLimitsView
    routing: OrganizationRoutingView
    created_at: datetime

    @classmethod
    def of(cls, organization: Organization, limits: Limits) -> "OrganizationView":
        return cls(
            id=typed("org", organization.id),
            name=organization.name,
            billing_mode=organization.billing_mode,
            credit_limit=None if organization.credit_limit is None else amount_text(organization.credit_limit),
            timezone=organization.timezone,
            currency=organization.currency,
            status=organization.status,
            limits=OrganizationLimitsView.of(limits),
            routing=OrganizationRoutingView.of(organization.routing),
            created_at=organization.created_at,
        )


class CreateProject(Body, kw_only=True, frozen=True):
    """A new project."""

    name: str
    limits: LimitsChange | None = None


class ChangeProject(Body, kw_only=True, frozen=True):
    """What to change of a project."""

    name: str | UnsetType = UNSET
    limits: LimitsChange | UnsetType = UNSET


class ListProjects(Paging, kw_only=True, frozen=True):
    """Which projects to list."""

    include_archived: bool = False


class ProjectView(Struct, kw_only=True, frozen=True):
    """A project as the API shows it."""

    id: str
    name: str
    limits: LimitsView
    created_at: datetime
    archived_at: datetime | None

    @classmethod
    def of(cls, project: Project, limits: Limits) -> "ProjectView":
        return cls(
            id=typed("prj", project.id),
            name=project.name,
            limits=LimitsView.of(limits),
            created_at=project.created_at,
            archived_at=project.archived_at,
        )


def _ceiling(before: Decimal | None, change: Amount | UnsetType | None) -> Decimal | None:
    if change is UNSET:
        return before
    return None if change is None else Decimal(change)


def changed_policy(policy: RoutingPolicy, change: RoutingChange | UnsetType | None) -> RoutingPolicy:
    """The policy with the change that a body asks for: none if it is left out; `null` lifts the whole policy."""
    if change is UNSET:
        return policy
    return NO_POLICY if change is None else change.applied_to(policy)
