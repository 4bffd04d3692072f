"""What a process wrote down last is found after it, whatever cut it short."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.infra import journal
from tollgate.infra.journal import Journal

KEYS = [UUID(int=number) for number in (0, 1, 2**127, 2**128 - 1)]
keys = st.sampled_from(KEYS)
noting = st.tuples(keys, st.binary(min_size=1, max_size=60))
striking = st.frozensets(keys)
histories = st.lists(noting | striking, max_size=25)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))

Entry = tuple[UUID, bytes] | frozenset[UUID]


def play(written: Journal, entry: Entry) -> None:
    if isinstance(entry, frozenset):
        written.strike(entry)
    else:
        written.note(*entry)


def remember(model: dict[UUID, bytes], entry: Entry) -> dict[UUID, bytes]:
    if isinstance(entry, frozenset):
        return {key: text for key, text in model.items() if key not in entry}
    return {**model, entry[0]: entry[1]}


def states_of(history: list[Entry]) -> list[dict[UUID, bytes]]:
    """What was open at first, and after each entry; a strike of several is several."""
    states: list[dict[UUID, bytes]] = [{}]
    for entry in history:
        if isinstance(entry, frozenset):
            states += [remember(states[-1], frozenset(chosen)) for chosen in _subsets(entry)]
        states.append(remember(states[-1], entry))
    return states


def _subsets(entry: frozenset[UUID]) -> list[set[UUID]]:
    ordered = list(entry)
    return [
        {key for place, key in enumerate(ordered) if mask >> place & 1} for mask in range(1, (1 << len(ordered)) - 1)
    ]


class TestWhatIsRead:
    @settings(max_examples=60)
    @given(histories)
    def test_is_what_was_noted_last_and_not_struck(self, history: list[Entry]) -> None:
        with TemporaryDirectory() as folder:
            path, model = Path(folder) / "journal", dict[UUID, bytes]()
            written = Journal(path)
            for entry in history:
                play(written, entry)
                model = remember(model, entry)
            assert journal.read(path).left == model
            written.close()

    @settings(max_examples=40)
    @given(histories, st.data())
    def test_of_a_file_that_was_cut_anywhere_is_what_was_so_at_some_time(
        self, history: list[Entry], data: st.DataObject
    ) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "journal"
            written = Journal(path)
            for entry in history:
                play(written, entry)
            written.close()
            whole, states = path.read_bytes(), states_of(history)
            cut = data.draw(st.integers(0, len(whole)))
            path.write_bytes(whole[:cut])
            assert journal.read(path).left in states

    @settings(max_examples=60)
    @given(histories, st.data())
    def test_of_a_file_that_was_damaged_is_never_what_nobody_wrote(
        self, history: list[Entry], data: st.DataObject
    ) -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "journal"
            written = Journal(path)
            for entry in history:
                play(written, entry)
            written.close()
            damaged, states = bytearray(path.read_bytes()), states_of(history)
            written_ever = {entry for state in states for entry in state.items()}
            if damaged:
                place = data.draw(st.integers(0, len(damaged) - 1))
                damaged[place] ^= data.draw(st.integers(1, 255))
            path.write_bytes(bytes(damaged))
            assert set(journal.read(path).left.items()) <= written_ever

    @pytest.mark.parametrize("place", [0, 3, 5, 10, 30, 43])
    def test_behind_what_is_damaged_is_what_was_written_there(self, tmp_path: Path, place: int) -> None:
        written = Journal(tmp_path / "journal")
        for key, text in ((ONE, b"x" * 20), (TWO, b"two"), (THREE, b"three")):
            written.note(key, text)
        written.close()
        damaged = bytearray((tmp_path / "journal").read_bytes())
        damaged[place] ^= 0x40
        (tmp_path / "journal").write_bytes(bytes(damaged))
        found = journal.read(tmp_path / "journal")
        assert (found.left, found.damaged_bytes) == ({TWO: b"two", THREE: b"three"}, 24 + 20)

    def test_of_a_file_of_something_else_is_nothing_and_told(self, tmp_path: Path) -> None:
        (tmp_path / "journal").write_bytes(b"something else " * 1000)
        assert journal.read(tmp_path / "journal") == journal.Reading({}, 15_000)

    def test_of_a_file_that_never_was_is_nothing(self, tmp_path: Path) -> None:
        assert journal.read(tmp_path / "journal").left == {}

    def test_of_a_file_that_the_machine_left_full_of_zeros_is_nothing_more(self, tmp_path: Path) -> None:
        written = Journal(tmp_path / "journal")
        written.note(ONE, b"one")
        written.close()
        with (tmp_path / "journal").open("ab") as file:
            file.write(bytes(4096))
        assert journal.read(tmp_path / "journal").left == {ONE: b"one"}

    def test_is_there_though_the_process_was_killed(self, tmp_path: Path) -> None:
        script = """
import os, signal, sys
from pathlib import Path
from uuid import UUID
from tollgate.infra.journal import Journal
written = Journal(Path(sys.argv[1]))
for number in range(1000):
    written.note(UUID(int=number % 7), b"%d" % number)
