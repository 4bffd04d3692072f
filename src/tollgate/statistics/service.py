"""Use cases of statistics: fold what settling left, and tell how endpoints have been doing, up to this moment.

Figures are of buckets and of the samples that still wait, so folding changes none: whoever reads sees both in one
snapshot, or would see some twice or not at all.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import EndpointId
from tollgate.statistics import rules, store
from tollgate.statistics.model import Backlog, EndpointStatistics, Grain, Observed, Standing

SAMPLES_MAX = 10_000
"""How many samples are folded in one transaction."""


async def statistics(session: ReadSession, *, now: datetime) -> Mapping[EndpointId, EndpointStatistics]:
    """The figures of every endpoint of which anything is known; of the others, `nothing_known`.

    Hundreds of endpoints take a fraction of a second to add up, in a thread: whoever is asked often keeps the answer.
    """
    windows = rules.windows(now)
    known = await store.known(session, windows)
    samples = await store.waiting(session, since=windows.long)
    return await asyncio.to_thread(rules.statistics, known, samples, now=now)


def nothing_known(*, now: datetime) -> EndpointStatistics:
    """The figures of an endpoint without any sample."""
    return rules.no_statistics(now)


async def standings(session: ReadSession, *, now: datetime) -> Mapping[EndpointId, Standing]:
    """The last hour of every endpoint of which anything is known in it."""
    windows = rules.windows(now)
    live = await store.known_live(session, windows)
    samples = await store.waiting(session, since=windows.live)
    return await asyncio.to_thread(rules.standings, live, samples, now=now)


async def backlog(session: ReadSession) -> Backlog:
    """What waits to be folded."""
    return await store.backlog(session)


async def fold(session: WriteSession, *, now: datetime) -> int:
    """Take up to SAMPLES_MAX samples off the queue and add them to their buckets; answers how many there were.

    One at a time does this: zero is as well the answer to whoever comes meanwhile. What is kept no longer goes.
    """
    if not await store.take_turn(session):
        return 0
    samples = await store.take(session, most=SAMPLES_MAX)
    new = await asyncio.to_thread(rules.folded, samples, now=now)
    before = await store.buckets_of(session, new)
    whole = {slot: rules.merged([before.get(slot, Observed()), seen]) for slot, seen in new.items()}
    await store.put(session, {slot: rules.compacted(seen) for slot, seen in whole.items()})
    await store.drop_before(session, {grain: rules.kept_from(grain, now) for grain in Grain})
    return len(samples)
