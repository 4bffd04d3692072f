"""The SQL of refunds and disputes: money that goes back, and may come again."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit import money
from tollgate.kit.ids import InvoiceId, OrganizationId, TopUpId
from tollgate.payments.states import DisputeRow, RefundRow, RefundStatus
from tollgate.payments.tables import DisputeRecord, RefundRecord


async def add_refund(session: WriteSession, refund: RefundRow) -> RefundRow:
    """Insert the refund; answers the one that is there if it is already."""
    await session.execute(
        postgresql.insert(RefundRecord)
        .values(**{name: getattr(refund, name) for name in RefundRow.__slots__})
        .on_conflict_do_nothing(index_elements=[col(RefundRecord.organization_id), col(RefundRecord.id)])
    )
    return await _refund_of(session, refund)


async def _refund_of(session: ReadSession, refund: RefundRow) -> RefundRow:
    found = await locked_refund(session, organization_id=refund.organization_id, refund_id=refund.id)
    return found or refund


async def save_refund(session: WriteSession, refund: RefundRow) -> None:
    """Write down what of the refund changes."""
    await session.execute(
        sa.update(RefundRecord)
        .where(col(RefundRecord.organization_id) == refund.organization_id, col(RefundRecord.id) == refund.id)
        .values(**{name: getattr(refund, name) for name in _MOVING})
        .execution_options(synchronize_session=False)
    )


async def locked_refund(session: ReadSession, *, organization_id: OrganizationId, refund_id: UUID) -> RefundRow | None:
    """The refund as it is now."""
    row = await session.get(RefundRecord, (organization_id, refund_id), populate_existing=True)
    return None if row is None else _refund(row)


async def refund_at_stripe(session: ReadSession, stripe_refund_id: str) -> RefundRow | None:
    """The refund that Stripe calls so."""
    rows = await session.execute(
        sa.select(RefundRecord).where(col(RefundRecord.stripe_refund_id) == stripe_refund_id).limit(1)
    )
    row = rows.scalar_one_or_none()
    return None if row is None else _refund(row)


async def refunds_of(
    session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId
) -> list[RefundRow]:
    """The refunds of an invoice, oldest first."""
    rows = await session.execute(
        sa.select(RefundRecord)
        .where(col(RefundRecord.organization_id) == organization_id, col(RefundRecord.invoice_id) == invoice_id)
        .order_by(col(RefundRecord.created_at), col(RefundRecord.id))
    )
    return [_refund(row) for row in rows.scalars()]


async def under_way(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Decimal:
    """How much of an invoice's refunds is asked for and not in the books yet."""
    rows = await session.execute(
        sa.select(sa.func.coalesce(sa.func.sum(col(RefundRecord.amount)), 0)).where(
            col(RefundRecord.organization_id) == organization_id,
            col(RefundRecord.invoice_id) == invoice_id,
            col(RefundRecord.status) == RefundStatus.REQUESTED,
        )
    )
    return money.EXACT.add(Decimal(rows.scalar_one()), money.ZERO)


async def due_refunds(session: ReadSession, *, now: datetime, count: int) -> list[tuple[OrganizationId, UUID]]:
    """Refunds to ask Stripe about now, the longest due first."""
    rows = await session.execute(
        sa.select(col(RefundRecord.organization_id), col(RefundRecord.id))
        .where(col(RefundRecord.next_at) <= now)
        .order_by(col(RefundRecord.next_at))
        .limit(count)
    )
    return [(row[0], row[1]) for row in rows]


async def claim_refund(
    session: WriteSession, *, refund: tuple[OrganizationId, UUID], now: datetime, until: datetime
) -> RefundRow | None:
    """The refund, if Stripe is to be asked about it now and nobody does; it is the caller's until then."""
    rows = await session.execute(
        sa.select(RefundRecord)
        .where(
            col(RefundRecord.organization_id) == refund[0],
            col(RefundRecord.id) == refund[1],
            col(RefundRecord.next_at) <= now,
        )
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    )
    row = rows.scalar_one_or_none()
    if row is None:
        return None
    claimed = _refund(row)
    await save_refund(session, replace(claimed, next_at=until, attempts=claimed.attempts + 1))
    return claimed


