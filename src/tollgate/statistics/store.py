"""All SQL of statistics but that of settling, which leaves the samples (migrations/sql, 0010)."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from tollgate.infra.chunks import chunks
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import EndpointId
from tollgate.statistics.model import Backlog, Buckets, Grain, Measured, Observed, Sample, Slot, Tally, Windows
from tollgate.statistics.tables import INSTANT, SAMPLES, BucketRow, GrainRow

_BUCKETS: sa.Table = BucketRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it to every table
_KEY = ("grain", "starts_at", "endpoint_id")


async def buckets(session: ReadSession, windows: Windows) -> Buckets:
    """The buckets that make up the windows: all that are known, or of a grain that a window asks for."""
    grain, starts_at = col(BucketRow.grain), col(BucketRow.starts_at)
    hours = sa.or_(sa.and_(starts_at >= windows.long, starts_at < windows.days), starts_at >= windows.day)
    wanted = sa.or_(
        sa.and_(grain == Grain.FIVE_MINUTES, starts_at >= windows.live),
        sa.and_(grain == Grain.HOUR, hours),
        sa.and_(grain == Grain.DAY, starts_at >= windows.days),
    )
    return await _found(session, wanted)


async def live_buckets(session: ReadSession, windows: Windows) -> Buckets:
    """The buckets of the last hour."""
    return await _found(
        session, sa.and_(col(BucketRow.grain) == Grain.FIVE_MINUTES, col(BucketRow.starts_at) >= windows.live)
    )


async def buckets_of(session: ReadSession, slots: Collection[Slot]) -> Buckets:
    """Those of these buckets that there are."""
    keys = [(slot.grain, slot.starts_at, slot.endpoint_id) for slot in slots]
    found: Buckets = {}
    for some in chunks(keys):
        wanted = sa.tuple_(*(_BUCKETS.c[name] for name in _KEY)).in_(some)
        found |= await _found(session, wanted)
    return found


async def _found(session: ReadSession, wanted: sa.ColumnElement[bool]) -> Buckets:
    rows = await session.execute(sa.select(_BUCKETS).where(wanted))
    return {
        Slot(EndpointId(row.endpoint_id), Grain(row.grain), row.starts_at): Observed(
            tally=Tally(row.ok, row.failed),
            latency=_measured(row.latency_count, row.latency_sum, row.latency_min, row.latency_max, row.latency_sketch),
            throughput=_measured(
                row.throughput_count, row.throughput_sum, row.throughput_min, row.throughput_max, row.throughput_sketch
            ),
        )
        for row in rows
    }


def _measured(count: int, total: Any, least: int, most: int, sketch: bytes) -> Measured | None:
    return Measured(count, int(total), least, most, sketch) if count else None


async def waiting(session: ReadSession, *, since: datetime) -> list[Sample]:
    """The samples of that time that no bucket holds yet."""
    rows = await session.execute(sa.select(SAMPLES).where(SAMPLES.c.starts_at >= since))
    return [_sample(row) for row in rows]


def _sample(row: Any) -> Sample:
    return Sample(
        endpoint_id=EndpointId(row.endpoint_id),
        starts_at=row.starts_at,
        tally=Tally(row.ok, row.failed),
        latencies_ms=tuple(row.latencies_ms),
        throughputs=tuple(row.throughputs),
    )


async def backlog(session: ReadSession) -> Backlog:
    """How much waits to be folded, and since when."""
    row = (await session.execute(sa.select(sa.func.count(), sa.func.min(SAMPLES.c.settled_at)))).one()
    return Backlog(samples=row[0], oldest_at=row[1])


async def take_turn(session: WriteSession) -> bool:
    """Take the turn to fold, which lasts as long as the transaction; false if somebody else has it."""
    turn = sa.select(col(GrainRow.grain)).with_for_update(skip_locked=True)
    return len((await session.execute(turn)).all()) == len(Grain)


# Rows have no name but their place, and nobody else takes them away.
_TAKE = sa.text("""
    DELETE FROM endpoint_samples
    WHERE ctid = ANY (ARRAY (SELECT ctid FROM endpoint_samples LIMIT :most))
    RETURNING endpoint_id, starts_at, ok, failed, latencies_ms, throughputs
""")


async def take(session: WriteSession, *, most: int) -> list[Sample]:
    """Take samples off the queue, at most so many."""
    return [_sample(row) for row in await session.execute(_TAKE, {"most": most})]


async def put(session: WriteSession, buckets: Buckets) -> None:
    """Write the buckets as they are now, whether they were there before or not."""
    rows = [_row(slot, seen) for slot, seen in buckets.items()]
    for some in chunks(rows):
        statement = insert(_BUCKETS).values(list(some))
        changed = {column.name: statement.excluded[column.name] for column in _BUCKETS.c if column.name not in _KEY}
        await session.execute(statement.on_conflict_do_update(index_elements=_KEY, set_=changed))


def _row(slot: Slot, seen: Observed) -> dict[str, object]:
    return {
        "grain": int(slot.grain),
        "starts_at": slot.starts_at,
        "endpoint_id": slot.endpoint_id,
        "ok": seen.tally.ok,
        "failed": seen.tally.failed,
        **_columns("latency", seen.latency),
        **_columns("throughput", seen.throughput),
    }


def _columns(name: str, measure: Measured | None) -> dict[str, object]:
    return {
        f"{name}_count": 0 if measure is None else measure.count,
        f"{name}_sum": 0 if measure is None else measure.sum,
        f"{name}_min": None if measure is None else measure.min,
        f"{name}_max": None if measure is None else measure.max,
        f"{name}_sketch": None if measure is None else measure.sketch,
    }


_DROP = sa.text("DELETE FROM endpoint_buckets WHERE grain = :grain AND starts_at < :kept_from")
_WHOLE_FROM = sa.text("""
    UPDATE endpoint_grains SET whole_from = CAST(:kept_from AS timestamptz)
    WHERE grain = :grain AND whole_from < :kept_from
""")


async def drop_before(session: WriteSession, kept_from: Mapping[Grain, datetime]) -> None:
    """Drop the buckets that began before, and say that there are none any more."""
    for grain, since in kept_from.items():
        parameters = {"grain": int(grain), "kept_from": since}
        for statement in (_DROP, _WHOLE_FROM):
            await session.execute(statement.bindparams(sa.bindparam("kept_from", type_=INSTANT)), parameters)
