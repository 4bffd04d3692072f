"""Months to close: organizations and what they used, made in bulk, and what their invoices must come to.

What closing reads are the rollups: rows of quarter-hours, to which each call adds. They are made here as settling
would have left them, a group of calls at a time, with the transfers for them as one; and of the calls' own rows, which
no closing reads, a share.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import asyncpg
from scripts.benchmarks.group import BenchFailed

from tollgate.infra.identity import new_id
from tollgate.invoices.model import Month
from tollgate.kit import money

_ZONES = ["UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"]
_MARGIN = timedelta(days=1)
"""Usage keeps so far from the ends of the month that it is inside it in every zone."""
QUARTER_HOURS_MAX = 26 * 24 * 4
_RAW_SHARE = 100
"""One call in so many gets a row of its own."""
_COMPLETION_TOKENS = 321
_CURRENCY = "USD"

_ORGANIZATIONS = """
    INSERT INTO organizations (id, name, billing_mode, credit_limit, timezone, currency, created_at)
    SELECT id, 'Benchmark ' || n, 'postpaid', NULL, ($2::text[])[1 + n % cardinality($2::text[])], 'USD', $3
    FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, n)
"""
# Tokens a call has in a prompt differ between organizations, and prices between models: no two totals are alike.
_GROUPS = """
    SELECT o.id AS organization_id, o.n, m.m, $3::timestamptz + q.q * $4::interval AS bucket
    FROM unnest($1::uuid[]) WITH ORDINALITY AS o (id, n),
         generate_series(1, $2::integer) AS m, generate_series(0, $5::integer - 1) AS q
"""
_ROLLUPS = f"""
    WITH used AS (
        SELECT g.*, kind.name AS kind, kind.tokens * $6::numeric AS quantity, kind.price
        FROM ({_GROUPS}) AS g
        CROSS JOIN LATERAL (VALUES ('prompt', 1000 + g.n, 0.4 + g.m / 10.0), ('completion', 321, 1.6 + g.m / 10.0),
                                   ('request', 1, NULL)) AS kind (name, tokens, price))
    INSERT INTO rollups (organization_id, bucket, invoice_cut, project_id, key_id, model, provider, price_version_id,
                         tier, kind, unit, unit_price, calls, quantity, origin_amount, amount, credits_amount)
    SELECT organization_id, bucket, 0, '00000000-0000-0000-0000-000000000000', organization_id, 'bench/model-' || m,
           'bench', lpad(m::text, 32, '0')::uuid, 0, kind, CASE WHEN price IS NOT NULL THEN 'per_million_tokens' END,
           price, CASE kind WHEN 'request' THEN $6::bigint ELSE 0 END, quantity,
           coalesce(quantity * price / 1000000, 0), coalesce(quantity * price / 1000000, 0), 0
    FROM used
"""
_CALLS = f"""
    INSERT INTO calls (organization_id, id, key_id, accepted_at, settled_at, requested_model, model, provider, api,
                       streamed, status, estimated, anomalous, quantities, price_version_id, tier, currency,
                       origin_amount, amount, credits_amount, overrun_amount, invoice_cut)
    SELECT organization_id,
           (left(lowest_uuid7(bucket)::text, 19) || right(gen_random_uuid()::text, 17))::uuid, organization_id, bucket,
           bucket, 'bench/model-' || m, 'bench/model-' || m, 'bench', 'chat', false, 'settled', false, false,
           jsonb_build_object('prompt', 1000 + n, 'completion', 321), lpad(m::text, 32, '0')::uuid, 0, 'USD',
           0, ((1000 + n) * (0.4 + m / 10.0) + 321 * (1.6 + m / 10.0)) / 1000000, 0, 0, 0
    FROM ({_GROUPS}) AS g, generate_series(1, $6::integer)
"""
_TRANSFERS = """
    SELECT ledger_post(organization_id, derived_id(organization_id, 'bench'), 'unbilled', 'revenue', sum(amount),
                       'USD', 'call', organization_id, NULL, $1, $1)
    FROM rollups GROUP BY organization_id
"""
_ISSUED = """
    SELECT i.organization_id, i.number, i.total, i.total_exact, count(l.*) AS lines
    FROM invoices AS i JOIN invoice_lines AS l ON l.organization_id = i.organization_id AND l.invoice_id = i.id
    GROUP BY i.organization_id, i.id, i.number, i.total, i.total_exact ORDER BY i.number
