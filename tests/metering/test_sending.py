"""What the ledger does not take in time is on the disk when its caller is answered, and recorded once in the end."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from tests.metering.afterlife import refused_by
from tests.metering.line import Line
from tests.metering.scene import Caller, Scene, costing

from tollgate.infra import journal, spool
from tollgate.infra.identity import new_id
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId
from tollgate.metering import letters, rules, safekeeping
from tollgate.metering.model import Settlement
from tollgate.metering.service import Meter


@pytest.fixture
def scene(shared_scene: Scene) -> Scene:
    return shared_scene


@pytest.fixture
async def line(scene: Scene) -> AsyncIterator[Line]:
    line = Line(scene.pool)
    yield line
    line.mend()
    for meter in scene.meters:
        await meter.drained()


def ended(scene: Scene, caller: Caller, **changes: Any) -> Settlement:
    """A call that cost a dollar."""
    settlement = costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1")
    return settlement._replace(call=settlement.call._replace(**changes))


def patient(scene: Scene, line: Line, seconds: int) -> Meter:
    """A meter that waits so long for the ledger."""
    return scene.meter(pool=cast("Any", line), settle_timeout_seconds=seconds)


def spooled(meter: Meter) -> Any:
    return spool.waiting(meter.safe._estate.path / safekeeping.SPOOL_FILE)


def known(meter: Meter) -> Any:
    return meter.safe.known


async def used(scene: Scene, caller: Caller) -> Any:
    """What the ledger has of the caller, which is the same everywhere."""
    rows = await scene.pool.fetchrow(
        """
        SELECT (SELECT sum(amount) FROM calls WHERE organization_id = $1) AS calls,
               (SELECT sum(amount) FROM transfers WHERE organization_id = $1 AND cause = 'call') AS transfers,
               (SELECT sum(amount) FROM rollups WHERE organization_id = $1) AS rollups,
               (SELECT total_used FROM counters WHERE scope_id = $1) AS counter
        """,
        caller.organization_id,
    )
    assert rows is not None
    assert len({rows[name] or 0 for name in ("calls", "transfers", "rollups", "counter")}) == 1
    return rows["counter"] or Decimal(0)


async def time_of(waiting: Any) -> float:
    """How long it takes, in seconds."""
    loop = asyncio.get_running_loop()
    before = loop.time()
    await waiting
    return loop.time() - before


@pytest.mark.parametrize("how", ["cut", "silence"])
async def test_a_ledger_that_is_away_keeps_nobody_waiting_for_longer_than_was_set(
    scene: Scene, line: Line, how: str
) -> None:
    caller, meter = await scene.a_caller(credit="10"), patient(scene, line, 1)
    settlement = ended(scene, caller)
    getattr(line, how)()
    before = REGISTRY.get_sample_value("tollgate_spooled_total") or 0
    assert 1 <= await time_of(meter.settle(settlement)) < 3
    assert REGISTRY.get_sample_value("tollgate_spooled_total") == before + 1
    assert {key: letters.read(text) for key, text in spooled(meter).items()} == {settlement.call.call_id: settlement}
    assert meter.safe.known == [settlement.call.call_id]
    line.mend()
    await meter.drained()
    assert (await used(scene, caller), spooled(meter), known(meter)) == (1, {}, [])


async def test_what_was_spooled_is_recorded_in_batches_when_the_ledger_is_back(scene: Scene, line: Line) -> None:
    callers, meter = [await scene.a_caller(credit="100") for _ in range(3)], patient(scene, line, 0)
    line.cut()
    await asyncio.gather(*(meter.settle(ended(scene, caller)) for caller in callers for _ in range(50)))
    assert (meter.unrecorded, len(spooled(meter)), len(meter.safe.known)) == (150, 150, 150)
    line.asked.clear()
    line.mend()
    await meter.drained()
    assert [await used(scene, caller) for caller in callers] == [50, 50, 50]
    assert (spooled(meter), known(meter)) == ({}, [])
    assert 0 < sum("settle_and_flush(" in statement for statement in line.asked) <= 6


async def test_answers_that_are_lost_record_nothing_twice(scene: Scene, line: Line) -> None:
    caller, meter = await scene.a_caller(credit="100"), patient(scene, line, 0)
    line.lose_answers("settle_and_flush(")
    await asyncio.gather(*(meter.settle(ended(scene, caller)) for _ in range(10)))
    async with asyncio.timeout(5):
        while await used(scene, caller) < 10:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    assert len(spooled(meter)) == 10
    line.mend()
    await meter.drained()
    assert (await used(scene, caller), spooled(meter), known(meter)) == (10, {}, [])


async def test_a_ledger_that_hangs_on_a_lock_records_once_what_was_spooled_meanwhile(scene: Scene, line: Line) -> None:
    caller, other = [await scene.a_caller(credit="10") for _ in range(2)]
    meter = patient(scene, line, 0)
    call_id = (await meter.admit(scene.request(caller))).call_id
    async with scene.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM counters WHERE organization_id = $1 FOR UPDATE", caller.organization_id)
        await meter.settle(costing(caller, call_id, scene.clock.at, "0.5"))
        await meter.settle(ended(scene, other))
        assert call_id in spooled(meter)
    await meter.drained()
    assert (await used(scene, caller), await used(scene, other)) == (Decimal("0.5"), 1)
    assert (await scene.counter(caller))["total_held"] == 0
    assert (spooled(meter), known(meter)) == ({}, [])


async def test_a_record_the_ledger_never_takes_is_put_aside_and_its_batch_recorded(scene: Scene, line: Line) -> None:
    caller, meter = await scene.a_caller(credit="10"), patient(scene, line, 0)
    bad, *good = [ended(scene, caller, **changes) for changes in ({"quantities": "{"}, {}, {})]
    line.cut()
    await asyncio.gather(*(meter.settle(each) for each in (bad, *good)))
    assert len(spooled(meter)) == 3
    before = REGISTRY.get_sample_value("tollgate_unsettled_total") or 0
    line.mend()
    await meter.drained()
    assert REGISTRY.get_sample_value("tollgate_unsettled_total") == before + 1
    assert (await used(scene, caller), spooled(meter), known(meter)) == (2, {}, [])
    [(letter, why)] = refused_by(meter).values()
    assert (letters.read(letter), why) == (rules.bare(bad), "InvalidTextRepresentationError 22P02")


async def test_neither_ledger_nor_disk_is_told_and_the_record_is_sent_all_the_same(scene: Scene, line: Line) -> None:
    caller, meter = await scene.a_caller(credit="10"), patient(scene, line, 0)
    meter.safe._opened()._connection.execute("PRAGMA query_only = ON")
    line.cut()
    with pytest.raises(LedgerUnavailable) as told:
        await meter.settle(ended(scene, caller))
    assert told.value.retry_after_seconds == 5
    assert len(meter.safe.known) == 1
    line.mend()
    await meter.drained()
    assert (await used(scene, caller), known(meter)) == (1, [])


async def test_a_caller_who_hangs_up_during_an_outage_leaves_a_record_all_the_same(scene: Scene, line: Line) -> None:
    caller, meter = await scene.a_caller(credit="10"), patient(scene, line, 30)
    settlement = ended(scene, caller)
    line.cut()
    settling = asyncio.create_task(meter.settle(settlement))
    await asyncio.sleep(0.05)
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    journaled = journal.read(meter.safe._estate.path / "journal").left
    assert [letters.read(letter) for letter in journaled.values()] == [settlement]
    line.mend()
    await meter.drained()
    assert (await used(scene, caller), known(meter)) == (1, [])
