"""All SQL of the ledger but one: calls are charged by the database function `ledger_charge_calls`."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col, select

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import GrantId, OrganizationId
from tollgate.ledger.model import Grant, GrantCategory, Transfer
from tollgate.ledger.tables import GrantRow, LedgerAccountRow

_POST = sa.text("""
    SELECT ledger_post(:organization_id, :id, :debit_account, :credit_account, :amount, :currency, :cause, :cause_id,
                       :reverses_id, :occurred_at, :posted_at)
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id", "cause_id", "reverses_id")),
    *(sa.bindparam(name, type_=sa.DateTime(timezone=True)) for name in ("occurred_at", "posted_at")),
    sa.bindparam("amount", type_=sa.Numeric(38, 12)),
)


async def post(session: WriteSession, transfer: Transfer) -> bool:
    """Append the transfer and move both balances; false if it was there already."""
    result = await session.execute(_POST, {name: getattr(transfer, name) for name in Transfer.__slots__})
    return bool(result.scalar_one())


async def add_grant(session: WriteSession, grant: Grant) -> None:
    """Insert a new grant."""
    session.add(GrantRow(**{name: getattr(grant, name) for name in Grant.__slots__}))
    await session.flush()


async def grants(
    session: ReadSession, organization_id: OrganizationId, *, before: UUID | None, count: int
) -> list[Grant]:
    """The organization's grants made before that one, spent or not, newest first."""
    found = select(GrantRow).where(col(GrantRow.organization_id) == organization_id)
    if before is not None:
        found = found.where(col(GrantRow.id) < before)
    return [_grant(row) for row in await session.scalars(found.order_by(col(GrantRow.id).desc()).limit(count))]


async def live_grants(
    session: ReadSession, organization_id: OrganizationId, *, currency: str, now: datetime
) -> list[Grant]:
    """The organization's grants of which something is left to spend now, newest first."""
    found = select(GrantRow).where(
        col(GrantRow.organization_id) == organization_id,
        col(GrantRow.currency) == currency,
        col(GrantRow.remaining) > 0,
        sa.or_(col(GrantRow.expires_at).is_(None), col(GrantRow.expires_at) > now),
    )
    return [_grant(row) for row in await session.scalars(found.order_by(col(GrantRow.id).desc()))]


async def balance(session: ReadSession, organization_id: OrganizationId, account: str, currency: str) -> Decimal:
    """Debits less credits of one account."""
    row = await session.get(LedgerAccountRow, (organization_id, account, currency))
    return Decimal(0) if row is None else row.debits - row.credits


def _grant(row: GrantRow) -> Grant:
    return Grant(
        organization_id=OrganizationId(row.organization_id),
        id=GrantId(row.id),
        category=GrantCategory(row.category),
        priority=row.priority,
        amount=row.amount,
        remaining=row.remaining,
        currency=row.currency,
        reason=row.reason,
        expires_at=row.expires_at,
        created_at=row.created_at,
        created_by=row.created_by,
    )
