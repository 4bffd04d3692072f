"""A call that has begun is known, here and on the disk, until the ledger has it."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from tests.metering.scene import Caller, costing
from tests.safes import a_safe, keep

from tollgate.infra import estate, journal, spool
from tollgate.infra.spool import Spool
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId, KeyId, OrganizationId, uuid7
from tollgate.metering import letters, safekeeping
from tollgate.metering.model import Settlement
from tollgate.metering.safekeeping import Safekeeping

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALLER = Caller(OrganizationId(UUID(int=1)), None, KeyId(UUID(int=2)))
ONE, TWO, THREE = (CallId(uuid7(NOON, number)) for number in (1, 2, 3))
LATER = UUID(int=2**128 - 1)


def of(call_id: CallId, amount: str = "1", **changes: Any) -> Settlement:
    return costing(CALLER, call_id, NOON, amount, **changes)


def failures(of_file: str) -> float:
    return REGISTRY.get_sample_value("tollgate_safekeeping_failures_total", {"file": of_file}) or 0


@pytest.fixture
def safe(tmp_path: Path) -> Iterator[Safekeeping]:
    opened = a_safe(tmp_path)
    yield opened
    opened._disk.shutdown()


def journaled(safe: Safekeeping) -> dict[UUID, bytes]:
    return journal.read(safe._estate.path / "journal").left


def spooled(safe: Safekeeping) -> dict[UUID, bytes]:
    return spool.waiting(safe._estate.path / safekeeping.SPOOL_FILE)


def left_by(safe: Safekeeping) -> safekeeping.Remains:
    return safekeeping.remains_of(safe._estate)


class SlowDisk:
    """What makes the spool wait with its writes, once they have begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self._go_on = asyncio.Event(), threading.Event()
        loop, keep = asyncio.get_running_loop(), Spool.keep

        def keep_slowly(kept: Spool, *given: Any, **named: Any) -> None:
            loop.call_soon_threadsafe(self.begun.set)
            self._go_on.wait(5)
            keep(kept, *given, **named)

        monkeypatch.setattr(Spool, "keep", keep_slowly)

    def go_on(self) -> None:
        self._go_on.set()


class TestACallThatIsNoted:
    def test_is_known_and_its_last_letter_is_on_the_disk(self, safe: Safekeeping) -> None:
        for amount in ("1", "2"):
            safe.note(of(ONE, amount))
        safe.note(of(TWO))
        assert safe.known == [ONE, TWO]
        assert {key: letters.read(text).call.amount for key, text in journaled(safe).items()} == {ONE: 2, TWO: 1}

    async def test_is_forgotten_everywhere_when_the_ledger_has_it(self, safe: Safekeeping) -> None:
        for call_id in (ONE, TWO):
            safe.note(of(call_id))
        await safe.forget([ONE, THREE])
        assert safe.known == [TWO]
        assert set(journaled(safe)) == {TWO}
        assert spooled(safe) == {}

    def test_is_unsaved_until_the_database_has_its_very_letter(self, safe: Safekeeping) -> None:
        safe.note(of(ONE))
        [saved] = safe.unsaved(begun_before=LATER, most=9)
        assert (saved[:2], letters.read(saved[2])) == (
            (CALLER.organization_id, ONE),
            letters.read(journaled(safe)[ONE]),
        )
        safe.note(of(ONE, "2"))
        safe.saved([saved])
        assert len(safe.unsaved(begun_before=LATER, most=9)) == 1
        safe.saved(safe.unsaved(begun_before=LATER, most=9))
        assert safe.unsaved(begun_before=LATER, most=9) == []

    def test_is_not_for_the_database_yet_if_it_has_just_begun(self, safe: Safekeeping) -> None:
        for call_id in (ONE, TWO, THREE):
            safe.note(of(call_id))
        assert [call_id for _, call_id, _ in safe.unsaved(begun_before=THREE, most=9)] == [ONE, TWO]
        assert [call_id for _, call_id, _ in safe.unsaved(begun_before=LATER, most=1)] == [ONE]


