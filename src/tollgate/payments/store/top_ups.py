"""The SQL of top-ups."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import OrganizationId, TopUpId
from tollgate.payments.records import TopUp, TopUpStatus
from tollgate.payments.tables import TopUpRow


async def add(session: WriteSession, top_up: TopUp) -> None:
    """Insert a new top-up."""
    session.add(TopUpRow(**asdict(top_up)))
    await session.flush()


async def save(session: WriteSession, top_up: TopUp) -> None:
    """Write down what has become of it."""
    values = asdict(top_up)
    await session.execute(
        sa.update(TopUpRow)
        .where(_is(values.pop("organization_id"), values.pop("id")))
        .values(**values)
        .execution_options(synchronize_session=False)
    )


async def top_up(
    session: ReadSession, *, organization_id: OrganizationId, top_up_id: TopUpId, lock: bool = False
) -> TopUp | None:
    """The organization's top-up, for nobody else to change meanwhile if it is locked."""
    wanted = sa.select(TopUpRow).where(_is(organization_id, top_up_id)).execution_options(populate_existing=True)
    row = (await session.execute(wanted.with_for_update() if lock else wanted)).scalar_one_or_none()
    return None if row is None else _top_up(row)


async def asked_once(session: ReadSession, *, organization_id: OrganizationId, once_key: bytes) -> TopUp | None:
    """The top-up that a request with this idempotency key asked for."""
    found = await session.execute(
        sa.select(TopUpRow).where(col(TopUpRow.organization_id) == organization_id, col(TopUpRow.once_key) == once_key)
    )
    row = found.scalar_one_or_none()
    return None if row is None else _top_up(row)


async def top_ups(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> Sequence[TopUp]:
    """The organization's top-ups made before that one, newest first."""
    found = sa.select(TopUpRow).where(col(TopUpRow.organization_id) == organization_id)
    if before is not None:
        found = found.where(col(TopUpRow.id) < before)
    rows = await session.execute(found.order_by(col(TopUpRow.id).desc()).limit(count))
    return [_top_up(row) for row in rows.scalars()]


async def paid_by(session: ReadSession, intents: Collection[str]) -> list[TopUp]:
    """The top-ups that these payments paid, whichever organization's."""
    rows = await session.execute(
        sa.select(TopUpRow).where(
            col(TopUpRow.payment_intent_id).in_(intents), col(TopUpRow.status) == TopUpStatus.PAID
        )
    )
    return [_top_up(row) for row in rows.scalars()]


async def paid_since(session: ReadSession, since: datetime) -> list[TopUp]:
    """The top-ups that were paid since then, whichever organization's."""
    rows = await session.execute(
        sa.select(TopUpRow).where(col(TopUpRow.closed_at) >= since, col(TopUpRow.status) == TopUpStatus.PAID)
    )
    return [_top_up(row) for row in rows.scalars()]


async def count_unpaid(session: ReadSession, *, organization_id: OrganizationId, now: datetime) -> int:
    """How many pages of the organization wait for somebody to pay."""
    found = await session.execute(
        sa.select(sa.func.count())
        .select_from(TopUpRow)
        .where(
            col(TopUpRow.organization_id) == organization_id,
            col(TopUpRow.status).in_([TopUpStatus.OPENING, TopUpStatus.OPEN]),
            col(TopUpRow.expires_at) > now,
        )
    )
    return int(found.scalar_one())


async def due(session: ReadSession, *, now: datetime, count: int) -> list[tuple[OrganizationId, TopUpId]]:
    """The top-ups to look after now, those that waited longest first."""
    rows = await session.execute(
        sa.select(col(TopUpRow.organization_id), col(TopUpRow.id))
        .where(col(TopUpRow.next_at) <= now)
        .order_by(col(TopUpRow.next_at))
        .limit(count)
    )
    return [(OrganizationId(organization_id), TopUpId(top_up_id)) for organization_id, top_up_id in rows]


def _is(organization_id: OrganizationId, top_up_id: TopUpId) -> sa.ColumnElement[bool]:
    return sa.and_(col(TopUpRow.organization_id) == organization_id, col(TopUpRow.id) == top_up_id)


def _top_up(row: TopUpRow) -> TopUp:
    values = {name: getattr(row, name) for name in TopUp.__slots__}
    return TopUp(**{**values, "status": TopUpStatus(row.status)})
