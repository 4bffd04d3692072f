"""Whatever becomes of a process, each of its calls is recorded once, and nothing stays held for it."""

import asyncio
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from tests.metering.afterlife import begun, die, estates, is_clear, partial, recorded, recovering, refused_by
from tests.metering.line import Line
from tests.metering.scene import Scene, costing

from tollgate.infra import estate
from tollgate.kit.ids import CallId
from tollgate.metering import letters, recovery, safekeeping, store
from tollgate.metering.recovery import Recovery


@pytest.fixture
async def scene(shared_scene: Scene) -> Scene:
    """On a ledger that holds nothing of whoever was there before."""
    await shared_scene.pool.execute("TRUNCATE holds")
    return shared_scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "estates"


class TestAdoption:
    async def test_records_what_was_exact_and_what_was_provisional_and_gives_the_rest_back(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, dead, heir = await scene.a_caller(credit="10"), scene.meter(folder=folder), recovering(scene, folder)
        exact, streaming, _unheard = [await begun(scene, caller, dead) for _ in range(3)]
        dead.note(partial(caller, exact, scene))
        dead.note(costing(caller, exact, scene.clock.at, "0.75"))
        dead.note(partial(caller, streaming, scene, "0.25"))
        dead.note(partial(caller, streaming, scene, "0.5"))
        assert await heir.adopt() == 0
        await die(dead)
        assert await heir.adopt() == 1
        assert sorted(await recorded(scene, caller)) == [("recovered", Decimal("0.5")), ("settled", Decimal("0.75"))]
        assert await is_clear(scene, caller)
        assert estates(folder, heir) == []
        assert heir._meter.safe.known == []

    async def test_records_what_was_spooled_and_believes_it_more_than_what_was_noted_before(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, dead, heir = await scene.a_caller(credit="10"), scene.meter(folder=folder), recovering(scene, folder)
        call_id = await begun(scene, caller, dead)
        dead.note(partial(caller, call_id, scene))
        dead.safe._opened().keep(
            {call_id: letters.written(costing(caller, call_id, scene.clock.at, "0.75"))}, scene.clock.at
        )
        await die(dead)
        assert await heir.adopt() == 1
        assert await recorded(scene, caller) == [("settled", Decimal("0.75"))]
        assert await is_clear(scene, caller)

    async def test_changes_nothing_of_what_the_dead_process_had_recorded(self, scene: Scene, folder: Path) -> None:
        caller, dead, heir = await scene.a_caller(credit="10"), scene.meter(folder=folder), recovering(scene, folder)
        call_id = await begun(scene, caller, dead)
        ended = costing(caller, call_id, scene.clock.at, "0.75")
        dead.note(ended)
        await scene.settle(ended)
        await die(dead)
        assert await heir.adopt() == 1
        assert await recorded(scene, caller) == [("settled", Decimal("0.75"))]

    async def test_of_two_heirs_at_once_is_by_one(self, scene: Scene, folder: Path) -> None:
        caller, dead = await scene.a_caller(credit="100"), scene.meter(folder=folder)
        heirs = [recovering(scene, folder) for _ in range(2)]
        for _ in range(20):
            dead.note(partial(caller, await begun(scene, caller, dead), scene))
        await die(dead)
        assert sorted(await asyncio.gather(*(heir.adopt() for heir in heirs))) == [0, 1]
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))] * 20
        assert await is_clear(scene, caller)
        assert estates(folder, *heirs) == []

    async def test_of_another_ledgers_process_is_left_alone(self, scene: Scene, tmp_path: Path) -> None:
        own = await recovery.folder_of(scene.pool, tmp_path)
        other = own.parent / "another"
        caller, dead, heir = await scene.a_caller(credit="10"), scene.meter(folder=other), recovering(scene, own)
        dead.note(partial(caller, await begun(scene, caller, dead), scene))
        await die(dead)
        assert await heir.adopt() == 0
        assert await recorded(scene, caller) == []
        assert len(estate.all_in(other)) == 1


