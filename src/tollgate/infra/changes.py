"""Changes: what was done to what, when, by whom and from where, written in the very transaction that did it.

The record is only ever added to; the database refuses anything else. What the subjects are is their slices' business:
here they have a kind, a name, and their public fields before and after.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from tollgate.infra.chunks import chunks
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.identity import new_id
from tollgate.infra.tables import ChangeRow
from tollgate.kit.ids import KeyId

CHANGES: sa.Table = ChangeRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it to table classes

Facts = Mapping[str, Any]
"""The public fields of a subject, as JSON has them."""


class Action(StrEnum):
    """What was done."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    PUBLISHED = "published"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Act:
    """When, by whom and from where something is done."""

    at: datetime
    by: KeyId | None = None
    """The operator's key; `None` for the first start, the command line and imports."""
    address: str | None = None
    """The client's address, as the connection tells it; `None` where there is no connection."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing done to one subject."""

    action: Action
    kind: str
    """What the subject is: `model`, `price`, …"""
    subject: str
    """Its slug or its typed id."""
    before: Facts | None
    after: Facts | None


@dataclass(frozen=True, slots=True)
class Change:
    """A deed with its act, as it is on record."""

    id: UUID
    act: Act
    deed: Deed


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which changes are looked for; what is `None` restricts nothing."""

    kind: str | None = None
    subject: str | None = None
    by: KeyId | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Changes before this instant."""


async def record(session: WriteSession, deeds: Sequence[Deed], *, act: Act) -> None:
    """Write down what this transaction does."""
    rows = [
        {
            "id": new_id(act.at),
            "at": act.at,
            "by": act.by,
            "address": act.address,
            "action": deed.action,
            "kind": deed.kind,
            "subject": deed.subject,
            "before": deed.before,
            "after": deed.after,
        }
        for deed in deeds
    ]
    for chunk in chunks(rows):
        await session.execute(sa.insert(CHANGES).values(chunk))


async def read(session: ReadSession, wanted: Wanted, *, before: UUID | None, count: int) -> list[Change]:
    """The changes that are wanted, newest first."""
    statement = sa.select(CHANGES).order_by(CHANGES.c.id.desc()).limit(count)
    for column, value in (
        (CHANGES.c.kind, wanted.kind),
        (CHANGES.c.subject, wanted.subject),
        (CHANGES.c.by, wanted.by),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if wanted.since is not None:
        statement = statement.where(CHANGES.c.at >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(CHANGES.c.at < wanted.until)
    if before is not None:
        statement = statement.where(CHANGES.c.id < before)
    return [_change(row) for row in await session.execute(statement)]


async def subjects(session: ReadSession, *, kind: str, action: Action) -> set[str]:
    """The subjects of this kind to which this was ever done."""
    statement = sa.select(CHANGES.c.subject).where(CHANGES.c.kind == kind, CHANGES.c.action == action).distinct()
    return set((await session.execute(statement)).scalars())


def _change(row: sa.Row[Any]) -> Change:
    act = Act(row.at, None if row.by is None else KeyId(row.by), row.address)
    return Change(row.id, act, Deed(Action(row.action), row.kind, row.subject, row.before, row.after))
