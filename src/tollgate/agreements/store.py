"""All SQL of agreements."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.agreements.model import NO_DETAILS, Agreement, AgreementKind, BillingDetails, Dues, Issuer
from tollgate.agreements.tables import INSTANT, AgreementRow, BillingDetailsRow, IssuerRow
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import KeyId, OrganizationId

_NEVER = datetime.max.replace(tzinfo=UTC)
# What a subscription leaves for an earlier month, because it was agreed after that month's invoice, is due as well.
_WITH_DUES = sa.text("""
    SELECT DISTINCT a.organization_id
    FROM unnest(:organization_ids, :starts, :ends, :sinces) AS d (organization_id, starts_on, ends_on, since)
    JOIN agreements AS a ON a.organization_id = d.organization_id
    WHERE a.kind IN ('subscription', 'commitment')
      AND a.starts_on < d.ends_on AND (a.ends_on IS NULL OR a.ends_on > a.starts_on)
      AND (a.ends_on IS NULL OR a.ends_on > d.starts_on OR a.kind = 'subscription' AND a.created_at > d.since)
""").bindparams(
    sa.bindparam("organization_ids", type_=postgresql.ARRAY(sa.Uuid)),
    sa.bindparam("starts", type_=postgresql.ARRAY(sa.Date)),
    sa.bindparam("ends", type_=postgresql.ARRAY(sa.Date)),
    sa.bindparam("sinces", type_=postgresql.ARRAY(INSTANT)),
)


async def billing(session: ReadSession, organization_id: OrganizationId) -> BillingDetails:
    """The organization's details as they are now; empty ones if nothing was ever said."""
    row = await _latest(session, organization_id)
    return NO_DETAILS if row is None else msgspec.convert(row.details, BillingDetails)


async def add_billing(
    session: WriteSession, organization_id: OrganizationId, details: BillingDetails, *, by: KeyId | None, now: datetime
) -> None:
    """Add the details that hold from now on. The caller has the organization's lock."""
    latest = await _latest(session, organization_id)
    await session.execute(
        sa.insert(BillingDetailsRow).values(
            organization_id=organization_id,
            revision=1 if latest is None else latest.revision + 1,
            details=msgspec.to_builtins(details),
            changed_at=now,
            changed_by=by,
        )
    )


async def _latest(session: ReadSession, organization_id: OrganizationId) -> BillingDetailsRow | None:
    rows = await session.execute(
        sa.select(BillingDetailsRow)
        .where(col(BillingDetailsRow.organization_id) == organization_id)
        .order_by(col(BillingDetailsRow.revision).desc())
        .limit(1)
    )
    return rows.scalar_one_or_none()


async def issuer(session: ReadSession) -> Issuer | None:
    """Who issues invoices now, if that was ever said."""
    rows = await session.execute(sa.select(col(IssuerRow.details)).order_by(col(IssuerRow.revision).desc()).limit(1))
    details = rows.scalar_one_or_none()
    return None if details is None else msgspec.convert(details, Issuer)


async def add_issuer(session: WriteSession, issuer: Issuer, *, by: KeyId | None, now: datetime) -> None:
    """Add the issuer of all invoices from now on."""
    await session.execute(
        sa.insert(IssuerRow).values(details=msgspec.to_builtins(issuer), changed_at=now, changed_by=by)
    )


async def add(session: WriteSession, agreement: Agreement) -> None:
    """Insert the agreement; the database refuses one that overlaps another."""
    await session.execute(sa.insert(AgreementRow).values(**asdict(agreement)))


async def end(session: WriteSession, agreement: Agreement) -> None:
    """Write down the agreement's end."""
    await session.execute(
        sa.update(AgreementRow)
        .where(col(AgreementRow.organization_id) == agreement.organization_id, col(AgreementRow.id) == agreement.id)
        .values(ends_on=agreement.ends_on, ended_at=agreement.ended_at, ended_by=agreement.ended_by)
        .execution_options(synchronize_session=False)
    )


async def agreements(
    session: ReadSession,
    organization_id: OrganizationId,
    *,
    kind: AgreementKind | None = None,
    before: UUID | None = None,
    count: int | None = None,
) -> list[Agreement]:
    """The organization's agreements of the kind, or of all, made before that one; newest first."""
    found = sa.select(AgreementRow).where(col(AgreementRow.organization_id) == organization_id)
    if kind is not None:
        found = found.where(col(AgreementRow.kind) == kind)
    if before is not None:
        found = found.where(col(AgreementRow.id) < before)
    rows = await session.execute(
        found.order_by(col(AgreementRow.id).desc()).limit(count).execution_options(populate_existing=True)
    )
    return [_agreement(row) for row in rows.scalars()]


async def organizations_with_dues(session: ReadSession, dues: Sequence[Dues]) -> set[OrganizationId]:
    """Those with a subscription or commitment in force on the days, or an earlier subscription not invoiced yet."""
    if not dues:
        return set()
    starts: list[date] = [each.days.start for each in dues]
    rows = await session.execute(
        _WITH_DUES,
        {
            "organization_ids": [each.organization_id for each in dues],
            "starts": starts,
            "ends": [each.days.end for each in dues],
            "sinces": [each.since or _NEVER for each in dues],
        },
    )
    return {OrganizationId(row.organization_id) for row in rows}


def _agreement(row: AgreementRow) -> Agreement:
    values = {name: getattr(row, name) for name in Agreement.__slots__}
    return Agreement(**{**values, "kind": AgreementKind(row.kind)})
