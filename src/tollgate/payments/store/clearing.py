"""The SQL of what moves at Stripe and is paid out from there, and of comparisons of its books with ours."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import OrganizationId
from tollgate.payments.states import Difference, Movement, PayoutShare, Reconciliation, Unlike
from tollgate.payments.tables import MovementRow, PayoutShareRow, ReconciliationRow


async def add_movement(session: WriteSession, movement: Movement) -> bool:
    """Insert the movement; false if it is there already."""
    inserted = await session.execute(
        postgresql.insert(MovementRow)
        .values(**{name: getattr(movement, name) for name in Movement.__slots__})
        .on_conflict_do_nothing()
        .returning(col(MovementRow.id))
    )
    return inserted.scalar_one_or_none() is not None


async def movements(session: ReadSession, ids: Collection[str]) -> list[Movement]:
    """Those of these movements that are written down."""
    rows = await session.execute(sa.select(MovementRow).where(col(MovementRow.id).in_(ids)))
    return [_movement(row) for row in rows.scalars()]


async def movements_since(session: ReadSession, since: datetime) -> list[Movement]:
    """Movements since then, oldest first."""
    rows = await session.execute(
        sa.select(MovementRow).where(col(MovementRow.created_at) >= since).order_by(col(MovementRow.created_at))
    )
    return [_movement(row) for row in rows.scalars()]


async def by_payment(session: ReadSession, intents: Collection[str]) -> dict[str, tuple[OrganizationId, Decimal]]:
    """What moved in all by each of these payments, in what the customer paid in, and whose payment it is."""
    rows = await session.execute(
        sa.select(
            col(MovementRow.payment_intent_id), col(MovementRow.organization_id), sa.func.sum(MovementRow.source_amount)
        )
        .where(col(MovementRow.payment_intent_id).in_(intents))
        .group_by(col(MovementRow.payment_intent_id), col(MovementRow.organization_id))
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def at_stripe(session: ReadSession) -> dict[tuple[OrganizationId, str], Decimal]:
    """What of each organization is at Stripe by its movements and payouts, by currency; nothing is left out."""
    moved = sa.select(
        col(MovementRow.organization_id),
        col(MovementRow.currency),
        (col(MovementRow.amount) - col(MovementRow.fee)).label("net"),
    )
    paid_out = sa.select(
        col(PayoutShareRow.organization_id),
        col(PayoutShareRow.currency),
        sa.case((col(PayoutShareRow.is_return), col(PayoutShareRow.amount)), else_=-col(PayoutShareRow.amount)),
    )
    both = sa.union_all(moved, paid_out).subquery()
    rows = await session.execute(
        sa.select(both.c.organization_id, both.c.currency, sa.func.sum(both.c.net)).group_by(
            both.c.organization_id, both.c.currency
        )
    )
    return {(row[0], row[1]): row[2] for row in rows}


async def add_share(session: WriteSession, share: PayoutShare) -> bool:
    """Insert an organization's part of a payout; false if it is there already."""
    inserted = await session.execute(
        postgresql.insert(PayoutShareRow)
        .values(**{name: getattr(share, name) for name in PayoutShare.__slots__})
        .on_conflict_do_nothing()
        .returning(col(PayoutShareRow.payout_id))
    )
    return inserted.scalar_one_or_none() is not None


async def shares_of(session: ReadSession, payout_id: str) -> list[PayoutShare]:
    """The parts of a payout that are written down, those that came back too."""
    rows = await session.execute(sa.select(PayoutShareRow).where(col(PayoutShareRow.payout_id) == payout_id))
    return [PayoutShare(**{name: getattr(row, name) for name in PayoutShare.__slots__}) for row in rows.scalars()]


async def add_reconciliation(session: WriteSession, found: Reconciliation) -> None:
    """Insert what came of a comparison."""
    session.add(
        ReconciliationRow(
            id=found.id,
            began_at=found.began_at,
            finished_at=found.finished_at,
            since=found.since,
            compared=dict(found.compared),
            repaired=found.repaired,
            differences=[
                {name: getattr(difference, name) for name in Difference.__slots__} for difference in found.differences
            ],
        )
    )
    await session.flush()


async def reconciliations(session: ReadSession, *, before: UUID | None = None, count: int) -> Sequence[Reconciliation]:
    """Comparisons made before that one, newest first."""
    wanted = sa.select(ReconciliationRow)
    if before is not None:
        wanted = wanted.where(col(ReconciliationRow.id) < before)
    rows = await session.execute(wanted.order_by(col(ReconciliationRow.id).desc()).limit(count))
    return [_reconciliation(row) for row in rows.scalars()]


def _movement(row: MovementRow) -> Movement:
    return Movement(**{name: getattr(row, name) for name in Movement.__slots__})


def _reconciliation(row: ReconciliationRow) -> Reconciliation:
    return Reconciliation(
        id=row.id,
        began_at=row.began_at,
        finished_at=row.finished_at,
        since=row.since,
        compared=row.compared,
        repaired=row.repaired,
        differences=tuple(Difference(**{**each, "kind": Unlike(each["kind"])}) for each in row.differences),
    )
