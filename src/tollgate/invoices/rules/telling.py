"""What is told of an invoice to whoever listens."""

from datetime import datetime
from uuid import UUID

from tollgate.invoices.acts import Act, ActKind, CreditNote
from tollgate.invoices.model import Heading, InvoiceStatus
from tollgate.invoices.rules.document import rounded
from tollgate.kit import instants
from tollgate.kit.ids import typed
from tollgate.webhooks.model import Event, EventType
from tollgate.webhooks.rules import event


def of_issue(heading: Heading) -> list[Event]:
    """What is told when the invoice is issued: that it was, and that it is paid if nothing is due on it."""
    kinds = [EventType.INVOICE_FINALISED]
    if heading.status is InvoiceStatus.PAID:
        kinds.append(EventType.INVOICE_PAID)
    return [of(heading, kind, heading.id) for kind in kinds]


def of(heading: Heading, kind: EventType, cause: UUID, *, at: datetime | None = None, **more: object) -> Event:
    """The event that `cause` brings about for the invoice; if no time is said, when it came to be as it is."""
    happened = at or (heading.paid_at if kind is EventType.INVOICE_PAID else heading.issued_at)
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
        "amount_credited": rounded(heading.amount_credited, heading.currency),
        "amount_due": rounded(heading.amount_due, heading.currency),
        "due_at": instants.text_or_none(heading.due_at),
        **more,
    }
    return event(heading.organization_id, cause, kind, data, now=happened)


_OF_ACT = {ActKind.VOID: EventType.INVOICE_VOIDED, ActKind.UNCOLLECTIBLE: EventType.INVOICE_UNCOLLECTIBLE}


def of_act(heading: Heading, act: Act) -> Event:
    """What is told when the invoice was voided or given up."""
    return of(heading, _OF_ACT[act.kind], act.id, at=act.acted_at, reason=act.reason)


def of_credit(heading: Heading, note: CreditNote) -> Event:
    """What is told when the credit note was issued; the heading is the invoice's afterwards."""
    return of(
        heading,
        EventType.CREDIT_NOTE_ISSUED,
        note.id,
        at=note.issued_at,
        credit_note=typed("cn", note.id),
        credit_note_number=note.number,
        credited=rounded(note.amount, note.currency),
        settle=note.surplus.value,
        reason=note.reason,
    )