"""
_BALANCES = """
    SELECT organization_id, account, debits - credits AS balance FROM ledger_accounts
    WHERE account IN ('unbilled', 'receivable', 'rounding')
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is in the month."""

    calls: int
    organizations: int
    models: int
    quarter_hours: int
    """In how many of the month's quarter-hours each organization uses each model."""

    @property
    def groups(self) -> int:
        """Quarter-hours times models times organizations: what calls share a row with each other by."""
        return self.organizations * self.models * self.quarter_hours

    @property
    def calls_each(self) -> int:
        """How many calls are in a group."""
        return max(1, self.calls // self.groups)

    @property
    def calls_made(self) -> int:
        """How many calls there are in all: those asked for, evened out."""
        return self.calls_each * self.groups

    @property
    def rollups(self) -> int:
        """Rows that closing sums up: prompt, completion and request of each group."""
        return 3 * self.groups

    @property
    def raw(self) -> int:
        """Rows of calls, as many for each group."""
        return self.groups * max(1, self.calls_each // _RAW_SHARE) if self.calls_made >= _RAW_SHARE * self.groups else 0

    @property
    def lines(self) -> int:
        """Lines of each invoice."""
        return 2 * self.models

    def total(self, n: int) -> Decimal:
        """What the n-th organization's invoice comes to exactly."""
        each = Decimal(0)
        for m in range(1, self.models + 1):
            each += (1000 + n) * (Decimal("0.4") + Decimal(m) / 10)
            each += _COMPLETION_TOKENS * (Decimal("1.6") + Decimal(m) / 10)
        return each * self.calls_each * self.quarter_hours / 1_000_000


async def make(connection: "asyncpg.Connection[asyncpg.Record]", plan: Plan, month: Month) -> list[UUID]:
    """Fill an empty database with a month; answers its organizations, the first of them first."""
    begin = month.instants(ZoneInfo("UTC")).start + _MARGIN
    organizations = [new_id(begin) for _ in range(plan.organizations)]
    await connection.execute(_ORGANIZATIONS, organizations, _ZONES, begin)
    step = timedelta(minutes=15) * (QUARTER_HOURS_MAX // plan.quarter_hours)
    shape = (organizations, plan.models, begin, step, plan.quarter_hours)
    await connection.execute(_ROLLUPS, *shape, plan.calls_each, timeout=None)
    if plan.raw:
        await connection.execute(_CALLS, *shape, plan.raw // plan.groups, timeout=None)
    await connection.execute(_TRANSFERS, begin)
    for table in ("rollups", "calls", "transfers", "ledger_accounts", "organizations"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    return organizations


async def check(
    connection: "asyncpg.Connection[asyncpg.Record]", plan: Plan, organizations: list[UUID], *, issued_in: datetime
) -> None:
    """One invoice for each organization, of what it used; numbers without gap; a ledger that says the same.

    Raises:
        BenchFailed: it is not so.
    """
    rows = await connection.fetch(_ISSUED)
    numbers = [f"TG-{issued_in.year}-{serial:06}" for serial in range(1, plan.organizations + 1)]
    if [row["number"] for row in rows] != numbers:
        raise BenchFailed(f"{len(rows)} invoices for {plan.organizations} organizations, or gaps in their numbers.")
    exact = {organization: plan.total(n) for n, organization in enumerate(organizations, start=1)}
    rounded = {each: money.from_minor_units(money.to_minor_units(exact[each], _CURRENCY), _CURRENCY) for each in exact}
    wrong = [
        row["number"]
        for row in rows
        if (row["total_exact"], row["total"], row["lines"])
        != (exact[row["organization_id"]], rounded[row["organization_id"]], plan.lines)
    ]
    wanted = {"unbilled": dict.fromkeys(exact, Decimal(0)), "receivable": rounded}
    wanted["rounding"] = {each: exact[each] - rounded[each] for each in exact}
    for organization, account, balance in await connection.fetch(_BALANCES):
        if wanted[account].pop(organization) != balance:
            wrong.append(f"{account} of {organization}")
    wrong += [f"no {account} of {each}" for account in ("unbilled", "receivable") for each in wanted[account]]
    if wrong:
        raise BenchFailed(f"The books are wrong in {len(wrong)} places: {', '.join(map(str, wrong[:5]))}.")
