"""Estates: a folder for what a process must not take to its grave, and how another takes it over.

A process holds a lock on its folder for as long as it lives, and the kernel lets go of it however that life ends.
Whoever gets the lock of a folder is its heir. Processes that share a data directory find each other's.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

_LOCK = "lock"
_UNFINISHED = "new-"
_DAMAGED = "damaged-"


class Estate:
    """One process's folder, locked by us: our own, or that of a process which is gone."""

    def __init__(self, path: Path, lock: int) -> None:
        self.process_id = UUID(path.name)
        self.path = path
        self._lock = lock

    @property
    def is_there(self) -> bool:
        """Whether the folder is still this one: somebody may have deleted it under its process."""
        try:
            return (self.path / _LOCK).stat().st_ino == os.fstat(self._lock).st_ino
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Delete the folder: nothing in it matters any more."""
        # Who dies in the middle leaves nothing that looks like an estate.
        with suppress(FileNotFoundError):
            gone = self.path.rename(self.path.with_name(f"{_UNFINISHED}{self.path.name}"))
            shutil.rmtree(gone, ignore_errors=True)
        self.leave()

    def set_aside(self) -> None:
        """Keep the folder for a person to look at, where nobody takes it for an estate any more."""
        self.path = self.path.rename(self.path.with_name(f"{_DAMAGED}{self.path.name}"))
        self.leave()

    def leave(self) -> None:
        """Let go of the folder; whoever looks next is its heir."""
        os.close(self._lock)


def found(folder: Path, process_id: UUID) -> Estate:
    """Make this process's own.

    Raises:
        OSError: the folder cannot be written.
    """
    # Nobody may find it before it is locked.
    unfinished = folder / f"{_UNFINISHED}{process_id}"
    unfinished.mkdir(parents=True, mode=0o700)
    lock = os.open(unfinished / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return Estate(unfinished.rename(folder / str(process_id)), lock)


def inherited(folder: Path) -> Iterator[Estate]:
    """The estates of processes that are gone, each locked until it is removed or left."""
    for path in all_in(folder):
        lock = _locked(path / _LOCK)
        if lock is not None:
            yield Estate(path, lock)


def all_in(folder: Path) -> list[Path]:
    """Every estate's folder, whoever has it, for looking only."""
    found = sorted(folder.glob("*-*-*-*-*"))
    return [path for path in found if not path.name.startswith((_UNFINISHED, _DAMAGED))]


def _locked(path: Path) -> int | None:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        # Removed already, or somebody else's altogether.
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another heir may have removed the folder between our two steps: then this is the lock of nothing.
        if path.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(lock)
    return None
