"""The organizations that pay, the projects they divide their spending into, and the limits they set on it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from tollgate.kit.ids import OrganizationId, ProjectId
from tollgate.kit.principal import NO_POLICY, RoutingPolicy


class BillingMode(StrEnum):
    """Whether calls are paid from credits bought before, or collected by an invoice after."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"


class OrganizationStatus(StrEnum):
    """Only an active organization's keys open anything; a closed one stays for its books."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Organization:
    """One customer. Its currency never changes, because its ledger is kept in it."""

    id: OrganizationId
    name: str
    billing_mode: BillingMode
    credit_limit: Decimal | None
    """How far the balance may fall below zero; `None` is as far as it likes."""
    timezone: str
    """The IANA zone that cuts its days, weeks, months and billing periods."""
    currency: str
    """ISO 4217."""
    status: OrganizationStatus
    created_at: datetime
    routing: RoutingPolicy = NO_POLICY
    """Where calls of all its keys may go."""

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Project:
    """A part of an organization that keys and spending can be filed under. Archived projects keep their history."""

    organization_id: OrganizationId
    id: ProjectId
    name: str
    created_at: datetime
    archived_at: datetime | None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one scope (an organization, a project or a key) may use. `None` is no limit; zero allows nothing."""

    total: Decimal | None = None
    daily: Decimal | None = None
    weekly: Decimal | None = None
    monthly: Decimal | None = None
    """Money, in the organization's currency and calendar."""
    rpm: int | None = None
    """Requests per minute."""
    tpm: int | None = None
    """Tokens per minute."""
    concurrency: int | None = None
    """Calls in flight at once."""
    alert_percent: int | None = None
    """The share of a money limit whose passing is announced, 1 to 100."""
    credits_alert: Decimal | None = None
    """Of an organization only: it is announced when less credit than that is left."""


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class NewOrganization:
    """What is decided when an organization is created."""

    name: str
    billing_mode: BillingMode = BillingMode.PREPAID
    credit_limit: Decimal | None = Decimal(0)
    timezone: str = "UTC"
    currency: str = "USD"
    routing: RoutingPolicy = NO_POLICY
