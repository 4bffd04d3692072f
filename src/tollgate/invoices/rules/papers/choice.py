"""Which paper a document is printed on."""

from tollgate.invoices.rules.papers.credit_note import credit_note_paper
from tollgate.invoices.rules.papers.invoice import invoice_paper
from tollgate.invoices.rules.papers.paper import Paper
from tollgate.invoices.rules.papers.reading import kind_of


def paper_of(document: str) -> Paper:
    """The paper of a stored document of any kind, by its JSON text."""
    return credit_note_paper(document) if kind_of(document) == "credit_note" else invoice_paper(document)