written.strike([UUID(int=3)])
os.kill(os.getpid(), signal.SIGKILL)
"""
        ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "journal")], check=False)
        assert ended.returncode == -signal.SIGKILL
        left = {UUID(int=number % 7): b"%d" % number for number in range(993, 1000)}
        del left[UUID(int=3)]
        assert journal.read(tmp_path / "journal").left == left


class TestRewriting:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(journal, "_REWRITE_BYTES", 1000)

    def test_keeps_what_is_open_and_goes_on(self, tmp_path: Path) -> None:
        path = tmp_path / "journal"
        written = Journal(path)
        written.note(ONE, b"kept" * 20)
        for _ in range(200):
            written.note(TWO, b"passing" * 10)
            written.strike([TWO])
            assert journal.read(path).left == {ONE: b"kept" * 20}
            assert path.stat().st_size < 1300
        written.note(THREE, b"later")
        assert journal.read(path).left == {ONE: b"kept" * 20, THREE: b"later"}
        written.strike([ONE])
        assert journal.read(path).left == {THREE: b"later"}
        written.close()
        assert [each.name for each in tmp_path.iterdir()] == ["journal"]

    def test_waits_until_half_of_the_file_is_not_worth_keeping(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However much is under way at once, striking one of it does not write all of it again each time."""
        written, rewritten = Journal(tmp_path / "journal"), list[None]()
        rewrite = written._rewrite
        monkeypatch.setattr(written, "_rewrite", lambda: rewritten.append(rewrite()))
        for _ in range(40):
            written.note(uuid4(), b"open" * 25)
        for _ in range(100):
            written.note(TWO, b"passing" * 10)
            written.strike([TWO])
        assert 1 <= len(rewritten) <= 8
        assert len(journal.read(tmp_path / "journal").left) == 40
        written.close()

    def test_that_the_disk_does_not_take_leaves_everything_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "journal"
        written = Journal(path)
        written.note(ONE, b"kept" * 20)

        def full(_path: Path) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(journal, "_appending", full)
            with pytest.raises(OSError, match="space"):
                written.note(TWO, b"x" * 1000)
        assert journal.read(path).left == {ONE: b"kept" * 20, TWO: b"x" * 1000}
        written.note(THREE, b"later")
        for _ in range(3):
            written.note(TWO, b"x" * 1000)
            written.strike([TWO])
        assert path.stat().st_size < 3 * 1000, "it was tried again once there was as much again"
        assert path.stat().st_mode & 0o777 == 0o600
        assert journal.read(path).left == {ONE: b"kept" * 20, THREE: b"later"}
        written.close()


class TestAFullDisk:
    @pytest.mark.parametrize("takes", [0, 1, 23, 24, 25, 40])
    def test_that_takes_half_an_entry_hides_neither_what_was_before_nor_what_comes_after(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: int
    ) -> None:
        path, write = tmp_path / "journal", os.write
        written = Journal(path)
        written.note(ONE, b"before")
        written.note(TWO, b"first")

        def half(descriptor: int, content: bytes) -> int:
            return write(descriptor, content[:takes])

        attempts: list[Callable[[], None]] = [
            lambda: written.note(TWO, b"second" * 10),
            lambda: written.note(THREE, b"never" * 10),
            lambda: written.strike([ONE, TWO]),
        ]
        for attempt in attempts:
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", half)
                with pytest.raises(OSError, match="full"):
                    attempt()
            assert journal.read(path).left == {ONE: b"before", TWO: b"first"}
        written.note(THREE, b"after")
        assert journal.read(path).left == {ONE: b"before", TWO: b"first", THREE: b"after"}
        written.close()

    def test_is_survived_by_a_process_that_may_write_no_more(self, tmp_path: Path) -> None:
        script = """
import resource, signal, sys
from pathlib import Path
from uuid import UUID
from tollgate.infra.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
written, told = Journal(Path(sys.argv[1])), 0
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(30):
    try:
        written.note(UUID(int=number), b"x" * 100)
    except OSError:
        told += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
written.note(UUID(int=30), b"after")
print(told)
"""
        path = tmp_path / "journal"
        told = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True).stdout
        assert int(told) == 22
        assert journal.read(path).left == {UUID(int=number): b"x" * 100 for number in range(8)} | {
            UUID(int=30): b"after"
        }


def test_striking_what_was_never_noted_writes_nothing(tmp_path: Path) -> None:
    written = Journal(tmp_path / "journal")
    written.strike([uuid4(), uuid4()])
    written.strike([])
    assert (tmp_path / "journal").read_bytes() == b""
    written.close()


def test_that_is_closed_writes_into_nobody_elses_file(tmp_path: Path) -> None:
    """A settlement may still be under way when its process closes, and be recorded afterwards."""
    written = Journal(tmp_path / "journal")
    written.note(ONE, b"one")
    descriptor = written._file
    written.close()
    with (tmp_path / "another").open("wb") as another:
        assert another.fileno() == descriptor
        with suppress(OSError):
            written.strike([ONE])
    assert (tmp_path / "another").read_bytes() == b""
