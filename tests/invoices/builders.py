"""Organizations that use models and are invoiced: ordinary in whatever a test does not say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from tests.pricing.builders import a_price, per_million

from tollgate.accounts import service as accounts
from tollgate.accounts.model import BillingMode, NewOrganization, Organization, OrganizationStatus
from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.invoices import tasks
from tollgate.invoices.model import Closed, Contribution, Invoice, Month, Usage
from tollgate.invoices.service import invoices as service
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import CallId, KeyId, OrganizationId, PriceVersionId, ProjectId, uuid7
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.ledger import service as ledger
from tollgate.ledger.model import RECEIVABLE, ROUNDING, UNBILLED, GrantCategory, GrantTerms
from tollgate.metering import rules as metering
from tollgate.metering import store as metering_store
from tollgate.metering.model import BilledUsage, CallRecord, CallStatus, Settlement
from tollgate.pricing.model import PriceVersion
from tollgate.pricing.rules import rate

MODEL = "openai/gpt-4.1-mini"
PRICE = a_price(
    per_million(Kind.PROMPT, "0.4"), per_million(Kind.INPUT_CACHE_READ, "0.1"), per_million(Kind.COMPLETION, "1.6")
)
PLAIN = {Kind.PROMPT: 800, Kind.INPUT_CACHE_READ: 200, Kind.COMPLETION: 300}
"""The cached call of billing-rules §3: 0.00032 + 0.00002 + 0.00048 = 0.00082."""

SEPTEMBER, OCTOBER, NOVEMBER, DECEMBER = (Month(2026, number) for number in (9, 10, 11, 12))


def at(month: int, day: int, hour: int = 12, minute: int = 0) -> datetime:
    """An instant of 2026, UTC."""
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


BORN = at(9, 1, 0)
AFTER = at(12, 1, 2)
"""November is over, and so is its grace."""


def an_organization(**changes: Any) -> Organization:
    """A postpaid organization that is nowhere but in memory."""
    values: dict[str, Any] = {
        "id": OrganizationId(uuid7(BORN, 1)),
        "name": "Acme",
        "billing_mode": BillingMode.POSTPAID,
        "credit_limit": None,
        "timezone": "UTC",
        "currency": "USD",
        "status": OrganizationStatus.ACTIVE,
        "created_at": BORN,
    }
    return Organization(**{**values, **changes})


def usage(amount: str, *, kind: Kind = Kind.PROMPT, origin: Month | None = None, **changes: Any) -> Usage:
    """Usage of as many prompt tokens as come to the amount at one unit of money a million."""
    values: dict[str, Any] = {
        "project_id": None,
        "model": MODEL,
        "kind": kind,
        "tier": 0,
        "price_version_id": PriceVersionId(UUID(int=2)),
        "unit": "per_million_tokens",
        "unit_price": Decimal(1),
        "late": False,
        "calls": 0,
        "quantity": int(Decimal(amount).scaleb(6)),
        "amount": Decimal(amount),
        "credits_amount": Decimal(0),
    }
    return Usage(BilledUsage(**{**values, **changes}), project_name=None, origin=origin)


def spent(credits_amount: str) -> Usage:
    """The requests that spent so much of the organization's credits."""
    return usage("0", kind=Kind.REQUEST, unit=None, unit_price=None, credits_amount=Decimal(credits_amount))


