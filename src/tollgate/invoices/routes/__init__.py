"""The routes of invoices: an organization reads its own, the operator acts on anybody's."""

from tollgate.invoices.routes.credit_notes import CreditNotesController, IssuedInvoiceActsController
from tollgate.invoices.routes.invoices import InvoiceActsController, InvoicesController

HANDLERS = (InvoicesController, InvoiceActsController, CreditNotesController, IssuedInvoiceActsController)

__all__ = ["HANDLERS"]
