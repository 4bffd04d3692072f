"""The routes of invoices: an organization reads its own, the operator acts on anybody's."""

from tollgate.invoices.routes.credit_notes import CreditNotesController, IssuedInvoiceActsController
from tollgate.invoices.routes.files import AnyInvoiceFilesController, CreditNoteFilesController, InvoiceFilesController
from tollgate.invoices.routes.invoices import InvoiceActsController, InvoicesController

HANDLERS = (
    InvoicesController,
    InvoiceFilesController,
    CreditNotesController,
    CreditNoteFilesController,
    InvoiceActsController,
    AnyInvoiceFilesController,
    IssuedInvoiceActsController,
)

__all__ = ["HANDLERS"]
