"""All SQL of the ledger, but for database functions that the data plane calls too (migrations/sql, 0003 and 0008)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col, select

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import AdjustmentId, GrantId, OrganizationId
from tollgate.ledger.model import Adjustment, Favour, Grant, GrantCategory, InvoiceScope, Transfer
from tollgate.ledger.tables import AdjustmentRow, GrantRow, LedgerAccountRow, TransferRow

INSTANT = sa.DateTime(timezone=True)
MONEY = sa.Numeric(38, 12)
_NO_INVOICE = (datetime.min.replace(tzinfo=UTC), -1)
"""The end and the cut of an invoice before all charges."""

_POST = sa.text("""
    SELECT ledger_post(:organization_id, :id, :debit_account, :credit_account, :amount, :currency, :cause, :cause_id,
                       :reverses_id, :occurred_at, :posted_at)
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id", "cause_id", "reverses_id")),
    *(sa.bindparam(name, type_=INSTANT) for name in ("occurred_at", "posted_at")),
    sa.bindparam("amount", type_=MONEY),
)
_LOCK = sa.text("SELECT lock_organization(:organization_id)").bindparams(sa.bindparam("organization_id", type_=sa.Uuid))
_END_GRANTS = sa.text("SELECT end_grants(:now, :organization_id)").bindparams(
    sa.bindparam("now", type_=INSTANT), sa.bindparam("organization_id", type_=sa.Uuid)
)
_CHARGE = sa.text("""
    SELECT (ledger_charge_calls(ARRAY [(:organization_id, :id, :amount, :currency, :at)::ledger_charge], :at,
                                'adjustment'))[1]
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id")),
    sa.bindparam("amount", type_=MONEY),
    sa.bindparam("currency", type_=sa.Text),
    sa.bindparam("at", type_=INSTANT),
)


async def post(session: WriteSession, transfer: Transfer) -> bool:
    """Append the transfer and move both balances; false if it was there already."""
    result = await session.execute(_POST, {name: getattr(transfer, name) for name in Transfer.__slots__})
    return bool(result.scalar_one())


async def caused(session: ReadSession, organization_id: OrganizationId, cause: str, cause_id: UUID) -> list[Transfer]:
    """The transfers that were posted for this cause, without those that take another one back."""
    rows = await session.scalars(
        select(TransferRow)
        .where(
            col(TransferRow.organization_id) == organization_id,
            col(TransferRow.cause_id) == cause_id,
            col(TransferRow.cause) == cause,
            col(TransferRow.reverses_id).is_(None),
        )
        .order_by(col(TransferRow.id))
    )
    return [Transfer(**{name: getattr(row, name) for name in Transfer.__slots__}) for row in rows]


async def add_grant(session: WriteSession, grant: Grant) -> None:
    """Insert a new grant."""
    session.add(GrantRow(**{name: getattr(grant, name) for name in Grant.__slots__}))
    await session.flush()


async def lock(session: WriteSession, organization_id: OrganizationId) -> int:
    """Take the organization's lock until the transaction ends; answers the cut that records belong to now."""
    return int((await session.execute(_LOCK, {"organization_id": organization_id})).scalar_one())


async def end_grants(session: WriteSession, *, now: datetime, organization_id: OrganizationId | None) -> int:
    """Close grants that ended, of one organization or of all; answers how many were closed."""
    result = await session.execute(_END_GRANTS, {"now": now, "organization_id": organization_id})
    return int(result.scalar_one())


async def void_grant(session: WriteSession, grant: Grant) -> None:
    """Write down that, by whom and why the grant was voided."""
    names = ("voided_at", "voided_by", "void_reason")
    await session.execute(_one_grant(grant.organization_id, grant.id).values({n: getattr(grant, n) for n in names}))


async def lower_remaining(
    session: WriteSession, organization_id: OrganizationId, grant_id: GrantId, amount: Decimal
) -> None:
    """Take the amount from what is left of the grant; the database refuses to take more than that."""
    lowered = _one_grant(organization_id, grant_id).values(remaining=col(GrantRow.remaining) - amount)
    await session.execute(lowered)


def _one_grant(organization_id: OrganizationId, grant_id: GrantId) -> sa.Update:
    return (
        sa.update(GrantRow)
        .where(col(GrantRow.organization_id) == organization_id, col(GrantRow.id) == grant_id)
        .execution_options(synchronize_session=False)
    )


async def grant(session: ReadSession, organization_id: OrganizationId, grant_id: GrantId) -> Grant | None:
    """The organization's grant with this id, as the database has it now."""
    row = await session.get(GrantRow, (organization_id, grant_id), populate_existing=True)
    return None if row is None else _grant(row)


async def referenced_grant(session: ReadSession, organization_id: OrganizationId, reference: str) -> Grant | None:
    """The organization's grant with this reference."""
    found = select(GrantRow).where(
        col(GrantRow.organization_id) == organization_id, col(GrantRow.reference) == reference
    )
    row = (await session.scalars(found)).one_or_none()
    return None if row is None else _grant(row)


async def grants(
    session: ReadSession, organization_id: OrganizationId, *, before: UUID | None, count: int
) -> list[Grant]:
    """The organization's grants made before that one, spent, ended or not, newest first."""
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
        sa.or_(col(GrantRow.ends_at).is_(None), col(GrantRow.ends_at) > now),
    )
    return [_grant(row) for row in await session.scalars(found.order_by(col(GrantRow.id).desc()))]


