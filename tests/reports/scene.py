"""An organization with keys, priced endpoints and recorded calls, and a client of the real report handlers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
from tests.pricing.builders import priced_endpoint

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization, Organization, Project
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.keys import service as keys
from tollgate.keys.model import ApiKey, NewKey
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import AttemptId, CallId, EndpointId
from tollgate.kit.principal import KeyKind
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.ledger import service as ledger
from tollgate.ledger.model import Grant, GrantCategory, GrantTerms
from tollgate.metering import rules as metering
from tollgate.metering.model import AdmissionRequest, AttemptRecord, AttemptStatus, CallRecord, CallStatus, Settlement
from tollgate.pricing import service as pricing
from tollgate.pricing.model import AdjustmentDraft, PriceAdjustment, PriceVersion
from tollgate.pricing.rules import adjusted, rate

ENVIRONMENT = {"OPENAI_API_KEY": "sk-nothing"}
MODEL = "openai/gpt-4.1-mini"
PLAIN = {Kind.PROMPT: 800, Kind.INPUT_CACHE_READ: 200, Kind.COMPLETION: 300}
"""The cached call of billing-rules §3: 0.00082 USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """One call to record; ordinary in whatever is not said."""

    at: datetime
    key: ApiKey
    call_id: CallId | None = None
    """Of the hold that was taken for it, if one was."""
    counts: dict[Kind, int] = field(default_factory=lambda: dict(PLAIN))
    model: str = MODEL
    provider: str | None = "openai"
    """`None` for a call that every provider refused."""
    status: CallStatus = CallStatus.SETTLED
    user: str | None = None
    price: PriceVersion | None = None
    """The scene's own unless said otherwise."""
    adjustment: PriceAdjustment | None = None
    """What made the price another one, if anything did."""
    finish_reason: str | None = "stop"
    metadata: dict[str, str] | None = None
    estimate: dict[Kind, int] | None = None
    failed_first: bool = False
    """Whether another endpoint was tried before and failed."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One organization among others."""

    database: Database
    pool: "asyncpg.Pool[asyncpg.Record]"
    clock: FixedClock
    client: httpx.AsyncClient
    organization: Organization
    endpoint_id: EndpointId
    price: PriceVersion
    manager: ApiKey

    async def another_organization(self, **terms: Any) -> "Scene":
        return await a_scene(self.database, self.pool, self.clock, self.client, **terms)

    async def a_key(self, kind: KeyKind = KeyKind.INFERENCE, **more: Any) -> ApiKey:
        async with self.database.write() as session:
            order = NewKey(self.organization.id, kind, f"a {kind} key", **more)
            return (await keys.create(session, order=order, now=self.clock.now())).key

    async def a_project(self, name: str = "Search") -> Project:
        async with self.database.write() as session:
            return await accounts.create_project(
                session, organization_id=self.organization.id, name=name, now=self.clock.now()
            )

    async def an_adjustment(self, percent: str, *, model: str | None = None) -> PriceAdjustment:
        """A new discount or markup of the organization's."""
        async with self.database.write() as session:
            draft = AdjustmentDraft(self.organization.id, model, None, Decimal(percent), self.clock.now())
            published = await pricing.publish_adjustment(session, draft, act=Act(self.clock.now()))
        return published.adjustment

    async def record(self, used: Iterable[Used]) -> list[Settlement]:
        """Settle the calls, as the gateway does."""
        settlements = [self._settlement(each) for each in used]
        await self.pool.fetch(
            "SELECT * FROM settle($1::call_record[], $2::charge_record[], $3::attempt_record[], $4)",
            [settlement.call for settlement in settlements],
            [charge for settlement in settlements for charge in settlement.charges],
            [attempt for settlement in settlements for attempt in settlement.attempts],
            self.clock.now(),
        )
        return settlements

    async def hold(self, key: ApiKey, amount: str) -> CallId:
        """Hold so much for a call of the key's, which then is in flight."""
        call_id = CallId(new_id(self.clock.now()))
        revision = await self.pool.fetchval("SELECT revision FROM catalogue_revision")
        request = AdmissionRequest(
            organization_id=self.organization.id,
            call_id=call_id,
            project_id=key.project_id,
            key_id=key.id,
            hold_least=Decimal(amount),
            hold_most=Decimal(amount),
            tokens=100,
            currency="USD",
            revision=revision,
        )
        admit = "SELECT outcome FROM admit($1::admission_request[], $2, interval '15 minutes', NULL)"
        assert await self.pool.fetchval(admit, [request], self.clock.now()) == "admitted"
        return call_id

    async def grant(self, amount: str, **more: Any) -> Grant:
        terms = GrantTerms(Decimal(amount), "USD", more.pop("category", GrantCategory.PAID), "a reason", **more)
        async with self.database.write() as session:
            return await ledger.grant_credit(
                session, organization_id=self.organization.id, terms=terms, by=None, now=self.clock.now()
            )

    async def get(self, path: str, *, by: ApiKey | None = None, **parameters: Any) -> httpx.Response:
        """What the key, or else the manager, is answered."""
        headers = {"x-test-key": str((by or self.manager).id)}
        return await self.client.get(path, headers=headers, params=parameters)

    async def data(self, path: str, *, by: ApiKey | None = None, **parameters: Any) -> Any:
        answer = await self.get(path, by=by, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def _settlement(self, used: Used) -> Settlement:
        counts = {} if used.provider is None else used.counts
        quantities, price = UsageQuantities(counts), used.price or self.price
        if used.adjustment is not None:
            price = adjusted(price, used.adjustment)
        charged = UsageQuantities() if used.status is CallStatus.INSURED else quantities
        charge, origin = rate(charged, price), rate(charged, price.listed)
        call_id = used.call_id or CallId(new_id(used.at))
        charges = metering.charge_records(call_id, charge, quantities, origin=origin) if used.provider else ()
        call = CallRecord(
            organization_id=self.organization.id,
            call_id=call_id,
            project_id=used.key.project_id,
            key_id=used.key.id,
            accepted_at=used.at,
            requested_model=used.model,
            model=used.model,
            provider=used.provider,
            endpoint_id=price.endpoint_id,
            api="chat.completions",
            streamed=False,
            status=used.status,
            estimated=False,
            anomalous=False,
            finish_reason=used.finish_reason,
            native_finish_reason=used.finish_reason,
            latency_ms=120,
            generation_ms=2000,
            quantities=json.dumps(counts),
            tokens=quantities.prompt_tokens + quantities.completion_tokens,
            price_version_id=None if used.provider is None else price.id,
            tier=charge.tier,
            currency="USD",
            origin_amount=origin.amount,
            amount=charge.amount,
            provider_cost=None,
            user_id=used.user,
            session_id=None,
            metadata=None if used.metadata is None else json.dumps(used.metadata),
            estimate=None if used.estimate is None else json.dumps(used.estimate),
        )
        return Settlement(call, charges, self._attempts(call, failed_first=used.failed_first))

    def _attempts(self, call: CallRecord, *, failed_first: bool) -> tuple[AttemptRecord, ...]:
        served = AttemptRecord(
            organization_id=call.organization_id,
            id=AttemptId(new_id(call.accepted_at)),
            call_id=call.call_id,
            ordinal=2,
            endpoint_id=self.endpoint_id,
            provider="openai",
            status=AttemptStatus.SERVED,
            http_status=200,
            error=None,
            latency_ms=120,
            provider_cost=Decimal("0.0005"),
            upstream_id="chatcmpl-1",
            usage='{"prompt_tokens": 1000, "completion_tokens": 300}',
        )
        failed = served._replace(
            id=AttemptId(new_id(call.accepted_at)),
            ordinal=1,
            provider="azure",
            status=AttemptStatus.FAILED,
            http_status=503,
            error="overloaded",
            provider_cost=None,
            usage=None,
        )
        return (failed, served) if failed_first else (served,)


async def a_scene(
    database: Database,
    pool: "asyncpg.Pool[asyncpg.Record]",
    clock: FixedClock,
    client: httpx.AsyncClient,
    **terms: Any,
) -> Scene:
    """A new organization on the seeded catalogue."""
    endpoint_id = await priced_endpoint(database, clock.now())
    order = NewOrganization("Acme", **terms)
    async with database.write() as session:
        owner = await accounts.create_organization(session, order=order, now=clock.now())
        manager = await keys.create(session, order=NewKey(owner.id, KeyKind.MANAGEMENT, "manager"), now=clock.now())
        price = (await pricing.load_book(session, now=clock.now())).versions(endpoint_id)[0]
    return Scene(database, pool, clock, client, owner, endpoint_id, price, manager.key)
