"""The routes of organizations (operator), projects, limits and the organization's policy (management)."""

from dataclasses import replace
from typing import Any
from uuid import UUID

from litestar import Controller, Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from tollgate.accounts import service
from tollgate.accounts.model import NO_LIMITS, Limits, Project
from tollgate.accounts.schemas import (
    ChangeOrganization,
    ChangeProject,
    CreateOrganization,
    CreateProject,
    LimitsChange,
    ListProjects,
    OrganizationLimitsChange,
    OrganizationLimitsView,
    OrganizationRoutingChange,
    OrganizationRoutingView,
    OrganizationView,
    ProjectView,
)
from tollgate.infra import web
from tollgate.infra.database import Database, ReadSession, WriteSession
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.ids import OrganizationId, ProjectId
from tollgate.kit.principal import Principal

AnyRequest = Request[Any, Any, Any]


class OrganizationsController(Controller):
    """The customers of the installation."""

    path = "/admin/organizations"
    tags = ("Organizations",)

    @get(summary="Organizations, newest first")
    async def list_organizations(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[OrganizationView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await service.list_organizations(session, before=asked.before, count=asked.limit + 1)
            limits = await service.limits_of(session, [(row.id, row.id) for row in rows])
        return web.page(
            rows,
            limit=asked.limit,
            show=lambda row: OrganizationView.of(row, limits.get(row.id, NO_LIMITS)),
            key=lambda row: row.id,
        )

    @post(summary="Create an organization")
    async def create_organization(
        self,
        data: JSONBody[CreateOrganization],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[OrganizationView]:
        async with database.write() as session:
            organization = await service.create_organization(session, order=data.order(), now=clock.now())
            limits = await _limits(session, organization.id, organization.id, data.limits)
        return One(data=OrganizationView.of(organization, limits))

    @get("/{organization_id:str}", summary="One organization, with its limits")
    async def get_organization(
        self,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[OrganizationView]:
        wanted = OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            organization = await service.get_organization(session, wanted)
            limits = await service.get_limits(session, organization_id=wanted, scope_id=wanted)
        return One(data=OrganizationView.of(organization, limits))

    @patch("/{organization_id:str}", summary="Change an organization or its limits; what is left out stays")
    async def change_organization(
        self,
        organization_id: FromPath[str],
        data: JSONBody[ChangeOrganization],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[OrganizationView]:
        wanted = OrganizationId(web.parse_id("org", organization_id))
        async with database.write() as session:
            organization = await service.change_organization(session, organization_id=wanted, edit=data.applied_to)
            limits = await _limits(session, wanted, wanted, None if data.limits is UNSET else data.limits)
        return One(data=OrganizationView.of(organization, limits))


class ProjectsController(Controller):
    """The parts an organization divides its keys and spending into."""

    path = "/projects"
    tags = ("Projects",)

    @get(summary="The organization's projects, newest first")
    async def list_projects(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[ProjectView]:
        asked = web.query(request, ListProjects)
        owner = manager.organization_id
        async with database.read() as session:
            rows = await service.list_projects(
                session,
                organization_id=owner,
                archived=asked.include_archived,
                before=asked.before,
                count=asked.limit + 1,
            )
            limits = await service.limits_of(session, [(owner, row.id) for row in rows])
        return web.page(
            rows,
            limit=asked.limit,
            show=lambda row: ProjectView.of(row, limits.get(row.id, NO_LIMITS)),
            key=lambda row: row.id,
        )

    @post(summary="Create a project")
    async def create_project(
        self,
        data: JSONBody[CreateProject],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[ProjectView]:
        async with database.write() as session:
            project = await service.create_project(
                session, organization_id=manager.organization_id, name=data.name, now=clock.now()
            )
            return One(data=await _limited(session, project, data.limits))

    @get("/{project_id:str}", summary="One project, with its limits")
    async def get_project(
        self, project_id: FromPath[str], database: Injected[Database], manager: Injected[Principal]
    ) -> One[ProjectView]:
        wanted = ProjectId(web.parse_id("prj", project_id))
        async with database.read() as session:
            project = await service.get_project(session, organization_id=manager.organization_id, project_id=wanted)
            return One(data=await _view(session, project))

    @patch("/{project_id:str}", summary="Rename a project or change its limits; what is left out stays")
    async def change_project(
        self,
        project_id: FromPath[str],
        data: JSONBody[ChangeProject],
        database: Injected[Database],
        manager: Injected[Principal],
    ) -> One[ProjectView]:
        wanted = ProjectId(web.parse_id("prj", project_id))
        async with database.write() as session:
            project = await service.change_project(
                session,
                organization_id=manager.organization_id,
                project_id=wanted,
                edit=lambda project: project if data.name is UNSET else replace(project, name=data.name),
            )
            return One(data=await _limited(session, project, None if data.limits is UNSET else data.limits))

    @delete("/{project_id:str}", status_code=200, summary="Archive a project: its keys stop working, its history stays")
    async def archive_project(
        self,
        project_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[ProjectView]:
        wanted = ProjectId(web.parse_id("prj", project_id))
        async with database.write() as session:
            project = await service.archive_project(
                session, organization_id=manager.organization_id, project_id=wanted, now=clock.now()
            )
            return One(data=await _view(session, project))


class LimitsController(Controller):
    """The organization's own limits."""

    path = "/limits"
    tags = ("Limits",)

    @get(summary="What the whole organization may spend and ask for")
    async def get_limits(
        self, database: Injected[Database], manager: Injected[Principal]
    ) -> One[OrganizationLimitsView]:
        owner = manager.organization_id
        async with database.read() as session:
            return One(
                data=OrganizationLimitsView.of(await service.get_limits(session, organization_id=owner, scope_id=owner))
            )

    @patch(summary="Change the organization's own limits; what is left out stays")
    async def change_limits(
        self, data: JSONBody[OrganizationLimitsChange], database: Injected[Database], manager: Injected[Principal]
    ) -> One[OrganizationLimitsView]:
        owner = manager.organization_id
        async with database.write() as session:
            limits = await service.change_limits(session, organization_id=owner, scope_id=owner, edit=data.applied_to)
        return One(data=OrganizationLimitsView.of(limits))


class RoutingController(Controller):
    """The organization's own policy: where calls of all its keys may go, whatever they ask for."""

    path = "/routing"
    tags = ("Routing",)

    @get(summary="Where the organization's calls may go")
    async def get_routing(
        self, database: Injected[Database], manager: Injected[Principal]
    ) -> One[OrganizationRoutingView]:
        async with database.read() as session:
            organization = await service.get_organization(session, manager.organization_id)
        return One(data=OrganizationRoutingView.of(organization.routing))

    @patch(summary="Change the policy; the next calls obey")
    async def change_routing(
        self, data: JSONBody[OrganizationRoutingChange], database: Injected[Database], manager: Injected[Principal]
    ) -> One[OrganizationRoutingView]:
        async with database.write() as session:
            organization = await service.change_organization(
                session,
                organization_id=manager.organization_id,
                edit=lambda organization: replace(organization, routing=data.applied_to(organization.routing)),
            )
        return One(data=OrganizationRoutingView.of(organization.routing))


HANDLERS = (OrganizationsController, ProjectsController, LimitsController, RoutingController)


async def _view(session: ReadSession, project: Project) -> ProjectView:
    limits = await service.get_limits(session, organization_id=project.organization_id, scope_id=project.id)
    return ProjectView.of(project, limits)


async def _limited(session: WriteSession, project: Project, change: LimitsChange | None) -> ProjectView:
    return ProjectView.of(project, await _limits(session, project.organization_id, project.id, change))


async def _limits(
    session: WriteSession, organization_id: OrganizationId, scope_id: UUID, change: LimitsChange | None
) -> Limits:
    """The limits of a scope, changed if that is asked for."""
    if change is None:
        return await service.get_limits(session, organization_id=organization_id, scope_id=scope_id)
    return await service.change_limits(
        session, organization_id=organization_id, scope_id=scope_id, edit=change.applied_to
    )
