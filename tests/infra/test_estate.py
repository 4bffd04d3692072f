"""A process's folder is its own while it lives, and one heir's when it is gone, however it went."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tollgate.infra import estate
from tollgate.infra.estate import Estate

PROCESS = """
import sys
from pathlib import Path
from uuid import UUID
from tollgate.infra import estate
mine = estate.found(Path(sys.argv[1]), UUID(sys.argv[2]))
print("founded", flush=True)
sys.stdin.read()
"""


@contextmanager
def a_process(folder: Path, process_id: UUID) -> Iterator["subprocess.Popen[bytes]"]:
    """One that lives in an estate until it is killed."""
    command = [sys.executable, "-c", PROCESS, str(folder), str(process_id)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"founded\n"
            yield process
        finally:
            process.kill()


def heirs_of(folder: Path) -> list[UUID]:
    """Whose estates could be had; they are let go of again."""
    found = list(estate.inherited(folder))
    for each in found:
        each.leave()
    return [each.process_id for each in found]


def test_is_nobody_elses_while_its_process_lives_and_can_be_had_once_it_is_killed(tmp_path: Path) -> None:
    process_id = uuid4()
    with a_process(tmp_path, process_id) as process:
        (tmp_path / str(process_id) / "word").write_text("last")
        assert heirs_of(tmp_path) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        [inherited] = estate.inherited(tmp_path)
    assert inherited.process_id == process_id
    assert (inherited.path / "word").read_text() == "last"
    assert heirs_of(tmp_path) == []
    inherited.leave()


def test_is_not_inherited_by_its_own_process(tmp_path: Path) -> None:
    own = estate.found(tmp_path, uuid4())
    assert heirs_of(tmp_path) == []
    own.leave()
    assert heirs_of(tmp_path) == [own.process_id]


def test_goes_to_one_of_any_number_of_heirs_at_once(tmp_path: Path) -> None:
    for _ in range(5):
        estate.found(tmp_path, uuid4()).leave()
    begin, had = threading.Barrier(4), [list[Estate]() for _ in range(4)]

    def inherit(own: list[Estate]) -> None:
        begin.wait()
        own.extend(estate.inherited(tmp_path))

    heirs = [threading.Thread(target=inherit, args=(each,)) for each in had]
    for heir in heirs:
        heir.start()
    for heir in heirs:
        heir.join()
    assert sorted(each.path for own in had for each in own) == estate.all_in(tmp_path)
    for each in (each for own in had for each in own):
        each.remove()
    assert estate.all_in(tmp_path) == []


def test_that_is_unfinished_is_nobodys(tmp_path: Path) -> None:
    unfinished = tmp_path / f"new-{uuid4()}"
    unfinished.mkdir()
    (unfinished / "lock").touch()
    (tmp_path / str(uuid4())).mkdir()
    (tmp_path / "ledger-of-2026-11-22").mkdir()
    assert heirs_of(tmp_path) == []


def test_that_another_heir_removes_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estate.found(tmp_path, uuid4()).leave()
    [first] = estate.inherited(tmp_path)
    opened, locks = os.open, []

    def overtaken(path: Path, flags: int) -> int:
        locks.append(opened(path, flags))
        monkeypatch.undo()
        first.remove()
        return locks[0]

    monkeypatch.setattr(os, "open", overtaken)
    assert list(estate.inherited(tmp_path)) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(locks[0])
    assert estate.all_in(tmp_path) == []


def test_is_gone_with_everything_in_it_once_it_is_removed(tmp_path: Path) -> None:
    own = estate.found(tmp_path, uuid4())
    (own.path / "word").write_text("last")
    own.remove()
    assert list(tmp_path.iterdir()) == []


def test_lies_open_to_nobody_else_on_the_machine(tmp_path: Path) -> None:
    own = estate.found(tmp_path / "a" / "b", uuid4())
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o700
    own.remove()


def test_there_are_none_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert heirs_of(tmp_path / "nowhere") == []
    assert estate.all_in(tmp_path / "nowhere") == []


def test_cannot_be_founded_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        estate.found(tmp_path / "file", uuid4())
