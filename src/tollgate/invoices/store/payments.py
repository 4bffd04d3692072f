"""The SQL of payments."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import Payment, PaymentKind, PaymentMethod
from tollgate.invoices.tables import InvoicePaymentRow
from tollgate.kit.ids import InvoiceId, OrganizationId


async def add_payment(session: WriteSession, payment: Payment) -> bool:
    """Insert the payment; false if it is there already."""
    inserted = await session.execute(
        postgresql.insert(InvoicePaymentRow)
        .values(**{name: getattr(payment, name) for name in Payment.__slots__})
        .on_conflict_do_nothing()
        .returning(col(InvoicePaymentRow.id))
    )
    return inserted.scalar_one_or_none() is not None


async def payments(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> list[Payment]:
    """The payments of an invoice, oldest first."""
    rows = await session.execute(
        sa.select(InvoicePaymentRow)
        .where(
            col(InvoicePaymentRow.organization_id) == organization_id, col(InvoicePaymentRow.invoice_id) == invoice_id
        )
        .order_by(col(InvoicePaymentRow.recorded_at), col(InvoicePaymentRow.id))
    )
    return [_payment(row) for row in rows.scalars()]


async def at_stripe(session: ReadSession, *, references: Collection[str]) -> list[Payment]:
    """Everything that came in or went back by these payments at Stripe, whichever organization's, oldest first."""
    rows = await session.execute(
        sa.select(InvoicePaymentRow)
        .where(col(InvoicePaymentRow.method) == PaymentMethod.STRIPE, col(InvoicePaymentRow.reference).in_(references))
        .order_by(col(InvoicePaymentRow.recorded_at), col(InvoicePaymentRow.id))
    )
    return [_payment(row) for row in rows.scalars()]


async def references_since(session: ReadSession, since: datetime) -> list[str]:
    """The payments at Stripe that moved since then."""
    rows = await session.execute(
        sa.select(col(InvoicePaymentRow.reference))
        .where(col(InvoicePaymentRow.method) == PaymentMethod.STRIPE, col(InvoicePaymentRow.recorded_at) >= since)
        .distinct()
    )
    return [reference for reference in rows.scalars() if reference is not None]


def _payment(row: InvoicePaymentRow) -> Payment:
    values = {name: getattr(row, name) for name in Payment.__slots__}
    return Payment(**{**values, "kind": PaymentKind(row.kind), "method": PaymentMethod(row.method)})
