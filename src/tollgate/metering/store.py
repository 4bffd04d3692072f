"""The SQL of holds, settlements, cuts and partitions. Those of the hot path are functions: migrations, 0026.

What is about sums stands in `folding` and `sums`, the calls of an invoice's line in `line_calls`, calls without a price
in `unpriced`, and what an operator sees in `status`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

import asyncpg
import sqlalchemy as sa

from tollgate.infra.database import PoolConnection, ReadSession, WriteSession
from tollgate.kit.ids import CallId, OrganizationId, PriceVersionId, ProjectId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.metering import sums
from tollgate.metering.model import (
    Admission,
    AdmissionRequest,
    BilledUsage,
    ChargeRecord,
    OpenTime,
    RecordScope,
    Settled,
    Settlement,
)

Ledger: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_ADMIT = "SELECT * FROM admit($1::admission_request[], $2, $3, $4)"
# Charges go as text: there are several to a call and little in each but numbers, which the driver takes apart digit by
# digit to send them as anything else.
_SETTLE = "CALL settle_and_flush($1::call_record[], $2::text::charge_record[], $3::attempt_record[], $4)"

# Placeholders for "none" in columns of the rollups' key, which admits no null.
_NONE = "00000000-0000-0000-0000-000000000000"
_PARTITIONS_LOCK_SECONDS = 2
_NOTHING = Decimal(0)
_NO_INVOICE = (datetime.min.replace(tzinfo=UTC), -1)
"""The end and the cut of an invoice before all records."""


async def admit(
    ledger: Ledger,
    requests: Sequence[AdmissionRequest],
    *,
    now: datetime,
    lease: timedelta,
    process_id: UUID | None = None,
) -> list[Admission]:
    """Decide the requests in order, each all or nothing, in one round trip; the process will look after the holds."""
    rows = await ledger.fetch(_ADMIT, requests, now, lease, process_id)
    return [Admission(*row) for row in rows]


async def give_back(ledger: Ledger, calls: Mapping[CallId, OrganizationId], *, now: datetime) -> None:
    """End the leases of holds that nobody will settle, and give them back with whatever else is over."""
    await ledger.execute(
        "UPDATE holds SET lease_until = '-infinity'"
        " WHERE (organization_id, call_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))",
        list(calls.values()),
        list(calls),
    )
    await release_expired_holds(ledger, now=now)


async def settle(ledger: Ledger, settlements: Sequence[Settlement], *, now: datetime) -> list[Settled]:
    """Record the settlements in one transaction; those recorded before, or sent twice, change nothing.

    Answers when they are on the database's disk, those that were recorded before included.
    """
    distinct = {settlement.call.call_id: settlement for settlement in settlements}.values()
    (answer,) = await ledger.fetch(
        _SETTLE,
        [settlement.call for settlement in distinct],
        _as_text([charge for settlement in distinct for charge in settlement.charges]),
        [attempt for settlement in distinct for attempt in settlement.attempts],
        now,
    )
    special = {row[0]: Settled(*row) for row in answer[0]}
    return [
        special.get(call.call_id) or Settled(call.call_id, recorded=True, overrun=_NOTHING, recorded_amount=call.amount)
        for call, _, _ in settlements
    ]


def _as_text(charges: Iterable[ChargeRecord]) -> str:
    """Charges as PostgreSQL writes arrays of records. Nothing is to quote: they are ids, numbers, and words of ours."""
    records = [
        f'"({call_id},{kind},{unit or ""},{"" if price is None else price},{quantity},{origin!s},{amount!s})"'
        for call_id, kind, unit, price, quantity, origin, amount in charges
    ]
    return "{" + ",".join(records) + "}"


async def takes_writes(ledger: Ledger, *, seconds_max: int) -> bool:
    """Whether the database would write now."""
    asked = "SELECT NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean"
    return bool(await ledger.fetchval(asked, timeout=seconds_max))


async def checkpoint(
    pool: "asyncpg.Pool[asyncpg.Record]", letters: Sequence[tuple[OrganizationId, CallId, bytes]]
) -> None:
    """Write down what to record of calls under way if their process is lost."""
    await pool.execute(
        "SELECT checkpoint_holds($1, $2, $3)",
        [organization_id for organization_id, _, _ in letters],
        [call_id for _, call_id, _ in letters],
        [letter.decode() for _, _, letter in letters],
    )


async def renew_leases(
    pool: "asyncpg.Pool[asyncpg.Record]",
    process_id: UUID,
    known: Sequence[CallId],
    *,
    unknown_after: timedelta,
    lease: timedelta,
) -> datetime:
    """Let the leases of a process's known calls last on, and end those it took a while ago for calls it does not know.

    Answers the database's time.
    """
    at: datetime = await pool.fetchval("SELECT renew_leases($1, $2, $3, $4)", process_id, known, unknown_after, lease)
    return at


async def inherit_holds(
    pool: "asyncpg.Pool[asyncpg.Record]",
    *,
    dead: UUID,
    heir: UUID,
    left: Sequence[CallId],
    lease: timedelta,
) -> None:
    """Make the heir look after the holds of a dead process: those of calls it left word of; the others are over."""
    await pool.execute("SELECT inherit_holds($1, $2, $3, $4)", dead, heir, left, lease)


async def begin_sweep(connection: PoolConnection, *, gap: timedelta, lease: timedelta) -> bool:
    """Take the turn to look after leases that are over, until the transaction ends.

    False if it is somebody else's, or if nobody had it for longer than the gap: then all leases begin anew.
    """
    return bool(await connection.fetchval("SELECT begin_sweep($1, $2)", gap, lease))


async def expired_checkpoints(pool: "asyncpg.Pool[asyncpg.Record]", *, most: int) -> dict[CallId, bytes]:
    """The letters of calls whose lease is over, the oldest lease first."""
    rows = await pool.fetch(
        "SELECT call_id, checkpoint FROM holds WHERE lease_until <= clock_timestamp() AND checkpoint IS NOT NULL"
        " ORDER BY lease_until LIMIT $1",
        most,
    )
    return {CallId(row["call_id"]): row["checkpoint"].encode() for row in rows}


async def drop_checkpoints(pool: "asyncpg.Pool[asyncpg.Record]", call_ids: Sequence[CallId]) -> None:
    """Forget letters that nobody can read or the ledger never takes, so that what was held is given back."""
    if call_ids:
        await pool.execute("UPDATE holds SET checkpoint = NULL WHERE call_id = ANY ($1)", call_ids)


async def release_expired_holds(ledger: Ledger, *, now: datetime) -> int:
    """Give back what was held for calls whose lease ran out and that left no letter; answers how many there were."""
    released = 0
    while some := int(await ledger.fetchval("SELECT release_expired_holds($1)", now)):
        released += some
    return released


async def ledger_id(pool: "asyncpg.Pool[asyncpg.Record]") -> str:
    """What tells this ledger from every other: whose calls a process left behind must not be recorded elsewhere."""
    return str(await pool.fetchval("SELECT md5(ledger_id::text || current_database()) FROM recovery"))


async def cut(session: WriteSession, organization_id: OrganizationId) -> int:
    """Close the current cut: what is settled from now on belongs to the next. Waits for settlements under way."""
    result = await session.execute(
        sa.text("""
            UPDATE counters SET invoice_cut = invoice_cut + 1
            WHERE organization_id = :id AND scope_id = :id RETURNING invoice_cut - 1
        """),
        {"id": organization_id},
    )
    return int(result.scalar_one())


# A scope is read in two parts: the time that no invoice covered before, from sums as far as there are any, and what was
# recorded since the last invoice of the time that it covered, which has an index to itself. Neither grows with the
# organization's history.
_BILLED_USAGE = sa.text(f"""
    WITH {sums.RECORDS}
    SELECT project_id, model, kind, tier, price_version_id, unit, unit_price, bucket < :start AS late,
           sum(calls) AS calls, sum(quantity) AS quantity, sum(amount) AS amount, sum(credits_amount) AS credits_amount
    FROM (SELECT bucket, {sums.COLUMNS} FROM records
          UNION ALL
          SELECT bucket, {sums.COLUMNS} FROM rollups
          WHERE organization_id = :organization_id AND invoice_cut = ANY (CAST(:cuts_since AS integer[]))
            AND bucket < :late_end) AS in_scope
    GROUP BY project_id, model, kind, tier, price_version_id, unit, unit_price, late
    ORDER BY project_id, model, kind, tier, price_version_id, late
