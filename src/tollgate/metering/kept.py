"""Kept: what lies in the spools of a data directory, for a person to look at and put right. No database is asked.

A refused settlement that is to be tried again is left as if by a process that is gone: whoever lives takes it over.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tollgate.infra import estate, identity
from tollgate.infra import spool as spools
from tollgate.infra.spool import Spool
from tollgate.kit import ids
from tollgate.kit.errors import NotFound, PermissionDenied
from tollgate.kit.ids import CallId
from tollgate.metering import letters
from tollgate.metering.letters import Unreadable
from tollgate.metering.model import Settlement
from tollgate.metering.safekeeping import FOLDER, SPOOL_FILE


@dataclass(frozen=True, slots=True)
class Kept:
    """One settlement in a spool."""

    estate: Path
    """The folder of the process that keeps it."""
    call_id: CallId
    letter: bytes
    refused: str | None
    """Why the ledger never takes it as it is; `None` if it waits for the ledger."""

    @property
    def settlement(self) -> Settlement | None:
        """What is to be recorded; `None` if the letter cannot be read."""
        try:
            return letters.read(self.letter)
        except Unreadable:
            return None


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in the spools of a data directory, for whichever ledger."""

    kept: Sequence[Kept]
    """What waits first, then what was refused; of each the oldest call first."""
    unreadable: Mapping[Path, str]
    """Estates whose spool cannot be read, and why."""


def in_data_dir(data_dir: Path) -> Contents:
    """Everything in the spools of a data directory.

    Raises:
        NotFound: no process ever kept anything there.
        OSError: the directory cannot be read.
    """
    folder = data_dir / FOLDER
    if not folder.is_dir():
        raise NotFound(f"No process has ever kept calls in {folder.absolute()}.")
    kept: list[Kept] = []
    unreadable: dict[Path, str] = {}
    for path in [path for ledger in sorted(folder.iterdir()) for path in estate.all_in(ledger)]:
        try:
            kept += _in_estate(path)
        except OSError as error:
            unreadable[path] = str(error)
    return Contents(sorted(kept, key=lambda each: (each.refused is not None, each.call_id)), unreadable)


def refused(data_dir: Path, call_ids: Collection[CallId]) -> list[Kept]:
    """The refused settlements of these calls, or all of them if none is named.

    Raises:
        NotFound: there is none of some call.
        OSError: the directory cannot be read.
    """
    found = [each for each in in_data_dir(data_dir).kept if each.refused is not None]
    missing = set(call_ids) - {each.call_id for each in found}
    if missing:
        raise NotFound(f"Nothing was refused of {', '.join(ids.typed('gen', each) for each in sorted(missing))}.")
    return [each for each in found if each.call_id in call_ids or not call_ids]


def retry(chosen: Collection[Kept], now: datetime) -> None:
    """Have refused settlements sent to the ledger once more, by a process that lives, within seconds.

    Raises:
        PermissionDenied: the files belong to another user.
        OSError: the disk does not take it; what was refused is still there.
    """
    for folder in {each.estate.parent for each in chosen}:
        _check_owner(folder)
        here = [each for each in chosen if each.estate.parent == folder]
        left = estate.found(folder, identity.new_id(now))
        spool = Spool(left.path / SPOOL_FILE)
        try:
            spool.keep({each.call_id: each.letter for each in here}, now)
        finally:
            spool.close()
        # Nobody takes it over before we let go of it: by then it is in no other place any more.
        discard(here)
        left.leave()


def discard(chosen: Collection[Kept]) -> None:
    """Forget settlements for good.

    Raises:
        PermissionDenied: the files belong to another user.
        OSError: the disk does not let go of them.
    """
    for path in {each.estate for each in chosen}:
        _check_owner(path)
        spool = Spool(path / SPOOL_FILE)
        try:
            spool.drop([each.call_id for each in chosen if each.estate == path])
        finally:
            spool.close()


def _in_estate(path: Path) -> Iterator[Kept]:
    file = path / SPOOL_FILE
    for key, letter in spools.waiting(file).items():
        yield Kept(path, CallId(key), letter, None)
    for key, (letter, why) in spools.refused(file).items():
        yield Kept(path, CallId(key), letter, why)


def _check_owner(folder: Path) -> None:
    """Files that we make must be such that the processes can open them, or none of them takes over anything more."""
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise PermissionDenied(f"{folder} belongs to the user with the id {owner}: run this as that user.")
