"""The routes of invoices: an organization reads its own, the operator reads and closes anybody's."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import FromPath, JSONBody

from tollgate.accounts import service as accounts
from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.invoices.rules import windows
from tollgate.invoices.schemas.invoices import CloseMonth, InvoiceSummary, InvoiceView, LineCallView
from tollgate.invoices.schemas.payments import MarkPaid, PaymentView
from tollgate.invoices.service import invoices as service
from tollgate.invoices.service import payments
from tollgate.kit.clock import Clock
from tollgate.kit.ids import CallId, InvoiceId, OrganizationId
from tollgate.kit.principal import Principal

AnyRequest = Request[Any, Any, Any]


class InvoicesController(Controller):
    """An organization's invoices: the draft of the running month, and those that were issued."""

    path = "/invoices"
    tags = ("Invoices",)

    @get(summary="Issued invoices, newest period first")
    async def list_invoices(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[InvoiceSummary]:
        asked = web.query(request, Paging)
        before = None if asked.before is None else InvoiceId(asked.before)
        async with database.read() as session:
            rows = await service.list_invoices(
                session, organization_id=manager.organization_id, before=before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=InvoiceSummary.of, key=lambda heading: heading.id)

    @get("/current", summary="The draft that collects what is used now")
    async def get_current(
        self, database: Injected[Database], clock: Injected[Clock], manager: Injected[Principal]
    ) -> One[InvoiceView]:
        async with database.read() as session:
            invoice = await service.current(session, organization_id=manager.organization_id, now=clock.now())
        return One(data=InvoiceView.of(invoice))

    @get("/{invoice_id:str}", summary="An invoice, or the draft that will become it")
    async def get_invoice(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[InvoiceView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            invoice = await service.get(
                session, organization_id=manager.organization_id, invoice_id=wanted, now=clock.now()
            )
        return One(data=InvoiceView.of(invoice))

    @get("/{invoice_id:str}/lines/{n:int}/calls", summary="Why this cent: the calls behind a line, oldest first")
    async def list_calls(
        self,
        request: AnyRequest,
        invoice_id: FromPath[str],
        n: FromPath[int],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> Page[LineCallView]:
        asked, wanted = web.query(request, Paging), InvoiceId(web.parse_id("inv", invoice_id))
        after = None if asked.before is None else CallId(asked.before)
        async with database.read() as session:
            invoice = await service.get(
                session, organization_id=manager.organization_id, invoice_id=wanted, now=clock.now()
            )
            parts = await service.explain(session, invoice=invoice, n=n, after=after, count=asked.limit + 1)
        return web.page(parts, limit=asked.limit, show=LineCallView.of, key=lambda part: part.call.id)

    @get("/{invoice_id:str}/payments", summary="What was paid for an invoice, and what went back, oldest first")
    async def list_payments(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> Page[PaymentView]:
        owner, wanted = manager.organization_id, InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            await service.get(session, organization_id=owner, invoice_id=wanted, now=clock.now())
            rows = await payments.payments_of(session, organization_id=owner, invoice_id=wanted)
        return Page(data=[PaymentView.of(row) for row in rows], next=None)


class InvoiceActsController(Controller):
    """What the operator does with invoices."""

    path = "/admin"
    tags = ("Invoices",)

    @get("/invoices/{invoice_id:str}", summary="Any organization's invoice or draft")
    async def get_any_invoice(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[InvoiceView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            invoice = await service.find(session, invoice_id=wanted, now=clock.now())
        return One(data=InvoiceView.of(invoice))

    @post(
        "/invoices/{invoice_id:str}/finalise", status_code=200, summary="Issue a draft; once issued, it never changes"
    )
    async def finalise_invoice(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[InvoiceView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.write() as session:
            invoice = await service.finalise(session, invoice_id=wanted, now=clock.now())
        return One(data=InvoiceView.of(invoice))

    @post("/invoices/{invoice_id:str}/mark-paid", status_code=200, summary="Record a payment that was made elsewhere")
    async def mark_paid(
        self,
        invoice_id: FromPath[str],
        data: JSONBody[MarkPaid],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[InvoiceSummary]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.write() as session:
            heading = await payments.mark_paid(
                session, invoice_id=wanted, order=data.order(), by=operator.key_id, now=clock.now()
            )
        return One(data=InvoiceSummary.of(heading))

    @get("/organizations/{organization_id:str}/invoices", summary="An organization's invoices, newest period first")
    async def list_any_invoices(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[InvoiceSummary]:
        asked, owner = web.query(request, Paging), OrganizationId(web.parse_id("org", organization_id))
        before = None if asked.before is None else InvoiceId(asked.before)
        async with database.read() as session:
            await accounts.get_organization(session, owner)
            rows = await service.list_invoices(session, organization_id=owner, before=before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=InvoiceSummary.of, key=lambda heading: heading.id)

    @post("/organizations/{organization_id:str}/invoices", status_code=200, summary="Close an organization's month")
    async def close_month(
        self,
        organization_id: FromPath[str],
        data: JSONBody[CloseMonth],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[InvoiceView]:
        owner, month = OrganizationId(web.parse_id("org", organization_id)), windows.parse_month(data.month)
        async with database.write() as session:
            invoice = await service.close(session, organization_id=owner, month=month, now=clock.now())
        return One(data=InvoiceView.of(invoice))