""").bindparams(*sums.BINDS)


async def billed_usage(
    session: ReadSession, organization_id: OrganizationId, scope: RecordScope, position: sums.Position
) -> tuple[BilledUsage, ...]:
    """The sums of the scope's records by what makes an invoice line."""
    previous_end, previous_cut = scope.previous or _NO_INVOICE
    parameters = {
        **sums.asked(
            organization_id,
            position,
            window=Period(previous_end, scope.end),
            starts=sorted({previous_end, scope.start}),
            cut=scope.cut,
        ),
        "start": scope.start,
        "late_end": min(previous_end, scope.end),
        "cuts_since": [] if scope.previous is None else list(range(previous_cut + 1, scope.cut + 1)),
    }
    rows = await session.execute(_BILLED_USAGE, parameters)
    return tuple(
        BilledUsage(
            project_id=None if str(row.project_id) == _NONE else ProjectId(row.project_id),
            model=row.model,
            kind=Kind(row.kind),
            tier=row.tier,
            price_version_id=None if str(row.price_version_id) == _NONE else PriceVersionId(row.price_version_id),
            unit=row.unit,
            unit_price=row.unit_price,
            late=row.late,
            calls=int(row.calls),
            quantity=int(row.quantity),
            amount=row.amount,
            credits_amount=row.credits_amount,
        )
        for row in rows
    )


