"""What the operator sees of payments at Stripe, and does about them. Stripe is asked by the worker, never here."""

from typing import Any

from litestar import Controller, Request, get, post, put
from litestar.params import FromPath, JSONBody

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.settings import Settings
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.kit.principal import Principal
from tollgate.payments.model import NotConfigured
from tollgate.payments.schemas.collecting import (
    CollectionSettingsView,
    CollectionsQuery,
    CollectionView,
    DisputeView,
    PaymentsView,
    ReconciliationView,
    RefundOrder,
    RefundView,
    SetCollection,
)
from tollgate.payments.service import overseeing, returning

AnyRequest = Request[Any, Any, Any]


class PaymentsController(Controller):
    """How payments stand, for the operator."""

    path = "/admin/payments"
    tags = ("Payments",)

    @get("/status", summary="Whether Stripe is set up, what waits, and what a person has to look at")
    async def get_status(
        self,
        database: Injected[Database],
        clock: Injected[Clock],
        settings: Injected[Settings],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[PaymentsView]:
        async with database.read() as session:
            found = await overseeing.overview(session, now=clock.now())
        return One(data=PaymentsView.of(found, stripe=settings.stripe_secret_key is not None))

    @get("/collections", summary="Invoices that are or were to be collected, newest first")
    async def list_collections(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[CollectionView]:
        asked = web.query(request, CollectionsQuery)
        before = None if asked.before is None else InvoiceId(asked.before)
        async with database.read() as session:
            rows = await overseeing.collections(session, state=asked.state, before=before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=CollectionView.of, key=lambda row: row.invoice_id)

    @get("/disputes", summary="Payments that customers' banks took back, newest first")
    async def list_disputes(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[DisputeView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await overseeing.disputes(session, before=asked.before, count=asked.limit + 1)
        return web.page(rows, limit=asked.limit, show=DisputeView.of, key=lambda row: row.id)

    @get("/reconciliation", summary="What came of comparing our books with Stripe's the last time")
    async def get_reconciliation(
        self,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[ReconciliationView]:
        async with database.read() as session:
            found = await overseeing.reconciliations(session, count=1)
        if not found:
            raise NotFound("Our books and Stripe's were never compared.")
        return One(data=ReconciliationView.of(found[0]))


class CollectingController(Controller):
    """What the operator does about the money for one invoice, or of one organization."""

    path = "/admin"
    tags = ("Payments",)

    @get("/invoices/{invoice_id:str}/collection", summary="How far the collection of an invoice is")
    async def get_collection(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[CollectionView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            found = await overseeing.collection_of(session, invoice_id=wanted)
        return One(data=CollectionView.of(found))

    @post("/invoices/{invoice_id:str}/collect", status_code=200, summary="Take the money at the next opportunity")
    async def collect(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        settings: Injected[Settings],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[CollectionView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        _check_configured(settings)
        async with database.write() as session:
            asked = await overseeing.ask(session, invoice_id=wanted, now=clock.now())
        return One(data=CollectionView.of(asked))

    @post("/invoices/{invoice_id:str}/refund", summary="Give back what a credit note left to give back")
    async def refund(
        self,
        invoice_id: FromPath[str],
        data: JSONBody[RefundOrder],
        database: Injected[Database],
        clock: Injected[Clock],
        settings: Injected[Settings],
        operator: Injected[Principal],
    ) -> Page[RefundView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        _check_configured(settings)
        async with database.write() as session:
            rows = await returning.request(
                session,
                invoice_id=wanted,
                amount=data.amount,
                reason=data.reason,
                by=operator.key_id,
                now=clock.now(),
            )
        return Page(data=[RefundView.of(row) for row in rows])

    @get("/invoices/{invoice_id:str}/refunds", summary="What went back, or is to, for an invoice, oldest first")
    async def list_refunds(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[RefundView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            rows = await returning.refunds_of(session, invoice_id=wanted)
        return Page(data=[RefundView.of(row) for row in rows])

    @get("/organizations/{organization_id:str}/collection", summary="How an organization's invoices are collected")
    async def get_settings(
        self,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[CollectionSettingsView]:
        owner = OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            found = await overseeing.settings(session, organization_id=owner)
        return One(data=CollectionSettingsView.of(found))

    @put("/organizations/{organization_id:str}/collection", summary="Decide how its invoices are collected")
    async def set_settings(
        self,
        organization_id: FromPath[str],
        data: JSONBody[SetCollection],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[CollectionSettingsView]:
        owner = OrganizationId(web.parse_id("org", organization_id))
        async with database.write() as session:
            changed = await overseeing.set_mode(session, organization_id=owner, mode=data.mode)
        return One(data=CollectionSettingsView.of(changed))


def _check_configured(settings: Settings) -> None:
    """Raises NotConfigured without a way to Stripe."""
    if settings.stripe_secret_key is None:
        raise NotConfigured
