"""The routes of agreements: the operator says how organizations are invoiced and what was agreed with them."""

from datetime import date
from typing import Any

from litestar import Controller, Request, get, post, put
from litestar.params import FromPath, JSONBody

from tollgate.agreements import service
from tollgate.agreements.model import Agreement, AgreementKind, AgreementOrder
from tollgate.agreements.schemas import (
    AllDetails,
    Commit,
    DetailsView,
    EndMonthly,
    EndSubscription,
    GiveDiscount,
    InstallationIssuerView,
    IssuerBody,
    MonthlyView,
    OwnDetails,
    Subscribe,
    SubscriptionView,
)
from tollgate.infra import web
from tollgate.infra.changes import Act
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import AgreementId, OrganizationId
from tollgate.kit.principal import Principal

AnyRequest = Request[Any, Any, Any]


class BillingDetailsController(Controller):
    """What an organization's invoices say of it."""

    path = "/billing/details"
    tags = ("Billing details",)

    @get(summary="How the organization is invoiced")
    async def get_details(self, database: Injected[Database], manager: Injected[Principal]) -> One[DetailsView]:
        async with database.read() as session:
            details = await service.billing(session, organization_id=manager.organization_id)
        return One(data=DetailsView.of(details))

    @put(summary="Say where invoices go and what they name; the rest is agreed with the operator")
    async def put_details(
        self,
        data: JSONBody[OwnDetails],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[DetailsView]:
        async with database.write() as session:
            details = await service.change_billing(
                session,
                organization_id=manager.organization_id,
                edit=data.applied_to,
                by=manager.key_id,
                now=clock.now(),
            )
        return One(data=DetailsView.of(details))


class IssuerController(Controller):
    """Who issues the invoices of this installation."""

    path = "/admin/issuer"
    tags = ("Billing details",)

    @get(summary="The issuer of invoices")
    async def get_issuer(
        self,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[InstallationIssuerView]:
        async with database.read() as session:
            issuer = await service.issuer(session)
        if issuer is None:
            raise NotFound("Who issues invoices was not said yet: PUT it here.")
        return One(data=InstallationIssuerView.of(issuer))

    @put(summary="Say who issues invoices from now on")
    async def put_issuer(
        self, data: JSONBody[IssuerBody], database: Injected[Database], act: Injected[Act]
    ) -> One[InstallationIssuerView]:
        async with database.write() as session:
            issuer = await service.set_issuer(session, issuer=data.issuer(), by=act.by, now=act.at)
        return One(data=InstallationIssuerView.of(issuer))


class OrganizationBillingController(Controller):
    """How an organization is invoiced, and what was agreed with it."""

    path = "/admin/organizations/{organization_id:str}"
    tags = ("Agreements",)

    @get("/billing", summary="How the organization is invoiced")
    async def get_billing(
        self,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[DetailsView]:
        async with database.read() as session:
            details = await service.billing(session, organization_id=_owner(organization_id))
        return One(data=DetailsView.of(details))

    @put("/billing", summary="Say how the organization is invoiced from now on")
    async def put_billing(
        self,
        organization_id: FromPath[str],
        data: JSONBody[AllDetails],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[DetailsView]:
        owner = _owner(organization_id)
        async with database.write() as session:
            details = await service.change_billing(
                session, organization_id=owner, edit=data.applied_to, by=act.by, now=act.at
            )
        return One(data=DetailsView.of(details))

    @post("/subscriptions", summary="Subscribe the organization to a plan with a monthly fee")
    async def subscribe(
        self,
        organization_id: FromPath[str],
        data: JSONBody[Subscribe],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[SubscriptionView]:
        return One(data=SubscriptionView.of(await _agree(database, act, _owner(organization_id), data.order())))

    @get("/subscriptions", summary="The organization's subscriptions, newest first")
    async def list_subscriptions(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[SubscriptionView]:
        asked = web.query(request, Paging)
        rows = await _listed(database, _owner(organization_id), AgreementKind.SUBSCRIPTION, asked)
        return web.page(rows, limit=asked.limit, show=SubscriptionView.of, key=lambda row: row.id)

    @post("/subscriptions/{subscription_id:str}/end", status_code=200, summary="Let a subscription end")
    async def end_subscription(
        self,
        organization_id: FromPath[str],
        subscription_id: FromPath[str],
        data: JSONBody[EndSubscription],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[SubscriptionView]:
        wanted = (_owner(organization_id), AgreementKind.SUBSCRIPTION, subscription_id)
        return One(data=SubscriptionView.of(await _end(database, act, wanted, data.day())))

    @post("/commitments", summary="Agree on the least that a month's usage comes to")
    async def commit(
        self, organization_id: FromPath[str], data: JSONBody[Commit], database: Injected[Database], act: Injected[Act]
    ) -> One[MonthlyView]:
        return One(data=MonthlyView.of(await _agree(database, act, _owner(organization_id), data.order())))

    @get("/commitments", summary="The organization's commitments, newest first")
    async def list_commitments(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[MonthlyView]:
        asked = web.query(request, Paging)
        rows = await _listed(database, _owner(organization_id), AgreementKind.COMMITMENT, asked)
        return web.page(rows, limit=asked.limit, show=MonthlyView.of, key=lambda row: row.id)

    @post("/commitments/{commitment_id:str}/end", status_code=200, summary="Let a commitment end")
    async def end_commitment(
        self,
        organization_id: FromPath[str],
        commitment_id: FromPath[str],
        data: JSONBody[EndMonthly],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[MonthlyView]:
        wanted = (_owner(organization_id), AgreementKind.COMMITMENT, commitment_id)
        return One(data=MonthlyView.of(await _end(database, act, wanted, data.day())))

    @post("/discounts", summary="Take a percentage off the organization's usage")
    async def give_discount(
        self,
        organization_id: FromPath[str],
        data: JSONBody[GiveDiscount],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[MonthlyView]:
        return One(data=MonthlyView.of(await _agree(database, act, _owner(organization_id), data.order())))

    @get("/discounts", summary="The organization's discounts, newest first")
    async def list_discounts(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[MonthlyView]:
        asked = web.query(request, Paging)
        rows = await _listed(database, _owner(organization_id), AgreementKind.DISCOUNT, asked)
        return web.page(rows, limit=asked.limit, show=MonthlyView.of, key=lambda row: row.id)

    @post("/discounts/{discount_id:str}/end", status_code=200, summary="Let a discount end")
    async def end_discount(
        self,
        organization_id: FromPath[str],
        discount_id: FromPath[str],
        data: JSONBody[EndMonthly],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[MonthlyView]:
        wanted = (_owner(organization_id), AgreementKind.DISCOUNT, discount_id)
        return One(data=MonthlyView.of(await _end(database, act, wanted, data.day())))


def _owner(organization_id: str) -> OrganizationId:
    return OrganizationId(web.parse_id("org", organization_id))


async def _agree(database: Database, act: Act, owner: OrganizationId, order: AgreementOrder) -> Agreement:
    async with database.write() as session:
        return await service.agree(session, organization_id=owner, order=order, by=act.by, now=act.at)


async def _end(
    database: Database, act: Act, wanted: tuple[OrganizationId, AgreementKind, str], ends_on: date | None
) -> Agreement:
    owner, kind, text = wanted
    agreement = (owner, kind, AgreementId(web.parse_id(kind.prefix, text)))
    async with database.write() as session:
        return await service.end(session, agreement=agreement, ends_on=ends_on, by=act.by, now=act.at)


async def _listed(database: Database, owner: OrganizationId, kind: AgreementKind, asked: Paging) -> list[Agreement]:
    async with database.read() as session:
        return await service.agreements(
            session, organization_id=owner, kind=kind, before=asked.before, count=asked.limit + 1
        )


HANDLERS = (BillingDetailsController, IssuerController, OrganizationBillingController)
