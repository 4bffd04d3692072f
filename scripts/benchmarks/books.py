"""The tenants a benchmark calls as, made in bulk, and what the books say of their calls afterwards."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import asyncpg
from scripts.benchmarks.group import GRANT, BenchFailed, Group
from scripts.benchmarks.load import Answered, Tenant

from tollgate.infra.identity import new_id, new_secret
from tollgate.keys import rules as keys
from tollgate.kit.clock import SystemClock
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.kit.principal import KeyKind
from tollgate.ledger.model import PROMOTIONS
from tollgate.pricing.model import CURRENCY

# In bulk, because the services take tens of milliseconds for each organization.
_ORGANIZATIONS = """
    INSERT INTO organizations (id, name, billing_mode, timezone, currency, created_at)
    SELECT id, 'Benchmark', 'prepaid', 'UTC', $2, $3 FROM unnest($1::uuid[]) AS id
"""
_KEYS = """
    INSERT INTO api_keys (organization_id, id, kind, name, public_id, label, secret_hash, created_at)
    SELECT key.*, $6 FROM unnest($1::uuid[], $2::uuid[], array_fill('inference'::text, ARRAY [cardinality($1)]),
                                 array_fill('benchmark'::text, ARRAY [cardinality($1)]),
                                 $3::text[], $4::text[], $5::bytea[]) AS key
"""
_GRANTS = """
    WITH granted AS (
        INSERT INTO grants (organization_id, id, category, priority, amount, remaining, currency, reason, created_at)
        SELECT granted.organization_id, granted.id, 'promotional', 0, $3, $3, $4, 'benchmark', $5
        FROM unnest($1::uuid[], $2::uuid[]) AS granted (organization_id, id)
        RETURNING organization_id, id
    )
    SELECT ledger_post(organization_id, derived_id(id, 'grant'), $6, 'credits:' || id, $3, $4, 'grant', id, NULL,
                       $5, $5)
    FROM granted
"""

_POLL_SECONDS = 0.1
_POLLS_MAX = 600

_RECORDED = "SELECT organization_id, id, amount FROM calls"
SUMS = """
    SELECT (SELECT coalesce(sum(calls), 0) FROM rollups) AS counted,
           (SELECT coalesce(sum(amount), 0) FROM rollups) AS rolled_up,
           (SELECT coalesce(sum(amount - remaining), 0) FROM grants) AS burned,
           (SELECT count(*) FROM holds) AS holds,
           (SELECT coalesce(sum(total_held), 0) FROM counters) AS held
"""


async def tenants(group: Group, count: int) -> list[Tenant]:
    """New organizations with credit and one inference key each."""
    now = SystemClock().now()
    secrets = [new_secret() for _ in range(count)]
    public_ids = [keys.public_id(new_secret()) for _ in range(count)]
    texts = [
        keys.compose(KeyKind.INFERENCE, public_id=public_id, secret=secret)
        for public_id, secret in zip(public_ids, secrets, strict=True)
    ]
    made = [Tenant(OrganizationId(new_id(now)), KeyId(new_id(now)), text) for text in texts]
    organization_ids: list[UUID] = [tenant.organization_id for tenant in made]
    connection = await asyncpg.connect(group.database_url)
    try:
        async with connection.transaction():
            await connection.execute(_ORGANIZATIONS, organization_ids, CURRENCY, now)
            hashes = [keys.secret_hash(secret) for secret in secrets]
            labels = [keys.label(text) for text in texts]
            key_ids = [tenant.key_id for tenant in made]
            await connection.execute(_KEYS, organization_ids, key_ids, public_ids, labels, hashes, now)
            grant_ids = [new_id(now) for _ in made]
            await connection.execute(_GRANTS, organization_ids, grant_ids, GRANT, CURRENCY, now, PROMOTIONS)
    finally:
        await connection.close()
    return made


@dataclass(frozen=True, slots=True)
class Books:
    """What the database says of all calls."""

    recorded: Counter[Answered]
    counted: int
    """Calls in the rollups."""
    amounts: dict[str, Decimal]
    """What the calls cost by three accounts of it."""
    holds: int
    held: Decimal

    def check(self, answered: Sequence[Answered]) -> None:
        """Every answered call is recorded once, at its cost, and nothing is held.

        Raises:
            BenchFailed: it is not so.
        """
        expected = Counter(answered)
        if self.recorded != expected:
            missing, beside = expected - self.recorded, self.recorded - expected
            raise BenchFailed(
                f"Of {len(answered)} answered calls {missing.total()} are not recorded as they were answered, and "
                f"{beside.total()} are recorded that were not answered so, among them "
                f"{[*missing][:2]} and {[*beside][:2]}."
            )
        cost = sum((call.cost for call in answered), Decimal(0))
        if self.counted != len(answered) or any(amount != cost for amount in self.amounts.values()):
            raise BenchFailed(
                f"{len(answered)} calls cost {cost}; the books say {self.counted} calls and {self.amounts}."
            )
        if self.holds or self.held:
            raise BenchFailed(f"{self.holds} holds of {self.held} are left.")


async def until_settled(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Wait until nothing is held any more, or for a while."""
    for _ in range(_POLLS_MAX):
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM holds)"):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def books(group: Group) -> Books:
    """What the database says when everything is settled, or a while later: what was slow to settle is on its way."""
    connection = await asyncpg.connect(group.database_url)
    try:
        await until_settled(connection)
        rows = await connection.fetch(_RECORDED)
        sums = await connection.fetchrow(SUMS)
    finally:
        await connection.close()
    if sums is None:
        raise BenchFailed("The database has no sums.")
    return Books(
        recorded=Counter(Answered(*row) for row in rows),
        counted=int(sums["counted"]),
        amounts={
            "calls": sum((row["amount"] for row in rows), Decimal(0)),
            "rollups": sums["rolled_up"],
            "grants": sums["burned"],
        },
        holds=sums["holds"],
        held=sums["held"],
    )
