"""Documents as files, to print or to file away."""

from dataclasses import dataclass

from tollgate.invoices.acts import CreditNote
from tollgate.invoices.model import Invoice
from tollgate.invoices.printing import Printer
from tollgate.invoices.rules import document


@dataclass(frozen=True, slots=True)
class File:
    """A PDF file, and what to call it."""

    name: str
    content: bytes


async def invoice_file(printer: Printer, *, invoice: Invoice) -> File:
    """The invoice as it was issued, whatever became of it since; or the draft as it is now.

    Raises:
        Unavailable: it cannot be made right now.
    """
    heading = invoice.heading
    name = heading.number or f"draft-{heading.month.name}"
    return await document_file(printer, name=name, text=invoice.document or document.write(invoice))


async def credit_note_file(printer: Printer, *, note: CreditNote) -> File:
    """The credit note as it was issued.

    Raises:
        Unavailable: it cannot be made right now.
    """
    return await document_file(printer, name=note.number, text=note.document)


async def document_file(printer: Printer, *, name: str, text: str) -> File:
    """A document of any kind as a file of that name, by its JSON text; to be called when no transaction is open.

    Raises:
        Unavailable: it cannot be made right now.
    """
    return File(f"{name}.pdf", await printer.pdf_of(text))
