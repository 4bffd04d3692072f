"""The routes of invoices: an organization reads its own, the operator acts on anybody's."""

from tollgate.invoices.routes.files import AnyInvoiceFilesController, InvoiceFilesController
from tollgate.invoices.routes.invoices import InvoiceActsController, InvoicesController

HANDLERS = (InvoicesController, InvoiceFilesController, InvoiceActsController, AnyInvoiceFilesController)

__all__ = ["HANDLERS"]