# What was used belongs on an invoice unless it is a request that merely counts, or was insured.
_WITH_USAGE = sa.text("""
    SELECT open.organization_id
    FROM unnest(CAST(:organization_ids AS uuid[]), CAST(:ends AS timestamptz[]),
                CAST(:previous_ends AS timestamptz[]), CAST(:previous_cuts AS integer[]))
             AS open (organization_id, until, previous_end, previous_cut)
    WHERE EXISTS (SELECT FROM rollups AS r
                  WHERE r.organization_id = open.organization_id
                    AND r.bucket >= open.previous_end AND r.bucket < open.until
                    AND (r.unit_price IS NOT NULL OR r.kind <> 'request' AND r.price_version_id <> :none))
       OR EXISTS (SELECT FROM rollups AS r
                  WHERE r.organization_id = open.organization_id
                    AND r.invoice_cut > open.previous_cut AND r.bucket < least(open.previous_end, open.until)
                    AND (r.unit_price IS NOT NULL OR r.kind <> 'request' AND r.price_version_id <> :none))
""").bindparams(sa.bindparam("none", UUID(_NONE), type_=sa.Uuid))


async def organizations_with_usage(session: ReadSession, times: Sequence[OpenTime]) -> set[OrganizationId]:
    """The organizations with usage in their open time, in one statement."""
    previous = [time.previous or _NO_INVOICE for time in times]
    parameters = {
        "organization_ids": [time.organization_id for time in times],
        "ends": [time.end for time in times],
        "previous_ends": [end for end, _ in previous],
        "previous_cuts": [cut for _, cut in previous],
    }
    return {OrganizationId(row.organization_id) for row in await session.execute(_WITH_USAGE, parameters)}


async def ensure_partitions(session: WriteSession, *, now: datetime, months: int) -> int:
    """Make the partitions of the coming months; answers how many were new.

    Gives up soon where somebody reads for long: settlements would queue behind it, and there is time to try again.
    """
    await session.execute(sa.text(f"SET LOCAL lock_timeout = '{_PARTITIONS_LOCK_SECONDS}s'"))
    result = await session.execute(
        sa.text("SELECT ensure_partitions(:now, :months)").bindparams(
            sa.bindparam("now", type_=sa.DateTime(timezone=True))
        ),
        {"now": now, "months": months},
    )
    return int(result.scalar_one())
