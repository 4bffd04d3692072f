"""The API shapes of credits, of what moved them, and of the calling key."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from tollgate.accounts.model import Limits
from tollgate.accounts.schemas import LimitsView, OrganizationRoutingView, RoutingView
from tollgate.infra.web import Paging
from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.money import amount_text
from tollgate.kit.principal import KeyKind
from tollgate.ledger.model import Transfer
from tollgate.ledger.schemas import GrantView
from tollgate.reports.model import Credits, KeyStanding, Spent
from tollgate.reports.rules import remaining

_CAUSE_PREFIX = {
    "call": "gen",
    **dict.fromkeys(("grant", "expiry", "void"), "grt"),
    "adjustment": "adj",
    **dict.fromkeys(("invoice", "invoice_void", "uncollectible"), "inv"),
    "payment": "pay",
    "credit_note": "cn",
    "refund": "re",
}


class CreditsView(Struct, kw_only=True, frozen=True):
    """The balance right now: `available` is `total` and `credit_limit` less all that is owed and held."""

    currency: str
    total: str
    held: str
    available: str | None
    """`null` where nothing bounds it."""
    credit_limit: str | None
    unbilled: str
    receivable: str
    grants: list[GrantView]
    """Those that `total` is of."""

    @classmethod
    def of(cls, balance: Credits) -> "CreditsView":
        return cls(
            currency=balance.currency,
            total=amount_text(balance.total),
            held=amount_text(balance.held),
            available=None if balance.available is None else amount_text(balance.available),
            credit_limit=None if balance.credit_limit is None else amount_text(balance.credit_limit),
            unbilled=amount_text(balance.unbilled),
            receivable=amount_text(balance.receivable),
            grants=[GrantView.of(grant) for grant in balance.grants],
        )


class TransactionsParameters(Paging, kw_only=True, frozen=True):
    """Which transactions to list."""

    cause: tuple[str, ...] = ()


class TransactionView(Struct, kw_only=True, frozen=True):
    """One transfer on the organization's side of the books."""

    id: str
    debit_account: str
    credit_account: str
    amount: str
    currency: str
    cause: str
    cause_id: str
    reverses: str | None
    occurred_at: datetime
    posted_at: datetime

    @classmethod
    def of(cls, transfer: Transfer) -> "TransactionView":
        return cls(
            id=typed("txn", transfer.id),
            debit_account=transfer.debit_account,
            credit_account=transfer.credit_account,
            amount=amount_text(transfer.amount),
            currency=transfer.currency,
            cause=transfer.cause,
            cause_id=_cause_id(transfer.cause, transfer.cause_id),
            reverses=typed_or_none("txn", transfer.reverses_id),
            occurred_at=transfer.occurred_at,
            posted_at=transfer.posted_at,
        )


def _cause_id(cause: str, cause_id: UUID) -> str:
    prefix = _CAUSE_PREFIX.get(cause)
    return str(cause_id) if prefix is None else typed(prefix, cause_id)


class SpentView(Struct, kw_only=True, frozen=True):
    """What was used, in all and in the day, week and month of now in the organization's time zone."""

    total: str
    daily: str
    weekly: str
    monthly: str

    @classmethod
    def of(cls, spent: Spent) -> "SpentView":
        return cls(
            total=amount_text(spent.total),
            daily=amount_text(spent.daily),
            weekly=amount_text(spent.weekly),
            monthly=amount_text(spent.monthly),
        )


class RemainingView(Struct, kw_only=True, frozen=True):
    """What calls may still use of each limit, holds of calls in flight taken off; `null` where there is no limit."""

    total: str | None
    daily: str | None
    weekly: str | None
    monthly: str | None

    @classmethod
    def of(cls, limits: Limits, spent: Spent) -> "RemainingView":
        left = {
            name: remaining(getattr(limits, name), used=getattr(spent, name), held=getattr(spent, f"{name}_held"))
            for name in cls.__struct_fields__
        }
        return cls(**{name: None if amount is None else amount_text(amount) for name, amount in left.items()})


class KeyStandingView(Struct, kw_only=True, frozen=True):
    """The calling key: what it may, and what it has used of that."""

    id: str
    name: str
    label: str
    kind: KeyKind
    project: str | None
    models: tuple[str, ...] | None
    routing: RoutingView
    organization_routing: OrganizationRoutingView | None
    """What binds every key of the organization; operator keys are of none."""
    limits: LimitsView
    usage: SpentView
    remaining: RemainingView
    currency: str | None
    expires_at: datetime | None

    @classmethod
    def of(cls, standing: KeyStanding) -> "KeyStandingView":
        key, organization = standing.key, standing.organization
        return cls(
            id=typed("key", key.id),
            name=key.name,
            label=key.label,
            kind=key.kind,
            project=typed_or_none("prj", key.project_id),
            models=key.models,
            routing=RoutingView.of(key.routing),
            organization_routing=None if organization is None else OrganizationRoutingView.of(organization.routing),
            limits=LimitsView.of(standing.limits),
            usage=SpentView.of(standing.spent),
            remaining=RemainingView.of(standing.limits, standing.spent),
            currency=None if organization is None else organization.currency,
            expires_at=key.expires_at,
        )
