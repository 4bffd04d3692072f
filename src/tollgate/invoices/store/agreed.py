"""The SQL that tells what of an organization's agreements is on invoices already."""

from decimal import Decimal

import sqlalchemy as sa
from sqlmodel import col

from tollgate.infra.database import ReadSession
from tollgate.invoices.model import Invoiced, InvoiceStatus, LineType, Month
from tollgate.invoices.tables import InvoiceLineRow, InvoiceRow
from tollgate.kit import money
from tollgate.kit.ids import AgreementId, OrganizationId

_LINES = sa.join(
    InvoiceLineRow,
    InvoiceRow,
    sa.and_(
        col(InvoiceRow.organization_id) == col(InvoiceLineRow.organization_id),
        col(InvoiceRow.id) == col(InvoiceLineRow.invoice_id),
        col(InvoiceRow.status) != InvoiceStatus.VOID,
    ),
)
_MONTH = sa.func.coalesce(col(InvoiceLineRow.origin), col(InvoiceRow.month))


async def invoiced(session: ReadSession, *, organization_id: OrganizationId) -> Invoiced:
    """What the organization's invoices said of agreements, whichever invoice said it."""
    lines = await session.execute(
        sa.select(col(InvoiceLineRow.agreement_id), _MONTH, col(InvoiceLineRow.type), col(InvoiceLineRow.amount_exact))
        .select_from(_LINES)
        .where(
            col(InvoiceLineRow.organization_id) == organization_id,
            col(InvoiceLineRow.agreement_id).is_not(None),
            col(InvoiceLineRow.type) != LineType.DISCOUNT,
        )
    )
    fees: set[tuple[AgreementId, Month]] = set()
    topped_up: dict[tuple[AgreementId, Month], Decimal] = {}
    used_up: dict[tuple[AgreementId, Month], Decimal] = {}
    for agreement_id, name, kind, amount in lines:
        if agreement_id is None:
            continue
        place = (agreement_id, Month.named(name))
        if kind == LineType.FEE:
            fees.add(place)
        elif amount > 0:
            topped_up[place] = money.EXACT.add(topped_up.get(place, money.ZERO), amount)
        else:
            used_up[place] = money.EXACT.subtract(used_up.get(place, money.ZERO), amount)
    late = await _late(session, organization_id, {month.name for _, month in topped_up})
    return Invoiced(frozenset(fees), topped_up, used_up, late)


async def _late(session: ReadSession, organization_id: OrganizationId, origins: set[str]) -> dict[Month, Decimal]:
    if not origins:
        return {}
    sums = await session.execute(
        sa.select(col(InvoiceLineRow.origin), sa.func.sum(col(InvoiceLineRow.amount_exact)))
        .select_from(_LINES)
        .where(
            col(InvoiceLineRow.organization_id) == organization_id,
            col(InvoiceLineRow.type) == LineType.USAGE,
            col(InvoiceLineRow.origin).in_(origins),
        )
        .group_by(col(InvoiceLineRow.origin))
    )
    return {Month.named(str(name)): amount for name, amount in sums}
