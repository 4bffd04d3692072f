"""What is kept in a spool is there, whatever becomes of its process, until it is dropped."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.infra import spool
from tollgate.infra.spool import Depth, Spool

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
READERS: list[Callable[[Path], object]] = [spool.waiting, spool.refused, spool.depth]

keys = st.integers(0, 5).map(lambda number: UUID(int=number))
texts = st.dictionaries(keys, st.binary(max_size=40), max_size=4)
keeping = st.tuples(texts, st.none() | st.text(max_size=10))
dropping = st.lists(keys, max_size=4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.sqlite"


@pytest.fixture
def kept(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


@settings(max_examples=25)
@given(st.lists(keeping | dropping, max_size=8))
def test_tells_what_was_kept_last_and_not_dropped(
    history: list[tuple[dict[UUID, bytes], str | None] | list[UUID]],
) -> None:
    model: dict[UUID, tuple[bytes, str | None]] = {}
    with TemporaryDirectory() as folder:
        opened = Spool(Path(folder) / "spool.sqlite")
        opened._connection.execute("PRAGMA synchronous = OFF")
        for entry in history:
            if isinstance(entry, list):
                opened.drop(entry)
                model = {key: value for key, value in model.items() if key not in entry}
            else:
                opened.keep(entry[0], NOON, refused=entry[1])
                model |= {key: (text, entry[1]) for key, text in entry[0].items()}
        path = Path(folder) / "spool.sqlite"
        waiting = {key: text for key, (text, why) in model.items() if why is None}
        assert spool.waiting(path) == waiting
        assert spool.refused(path) == {key: (text, why) for key, (text, why) in model.items() if why is not None}
        depth = Depth(len(waiting), NOON if waiting else None, len(model) - len(waiting))
        assert spool.depth(path) == depth
        opened.close()
        assert spool.depth(path) == depth


def test_tells_the_oldest_first_and_since_when_it_waits(path: Path, kept: Spool) -> None:
    kept.keep({ONE: b"later"}, NOON + timedelta(seconds=2))
    kept.keep({TWO: b"refused"}, NOON - timedelta(hours=1), refused="odd")
    kept.keep({THREE: b"first"}, NOON)
    assert list(spool.waiting(path)) == [THREE, ONE]
    assert spool.depth(path) == Depth(2, NOON, 1)


def test_keeps_apart_what_was_refused(path: Path, kept: Spool) -> None:
    kept.keep({ONE: b"one", TWO: b"two"}, NOON)
    kept.keep({ONE: b"one"}, NOON, refused="the ledger never takes it")
    assert spool.waiting(path) == {TWO: b"two"}
    assert spool.refused(path) == {ONE: (b"one", "the ledger never takes it")}
    kept.drop([ONE])
    assert spool.refused(path) == {}


def test_has_what_it_kept_though_its_process_is_killed_at_once(path: Path) -> None:
    script = """
import os, signal, sys
from datetime import datetime, timezone
from pathlib import Path
from uuid import UUID
from tollgate.infra.spool import Spool
kept = Spool(Path(sys.argv[1]))
kept.keep({UUID(int=1): b"one", UUID(int=2): b"two"}, datetime(2026, 11, 22, 12, tzinfo=timezone.utc))
kept.drop([UUID(int=2)])
kept.keep({UUID(int=3): b"three"}, datetime(2026, 11, 22, 13, tzinfo=timezone.utc))
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert spool.waiting(path) == {ONE: b"one", THREE: b"three"}


def test_waits_for_the_disk_at_every_write(kept: Spool) -> None:
    assert [kept._connection.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "journal_mode")] == [
        (2,),
        ("wal",),
    ]


@pytest.mark.parametrize("read", READERS)
def test_that_was_never_made_is_empty(path: Path, read: Callable[[Path], object]) -> None:
    assert read(path) in ({}, Depth(0, None, 0))
    assert not path.exists()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "damage",
    [b"this is no database" * 200, b"", b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["garbage", "empty", "beheaded"],
)
def test_that_is_damaged_is_told_as_a_failure_of_the_disk_or_is_empty(
    path: Path, read: Callable[[Path], object], damage: bytes
) -> None:
    path.write_bytes(damage)
    if damage:
        with pytest.raises(OSError, match="cannot be read"):
            read(path)
    else:
        assert read(path) in ({}, Depth(0, None, 0))


@pytest.mark.parametrize(
    ("read", "row"),
    [
        (spool.waiting, "(x'01', x'02', '2026-11-22', NULL)"),
        (spool.waiting, "(NULL, x'02', '2026-11-22', NULL)"),
        (spool.refused, "('text', x'02', '2026-11-22', 'why')"),
        (spool.depth, "(x'01', x'02', 'noon', NULL)"),
    ],
)
def test_with_a_row_that_nobody_wrote_is_told_as_a_failure_of_the_disk(
    path: Path, read: Callable[[Path], object], row: str
) -> None:
    Spool(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"INSERT INTO spooled VALUES {row}")
    with pytest.raises(OSError, match="cannot be read"):
        read(path)


def test_that_cannot_be_written_is_told_as_a_failure_of_the_disk(path: Path, kept: Spool) -> None:
    kept._connection.execute("PRAGMA max_page_count = 3")
    kept.keep({ONE: b"small"}, NOON)
    with pytest.raises(OSError, match="does not take it"):
        kept.keep({TWO: bytes(100_000), THREE: b"small"}, NOON)
    assert spool.waiting(path) == {ONE: b"small"}
    kept.keep({THREE: b"small"}, NOON)
    assert spool.waiting(path) == {ONE: b"small", THREE: b"small"}
    kept._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OSError, match="does not let go of it"):
        kept.drop([ONE])


def test_that_cannot_even_be_made_is_told_as_a_failure_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="spool"):
        Spool(tmp_path / "nowhere" / "spool.sqlite")
    (tmp_path / "spool.sqlite").write_bytes(b"this is no database" * 200)
    with pytest.raises(OSError, match="spool"):
        Spool(tmp_path / "spool.sqlite")