@dataclass(frozen=True, slots=True)
class Used:
    """One call to record."""

    at: datetime
    counts: Mapping[Kind, int] = field(default_factory=lambda: PLAIN)
    model: str = MODEL
    price: PriceVersion = PRICE
    project_id: ProjectId | None = None
    insured: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """A real database, and what happens in it."""

    database: Database
    pool: "asyncpg.Pool[asyncpg.Record]"

    async def an_organization(self, *, now: datetime = BORN, credit: str = "0", **order: Any) -> Organization:
        """A new organization: postpaid and unlimited, unless it is given credit or an order of its own."""
        terms = NewOrganization(**{"name": "Acme", "billing_mode": BillingMode.POSTPAID, "credit_limit": None, **order})
        async with self.database.write() as session:
            organization = await accounts.create_organization(session, order=terms, now=now)
            if Decimal(credit):
                grant = GrantTerms(Decimal(credit), organization.currency, GrantCategory.PAID, "bought")
                await ledger.grant_credit(session, organization_id=organization.id, terms=grant, by=None, now=now)
        return organization

    async def a_project(self, organization: Organization, name: str) -> ProjectId:
        async with self.database.write() as session:
            project = await accounts.create_project(session, organization_id=organization.id, name=name, now=BORN)
        return project.id

    async def record(self, organization: Organization, *used: Used, settled_at: datetime | None = None) -> list[CallId]:
        """Settle the calls, as the gateway does."""
        settlements = [_settlement(organization, each) for each in used]
        await metering_store.settle(self.pool, settlements, now=settled_at or used[-1].at)
        return [settlement.call.call_id for settlement in settlements]

    async def close(self, organization: Organization, month: Month, *, now: datetime) -> Invoice:
        async with self.database.write() as session:
            return await service.close(session, organization_id=organization.id, month=month, now=now)

    async def close_due(self, now: datetime) -> list[Closed]:
        """What the worker does by then, with an hour of grace: ask for whatever is due, and close that."""
        clock, grace = FixedClock(now), timedelta(hours=1)
        await tasks.ask_for_due(self.database, clock, grace)
        asked = await self.pool.fetch(
            "DELETE FROM pgqueuer WHERE entrypoint = $1 RETURNING convert_from(payload, 'UTF8') AS subject",
            tasks.CLOSE_JOB,
        )
        return [
            outcome for row in asked for outcome in await tasks.close_due(self.database, clock, grace, row["subject"])
        ]

    async def current(self, organization: Organization, *, now: datetime) -> Invoice:
        async with self.database.read() as session:
            return await service.current(session, organization_id=organization.id, now=now)

    async def balances(self, organization: Organization) -> tuple[str, ...]:
        """What is unbilled, receivable, and lost or won by rounding."""
        async with self.database.read() as session:
            balances = [
                await ledger.balance(
                    session, organization_id=organization.id, account=account, currency=organization.currency
                )
                for account in (UNBILLED, RECEIVABLE, ROUNDING)
            ]
        return tuple(amount_text(balance) for balance in balances)

    async def explained(self, invoice: Invoice, n: int, *, page: int = 2) -> list[Contribution]:
        """All calls behind a line, fetched page by page."""
        found: list[Contribution] = []
        async with self.database.read() as session:
            while True:
                after = found[-1].call.id if found else None
                parts = await service.explain(session, invoice=invoice, n=n, after=after, count=page)
                found += parts
                if len(parts) < page:
                    return found

    async def assert_explains_itself(self, invoice: Invoice) -> None:
        """Every usage line is the sum of its calls, exactly."""
        for line in invoice.lines:
            if line.usage is not None:
                parts = await self.explained(invoice, line.n)
                assert sum(part.amount for part in parts) == line.amount_exact
                assert sum(part.quantity for part in parts) == line.usage.quantity


def _settlement(organization: Organization, used: Used) -> Settlement:
    quantities = UsageQuantities(used.counts)
    rated = rate(quantities, used.price)
    charge = rated._replace(items=(), amount=Decimal(0), unpriced=()) if used.insured else rated
    status = CallStatus.INSURED if used.insured else CallStatus.SETTLED if rated.priced else CallStatus.UNPRICED
    call = CallRecord(
        organization_id=organization.id,
        call_id=CallId(new_id(used.at)),
        project_id=used.project_id,
        key_id=KeyId(UUID(int=7)),
        accepted_at=used.at,
        requested_model=used.model,
        model=used.model,
        provider="openai",
        endpoint_id=used.price.endpoint_id,
        api="chat",
        streamed=False,
        status=status,
        estimated=False,
        anomalous=False,
        finish_reason="stop",
        native_finish_reason="stop",
        latency_ms=120,
        generation_ms=2000,
        quantities=json.dumps(dict(used.counts)),
        tokens=quantities.prompt_tokens + quantities.completion_tokens,
        price_version_id=used.price.id,
        tier=charge.tier,
        currency=organization.currency,
        origin_amount=charge.amount,
        amount=charge.amount,
        provider_cost=None,
        user_id=None,
        session_id=None,
        metadata=None,
    )
    return Settlement(call, metering.charge_records(call.call_id, charge, quantities), ())
