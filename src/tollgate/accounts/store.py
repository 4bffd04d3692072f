"""All SQL of organizations, projects and limits."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.accounts import rules
from tollgate.accounts.model import BillingMode, Limits, Organization, OrganizationStatus, Project
from tollgate.accounts.tables import LimitsRow, OrganizationRow, ProjectRow
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import OrganizationId, ProjectId

_INVALID_PARAMETER_VALUE = "22023"


async def knows_timezone(session: ReadSession, name: str) -> bool:
    """Whether this PostgreSQL can reckon in a zone that is one of IANA's; it also would in what is none."""
    # By trying: to tell a list of its zones, PostgreSQL reads hundreds of files.
    try:
        async with session.begin_nested():
            await session.execute(sa.text("SELECT now() AT TIME ZONE CAST(:name AS text)"), {"name": name})
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != _INVALID_PARAMETER_VALUE:
            raise
        return False
    return True


async def add_organization(session: WriteSession, organization: Organization) -> None:
    session.add(OrganizationRow(**_columns(organization)))
    await session.flush()


async def organization(
    session: ReadSession, organization_id: OrganizationId, *, lock: bool = False
) -> Organization | None:
    """The organization; with `lock`, held against other changes until the transaction ends."""
    found = sa.select(OrganizationRow).where(col(OrganizationRow.id) == organization_id)
    row = (await session.execute(found.with_for_update() if lock else found)).scalar_one_or_none()
    return None if row is None else _organization(row)


async def organizations(session: ReadSession, *, before: UUID | None, count: int) -> list[Organization]:
    """Organizations created before that one, newest first."""
    found = sa.select(OrganizationRow).order_by(col(OrganizationRow.id).desc()).limit(count)
    if before is not None:
        found = found.where(col(OrganizationRow.id) < before)
    return [_organization(row) for row in (await session.execute(found)).scalars()]


async def save_organization(session: WriteSession, organization: Organization) -> None:
    changed = {name: value for name, value in _columns(organization).items() if name not in {"id", "created_at"}}
    await session.execute(
        sa.update(OrganizationRow).where(col(OrganizationRow.id) == organization.id).values(**changed)
    )


async def add_project(session: WriteSession, project: Project) -> None:
    session.add(ProjectRow(**asdict(project)))
    await session.flush()


async def project(
    session: ReadSession, *, organization_id: OrganizationId, project_id: ProjectId, lock: bool = False
) -> Project | None:
    """The project; with `lock`, held against other changes until the transaction ends."""
    found = sa.select(ProjectRow).where(
        col(ProjectRow.organization_id) == organization_id, col(ProjectRow.id) == project_id
    )
    row = (await session.execute(found.with_for_update(key_share=True) if lock else found)).scalar_one_or_none()
    return None if row is None else _project(row)


async def projects(
    session: ReadSession, *, organization_id: OrganizationId, archived: bool, before: UUID | None, count: int
) -> list[Project]:
    """Projects of the organization created before that one, newest first; archived ones only if asked for."""
    found = sa.select(ProjectRow).where(col(ProjectRow.organization_id) == organization_id)
    if not archived:
        found = found.where(col(ProjectRow.archived_at).is_(None))
    if before is not None:
        found = found.where(col(ProjectRow.id) < before)
    rows = await session.execute(found.order_by(col(ProjectRow.id).desc()).limit(count))
    return [_project(row) for row in rows.scalars()]


async def projects_of(
    session: ReadSession, *, organization_id: OrganizationId, project_ids: Collection[ProjectId]
) -> list[Project]:
    """Those of these projects that are the organization's, archived or not."""
    rows = await session.execute(
        sa.select(ProjectRow).where(
            col(ProjectRow.organization_id) == organization_id, col(ProjectRow.id).in_(project_ids)
        )
    )
    return [_project(row) for row in rows.scalars()]


async def save_project(session: WriteSession, project: Project) -> None:
    await session.execute(
        sa.update(ProjectRow)
        .where(col(ProjectRow.organization_id) == project.organization_id, col(ProjectRow.id) == project.id)
        .values(name=project.name, archived_at=project.archived_at)
    )


async def limits(session: ReadSession, scopes: Collection[tuple[OrganizationId, UUID]]) -> Mapping[UUID, Limits]:
    """The limits that were set, by scope; a scope without a row has none."""
    rows = await session.execute(
        sa.select(LimitsRow).where(sa.tuple_(col(LimitsRow.organization_id), col(LimitsRow.scope_id)).in_(scopes))
    )
    return {row.scope_id: _limits(row) for row in rows.scalars()}


async def lock_limits(session: WriteSession, *, organization_id: OrganizationId, scope_id: UUID) -> Limits:
    """The limits of the scope, held against other changes; a scope without a row gets an empty one to hold."""
    row = {"organization_id": organization_id, "scope_id": scope_id}
    await session.execute(postgresql.insert(LimitsRow).values(**row).on_conflict_do_nothing())
    found = await session.execute(
        sa.select(LimitsRow)
        .where(col(LimitsRow.organization_id) == organization_id, col(LimitsRow.scope_id) == scope_id)
        .with_for_update()
    )
    return _limits(found.scalar_one())


async def save_limits(
    session: WriteSession, *, organization_id: OrganizationId, scope_id: UUID, limits: Limits
) -> None:
    """Write the limits of a scope that `lock_limits` holds."""
    await session.execute(
        sa.update(LimitsRow)
        .where(col(LimitsRow.organization_id) == organization_id, col(LimitsRow.scope_id) == scope_id)
        .values(**asdict(limits))
    )


def _organization(row: OrganizationRow) -> Organization:
    return Organization(
        id=row.id,
        name=row.name,
        billing_mode=BillingMode(row.billing_mode),
        credit_limit=row.credit_limit,
        timezone=row.timezone,
        currency=row.currency,
        status=OrganizationStatus(row.status),
        created_at=row.created_at,
        routing=rules.read_policy(row.routing),
    )


def _columns(organization: Organization) -> dict[str, Any]:
    return {**asdict(organization), "routing": rules.stored_policy(organization.routing)}


def _project(row: ProjectRow) -> Project:
    return Project(
        organization_id=row.organization_id,
        id=row.id,
        name=row.name,
        created_at=row.created_at,
        archived_at=row.archived_at,
    )


def _limits(row: LimitsRow) -> Limits:
    return Limits(**{name: getattr(row, name) for name in Limits.__dataclass_fields__})
