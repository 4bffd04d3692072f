"""The API shapes of organizations, projects and limits."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, structs

from tollgate.accounts.model import BillingMode, Limits, NewOrganization, Organization, OrganizationStatus, Project
from tollgate.infra.web import Amount, Body, Paging
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text

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


class CreateOrganization(Body, kw_only=True, frozen=True):
    """A new organization; what is `null` or left out takes its default."""

    name: str
    billing_mode: BillingMode | None = None
    credit_limit: Amount | None = None
    timezone: str | None = None
    currency: str | None = None
    limits: LimitsChange | None = None

    def order(self) -> NewOrganization:
        given = {name: getattr(self, name) for name in NewOrganization.__slots__}
        return NewOrganization(**{name: value for name, value in given.items() if value is not None})


class ChangeOrganization(Body, kw_only=True, frozen=True):
    """What to change of an organization; a `credit_limit` of `null` is no limit at all."""

    name: str | UnsetType = UNSET
    billing_mode: BillingMode | UnsetType = UNSET
    credit_limit: Amount | UnsetType | None = UNSET
    timezone: str | UnsetType = UNSET
    currency: str | UnsetType = UNSET
    status: OrganizationStatus | UnsetType = UNSET
    limits: LimitsChange | UnsetType = UNSET

    def applied_to(self, organization: Organization) -> Organization:
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "limits"}
        return replace(organization, **{name: value for name, value in given.items() if value is not UNSET})


class OrganizationView(Struct, kw_only=True, frozen=True):
    """An organization as the API shows it."""

    id: str
    name: str
    billing_mode: BillingMode
    credit_limit: str | None
    timezone: str
    currency: str
    status: OrganizationStatus
    limits: LimitsView
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
            limits=LimitsView.of(limits),
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
