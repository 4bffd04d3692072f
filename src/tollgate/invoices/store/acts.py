"""The SQL of what is done to whole invoices."""

import sqlalchemy as sa
from sqlmodel import col, select

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.acts import Act, ActKind
from tollgate.invoices.tables import InvoiceActRow
from tollgate.kit.ids import InvoiceId, OrganizationId


async def add_act(session: WriteSession, act: Act) -> None:
    """Write down what was done."""
    await session.execute(sa.insert(InvoiceActRow).values(**{name: getattr(act, name) for name in Act.__slots__}))


async def acts(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> list[Act]:
    """What was done to the invoice, oldest first."""
    rows = await session.scalars(
        select(InvoiceActRow)
        .where(col(InvoiceActRow.organization_id) == organization_id, col(InvoiceActRow.invoice_id) == invoice_id)
        .order_by(col(InvoiceActRow.acted_at), col(InvoiceActRow.id))
    )
    return [Act(**{**{name: getattr(row, name) for name in Act.__slots__}, "kind": ActKind(row.kind)}) for row in rows]
