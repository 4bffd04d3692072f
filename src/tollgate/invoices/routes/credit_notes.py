"""The routes of what happens to an invoice after it was issued: credit notes, voiding, giving up, refunds by hand."""

from typing import Any

from litestar import Controller, Request, get, post
from litestar.params import FromPath, JSONBody

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.invoices.schemas.credit_notes import (
    ActView,
    CreditNoteSummary,
    CreditNoteView,
    GiveReason,
    IssueCreditNote,
)
from tollgate.invoices.schemas.invoices import InvoiceSummary
from tollgate.invoices.schemas.payments import MarkRefunded
from tollgate.invoices.service import credit_notes, invoices, payments, voiding
from tollgate.kit.clock import Clock
from tollgate.kit.ids import CreditNoteId, InvoiceId
from tollgate.kit.principal import Principal

AnyRequest = Request[Any, Any, Any]


class CreditNotesController(Controller):
    """An organization's credit notes."""

    path = "/"
    tags = ("Invoices",)

    @get("/credit-notes", summary="Credit notes, newest first")
    async def list_credit_notes(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[CreditNoteSummary]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await credit_notes.list_notes(
                session, organization_id=manager.organization_id, before=asked.before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=CreditNoteSummary.of, key=lambda note: note.id)

    @get("/credit-notes/{credit_note_id:str}", summary="A credit note")
    async def get_credit_note(
        self, credit_note_id: FromPath[str], database: Injected[Database], manager: Injected[Principal]
    ) -> One[CreditNoteView]:
        owner, wanted = manager.organization_id, CreditNoteId(web.parse_id("cn", credit_note_id))
        async with database.read() as session:
            note = await credit_notes.get(session, organization_id=owner, note_id=wanted)
        return One(data=CreditNoteView.of(note))

    @get("/invoices/{invoice_id:str}/credit-notes", summary="The credit notes of an invoice, oldest first")
    async def list_credit_notes_of(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> Page[CreditNoteSummary]:
        owner, wanted = manager.organization_id, InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            await invoices.get(session, organization_id=owner, invoice_id=wanted, now=clock.now())
            notes = await credit_notes.notes_of(session, organization_id=owner, invoice_id=wanted)
        return Page(data=[CreditNoteSummary.of(note) for note in notes], next=None)


class IssuedInvoiceActsController(Controller):
    """What the operator does with invoices that were issued."""

    path = "/admin/invoices/{invoice_id:str}"
    tags = ("Invoices",)

    @post("/void", status_code=200, summary="Take back the newest invoice, while nothing of it is paid or credited")
    async def void_invoice(
        self,
        invoice_id: FromPath[str],
        data: JSONBody[GiveReason],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[InvoiceSummary]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.write() as session:
            heading = await voiding.void(
                session, invoice_id=wanted, reason=data.reason, by=operator.key_id, now=clock.now()
            )
        return One(data=InvoiceSummary.of(heading))

    @post("/mark-uncollectible", status_code=200, summary="Give up what is due on an invoice; it may still be paid")
    async def mark_uncollectible(
        self,
        invoice_id: FromPath[str],
        data: JSONBody[GiveReason],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[InvoiceSummary]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.write() as session:
            heading = await voiding.mark_uncollectible(
                session, invoice_id=wanted, reason=data.reason, by=operator.key_id, now=clock.now()
            )
        return One(data=InvoiceSummary.of(heading))

    @post("/mark-refunded", status_code=200, summary="Record that what a credit note left to give back was given back")
    async def mark_refunded(
        self,
        invoice_id: FromPath[str],
        data: JSONBody[MarkRefunded],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[InvoiceSummary]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.write() as session:
            heading = await payments.mark_refunded(
                session, invoice_id=wanted, order=data.order(), by=operator.key_id, now=clock.now()
            )
        return One(data=InvoiceSummary.of(heading))

    @post("/credit-notes", status_code=201, summary="Credit an invoice, in whole or in part, paid or not")
    async def issue_credit_note(
        self,
        invoice_id: FromPath[str],
        data: JSONBody[IssueCreditNote],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> One[CreditNoteView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.write() as session:
            note = await credit_notes.issue(
                session, invoice_id=wanted, order=data.order(), by=operator.key_id, now=clock.now()
            )
        return One(data=CreditNoteView.of(note))

    @get("/credit-notes", summary="The credit notes of any organization's invoice, oldest first")
    async def list_any_credit_notes(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[CreditNoteSummary]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            heading = await invoices.issued(session, invoice_id=wanted)
            notes = await credit_notes.notes_of(session, organization_id=heading.organization_id, invoice_id=heading.id)
        return Page(data=[CreditNoteSummary.of(note) for note in notes], next=None)

    @get("/acts", summary="That an invoice was voided or given up, when, by whom and why, oldest first")
    async def list_acts(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ActView]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            heading = await invoices.issued(session, invoice_id=wanted)
            acts = await voiding.acts_of(session, organization_id=heading.organization_id, invoice_id=heading.id)
        return Page(data=[ActView.of(act) for act in acts], next=None)
