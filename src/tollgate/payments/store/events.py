"""The SQL of the inbox."""

from dataclasses import asdict
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.payments.records import InboxEvent
from tollgate.payments.tables import StripeEventRow


async def add(session: WriteSession, event: InboxEvent) -> bool:
    """Insert the event; false if it is there already."""
    added = await session.execute(
        postgresql.insert(StripeEventRow)
        .values(**asdict(event))
        .on_conflict_do_nothing()
        .returning(col(StripeEventRow.id))
    )
    return added.scalar_one_or_none() is not None


async def locked(session: WriteSession, event_id: str) -> InboxEvent | None:
    """The event, if nobody else is at it right now."""
    found = await session.execute(
        sa.select(StripeEventRow)
        .where(col(StripeEventRow.id) == event_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    row = found.scalar_one_or_none()
    return None if row is None else InboxEvent(**{name: getattr(row, name) for name in InboxEvent.__slots__})


async def save(session: WriteSession, event: InboxEvent) -> None:
    """Write down how far it has come."""
    names = ("processed_at", "attempts", "next_at", "error")
    await session.execute(
        sa.update(StripeEventRow)
        .where(col(StripeEventRow.id) == event.id)
        .values({name: getattr(event, name) for name in names})
        .execution_options(synchronize_session=False)
    )


async def due(session: ReadSession, *, now: datetime, count: int) -> list[str]:
    """The events to act on now, those that waited longest first."""
    rows = await session.execute(
        sa.select(col(StripeEventRow.id))
        .where(col(StripeEventRow.processed_at).is_(None), col(StripeEventRow.next_at) <= now)
        .order_by(col(StripeEventRow.next_at))
        .limit(count)
    )
    return list(rows.scalars())


async def forget(session: WriteSession, *, received_before: datetime) -> None:
    """Drop events that were acted on, and came so long ago that Stripe does not send them again."""
    await session.execute(
        sa.delete(StripeEventRow).where(
            col(StripeEventRow.received_at) < received_before, col(StripeEventRow.processed_at).is_not(None)
        )
    )
