"""Invoices and credit notes as PDF files: an organization takes its own, the operator any invoice."""

from litestar import Controller, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected
from tollgate.invoices.printing import Printer
from tollgate.invoices.service import credit_notes, files
from tollgate.invoices.service import invoices as service
from tollgate.invoices.service.files import File
from tollgate.kit.clock import Clock
from tollgate.kit.ids import CreditNoteId, InvoiceId
from tollgate.kit.principal import Principal

MEDIA_TYPE = "application/pdf"

_FILE = {200: ResponseSpec(bytes, media_type=MEDIA_TYPE, description="A PDF/A-3b file; the document as JSON is in it")}


class InvoiceFilesController(Controller):
    """An organization's invoices, to print or to file away."""

    path = "/invoices"
    tags = ("Invoices",)

    @get(
        "/current/pdf",
        summary="The draft that collects what is used now, as a PDF file",
        media_type=MEDIA_TYPE,
        responses=_FILE,
    )
    async def get_current_pdf(
        self,
        database: Injected[Database],
        clock: Injected[Clock],
        printer: Injected[Printer],
        manager: Injected[Principal],
    ) -> Response[bytes]:
        async with database.read() as session:
            invoice = await service.current(session, organization_id=manager.organization_id, now=clock.now())
        return _answer(await files.invoice_file(printer, invoice=invoice))

    @get("/{invoice_id:str}/pdf", summary="An invoice or a draft as a PDF file", media_type=MEDIA_TYPE, responses=_FILE)
    async def get_invoice_pdf(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        printer: Injected[Printer],
        manager: Injected[Principal],
    ) -> Response[bytes]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            invoice = await service.get(
                session, organization_id=manager.organization_id, invoice_id=wanted, now=clock.now()
            )
        return _answer(await files.invoice_file(printer, invoice=invoice))


class AnyInvoiceFilesController(Controller):
    """Any organization's invoices, to print or to file away."""

    path = "/admin/invoices"
    tags = ("Invoices",)

    @get(
        "/{invoice_id:str}/pdf",
        summary="Any organization's invoice as a PDF file",
        media_type=MEDIA_TYPE,
        responses=_FILE,
    )
    async def get_any_invoice_pdf(
        self,
        invoice_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        printer: Injected[Printer],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Response[bytes]:
        wanted = InvoiceId(web.parse_id("inv", invoice_id))
        async with database.read() as session:
            invoice = await service.find(session, invoice_id=wanted, now=clock.now())
        return _answer(await files.invoice_file(printer, invoice=invoice))

    @get(
        "/{invoice_id:str}/credit-notes/{credit_note_id:str}/pdf",
        summary="A credit note of any organization's invoice as a PDF file",
        media_type=MEDIA_TYPE,
        responses=_FILE,
    )
    async def get_any_credit_note_pdf(
        self,
        invoice_id: FromPath[str],
        credit_note_id: FromPath[str],
        database: Injected[Database],
        printer: Injected[Printer],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Response[bytes]:
        wanted, named = InvoiceId(web.parse_id("inv", invoice_id)), CreditNoteId(web.parse_id("cn", credit_note_id))
        async with database.read() as session:
            heading = await service.issued(session, invoice_id=wanted)
            note = await credit_notes.get(session, organization_id=heading.organization_id, note_id=named)
        return _answer(await files.credit_note_file(printer, note=note))


class CreditNoteFilesController(Controller):
    """An organization's credit notes, to print or to file away."""

    path = "/credit-notes"
    tags = ("Invoices",)

    @get("/{credit_note_id:str}/pdf", summary="A credit note as a PDF file", media_type=MEDIA_TYPE, responses=_FILE)
    async def get_credit_note_pdf(
        self,
        credit_note_id: FromPath[str],
        database: Injected[Database],
        printer: Injected[Printer],
        manager: Injected[Principal],
    ) -> Response[bytes]:
        owner, wanted = manager.organization_id, CreditNoteId(web.parse_id("cn", credit_note_id))
        async with database.read() as session:
            note = await credit_notes.get(session, organization_id=owner, note_id=wanted)
        return _answer(await files.credit_note_file(printer, note=note))


def _answer(file: File) -> Response[bytes]:
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "X-Content-Type-Options": "nosniff"}
    return Response(file.content, media_type=MEDIA_TYPE, headers=headers)