async def changed_refunds(session: ReadSession, *, since: datetime) -> list[RefundRow]:
    """Refunds that changed since then or are not at their end, oldest first."""
    rows = await session.execute(
        sa.select(RefundRecord)
        .where(sa.or_(col(RefundRecord.updated_at) >= since, col(RefundRecord.next_at).is_not(None)))
        .order_by(col(RefundRecord.created_at))
    )
    return [_refund(row) for row in rows.scalars()]


async def dispute(session: ReadSession, *, organization_id: OrganizationId, dispute_id: UUID) -> DisputeRow | None:
    """The dispute as it is now."""
    row = await session.get(DisputeRecord, (organization_id, dispute_id), populate_existing=True)
    return None if row is None else _dispute(row)


async def save_dispute(session: WriteSession, changed: DisputeRow) -> None:
    """Insert the dispute, or write down what of it changes."""
    values = {name: getattr(changed, name) for name in DisputeRow.__slots__}
    await session.execute(
        postgresql.insert(DisputeRecord)
        .values(**values)
        .on_conflict_do_update(
            index_elements=[col(DisputeRecord.organization_id), col(DisputeRecord.id)],
            set_={name: values[name] for name in _DISPUTE_MOVING},
        )
    )


async def disputes(session: ReadSession, *, before: UUID | None, count: int) -> Sequence[DisputeRow]:
    """Disputes before that one, by their ids, newest first."""
    wanted = sa.select(DisputeRecord)
    place = (col(DisputeRecord.created_at), col(DisputeRecord.id))
    if before is not None:
        start = sa.select(place[0]).where(place[1] == before).scalar_subquery()
        wanted = wanted.where(sa.tuple_(*place) < sa.tuple_(start, before))
    rows = await session.execute(wanted.order_by(*(each.desc() for each in place)).limit(count))
    return [_dispute(row) for row in rows.scalars()]


async def of_top_ups(session: ReadSession, intents: Collection[str]) -> list[tuple[str, Decimal]]:
    """What went back of top-ups by these payments (below zero), and what came again."""
    refunds = await session.execute(
        sa.select(col(RefundRecord.payment_intent_id), -col(RefundRecord.amount)).where(
            col(RefundRecord.top_up_id).is_not(None),
            col(RefundRecord.payment_intent_id).in_(intents),
            col(RefundRecord.status).in_([RefundStatus.SENT, RefundStatus.SUCCEEDED]),
        )
    )
    disputes = await session.execute(
        sa.select(
            col(DisputeRecord.payment_intent_id), col(DisputeRecord.returned) - col(DisputeRecord.withdrawn)
        ).where(col(DisputeRecord.top_up_id).is_not(None), col(DisputeRecord.payment_intent_id).in_(intents))
    )
    return [(row[0], row[1]) for row in (*refunds, *disputes)]


async def of_top_up(
    session: ReadSession, *, organization_id: OrganizationId, top_up_id: TopUpId
) -> list[RefundRow | DisputeRow]:
    """The refunds and disputes of a top-up."""
    refunds = await session.execute(
        sa.select(RefundRecord).where(
            col(RefundRecord.organization_id) == organization_id, col(RefundRecord.top_up_id) == top_up_id
        )
    )
    disputes = await session.execute(
        sa.select(DisputeRecord).where(
            col(DisputeRecord.organization_id) == organization_id, col(DisputeRecord.top_up_id) == top_up_id
        )
    )
    return [*map(_refund, refunds.scalars()), *map(_dispute, disputes.scalars())]


_MOVING = ("status", "stripe_refund_id", "from_credit", "last_error", "attempts", "next_at", "updated_at")
_DISPUTE_MOVING = ("status", "withdrawn", "returned", "from_credit", "updated_at")


def _refund(row: RefundRecord) -> RefundRow:
    values: dict[str, Any] = {name: getattr(row, name) for name in RefundRow.__slots__}
    return RefundRow(**{**values, "status": RefundStatus(row.status)})


def _dispute(row: DisputeRecord) -> DisputeRow:
    return DisputeRow(**{name: getattr(row, name) for name in DisputeRow.__slots__})
