"""The SQL of collection: invoices to collect, and what is set for organizations."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.payments.states import (
    Collection,
    CollectionMode,
    CollectionSettings,
    CollectionState,
    Dunning,
    Mirror,
)
from tollgate.payments.tables import CollectionRow, CollectionSettingsRow

LEASE = timedelta(minutes=5)
"""For how long whoever takes a collection has it alone. Longer than its steps take; if it dies, another takes over."""


async def due(session: ReadSession, *, now: datetime, count: int) -> list[tuple[OrganizationId, InvoiceId]]:
    """What is to be worked on now, the longest due first."""
    rows = await session.execute(
        sa.select(col(CollectionRow.organization_id), col(CollectionRow.invoice_id))
        .where(_is_due(now))
        .order_by(col(CollectionRow.next_at))
        .limit(count)
    )
    return [(row[0], row[1]) for row in rows]


async def claim(
    session: WriteSession, *, organization_id: OrganizationId, invoice_id: InvoiceId, now: datetime
) -> Collection | None:
    """The collection, if it is to be worked on now and nobody does: it is the caller's until the lease ends."""
    wanted = (
        sa.select(col(CollectionRow.invoice_id))
        .where(*_one(organization_id, invoice_id), _is_due(now))
        .with_for_update(skip_locked=True)
    )
    rows = await session.execute(
        sa.update(CollectionRow)
        .where(col(CollectionRow.organization_id) == organization_id, col(CollectionRow.invoice_id).in_(wanted))
        .values(woken=False, next_at=now + LEASE, version=col(CollectionRow.version) + 1)
        .returning(CollectionRow)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _collection(row)


async def save(session: WriteSession, collection: Collection) -> Collection | None:
    """Write the collection down as the next version; `None` if another was written meanwhile."""
    mirror, dunning = collection.mirror, collection.dunning
    rows = await session.execute(
        sa.update(CollectionRow)
        .where(
            *_one(collection.organization_id, collection.invoice_id), col(CollectionRow.version) == collection.version
        )
        .values(
            {
                **{name: getattr(collection, name) for name in _PLAIN},
                **{name: getattr(dunning, name) for name in Dunning.__slots__},
                "revision": mirror.revision,
                "begun_at": mirror.begun_at,
                "stripe_customer_id": mirror.customer_id,
                "stripe_invoice_id": mirror.invoice_id,
                "amount": mirror.amount,
                "filled_at": mirror.filled_at,
                "version": col(CollectionRow.version) + 1,
            }
        )
        .returning(CollectionRow)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _collection(row)


async def ask(session: WriteSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Collection | None:
    """Have the collection be worked on now, and the money be taken; whoever works on it already begins anew."""
    rows = await session.execute(
        sa.update(CollectionRow)
        .where(*_one(organization_id, invoice_id))
        .values(is_asked=True, woken=True, version=col(CollectionRow.version) + 1)
        .returning(CollectionRow)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _collection(row)


async def wake(session: WriteSession, *, stripe_invoice_id: str) -> bool:
    """Have the collection with this mirror be looked at soon; false if there is none."""
    rows = await session.execute(
        sa.update(CollectionRow)
        .where(col(CollectionRow.stripe_invoice_id) == stripe_invoice_id)
        .values(woken=True)
        .returning(col(CollectionRow.invoice_id))
        .execution_options(synchronize_session=False)
    )
    return rows.scalar_one_or_none() is not None


async def wake_all(session: WriteSession, *, organization_id: OrganizationId, ask: bool = False) -> None:
    """Have every open collection of the organization be looked at soon: something changed for all of them.

    With `ask`, those whose money could not be taken before are tried again at once.
    """
    tried = sa.or_(col(CollectionRow.is_asked), sa.and_(sa.literal(ask), col(CollectionRow.failures) > 0))
    await session.execute(
        sa.update(CollectionRow)
        .where(col(CollectionRow.organization_id) == organization_id, col(CollectionRow.state) == CollectionState.OPEN)
        .values(woken=True, is_asked=tried, version=col(CollectionRow.version) + 1)
        .execution_options(synchronize_session=False)
    )


async def collection(
    session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId
) -> Collection | None:
    """The collection of an invoice; `None` if nothing was ever due on it."""
    row = await session.get(CollectionRow, (organization_id, invoice_id), populate_existing=True)
    return None if row is None else _collection(row)


async def collections(
    session: ReadSession, *, states: Sequence[CollectionState], since: datetime | None = None, count: int
) -> list[Collection]:
    """Collections in these states, and those of any state that changed since then, the oldest first."""
    wanted: sa.ColumnElement[bool] = col(CollectionRow.state).in_(states)
    if since is not None:
        wanted = sa.or_(wanted, col(CollectionRow.updated_at) >= since)
    rows = await session.execute(
        sa.select(CollectionRow)
        .where(wanted)
        .order_by(col(CollectionRow.created_at), col(CollectionRow.invoice_id))
        .limit(count)
    )
    return [_collection(row) for row in rows.scalars()]


async def page(
    session: ReadSession, *, state: CollectionState | None, before: InvoiceId | None, count: int
) -> list[Collection]:
    """Collections in this state, or in any, of invoices before that one, newest first."""
    wanted = sa.select(CollectionRow)
    if state is not None:
        wanted = wanted.where(col(CollectionRow.state) == state)
    place = (col(CollectionRow.created_at), col(CollectionRow.invoice_id))
    if before is not None:
        start = sa.select(place[0]).where(place[1] == before).scalar_subquery()
        wanted = wanted.where(sa.tuple_(*place) < sa.tuple_(start, before))
    rows = await session.execute(wanted.order_by(*(each.desc() for each in place)).limit(count))
    return [_collection(row) for row in rows.scalars()]


async def mirrored_by(session: ReadSession, stripe_invoice_id: str) -> Collection | None:
    """The collection whose mirror this is."""
    rows = await session.execute(
        sa.select(CollectionRow).where(col(CollectionRow.stripe_invoice_id) == stripe_invoice_id)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _collection(row)


async def is_past_due(session: ReadSession, *, organization_id: OrganizationId) -> bool:
    """Whether an invoice of the organization is past due and not settled."""
    rows = await session.execute(
        sa.select(sa.literal(1))
        .where(
            col(CollectionRow.organization_id) == organization_id,
            col(CollectionRow.past_due_at).is_not(None),
            col(CollectionRow.state) != CollectionState.DONE,
        )
        .limit(1)
    )
    return rows.scalar_one_or_none() is not None


async def counts(session: ReadSession, *, now: datetime) -> tuple[dict[str, int], datetime | None]:
    """How many collections are in which state, and since when the longest due waits."""
    by_state = await session.execute(
        sa.select(col(CollectionRow.state), sa.func.count()).group_by(col(CollectionRow.state))
    )
    oldest = await session.execute(sa.select(sa.func.min(col(CollectionRow.next_at))).where(_is_due(now)))
    return {row[0]: row[1] for row in by_state}, oldest.scalar_one()


async def settings(session: ReadSession, *, organization_id: OrganizationId) -> CollectionSettings:
    """What is set for the organization."""
    row = await session.get(CollectionSettingsRow, organization_id, populate_existing=True)
    if row is None:
        return CollectionSettings(organization_id)
    chosen = None if row.mode is None else CollectionMode(row.mode)
    return CollectionSettings(organization_id, chosen, row.suspended_at)


async def set_settings(session: WriteSession, changed: CollectionSettings) -> None:
    """Write down what is set for the organization."""
    values = {"mode": changed.mode, "suspended_at": changed.suspended_at}
    await session.execute(
        postgresql.insert(CollectionSettingsRow)
        .values(organization_id=changed.organization_id, **values)
        .on_conflict_do_update(index_elements=[col(CollectionSettingsRow.organization_id)], set_=values)
    )


_PLAIN = ("state", "errors", "last_error", "parked_reason", "is_asked", "next_at", "updated_at")


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    waits = sa.and_(col(CollectionRow.state) == CollectionState.OPEN, col(CollectionRow.next_at) <= now)
    return sa.or_(col(CollectionRow.woken), waits)


def _one(organization_id: OrganizationId, invoice_id: InvoiceId) -> tuple[sa.ColumnElement[bool], ...]:
    return col(CollectionRow.organization_id) == organization_id, col(CollectionRow.invoice_id) == invoice_id


def _collection(row: CollectionRow) -> Collection:
    values: dict[str, Any] = {name: getattr(row, name) for name in _PLAIN}
    return Collection(
        **{**values, "state": CollectionState(row.state)},
        organization_id=row.organization_id,
        invoice_id=row.invoice_id,
        mirror=Mirror(
            row.revision, row.begun_at, row.stripe_customer_id, row.stripe_invoice_id, row.amount, row.filled_at
        ),
        dunning=Dunning(**{name: getattr(row, name) for name in Dunning.__slots__}),
        created_at=row.created_at,
        version=row.version,
    )
