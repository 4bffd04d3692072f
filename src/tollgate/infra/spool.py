"""Spool: what waits for a database that is away, in a file that survives the machine.

SQLite, each write on the disk before it is answered. It is used only while PostgreSQL does not answer.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote
from uuid import UUID

_TABLE = """
    CREATE TABLE IF NOT EXISTS spooled (
        key        BLOB PRIMARY KEY,
        text       BLOB NOT NULL,
        spooled_at TEXT NOT NULL,
        refused    TEXT
    )
"""
_BUSY_SECONDS = 5

Key = TypeVar("Key", bound=UUID)


@dataclass(frozen=True, slots=True)
class Depth:
    """What lies in a spool."""

    waiting: int
    oldest: datetime | None
    """Since when the one that waits longest does."""
    refused: int
    """What will never be taken as it is: a person has to look at it."""


class Spool:
    """One file. Every method waits for the disk, so it is for threads, one at a time.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS, cached_statements=8
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_TABLE)
        except sqlite3.Error as error:
            raise OSError(f"the spool {path} cannot be made: {error}") from error

    def keep(self, texts: Mapping[Key, bytes], now: datetime, *, refused: str | None = None) -> None:
        """Write these down, and return when they are on the disk; `refused` says why they will never be taken.

        Raises:
            OSError: they are not.
        """
        rows = [(key.bytes, text, now.isoformat(), refused) for key, text in texts.items()]
        try:
            with self._connection as transaction:
                transaction.execute("BEGIN IMMEDIATE")
                transaction.executemany("INSERT OR REPLACE INTO spooled VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise OSError(f"the spool does not take it: {error}") from error

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget these: they have arrived.

        Raises:
            OSError: they will be found again, and sent again.
        """
        try:
            with self._connection as transaction:
                transaction.execute("BEGIN IMMEDIATE")
                transaction.executemany("DELETE FROM spooled WHERE key = ?", [(key.bytes,) for key in keys])
        except sqlite3.Error as error:
            raise OSError(f"the spool does not let go of it: {error}") from error

    def close(self) -> None:
        self._connection.close()


def waiting(path: Path) -> dict[UUID, bytes]:
    """What waits in a file that its process has left, oldest first.

    Raises:
        OSError: it cannot be read.
    """
    with _reading(path) as connection:
        rows = connection.execute("SELECT key, text FROM spooled WHERE refused IS NULL ORDER BY spooled_at")
        return {UUID(bytes=key): text for key, text in rows}


def refused(path: Path) -> dict[UUID, tuple[bytes, str]]:
    """What was refused for good, and why.

    Raises:
        OSError: it cannot be read.
    """
    with _reading(path) as connection:
        rows = connection.execute("SELECT key, text, refused FROM spooled WHERE refused IS NOT NULL")
        return {UUID(bytes=key): (text, why) for key, text, why in rows}


def depth(path: Path) -> Depth:
    """What lies in a file, whoever has it.

    Raises:
        OSError: it cannot be read.
    """
    with _reading(path) as connection:
        row = connection.execute("""
            SELECT sum(refused IS NULL), min(spooled_at) FILTER (WHERE refused IS NULL), sum(refused IS NOT NULL)
            FROM spooled
        """).fetchone()
        return Depth(row[0] or 0, None if row[1] is None else datetime.fromisoformat(row[1]), row[2] or 0)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The file, or an empty one in memory if there is none: its process never came to make it, or has removed it."""
    address = f"file:{quote(str(path))}?mode=rw" if path.exists() else ":memory:"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS)) as connection:
            connection.execute(_TABLE)
            yield connection
    # What a damaged file has for keys or instants may be neither.
    except (sqlite3.Error, TypeError, ValueError) as error:
        raise OSError(f"the spool {path} cannot be read: {error}") from error