class TestAdoptionThatFails:
    @pytest.mark.parametrize(
        "at",
        ["inherit_holds", "settle_and_flush(", "begin_sweep", "lease_until <=", "release_expired_holds"],
    )
    @pytest.mark.parametrize("what", ["statements", "answers"])
    async def test_half_way_is_finished_by_whoever_looks_next(
        self, scene: Scene, folder: Path, at: str, what: str
    ) -> None:
        caller, dead, line = await scene.a_caller(credit="10"), scene.meter(folder=folder), Line(scene.pool)
        first = recovering(scene, folder, pool=line, settle_timeout_seconds=0)
        noted, _unheard = [await begun(scene, caller, dead) for _ in range(2)]
        dead.note(partial(caller, noted, scene))
        await die(dead)
        (line.fail if what == "statements" else line.lose_answers)(at)
        with suppress(ConnectionError):
            await first.adopt()
        await die(first._meter)
        second = recovering(scene, folder)
        await second.adopt()
        await second.sweep()
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert await is_clear(scene, caller)
        assert estates(folder, second) == []
        assert second._meter.safe.known == []

    async def test_for_the_ledger_is_away_is_tried_again_by_the_same_heir(self, scene: Scene, folder: Path) -> None:
        caller, dead, line = await scene.a_caller(credit="10"), scene.meter(folder=folder), Line(scene.pool)
        heir = recovering(scene, folder, pool=line)
        dead.note(partial(caller, await begun(scene, caller, dead), scene))
        await die(dead)
        line.cut()
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                await heir.adopt()
        line.mend()
        assert await heir.adopt() == 1
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert heir._meter.safe.known == []

    async def test_on_one_letter_the_ledger_never_takes_holds_up_no_other(self, scene: Scene, folder: Path) -> None:
        caller, heir = await scene.a_caller(credit="10"), recovering(scene, folder)
        poisoned, *_others = dead = [scene.meter(folder=folder) for _ in range(3)]
        for meter in dead:
            meter.note(partial(caller, await begun(scene, caller, meter), scene))
        bad = partial(caller, await begun(scene, caller, poisoned), scene)
        poisoned.note(bad._replace(call=bad.call._replace(quantities="{")))
        for meter in dead:
            await die(meter)
        assert await heir.adopt() == 3
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))] * 3
        assert estates(folder, heir) == []
        [(letter, why)] = refused_by(heir).values()
        assert (letters.read(letter).call.call_id, why) == (bad.call.call_id, "InvalidTextRepresentationError 22P02")
        assert await heir.adopt() == 0
        await scene.expire(bad.call.call_id)
        await heir.sweep()
        assert await is_clear(scene, caller)

    async def test_on_letters_nobody_can_read_keeps_them_for_a_person_and_gives_back_what_was_held(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, dead, heir = await scene.a_caller(credit="10"), scene.meter(folder=folder), recovering(scene, folder)
        garbled, sound = [await begun(scene, caller, dead) for _ in range(2)]
        dead.safe._journal.note(garbled, b"[1, 2")
        dead.note(partial(caller, sound, scene))
        await die(dead)
        before = REGISTRY.get_sample_value("tollgate_unsettled_total") or 0
        assert await heir.adopt() == 1
        assert REGISTRY.get_sample_value("tollgate_unsettled_total") == before + 1
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert await is_clear(scene, caller)
        [(letter, why)] = refused_by(heir).values()
        assert letter == b"[1, 2"
        assert why.startswith("unreadable: ")

    async def test_on_a_call_without_a_readable_letter_falls_back_to_what_the_ledger_was_told(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, dead, heir = await scene.a_caller(credit="10"), scene.meter(folder=folder), recovering(scene, folder)
        call_id = await begun(scene, caller, dead)
        told = letters.written(partial(caller, call_id, scene))
        await store.checkpoint(scene.pool, [(caller.organization_id, call_id, told)])
        dead.safe._journal.note(call_id, b"garbled")
        await die(dead)
        assert await heir.adopt() == 1
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert await is_clear(scene, caller)

    async def test_hands_down_what_was_refused_before(self, scene: Scene, folder: Path) -> None:
        for generation in range(3):
            meter = scene.meter(folder=folder)
            if not generation:
                await meter.safe.put_aside({CallId(UUID(int=7)): b"odd"}, "because", scene.clock.at)
            else:
                heir = Recovery(scene.pool, scene.clock, meter, folder)
                assert await heir.adopt() == 1
            assert refused_by(meter) == {UUID(int=7): (b"odd", "because")}
            await die(meter)
        assert len(estate.all_in(folder)) == 1

    async def test_on_an_estate_that_cannot_be_read_is_told_once_and_holds_up_no_other(
        self, scene: Scene, folder: Path
    ) -> None:
        caller, heir = await scene.a_caller(credit="10"), recovering(scene, folder)
        damaged, sound = [scene.meter(folder=folder) for _ in range(2)]
        sound.note(partial(caller, await begun(scene, caller, sound), scene))
        for meter in (damaged, sound):
            await die(meter)
        (damaged.safe._estate.path / safekeeping.SPOOL_FILE).write_bytes(b"this is no database, and never was" * 99)
        with capture_logs() as logged:
            await heir.adopt()
            await heir.adopt()
        assert await recorded(scene, caller) == [("recovered", Decimal("0.25"))]
        assert estates(folder, heir) == [damaged.safe.process_id]
        told = [each for each in logged if each["event"] == "what a dead process left cannot be read"]
        assert [each["path"] for each in told] == [str(damaged.safe._estate.path)]
