"""Status: how metering is doing, for whoever has to decide at night whether to get up.

What the ledger knows holds for the whole installation; what lies on the disk, for the processes of one data directory.
Looking changes nothing, and the disk can be looked at while the ledger is away.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
import structlog

from tollgate.health import service as health
from tollgate.health.model import Trouble
from tollgate.infra import estate, spool
from tollgate.infra.database import DATABASE_AWAY, Database
from tollgate.infra.telemetry import Reading
from tollgate.kit import ids
from tollgate.kit.errors import Unavailable
from tollgate.metering.safekeeping import SPOOL_FILE
from tollgate.metering.unpriced import IS_REPRICED
from tollgate.statistics import service as statistics
from tollgate.statistics.model import Backlog
from tollgate.webhooks import service as webhooks
from tollgate.webhooks.model import Outbox

_LEDGER_SECONDS_MAX = 5
"""A ledger that does not answer this within so long is as good as away."""

_log = structlog.get_logger(__name__)

_HELD = sa.text("""
    SELECT o.currency, count(*) AS holds, sum(h.amount) AS amount,
           count(*) FILTER (WHERE h.lease_until <= clock_timestamp()) AS orphans
    FROM holds AS h JOIN organizations AS o ON o.id = h.organization_id
    GROUP BY o.currency ORDER BY o.currency
""")
_OLDEST_HELD = sa.text("SELECT call_id FROM holds ORDER BY call_id LIMIT 1")
_UNPRICED = sa.text(f"""
    SELECT count(*) AS calls, min(c.accepted_at) AS oldest_at FROM calls AS c
    WHERE c.status = 'unpriced' AND NOT {IS_REPRICED}
""")
_SWEPT_AT = sa.text("SELECT swept_at FROM recovery")


@dataclass(frozen=True, slots=True)
class InLedger:
    """What the ledger knows of calls that are not settled, or not as they should be."""

    holds: int
    """Calls that something is held for: those under way, those whose settlement is on its way, and orphans."""
    held: Mapping[str, Decimal]
    """What is held for them, by currency."""
    oldest_at: datetime | None
    """When the oldest of these calls was accepted."""
    orphans: int
    """Those of them whose lease is over: the next sweep settles them, or gives back what is held."""
    unpriced: int
    """Calls that used something without a price, and were given none since. No invoice can be issued on them."""
    unpriced_oldest_at: datetime | None
    swept_at: datetime
    """When leases were last looked after."""
    troubles: Sequence[Trouble]
    """The endpoints that calls avoid."""
    statistics: Backlog
    """What the worker has not folded yet of how endpoints did."""
    outbox: Outbox
    """What was told and has not reached its webhook."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What the processes of one data directory keep for one ledger."""

    waiting: int = 0
    """Settlements that the ledger does not have, or has not confirmed."""
    oldest_at: datetime | None = None
    """Since when the oldest of them has waited."""
    refused: int = 0
    """Settlements that the ledger never takes as they are."""
    unreadable: int = 0
    """Processes whose files cannot be read; what is in them is in none of these figures."""
    processes: int = 0
    """Processes that live, or are being taken over from at this moment."""
    left_behind: int = 0
    """Processes that are gone and that nobody has taken over from yet: a matter of seconds while the ledger answers."""


async def in_ledger(database: Database) -> InLedger | None:
    """What the ledger knows; `None` if it does not answer in time."""
    try:
        async with asyncio.timeout(_LEDGER_SECONDS_MAX), database.read() as session:
            held = (await session.execute(_HELD)).all()
            oldest = (await session.execute(_OLDEST_HELD)).scalar()
            unpriced = (await session.execute(_UNPRICED)).one()
            swept_at = (await session.execute(_SWEPT_AT)).scalar_one()
            troubles = await health.troubles(session)
            backlog = await statistics.backlog(session)
            outbox = await webhooks.outbox(session)
    except (*DATABASE_AWAY, Unavailable) as error:
        _log.warning("the ledger does not tell its status", error=type(error).__name__)
        return None
    return InLedger(
        holds=sum(row.holds for row in held),
        held={row.currency: row.amount for row in held},
        oldest_at=None if oldest is None else ids.minted_at(oldest),
        orphans=sum(row.orphans for row in held),
        unpriced=unpriced.calls,
        unpriced_oldest_at=unpriced.oldest_at,
        swept_at=swept_at,
        troubles=troubles,
        statistics=backlog,
        outbox=outbox,
    )


def on_disk(folder: Path) -> OnDisk:
    """What lies in the estates of a folder; waits for the disk."""
    estates = estate.all_in(folder)
    left_behind = _left_behind(folder)
    depths: list[spool.Depth] = []
    for path in estates:
        try:
            depths.append(spool.depth(path / SPOOL_FILE))
        except OSError as error:
            _log.error("a spool cannot be read", path=str(path), error=str(error))
    return OnDisk(
        waiting=sum(depth.waiting for depth in depths),
        oldest_at=min((depth.oldest for depth in depths if depth.oldest is not None), default=None),
        refused=sum(depth.refused for depth in depths),
        unreadable=len(estates) - len(depths),
        processes=sum(UUID(path.name) not in left_behind for path in estates),
        left_behind=len(left_behind),
    )


def readings(found: OnDisk, now: datetime) -> list[Reading]:
    """The same as figures to watch."""
    waited = 0 if found.oldest_at is None else max(0, (now - found.oldest_at) // timedelta(seconds=1))
    return [
        Reading("tollgate_spool_waiting", "Settlements on this disk that the ledger does not have yet.", found.waiting),
        Reading("tollgate_spool_oldest_seconds", "How long the oldest of them has waited; 0 if there is none.", waited),
        Reading(
            "tollgate_spool_refused",
            "Settlements on this disk that the ledger never takes as they are. Alarm on any.",
            found.refused,
        ),
        Reading("tollgate_spool_unreadable", "Processes whose files cannot be read. Alarm on any.", found.unreadable),
        Reading("tollgate_processes", "Processes of this data directory that live.", found.processes),
        Reading(
            "tollgate_processes_left_behind",
            "Processes of this data directory that are gone and that nobody has taken over from yet.",
            found.left_behind,
        ),
    ]


def _left_behind(folder: Path) -> set[UUID]:
    """Whose process is gone: anybody could have the lock. An heir who finds it taken by us comes again soon."""
    gone = set()
    try:
        for dead in estate.inherited(folder):
            gone.add(dead.process_id)
            dead.leave()
    except OSError as error:
        _log.error("what processes left cannot be looked at", folder=str(folder), error=str(error))
    return gone
