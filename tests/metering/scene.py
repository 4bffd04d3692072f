"""A small world to meter in: organizations with keys, calls that hold and settle, and what is kept of them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
from tests.builders import BORN, a_grant, an_organization
from tests.pricing.builders import a_price, per_million
from tests.safes import a_safe

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Limits
from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import AttemptId, CallId, EndpointId, KeyId, OrganizationId, PriceVersionId, ProjectId
from tollgate.kit.principal import KeyKind
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering import folding, store
from tollgate.metering.model import (
    Admission,
    AdmissionRequest,
    AttemptRecord,
    AttemptStatus,
    CallRecord,
    CallStatus,
    ChargeRecord,
    Settled,
    Settlement,
)
from tollgate.metering.rules import charge_records
from tollgate.metering.service import Meter
from tollgate.pricing.rules import rate

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

LEASE = timedelta(minutes=15)
PRICE = a_price(per_million(Kind.PROMPT, "1"), per_million(Kind.COMPLETION, "3"))
"""A prompt token costs a millionth, an output token three."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a key, perhaps of a project, of an organization."""

    organization_id: OrganizationId
    project_id: ProjectId | None
    key_id: KeyId

    @property
    def scopes(self) -> dict[str, UUID]:
        """The ids of the scopes by name."""
        scopes: dict[str, UUID | None] = {
            "organization": self.organization_id,
            "project": self.project_id,
            "key": self.key_id,
        }
        return {name: scope for name, scope in scopes.items() if scope is not None}


@dataclass(frozen=True, slots=True)
class Scene:
    """A real database, a clock that is set by hand, and what happens there."""

    database: Database
    pool: Pool
    clock: FixedClock
    revision: int
    meters: list[Meter] = field(default_factory=list)

    def meter(
        self,
        *,
        pool: "Pool | None" = None,
        folder: Path | None = None,
        settle_timeout_seconds: int = 30,
        offline_allowance: str = "0",
    ) -> Meter:
        """One process's way to the ledger; what it keeps lies in a folder of its own, or where others' lies as well."""
        self.meters.append(
            Meter(
                pool or self.pool,
                self.clock,
                a_safe(folder),
                settle_timeout_seconds=settle_timeout_seconds,
                lease=LEASE,
                offline_allowance=Decimal(offline_allowance),
            )
        )
        return self.meters[-1]

    async def a_caller(self, *, credit: str = "0", project: bool = True, **order: Any) -> Caller:
        """A key of a project of a new organization with so much credit."""
        organization = await an_organization(self.database, **order)
        if Decimal(credit):
            await a_grant(self.database, organization.id, credit)
        project_id = None
        if project:
            async with self.database.write() as session:
                made = await accounts.create_project(session, organization_id=organization.id, name="a", now=BORN)
                project_id = made.id
        return await self.a_key(organization.id, project_id)

    async def a_key(
        self, owner: OrganizationId, project_id: ProjectId | None = None, *, expires_at: datetime | None = None
    ) -> Caller:
        order = NewKey(owner, KeyKind.INFERENCE, "a key", project_id, expires_at=expires_at)
        async with self.database.write() as session:
            minted = await keys.create(session, order=order, now=BORN)
        return Caller(owner, project_id, minted.key.id)

    async def limit(self, caller: Caller, scope: str, **limits: Any) -> None:
        """Set limits on the caller's organization, project or key; amounts of money may be text."""
        given: dict[str, Any] = {
            name: Decimal(limit) if isinstance(limit, str) else limit for name, limit in limits.items()
        }
        async with self.database.write() as session:
            await accounts.change_limits(
                session,
                organization_id=caller.organization_id,
                scope_id=caller.scopes[scope],
                edit=lambda _: Limits(**given),
            )

    def request(
        self, caller: Caller, most: str = "1", *, least: str | None = None, tokens: int = 10, **rest: Any
    ) -> AdmissionRequest:
        """A request to hold the worst case, and nothing less unless `least` is given."""
        ordinary: dict[str, Any] = {"currency": "USD", "revision": self.revision}
        return AdmissionRequest(
            organization_id=caller.organization_id,
            call_id=CallId(new_id(self.clock.now())),
            project_id=caller.project_id,
            key_id=caller.key_id,
            hold_least=Decimal(most if least is None else least),
            hold_most=Decimal(most),
            tokens=tokens,
            **{**ordinary, **rest},
        )

    async def admit(self, *requests: AdmissionRequest) -> list[Admission]:
        """The answers of one statement."""
        return await store.admit(self.pool, requests, now=self.clock.now(), lease=LEASE)

    async def hold(self, caller: Caller, most: str = "1", **rest: Any) -> Admission:
        """The answer to one request, which tells the call's id."""
        [answer] = await self.admit(self.request(caller, most, **rest))
        return answer

    async def settle(self, *settlements: Settlement) -> list[Settled]:
        """What one statement recorded."""
        return await store.settle(self.pool, settlements, now=self.clock.now())

    async def expire(self, *call_ids: CallId) -> None:
        """Let a moment pass since the leases of these calls were over."""
        over = "UPDATE holds SET lease_until = clock_timestamp() - interval '1 second' WHERE call_id = ANY ($1)"
        await self.pool.execute(over, call_ids)

    async def holds(self, caller: Caller) -> list[asyncpg.Record]:
        """What is held for calls of the caller's organization."""
        return await self.pool.fetch("SELECT * FROM holds WHERE organization_id = $1", caller.organization_id)

    async def counter(self, caller: Caller, scope: str = "organization") -> asyncpg.Record:
        """One counter as it is stored."""
        row = await self.pool.fetchrow(
            "SELECT * FROM counters WHERE organization_id = $1 AND scope_id = $2",
            caller.organization_id,
            caller.scopes[scope],
        )
        assert row is not None
        return row


