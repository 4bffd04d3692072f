"""The use cases of accounts: open organizations, divide them into projects, and set limits on their spending."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TypeVar
from uuid import UUID
from zoneinfo import available_timezones

from tollgate.accounts import rules, store
from tollgate.accounts.model import NO_LIMITS, Limits, NewOrganization, Organization, OrganizationStatus, Project
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.identity import new_id
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import OrganizationId, ProjectId

_Thing = TypeVar("_Thing")


async def create_organization(session: WriteSession, *, order: NewOrganization, now: datetime) -> Organization:
    """Open an organization.

    Raises:
        InvalidRequest: something about it cannot be; `field` names the part.
    """
    organization = Organization(
        id=OrganizationId(new_id(now)),
        name=order.name,
        billing_mode=order.billing_mode,
        credit_limit=order.credit_limit,
        timezone=order.timezone,
        currency=order.currency,
        status=OrganizationStatus.ACTIVE,
        created_at=now,
        routing=order.routing,
    )
    rules.check_organization(organization)
    await _check_timezone(session, organization.timezone)
    await store.add_organization(session, organization)
    return organization


async def get_organization(session: ReadSession, organization_id: OrganizationId) -> Organization:
    """The organization.

    Raises:
        NotFound: there is none with this id.
    """
    return _found(await store.organization(session, organization_id), "organization")


async def list_organizations(session: ReadSession, *, before: UUID | None, count: int) -> list[Organization]:
    """Organizations created before that one, newest first."""
    return await store.organizations(session, before=before, count=count)


async def change_organization(
    session: WriteSession, *, organization_id: OrganizationId, edit: Callable[[Organization], Organization]
) -> Organization:
    """Change what may still change: name, status, credit limit, time zone, policy.

    Raises:
        NotFound: there is no such organization.
        InvalidRequest: a new value cannot be.
        Conflict: the edit touches what stays as created.
    """
    before = _found(await store.organization(session, organization_id, lock=True), "organization")
    after = edit(before)
    rules.check_organization_change(before, after)
    rules.check_organization(after)
    if after.timezone != before.timezone:
        await _check_timezone(session, after.timezone)
    await store.save_organization(session, after)
    return after


async def create_project(
    session: WriteSession, *, organization_id: OrganizationId, name: str, now: datetime
) -> Project:
    """Open a project in the organization.

    Raises:
        InvalidRequest: the name cannot be.
    """
    rules.check_name(name)
    project = Project(organization_id, ProjectId(new_id(now)), name, created_at=now, archived_at=None)
    await store.add_project(session, project)
    return project


async def get_project(session: ReadSession, *, organization_id: OrganizationId, project_id: ProjectId) -> Project:
    """The organization's project, archived or not.

    Raises:
        NotFound: the organization has none with this id.
    """
    return _found(
        await store.project(session, organization_id=organization_id, project_id=project_id),
        "project",
    )


async def projects_of(
    session: ReadSession, *, organization_id: OrganizationId, project_ids: Collection[ProjectId]
) -> Mapping[ProjectId, Project]:
    """Those of these projects that are the organization's, archived or not, by id."""
    found = await store.projects_of(session, organization_id=organization_id, project_ids=project_ids)
    return {project.id: project for project in found}


async def list_projects(
    session: ReadSession, *, organization_id: OrganizationId, archived: bool, before: UUID | None, count: int
) -> list[Project]:
    """Projects of the organization created before that one, newest first; archived ones only if asked for."""
    return await store.projects(session, organization_id=organization_id, archived=archived, before=before, count=count)


async def usable_project(session: WriteSession, *, organization_id: OrganizationId, project_id: ProjectId) -> Project:
    """The project, kept from being archived until the transaction ends, so that something may be filed under it.

    Raises:
        NotFound: the organization has none with this id.
        Conflict: it is archived.
    """
    project = _found(
        await store.project(session, organization_id=organization_id, project_id=project_id, lock=True), "project"
    )
    rules.check_usable(project)
    return project


async def change_project(
    session: WriteSession,
    *,
    organization_id: OrganizationId,
    project_id: ProjectId,
    edit: Callable[[Project], Project],
) -> Project:
    """Change the name of a project that is not archived.

    Raises:
        NotFound: the organization has none with this id.
        InvalidRequest: the new name cannot be.
        Conflict: the project is archived.
    """
    changed = edit(await usable_project(session, organization_id=organization_id, project_id=project_id))
    rules.check_name(changed.name)
    await store.save_project(session, changed)
    return changed


async def archive_project(
    session: WriteSession, *, organization_id: OrganizationId, project_id: ProjectId, now: datetime
) -> Project:
    """Close a project for good: its keys stop working and its history stays. Archiving twice changes nothing.

    Raises:
        NotFound: the organization has none with this id.
    """
    project = _found(
        await store.project(session, organization_id=organization_id, project_id=project_id, lock=True), "project"
    )
    archived = replace(project, archived_at=project.archived_at or now)
    await store.save_project(session, archived)
    return archived


async def get_limits(session: ReadSession, *, organization_id: OrganizationId, scope_id: UUID) -> Limits:
    """The limits set on the organization itself, or on one of its projects or keys."""
    return (await store.limits(session, [(organization_id, scope_id)])).get(scope_id, NO_LIMITS)


async def limits_of(session: ReadSession, scopes: Collection[tuple[OrganizationId, UUID]]) -> Mapping[UUID, Limits]:
    """The limits set on each of the (organization, scope) pairs, by scope; scopes without any are left out."""
    return await store.limits(session, scopes)


async def change_limits(
    session: WriteSession, *, organization_id: OrganizationId, scope_id: UUID, edit: Callable[[Limits], Limits]
) -> Limits:
    """Change the limits of a scope. What was used of them so far is kept elsewhere and stays used."""
    before = await store.lock_limits(session, organization_id=organization_id, scope_id=scope_id)
    after = edit(before)
    await store.save_limits(session, organization_id=organization_id, scope_id=scope_id, limits=after)
    return after


async def _check_timezone(session: ReadSession, name: str) -> None:
    # Windows are cut by Python and by PostgreSQL: both must know the zone.
    if name not in _timezones() or not await store.knows_timezone(session, name):
        raise InvalidRequest(
            f"{name[:80]!r} is not an IANA time zone we know; one is 'Europe/Berlin'.", field="timezone"
        )


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def _found(thing: _Thing | None, noun: str) -> _Thing:
    if thing is None:
        raise NotFound(f"There is no such {noun}.")
    return thing
