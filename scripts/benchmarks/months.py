"""Months to close and to report: organizations and what they used, made in bulk, and what it must come to.

What closing and reports read are the rollups: rows of quarter-hours, to which each call adds. They are made here as
settling would have left them, a group of calls at a time, with the transfers for them as one; and as many of the calls'
own rows, each with its attempt, as are asked for. All of it lies in the tables in order of time.
"""

import hashlib
from collections.abc import Callable, Iterator
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
"""One call in so many gets a row of its own, if nothing else is asked for."""
_ROWS_AT_ONCE = 500_000
_PROMPT_TOKENS = 1000
_COMPLETION_TOKENS = 321
_CURRENCY = "USD"
_MODELS = "bench/model-"

# The models have endpoints and prices, so that whoever looks at a call is told what its charge is made of.
_CATALOGUE = """
    WITH given AS (SELECT m, 'bench/model-' || m AS slug, lpad(m::text, 32, '0')::uuid AS id
                   FROM generate_series(1, $1::integer) AS m),
         provider AS (
             INSERT INTO providers (slug, name, format, regions) VALUES ('bench', 'Benchmark', 'sandbox', '{}')
             ON CONFLICT DO NOTHING),
         named AS (
             INSERT INTO models (slug, name, description, input_modalities, output_modalities, tokenizer, created_at)
             SELECT slug, slug, '', '{text}', '{text}', 'o200k_base', $2 FROM given ON CONFLICT DO NOTHING),
         offered AS (
             INSERT INTO endpoints (id, model, provider, upstream_model, protocols, supported_parameters,
                                    supports_cancel, enabled)
             SELECT id, slug, 'bench', slug, '{chat}', '{}', false, true FROM given ON CONFLICT DO NOTHING),
         priced AS (
             INSERT INTO price_versions (id, endpoint_id, service_tier, effective_from, item_count, source,
                                         published_at)
             SELECT id, id, 'default', $2, 2, 'seed', $2 FROM given ON CONFLICT DO NOTHING)
    INSERT INTO price_items (price_version_id, position, kind, unit_price, unit, prompt_tokens_from)
    SELECT id, position, kind, price + m / 10.0, 'per_million_tokens', 0
    FROM given CROSS JOIN (VALUES (0, 'prompt', 0.4), (1, 'completion', 1.6)) AS item (position, kind, price)
    ON CONFLICT DO NOTHING
"""
_ORGANIZATIONS = """
    INSERT INTO organizations (id, name, billing_mode, credit_limit, timezone, currency, created_at)
    SELECT id, 'Benchmark ' || n, 'postpaid', NULL, ($2::text[])[1 + n % cardinality($2::text[])], 'USD', $3
    FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (id, n)
"""
_PROJECTS = """
    INSERT INTO projects (organization_id, id, name, created_at)
    SELECT o.id, md5(o.id || ' project ' || p)::uuid, 'Project ' || p, $3
    FROM unnest($1::uuid[]) AS o (id), generate_series(0, $2::integer - 1) AS p
"""
_KEYS = """
    INSERT INTO api_keys (organization_id, id, kind, name, project_id, public_id, secret_hash, label, created_at)
    SELECT o.id, md5(o.id || ' key ' || k)::uuid, 'inference', 'Key ' || k,
           CASE WHEN $3::integer > 0 THEN md5(o.id || ' project ' || k % $3::integer)::uuid END,
           'bench' || k, sha256(gen_random_uuid()::text::bytea), 'bench' || k, $4
    FROM unnest($1::uuid[]) AS o (id), generate_series(1, $2::integer) AS k
"""
# Tokens a call has in a prompt differ between organizations, and prices between models: no two totals are alike.
_GROUPS = f"""
    SELECT o.id AS organization_id, o.n, k, m, $6::timestamptz + q * $7::interval AS bucket,
           md5(o.id || ' key ' || k)::uuid AS key_id, {_PROMPT_TOKENS} + o.n AS prompt,
           CASE WHEN $5::integer > 0 THEN md5(o.id || ' project ' || k % $5::integer)::uuid END AS project_id,
           CASE WHEN q < $10::integer THEN 0 ELSE 1 END AS cut
    FROM unnest($1::uuid[]) WITH ORDINALITY AS o (id, n), generate_series(1, $2::integer) AS k,
         generate_series(1, $3::integer) AS j, LATERAL (SELECT 1 + (k + j) % $4::integer) AS used (m),
         generate_series($8::integer, $9::integer - 1) AS q
"""
_ROLLUPS = f"""
    WITH used AS (
        SELECT g.*, kind.name AS kind, kind.tokens * $11::numeric AS quantity, kind.price
        FROM ({_GROUPS}) AS g
        CROSS JOIN LATERAL (VALUES ('prompt', g.prompt, 0.4 + g.m / 10.0),
                                   ('completion', {_COMPLETION_TOKENS}, 1.6 + g.m / 10.0),
                                   ('request', 1, NULL)) AS kind (name, tokens, price))
    INSERT INTO rollups (organization_id, bucket, invoice_cut, project_id, key_id, model, provider, price_version_id,
                         tier, kind, unit, unit_price, calls, quantity, origin_amount, amount, credits_amount)
    SELECT organization_id, bucket, cut, coalesce(project_id, '00000000-0000-0000-0000-000000000000'), key_id,
           'bench/model-' || m, 'bench', lpad(m::text, 32, '0')::uuid, 0, kind,
           CASE WHEN price IS NOT NULL THEN 'per_million_tokens' END,
           price, CASE kind WHEN 'request' THEN $11::bigint ELSE 0 END, quantity,
           coalesce(quantity * price / 1000000, 0), coalesce(quantity * price / 1000000, 0), 0
    FROM used ORDER BY bucket
"""
_CALLS = f"""
    WITH made AS (
        SELECT g.*, ((prompt * (0.4 + m / 10.0)) + {_COMPLETION_TOKENS} * (1.6 + m / 10.0)) / 1000000 AS amount,
               bucket + ((i - 1) * 900000 / $11::integer + (k * 7919 + m * 104729) % (900000 / $11::integer))
                        * interval '1 millisecond' AS accepted_at
        FROM ({_GROUPS}) AS g, generate_series(1, $11::integer) AS i
    ), recorded AS (
        INSERT INTO calls (organization_id, id, project_id, key_id, accepted_at, settled_at, requested_model, model,
                           provider, endpoint_id, api, streamed, status, estimated, anomalous, finish_reason,
                           native_finish_reason, latency_ms, generation_ms, quantities, price_version_id, tier,
                           currency, origin_amount, amount, credits_amount, overrun_amount, invoice_cut)
        SELECT organization_id,
               (left(lowest_uuid7(accepted_at)::text, 19) || right(gen_random_uuid()::text, 17))::uuid, project_id,
               key_id, accepted_at, accepted_at, 'bench/model-' || m, 'bench/model-' || m, 'bench',
               lpad(m::text, 32, '0')::uuid, 'chat.completions', false, 'settled', false, false, 'stop', 'stop', 400,
               4000, jsonb_build_object('prompt', prompt, 'completion', {_COMPLETION_TOKENS}),
               lpad(m::text, 32, '0')::uuid, 0, 'USD', amount, amount, 0, 0, cut
        FROM made ORDER BY accepted_at
        RETURNING organization_id, id, endpoint_id, quantities
    )
    INSERT INTO attempts (organization_id, id, call_id, ordinal, endpoint_id, provider, status, http_status, latency_ms,
                          usage)
    SELECT organization_id, (left(id::text, 19) || right(gen_random_uuid()::text, 17))::uuid, id, 1, endpoint_id,
           'bench', 'served', 200, 400,
           jsonb_build_object('prompt_tokens', quantities -> 'prompt', 'completion_tokens', quantities -> 'completion')
    FROM recorded
"""
_TRANSFERS = """
    SELECT ledger_post(organization_id, derived_id(organization_id, 'bench'), 'unbilled', 'revenue', sum(amount),
                       'USD', 'call', organization_id, NULL, $2, $2)
    FROM rollups WHERE organization_id = ANY ($1::uuid[]) GROUP BY organization_id
"""
_COUNTERS = """
    UPDATE counters AS c SET total_used = used.amount, invoice_cut = used.cut
    FROM (SELECT organization_id, sum(amount) AS amount, max(invoice_cut) AS cut
          FROM rollups WHERE organization_id = ANY ($1::uuid[]) GROUP BY organization_id) AS used
    WHERE c.organization_id = used.organization_id AND c.scope_id = used.organization_id
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
    """In how many of the month's quarter-hours each key uses each of its models."""
    keys: int = 1
    models_of_a_key: int | None = None
    """`None` is all of them."""
    projects: int = 0
    raw_share: int = _RAW_SHARE
    """One call in so many gets a row of its own; 0 is none."""
    uncut: int = 0
    """In how many of the quarter-hours, the last ones, usage was recorded after a cut that is drawn before them."""

    @property
    def cells(self) -> list[tuple[int, int]]:
        """Each key with each of its models, by their numbers."""
        each = self.models_of_a_key or self.models
        return [(k, 1 + (k + j) % self.models) for k in range(1, self.keys + 1) for j in range(1, each + 1)]

    @property
    def groups(self) -> int:
        """Quarter-hours times keys and models times organizations: what calls share a row with each other by."""
        return self.organizations * len(self.cells) * self.quarter_hours

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
    def raw_each(self) -> int:
        """How many calls of each group have a row."""
        if self.raw_share == 0 or self.calls_made < self.raw_share * self.groups:
            return 0
        return self.calls_each // self.raw_share

    @property
    def raw(self) -> int:
        """Rows of calls."""
        return self.groups * self.raw_each

    @property
    def lines(self) -> int:
        """Lines of each invoice: two for each model of each project."""
        return 2 * len({(k % self.projects if self.projects else 0, m) for k, m in self.cells})

    def total(self, n: int) -> Decimal:
        """What the n-th organization's invoice comes to exactly."""
        return sum((self.amount(n, m) for _, m in self.cells), Decimal(0))

    @property
    def calls_of_a_cell(self) -> int:
        """How many calls a key makes of each of its models."""
        return self.calls_each * self.quarter_hours

    def amount(self, n: int, m: int) -> Decimal:
        """What the n-th organization's calls of one key and this model cost."""
        return self.calls_of_a_cell * amount_of_a_call(n, model(m))


