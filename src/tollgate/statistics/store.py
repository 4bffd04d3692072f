"""All SQL of statistics but that of settling, which leaves the samples (migrations/sql, 0010)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from tollgate.infra.chunks import chunks
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import EndpointId
from tollgate.statistics.model import Backlog, Buckets, Grain, Known, Measured, Observed, Sample, Slot, Tally, Windows
from tollgate.statistics.tables import INSTANT, SAMPLES, BucketRow, GrainRow

_BUCKETS: sa.Table = BucketRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it to every table
_KEY = ("grain", "starts_at", "endpoint_id")


# What a window is made of is added up where it lies, and only sketches travel one by one.
_PARTS = """
    SELECT endpoint_id, sum(ok)::bigint AS ok, sum(failed)::bigint AS failed,
           sum(latency_count)::bigint AS latency_count, sum(latency_sum) AS latency_sum,
           min(latency_min) AS latency_min, max(latency_max) AS latency_max,
           coalesce(array_agg(latency_sketch) FILTER (WHERE latency_count > 0), '{}') AS latency_sketches,
           sum(throughput_count)::bigint AS throughput_count, sum(throughput_sum) AS throughput_sum,
           min(throughput_min) AS throughput_min, max(throughput_max) AS throughput_max,
           coalesce(array_agg(throughput_sketch) FILTER (WHERE throughput_count > 0), '{}') AS throughput_sketches
    FROM endpoint_buckets
"""
_LIVE = sa.text(f"{_PARTS} WHERE grain = 5 AND starts_at >= :since GROUP BY endpoint_id").bindparams(
    sa.bindparam("since", type_=INSTANT)
)
_LONG = sa.text(f"""
    {_PARTS}
    WHERE grain = 60 AND starts_at >= :since AND starts_at < :days OR grain = 1440 AND starts_at >= :days
    GROUP BY endpoint_id
""").bindparams(sa.bindparam("since", type_=INSTANT), sa.bindparam("days", type_=INSTANT))
_HOURS = sa.text("""
    SELECT endpoint_id, array_agg(starts_at) AS starts, array_agg(ok) AS ok, array_agg(failed) AS failed
    FROM endpoint_buckets
    WHERE grain = 60 AND starts_at >= :since
    GROUP BY endpoint_id
""").bindparams(sa.bindparam("since", type_=INSTANT))


async def known(session: ReadSession, windows: Windows) -> dict[EndpointId, Known]:
    """What buckets tell of each endpoint of which they tell anything in some window."""
    live = await known_live(session, windows)
    long = _parts(await session.execute(_LONG, {"since": windows.long, "days": windows.days}))
    hours = {
        EndpointId(row.endpoint_id): {
            starts_at: Tally(ok, failed) for starts_at, ok, failed in zip(row.starts, row.ok, row.failed, strict=True)
        }
        for row in await session.execute(_HOURS, {"since": windows.day})
    }
    nothing = Observed()
    return {
        endpoint_id: Known(live.get(endpoint_id, nothing), long.get(endpoint_id, nothing), hours.get(endpoint_id, {}))
        for endpoint_id in live.keys() | long.keys() | hours.keys()
    }


async def known_live(session: ReadSession, windows: Windows) -> dict[EndpointId, Observed]:
    """What buckets tell of the last hour."""
    return _parts(await session.execute(_LIVE, {"since": windows.live}))


def _parts(rows: Iterable[Any]) -> dict[EndpointId, Observed]:
    return {
        EndpointId(row.endpoint_id): Observed(
            tally=Tally(row.ok, row.failed),
            latency=_measured(
                row.latency_count, row.latency_sum, row.latency_min, row.latency_max, row.latency_sketches
            ),
            throughput=_measured(
                row.throughput_count,
                row.throughput_sum,
                row.throughput_min,
                row.throughput_max,
                row.throughput_sketches,
            ),
        )
        for row in rows
    }


def _measured(count: int, total: Any, least: int, most: int, sketches: Sequence[bytes]) -> Measured | None:
    return Measured(count, int(total), least, most, tuple(sketches)) if count else None


async def buckets_of(session: ReadSession, slots: Collection[Slot]) -> Buckets:
    """Those of these buckets that there are."""
    found: Buckets = {}
    for some in chunks([(slot.grain, slot.starts_at, slot.endpoint_id) for slot in slots]):
        wanted = sa.tuple_(*(_BUCKETS.c[name] for name in _KEY)).in_(some)
        for row in await session.execute(sa.select(_BUCKETS).where(wanted)):
            found[Slot(EndpointId(row.endpoint_id), Grain(row.grain), row.starts_at)] = Observed(
                tally=Tally(row.ok, row.failed),
                latency=_measured(
                    row.latency_count, row.latency_sum, row.latency_min, row.latency_max, [row.latency_sketch]
                ),
                throughput=_measured(
                    row.throughput_count,
                    row.throughput_sum,
                    row.throughput_min,
                    row.throughput_max,
                    [row.throughput_sketch],
                ),
            )
    return found


_WAITING = sa.text("""
    SELECT endpoint_id, starts_at, sum(ok)::bigint AS ok, sum(failed)::bigint AS failed,
           coalesce(array_agg(value) FILTER (WHERE measure = 1), '{}') AS latencies_ms,
           coalesce(array_agg(value) FILTER (WHERE measure = 2), '{}') AS throughputs
    FROM (SELECT endpoint_id, starts_at, ok, failed, 0 AS measure, NULL::bigint AS value FROM endpoint_samples
          UNION ALL
          SELECT endpoint_id, starts_at, 0, 0, 1, unnest(latencies_ms) FROM endpoint_samples
          UNION ALL
          SELECT endpoint_id, starts_at, 0, 0, 2, unnest(throughputs) FROM endpoint_samples) AS s
    WHERE starts_at >= :since
    GROUP BY endpoint_id, starts_at
""").bindparams(sa.bindparam("since", type_=INSTANT))


async def waiting(session: ReadSession, *, since: datetime) -> list[Sample]:
    """What no bucket holds yet of that time, in one sample for each endpoint and five minutes."""
    return [_sample(row) for row in await session.execute(_WAITING, {"since": since})]


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
    """Write the buckets as they are now, whether they were there before or not; each measure has one sketch."""
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
        f"{name}_sketch": None if measure is None else measure.sketches[0],
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
