"""Use cases of what is done to a whole invoice: void it, or give it up."""

from collections.abc import Sequence
from datetime import datetime

from tollgate.infra import identity
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.acts import Act, ActKind
from tollgate.invoices.model import Heading, InvoiceStatus
from tollgate.invoices.rules import telling, voiding
from tollgate.invoices.service import invoices, payments
from tollgate.invoices.store import acts as store
from tollgate.invoices.store import invoices as invoice_store
from tollgate.kit.ids import InvoiceId, KeyId, OrganizationId
from tollgate.ledger import service as ledger
from tollgate.webhooks import service as webhooks


async def void(
    session: WriteSession, *, invoice_id: InvoiceId, reason: str, by: KeyId | None, now: datetime
) -> Heading:
    """Take back the organization's newest invoice, while nothing of it is paid or credited; it stays to be read.

    What it posted is reversed, favours get back what they paid, and what was used is to be invoiced again: closing the
    month again makes another invoice under another number. One that is void already is answered as it is.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: it is not the newest, something of it was paid, credited or given up, or a favour that paid for some
            of it was voided meanwhile.
    """
    heading = await payments.locked(session, await invoices.issued(session, invoice_id=invoice_id))
    if heading.status is InvoiceStatus.VOID:
        return heading
    owner = heading.organization_id
    voiding.check_may_void(heading, await invoice_store.newest(session, organization_id=owner))
    await ledger.reverse(
        session, organization_id=owner, caused=("invoice", heading.id), cause=voiding.VOID_CAUSE, now=now
    )
    act = _act(heading, ActKind.VOID, reason, by=by, now=now)
    return await _done(session, act, voiding.voided(heading))


async def mark_uncollectible(
    session: WriteSession, *, invoice_id: InvoiceId, reason: str, by: KeyId | None, now: datetime
) -> Heading:
    """Give up what is due on an invoice. It may still be paid. One that is given up already is answered as it is.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: nothing is due on it.
    """
    heading = await payments.locked(session, await invoices.issued(session, invoice_id=invoice_id))
    if heading.status is InvoiceStatus.UNCOLLECTIBLE:
        return heading
    voiding.check_may_give_up(heading)
    act = _act(heading, ActKind.UNCOLLECTIBLE, reason, by=by, now=now)
    for transfer in voiding.write_off(heading, act, now=now):
        await ledger.post(session, transfer)
    return await _done(session, act, voiding.given_up(heading))


def _act(heading: Heading, kind: ActKind, reason: str, *, by: KeyId | None, now: datetime) -> Act:
    return Act(
        organization_id=heading.organization_id,
        id=identity.new_id(now),
        invoice_id=heading.id,
        kind=kind,
        reason=reason,
        acted_at=now,
        acted_by=by,
    )


async def _done(session: WriteSession, act: Act, after: Heading) -> Heading:
    await invoice_store.move_on(session, after)
    await store.add_act(session, act)
    await webhooks.emit(session, telling.of_act(after, act))
    return after


async def acts_of(session: ReadSession, *, organization_id: OrganizationId, invoice_id: InvoiceId) -> Sequence[Act]:
    """What was done to the invoice, oldest first."""
    return await store.acts(session, organization_id=organization_id, invoice_id=invoice_id)