def a_settlement(
    caller: Caller, call_id: CallId, at: datetime, *, prompt: int = 0, completion: int = 0, **changes: Any
) -> Settlement:
    """A call that ended well, charged at PRICE, by one attempt; `changes` are of its record."""
    quantities = UsageQuantities({Kind.PROMPT: prompt, Kind.COMPLETION: completion})
    charge = rate(quantities, PRICE)
    ordinary: dict[str, Any] = {
        "organization_id": caller.organization_id,
        "call_id": call_id,
        "project_id": caller.project_id,
        "key_id": caller.key_id,
        "accepted_at": at,
        "requested_model": "openai/gpt-4.1-mini",
        "model": "openai/gpt-4.1-mini",
        "provider": "openai",
        "endpoint_id": EndpointId(UUID(int=1)),
        "api": "chat",
        "streamed": False,
        "status": CallStatus.SETTLED,
        "estimated": False,
        "anomalous": False,
        "finish_reason": "stop",
        "native_finish_reason": "stop",
        "latency_ms": 120,
        "generation_ms": 2000,
        "quantities": json.dumps(dict(quantities)),
        "tokens": prompt + completion,
        "price_version_id": PriceVersionId(UUID(int=2)),
        "tier": charge.tier,
        "currency": "USD",
        "origin_amount": charge.amount,
        "amount": charge.amount,
        "provider_cost": None,
        "user_id": None,
        "session_id": None,
        "metadata": None,
    }
    record = CallRecord(**{**ordinary, **changes})
    return Settlement(record, charge_records(call_id, charge, quantities), (an_attempt(record),))


def costing(caller: Caller, call_id: CallId, at: datetime, amount: str, **changes: Any) -> Settlement:
    """A call of so many prompt tokens that it costs the amount, which is a multiple of a millionth."""
    return a_settlement(caller, call_id, at, prompt=int(Decimal(amount) * 1_000_000), **changes)


def an_attempt(record: CallRecord, ordinal: int = 1, status: AttemptStatus = AttemptStatus.SERVED) -> AttemptRecord:
    return AttemptRecord(
        organization_id=record.organization_id,
        id=AttemptId(new_id(record.accepted_at)),
        call_id=record.call_id,
        ordinal=ordinal,
        endpoint_id=EndpointId(UUID(int=1)),
        provider="openai",
        status=status,
        http_status=200 if status is AttemptStatus.SERVED else 500,
        error=None if status is AttemptStatus.SERVED else "provider_error",
        latency_ms=120,
        provider_cost=None,
        upstream_id="chatcmpl-1",
        usage='{"prompt_tokens": 1}',
    )


def free(settlement: Settlement, status: CallStatus) -> Settlement:
    """The same call, which its customer does not pay."""
    nothing = Decimal(0)
    record = settlement.call._replace(status=status, origin_amount=nothing, amount=nothing)
    counted = ChargeRecord(record.call_id, Kind.REQUEST, None, None, 1, nothing, nothing)
    return settlement._replace(call=record, charges=(counted,))


async def everything(pool: Pool) -> dict[str, Sequence[tuple[Any, ...]]]:
    """All that settling writes, but for the instant of the writing."""
    answer: dict[str, Sequence[tuple[Any, ...]]] = {}
    for table, hidden in (
        ("calls", "settled_at"),
        ("attempts", ""),
        ("transfers", "posted_at"),
        ("ledger_accounts", ""),
        ("grants", ""),
        ("counters", ""),
        ("rollups", ""),
        ("holds", ""),
    ):
        rows = await pool.fetch(f"SELECT to_jsonb(t) - '{hidden}' FROM {table} AS t ORDER BY 1")
        answer[table] = [tuple(row) for row in rows]
    return answer


def counted(answers: Iterable[Admission]) -> dict[str, int]:
    """How often each outcome occurred."""
    outcomes = [answer.outcome for answer in answers]
    return {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}


def moved(caller: Caller, **changes: Any) -> Caller:
    """The caller, but for some part."""
    return replace(caller, **changes)


async def fold_usage(database: Database, organization_id: OrganizationId) -> None:
    """Fold an organization's usage as a worker does, however little of it there is."""
    async with database.write() as session:
        cut = await folding.cut(session, organization_id)
    async with database.write() as session:
        await folding.fold(session, organization_id, up_to=cut)
