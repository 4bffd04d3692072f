"""An invoice as a file to print or to file away."""

from dataclasses import dataclass

from tollgate.invoices.model import Invoice
from tollgate.invoices.printing import Printer
from tollgate.invoices.rules import document


@dataclass(frozen=True, slots=True)
class File:
    """A PDF file, and what to call it."""

    name: str
    content: bytes


async def pdf_of(printer: Printer, *, invoice: Invoice) -> File:
    """The invoice as it was issued, whatever became of it since; or the draft as it is now.

    To be called when no transaction is open: it may have to wait.

    Raises:
        Unavailable: it cannot be made right now.
    """
    heading = invoice.heading
    name = heading.number or f"draft-{heading.month.name}"
    return File(f"{name}.pdf", await printer.pdf_of(invoice.document or document.write(invoice)))