async def charge(session: WriteSession, adjustment: Adjustment) -> Decimal:
    """Post a charge as a call of its time would be; answers what grants paid of it."""
    result = await session.execute(
        _CHARGE,
        {
            "organization_id": adjustment.organization_id,
            "id": adjustment.id,
            "amount": adjustment.amount.copy_negate(),
            "currency": adjustment.currency,
            "at": adjustment.created_at,
        },
    )
    return result.scalar_one_or_none() or Decimal(0)


async def add_adjustment(session: WriteSession, adjustment: Adjustment) -> None:
    """Insert a new adjustment; from then on it never changes."""
    session.add(AdjustmentRow(**{name: getattr(adjustment, name) for name in Adjustment.__slots__}))
    await session.flush()


async def adjustments(
    session: ReadSession, organization_id: OrganizationId, *, before: UUID | None, count: int
) -> list[Adjustment]:
    """The organization's adjustments made before that one, newest first."""
    found = select(AdjustmentRow).where(col(AdjustmentRow.organization_id) == organization_id)
    if before is not None:
        found = found.where(col(AdjustmentRow.id) < before)
    rows = await session.scalars(found.order_by(col(AdjustmentRow.id).desc()).limit(count))
    return [_adjustment(row) for row in rows]


async def charges(
    session: ReadSession, organization_id: OrganizationId, *, currency: str, scope: InvoiceScope
) -> list[Adjustment]:
    """The charges that an invoice covers, oldest first."""
    previous_end, previous_cut = scope.previous or _NO_INVOICE
    created_at, cut = col(AdjustmentRow.created_at), col(AdjustmentRow.invoice_cut)
    found = select(AdjustmentRow).where(
        col(AdjustmentRow.organization_id) == organization_id,
        col(AdjustmentRow.currency) == currency,
        col(AdjustmentRow.amount) < 0,
        created_at < scope.end,
        sa.true() if scope.cut is None else cut <= scope.cut,
        sa.or_(created_at >= previous_end, cut > previous_cut),
    )
    return [_adjustment(row) for row in await session.scalars(found.order_by(col(AdjustmentRow.id)))]


async def favours(session: ReadSession, organization_id: OrganizationId, *, currency: str) -> list[Favour]:
    """The adjustments in the organization's favour of which something is left and not voided, oldest first."""
    found = (
        sa.select(AdjustmentRow, col(GrantRow.remaining))
        .join(
            GrantRow,
            sa.and_(
                col(GrantRow.organization_id) == col(AdjustmentRow.organization_id),
                col(GrantRow.id) == col(AdjustmentRow.id),
            ),
        )
        .where(
            col(AdjustmentRow.organization_id) == organization_id,
            col(AdjustmentRow.currency) == currency,
            col(AdjustmentRow.amount) > 0,
            col(GrantRow.remaining) > 0,
            col(GrantRow.voided_at).is_(None),
        )
        .order_by(col(AdjustmentRow.id))
    )
    return [Favour(_adjustment(row), remaining) for row, remaining in await session.execute(found)]


_WITH_CHARGES = sa.text("""
    SELECT DISTINCT a.organization_id
    FROM unnest(CAST(:organization_ids AS uuid[]), CAST(:ends AS timestamptz[]),
                CAST(:previous_ends AS timestamptz[]), CAST(:previous_cuts AS integer[]))
             AS open (organization_id, until, previous_end, previous_cut)
    JOIN adjustments AS a ON a.organization_id = open.organization_id
    WHERE a.amount < 0 AND a.created_at < open.until
      AND (a.created_at >= open.previous_end OR a.invoice_cut > open.previous_cut)
""")


async def organizations_with_charges(
    session: ReadSession, scopes: Sequence[tuple[OrganizationId, InvoiceScope]]
) -> set[OrganizationId]:
    """The organizations with a charge in their scope, which nothing cuts yet, in one statement."""
    previous = [scope.previous or _NO_INVOICE for _, scope in scopes]
    parameters = {
        "organization_ids": [organization_id for organization_id, _ in scopes],
        "ends": [scope.end for _, scope in scopes],
        "previous_ends": [end for end, _ in previous],
        "previous_cuts": [cut for _, cut in previous],
    }
    return {OrganizationId(row.organization_id) for row in await session.execute(_WITH_CHARGES, parameters)}


async def balance(session: ReadSession, organization_id: OrganizationId, account: str, currency: str) -> Decimal:
    """Debits less credits of one account."""
    row = await session.get(LedgerAccountRow, (organization_id, account, currency))
    return Decimal(0) if row is None else row.debits - row.credits


async def balances(session: ReadSession, account: str) -> dict[tuple[OrganizationId, str], Decimal]:
    """Debits less credits of that account of every organization that has one, by organization and currency."""
    rows = await session.execute(sa.select(LedgerAccountRow).where(col(LedgerAccountRow.account) == account))
    return {(row.organization_id, row.currency): row.debits - row.credits for row in rows.scalars()}


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
        reference=row.reference,
        voided_at=row.voided_at,
        voided_by=row.voided_by,
        void_reason=row.void_reason,
        closed_at=row.closed_at,
        unused=row.unused,
    )


def _adjustment(row: AdjustmentRow) -> Adjustment:
    return Adjustment(
        organization_id=OrganizationId(row.organization_id),
        id=AdjustmentId(row.id),
        amount=row.amount,
        currency=row.currency,
        reason=row.reason,
        credits_amount=row.credits_amount,
        invoice_cut=row.invoice_cut,
        created_at=row.created_at,
        created_by=row.created_by,
    )