class TestACallThatIsKept:
    async def test_moves_from_the_journal_to_the_spool(self, safe: Safekeeping) -> None:
        safe.note(of(ONE))
        await safe.keep([of(ONE, "3")], NOON)
        assert safe.known == [ONE]
        assert journaled(safe) == {}
        assert letters.read(spooled(safe)[ONE]).call.amount == 3
        await safe.forget([ONE])
        assert (safe.known, spooled(safe)) == ([], {})

    async def test_is_forgotten_though_the_ledger_takes_it_while_the_disk_writes(
        self, safe: Safekeeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = SlowDisk(monkeypatch)
        safe.note(of(ONE))
        keeping = asyncio.create_task(safe.keep([of(ONE)], NOON))
        await disk.begun.wait()
        forgetting = asyncio.create_task(safe.forget([ONE]))
        await asyncio.sleep(0)
        disk.go_on()
        await asyncio.gather(keeping, forgetting)
        assert (safe.known, journaled(safe), spooled(safe)) == ([], {}, {})

    async def test_is_not_kept_if_the_ledger_takes_it_while_others_are_written(
        self, safe: Safekeeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        disk = SlowDisk(monkeypatch)
        safe.note(of(ONE))
        safe.note(of(TWO))
        first = asyncio.create_task(safe.keep([of(ONE)], NOON))
        await disk.begun.wait()
        second = asyncio.create_task(safe.keep([of(TWO)], NOON))
        await asyncio.sleep(0)
        forgetting = asyncio.create_task(safe.forget([TWO]))
        await asyncio.sleep(0)
        disk.go_on()
        await asyncio.gather(first, second, forgetting)
        assert (safe.known, set(spooled(safe))) == ([ONE], {ONE})

    async def test_after_the_ledger_took_it_is_not_kept_at_all(self, safe: Safekeeping) -> None:
        """The ledger's answer and the end of the patience for it may come in any order."""
        safe.note(of(ONE))
        await safe.forget([ONE])
        await safe.keep([of(ONE)], NOON)
        assert (safe.known, journaled(safe), spooled(safe)) == ([], {}, {})

    async def test_after_it_was_put_aside_stays_aside(self, safe: Safekeeping) -> None:
        safe.note(of(ONE))
        await safe.put_aside({ONE: b"odd"}, "because", NOON)
        await safe.keep([of(ONE)], NOON)
        assert left_by(safe) == safekeeping.Remains({}, {ONE: (b"odd", "because")})

    async def test_is_where_it_was_if_the_disk_does_not_take_it(self, safe: Safekeeping) -> None:
        safe.note(of(ONE))
        safe._opened()._connection.execute("PRAGMA query_only = ON")
        before = failures("spool")
        with pytest.raises(LedgerUnavailable) as told:
            await safe.keep([of(ONE)], NOON)
        assert told.value.retry_after_seconds == 5
        assert failures("spool") == before + 1
        assert (safe.known, set(journaled(safe)), spooled(safe)) == ([ONE], {ONE}, {})

    async def test_is_found_once_more_if_the_disk_does_not_let_go_of_it(self, safe: Safekeeping) -> None:
        await keep(safe, of(ONE), at=NOON)
        safe._opened()._connection.execute("PRAGMA query_only = ON")
        await safe.forget([ONE])
        assert (safe.known, set(left_by(safe).letters)) == ([], {ONE})


class TestWhatIsPutAside:
    async def test_is_found_apart_and_not_known_any_more(self, safe: Safekeeping) -> None:
        safe.note(of(ONE))
        await keep(safe, of(TWO), at=NOON)
        await safe.put_aside({ONE: b"odd", TWO: b"odder"}, "because", NOON)
        assert safe.known == []
        assert left_by(safe) == safekeeping.Remains({}, {ONE: (b"odd", "because"), TWO: (b"odder", "because")})


class TestAJournalThatFails:
    def test_is_counted_and_the_call_goes_on(self, safe: Safekeeping, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        before = failures("journal")
        with monkeypatch.context() as patched, capture_logs() as logged:
            patched.setattr("os.write", full)
            safe.note(of(ONE))
        assert failures("journal") == before + 1
        assert [(each["event"], each["file"]) for each in logged] == [("calls cannot be kept safe", "journal")]
        assert safe.known == [ONE]
        assert len(safe.unsaved(begun_before=LATER, most=9)) == 1
        safe.note(of(ONE, "2"))
        assert set(journaled(safe)) == {ONE}

    async def test_does_not_keep_the_ledgers_answer_from_anyone(
        self, safe: Safekeeping, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        safe.note(of(ONE))

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        before = failures("journal")
        with monkeypatch.context() as patched:
            patched.setattr("os.write", full)
            await safe.forget([ONE])
        assert (failures("journal"), safe.known, set(left_by(safe).letters)) == (before + 1, [], {ONE})


class TestWhatIsLeft:
    async def test_is_the_exact_settlement_where_there_is_one(self, safe: Safekeeping) -> None:
        for call_id in (ONE, TWO):
            safe.note(of(call_id))
        await keep(safe, of(THREE), at=NOON)
        safe.note(of(TWO, "2"))
        safe._journal.note(THREE, letters.written(of(THREE, "9")))
        found = left_by(safe)
        assert {key: letters.read(text).call.amount for key, text in found.letters.items()} == {
            ONE: 1,
            TWO: 2,
            THREE: 1,
        }
        assert found.refused == {}

    async def test_is_nothing_and_no_folder_if_every_call_is_recorded(self, tmp_path: Path) -> None:
        safe = a_safe(tmp_path)
        await keep(safe, of(ONE), at=NOON)
        safe.note(of(TWO))
        await safe.forget([ONE, TWO])
        await safe.close()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("how", ["noted", "kept", "put aside"])
    async def test_is_left_to_an_heir_when_the_process_closes(self, tmp_path: Path, how: str) -> None:
        safe = a_safe(tmp_path)
        if how == "noted":
            safe.note(of(ONE))
        elif how == "kept":
            await keep(safe, of(ONE), at=NOON)
        else:
            await safe.put_aside({ONE: b"odd"}, "because", NOON)
        await safe.close()
        [inherited] = estate.inherited(tmp_path)
        found = safekeeping.remains_of(inherited)
        assert [*found.letters, *found.refused] == [ONE]
        inherited.remove()

    async def test_is_not_touched_by_what_is_still_under_way_when_the_process_closes(self, tmp_path: Path) -> None:
        safe = a_safe(tmp_path)
        await keep(safe, of(ONE), at=NOON)
        safe.note(of(TWO))
        await safe.close()
        before = failures("journal"), failures("spool")
        await safe.forget([ONE, TWO])
        safe.note(of(TWO))
        with pytest.raises(LedgerUnavailable):
            await safe.keep([of(TWO)], NOON)
        assert (failures("journal"), failures("spool")) == (before[0] + 1, before[1])
        [inherited] = estate.inherited(tmp_path)
        assert set(safekeeping.remains_of(inherited).letters) == {ONE, TWO}
        inherited.remove()

    def test_is_nothing_where_the_process_died_before_it_began(self, tmp_path: Path) -> None:
        mine = estate.found(tmp_path, UUID(int=5))
        assert safekeeping.remains_of(mine) == safekeeping.Remains({}, {})
        mine.remove()


async def test_what_is_written_into_a_folder_that_was_deleted_counts_as_not_written(safe: Safekeeping) -> None:
    safe.note(of(ONE))
    shutil.rmtree(safe._estate.path)
    before = failures("spool")
    with pytest.raises(LedgerUnavailable):
        await safe.keep([of(ONE)], NOON)
    assert failures("spool") == before + 1