def tokens_of_a_call(n: int) -> tuple[int, int]:
    """What each of the n-th organization's calls read and wrote."""
    return _PROMPT_TOKENS + n, _COMPLETION_TOKENS


def amount_of_a_call(n: int, slug: str) -> Decimal:
    """What each of the n-th organization's calls of a model cost."""
    prompt, completion = tokens_of_a_call(n)
    adds = Decimal(slug.removeprefix(_MODELS)) / 10
    return (prompt * (Decimal("0.4") + adds) + completion * (Decimal("1.6") + adds)) / 1_000_000


def key_id(organization: UUID, k: int) -> UUID:
    """The id of an organization's k-th key."""
    return UUID(hashlib.md5(f"{organization} key {k}".encode(), usedforsecurity=False).hexdigest())


def model(m: int) -> str:
    """The slug of the m-th model."""
    return f"{_MODELS}{m}"


async def make(
    connection: "asyncpg.Connection[asyncpg.Record]",
    plan: Plan,
    month: Month,
    *,
    zones: list[str] = _ZONES,
    made: Callable[[int], None] = lambda _: None,
) -> list[UUID]:
    """Add a month of new organizations, which are answered, the first of them first; tells how many rows it made."""
    begin = month.instants(ZoneInfo("UTC")).start + _MARGIN
    organizations = [new_id(begin) for _ in range(plan.organizations)]
    await connection.execute(_CATALOGUE, plan.models, begin)
    await connection.execute(_ORGANIZATIONS, organizations, zones, begin)
    await connection.execute(_PROJECTS, organizations, plan.projects, begin)
    await connection.execute(_KEYS, organizations, plan.keys, plan.projects, begin)
    await connection.execute("SELECT ensure_partitions($1, 1)", begin)
    step = timedelta(minutes=15) * (QUARTER_HOURS_MAX // plan.quarter_hours)
    cut_at = plan.quarter_hours - plan.uncut
    shape = (organizations, plan.keys, plan.models_of_a_key or plan.models, plan.models, plan.projects, begin, step)
    for statement, rows, each in ((_ROLLUPS, 3, plan.calls_each), (_CALLS, plan.raw_each, plan.raw_each)):
        for first, last in _stretches(plan, rows):
            await connection.execute(statement, *shape, first, last, cut_at, each, timeout=None)
            made((last - first) * rows * (plan.groups // plan.quarter_hours))
    await connection.execute(_TRANSFERS, organizations, begin)
    await connection.execute(_COUNTERS, organizations)
    return organizations


def _stretches(plan: Plan, rows_each: int) -> Iterator[tuple[int, int]]:
    """The quarter-hours in stretches that are made by one statement, of so many rows for each group."""
    if rows_each == 0:
        return
    several = max(1, _ROWS_AT_ONCE * plan.quarter_hours // (plan.groups * rows_each))
    for first in range(0, plan.quarter_hours, several):
        yield first, min(first + several, plan.quarter_hours)


async def tidy(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Leave the tables as if the autovacuum had been there."""
    for table in ("rollups", "calls", "attempts", "transfers", "ledger_accounts", "organizations", "api_keys"):
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=None)


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
