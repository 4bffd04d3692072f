"""Use cases of credit notes: issue one, and look at them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from tollgate.infra import identity
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.acts import CreditNote, CreditOrder
from tollgate.invoices.model import Heading, Invoice, InvoiceStatus
from tollgate.invoices.rules import credit_documents, crediting, telling
from tollgate.invoices.service import invoices, payments
from tollgate.invoices.store import credit_notes as store
from tollgate.invoices.store import invoices as invoice_store
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import CreditNoteId, InvoiceId, KeyId, OrganizationId
from tollgate.ledger import service as ledger
from tollgate.webhooks import service as webhooks
from tollgate.webhooks.model import EventType


async def issue(
    session: WriteSession, *, invoice_id: InvoiceId, order: CreditOrder, by: KeyId | None, now: datetime
) -> CreditNote:
    """Credit an issued invoice, in whole or in part, whether it is paid or not.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: it is void, or nothing of it is left to credit.
        InvalidRequest: the amount or the lines cannot be; `field` says which.
    """
    heading = await payments.locked(session, await invoices.issued(session, invoice_id=invoice_id))
    owner = heading.organization_id
    invoice = await invoice_store.invoice(session, organization_id=owner, invoice_id=invoice_id)
    if invoice is None:
        raise NotFound("No invoice was issued under this id.")
    credited = await store.credited(session, organization_id=owner, invoice_id=invoice_id)
    note = CreditNote(
        organization_id=owner,
        id=CreditNoteId(identity.new_id(now)),
        invoice_id=invoice_id,
        number="",
        currency=heading.currency,
        reason=order.reason,
        surplus=order.surplus,
        credited=crediting.credit(heading, crediting.left(crediting.said(invoice), credited), order),
        issued_at=now,
        issued_by=by,
    )
    return await _issue(session, invoice, note)


async def _issue(session: WriteSession, invoice: Invoice, drafted: CreditNote) -> CreditNote:
    heading = invoice.heading
    for transfer in crediting.postings(heading, drafted):
        await ledger.post(session, transfer)
    await store.add_lines(session, drafted)
    # The number comes last: until the transaction ends, every other note waits for it.
    series = crediting.series(drafted.issued_at)
    note = replace(drafted, number=f"{series}-{await invoice_store.next_serial(session, series):06}")
    note = replace(note, document=credit_documents.write(note, invoice))
    await store.add_note(session, note)
    after = await _settled(session, heading, note)
    await webhooks.emit(session, telling.of_credit(after, note))
    if after.status is InvoiceStatus.PAID and heading.status is not InvoiceStatus.PAID:
        await webhooks.emit(session, telling.of(after, EventType.INVOICE_PAID, note.id))
    return note


async def _settled(session: WriteSession, heading: Heading, note: CreditNote) -> Heading:
    after = crediting.after(heading, note)
    await invoice_store.move_on(session, after)
    refund = crediting.refund_by_credit(after, note)
    if refund is None:
        return after
    await ledger.add_funded_grant(session, grant=crediting.grant(refund))
    return await payments.record(session, payment=refund)


async def get(session: ReadSession, *, organization_id: OrganizationId, note_id: CreditNoteId) -> CreditNote:
    """The organization's credit note with this id.

    Raises:
        NotFound: it has none.
    """
    return _found(await store.note(session, organization_id=organization_id, note_id=note_id))


async def find_numbered(session: ReadSession, number: str) -> CreditNote:
    """The credit note with this number, whichever organization's it is.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.numbered_note(session, number))


def _found(note: CreditNote | None) -> CreditNote:
    if note is None:
        raise NotFound("There is no such credit note.")
    return note


async def list_notes(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> Sequence[CreditNote]:
    """The organization's credit notes issued before that one, newest first."""
    return await store.notes(session, organization_id=organization_id, before=before, count=count)


async def notes_of(
    session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId
) -> Sequence[CreditNote]:
    """The credit notes of an invoice, oldest first."""
    return await store.notes_of(session, organization_id=organization_id, invoice_id=invoice_id)
