"""The operator's routes of grants: what an organization may spend before it pays."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import FromPath, JSONBody

from tollgate.accounts import service as accounts
from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.ids import OrganizationId
from tollgate.kit.principal import Principal
from tollgate.ledger import service as ledger
from tollgate.ledger.schemas import GrantView
from tollgate.metering.schemas import CreateGrant

AnyRequest = Request[Any, Any, Any]


class GrantsController(Controller):
    """The credit of any organization."""

    path = "/admin/organizations/{organization_id:str}/grants"
    tags = ("Organizations",)

    @get(summary="Every grant the organization ever had, newest first")
    async def list_grants(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[GrantView]:
        asked, owner = web.query(request, Paging), OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            await accounts.get_organization(session, owner)
            rows = await ledger.grants(session, organization_id=owner, before=asked.before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=GrantView.of, key=lambda grant: grant.id)

    @post(summary="Grant credit")
    async def create_grant(
        self,
        organization_id: FromPath[str],
        data: JSONBody[CreateGrant],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[GrantView]:
        owner, now = OrganizationId(web.parse_id("org", organization_id)), clock.now()
        async with database.write() as session:
            terms = data.terms((await accounts.get_organization(session, owner)).currency)
            grant = await ledger.grant_credit(session, organization_id=owner, terms=terms, by=operator.key_id, now=now)
        return One(data=GrantView.of(grant))


HANDLERS = (GrantsController,)
