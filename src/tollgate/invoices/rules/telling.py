"""What is told of an invoice to whoever listens."""

from uuid import UUID

from tollgate.invoices.model import Heading, InvoiceStatus
from tollgate.invoices.rules.document import instant, rounded
from tollgate.kit.ids import typed
from tollgate.webhooks.model import Event, EventType
from tollgate.webhooks.rules import event


def of_issue(heading: Heading) -> list[Event]:
    """What is told when the invoice is issued: that it was, and that it is paid if nothing is due on it."""
    kinds = [EventType.INVOICE_FINALISED]
    if heading.status is InvoiceStatus.PAID:
        kinds.append(EventType.INVOICE_PAID)
    return [of(heading, kind, heading.id) for kind in kinds]


def of(heading: Heading, kind: EventType, cause: UUID, **more: object) -> Event:
    """The event that `cause` brings about for the invoice; it happened when the invoice came to be as it is."""
    happened = heading.paid_at if kind is EventType.INVOICE_PAID else heading.issued_at
    if happened is None:
        raise ValueError("Drafts are not told of")
    data = {
        "invoice": typed("inv", heading.id),
        "number": heading.number,
        "status": heading.status.value,
        "month": heading.month.name,
        "currency": heading.currency,
        "total": rounded(heading.totals.total, heading.currency),
        "amount_paid": rounded(heading.amount_paid, heading.currency),
        "amount_due": rounded(heading.amount_due, heading.currency),
        "due_at": instant(heading.due_at),
        **more,
    }
    return event(heading.organization_id, cause, kind, data, now=happened)
