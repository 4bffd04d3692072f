"""What the operator sees of payments, and decides: how an organization is collected from, and what is taken now."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from tollgate.accounts import service as accounts
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.service import invoices
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.ledger import service as ledger
from tollgate.payments.rules import collecting
from tollgate.payments.service import turns
from tollgate.payments.states import (
    Collection,
    CollectionMode,
    CollectionSettings,
    CollectionState,
    DisputeRow,
    Overview,
    Reconciliation,
)
from tollgate.payments.store import clearing as clearing_store
from tollgate.payments.store import collections as store
from tollgate.payments.store import returns


async def overview(session: ReadSession, *, now: datetime) -> Overview:
    """How payments stand now."""
    counts, oldest = await store.counts(session, now=now)
    last = await clearing_store.reconciliations(session, count=1)
    whole = {state.value: counts.get(state.value, 0) for state in CollectionState}
    return Overview(whole, oldest, last[0] if last else None)


async def collections(
    session: ReadSession, *, state: CollectionState | None, before: InvoiceId | None, count: int
) -> Sequence[Collection]:
    """Collections in this state, or in any, of invoices before that one, newest first."""
    return await store.page(session, state=state, before=before, count=count)


async def collection_of(session: ReadSession, *, invoice_id: InvoiceId) -> Collection:
    """The collection of an invoice.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: nothing was ever due on it.
    """
    heading = await invoices.issued(session, invoice_id=invoice_id)
    found = await store.collection(session, organization_id=heading.organization_id, invoice_id=invoice_id)
    if found is None:
        raise Conflict(f"Nothing was ever due on {heading.number}: there is nothing to collect.")
    return found


async def ask(session: WriteSession, *, invoice_id: InvoiceId, now: datetime) -> Collection:
    """Have the money be taken at the next opportunity; what was parked begins anew.

    Raises:
        NotFound: no invoice was issued under this id.
        Conflict: nothing is due on it, or it is being worked on at this very moment.
    """
    heading = await invoices.issued(session, invoice_id=invoice_id)
    if heading.amount_due == 0:
        raise Conflict(f"Nothing is due on {heading.number}: it is {heading.status}.")
    found = await collection_of(session, invoice_id=invoice_id)
    try:
        await turns.write(session, replace(collecting.asked(found), next_at=now), now=now)
    except turns.Overtaken as error:
        raise Conflict("This invoice is being collected at this moment. Ask again.") from error
    asked = await store.ask(session, organization_id=found.organization_id, invoice_id=invoice_id)
    return asked or found


async def settings(session: ReadSession, *, organization_id: OrganizationId) -> CollectionSettings:
    """How the organization is collected from.

    Raises:
        NotFound: there is no such organization.
    """
    await accounts.get_organization(session, organization_id)
    return await store.settings(session, organization_id=organization_id)


async def set_mode(
    session: WriteSession, *, organization_id: OrganizationId, mode: CollectionMode | None
) -> CollectionSettings:
    """Decide how the organization is collected from; what is under way goes on accordingly.

    Raises:
        NotFound: there is no such organization.
    """
    await accounts.get_organization(session, organization_id)
    await ledger.lock(session, organization_id=organization_id)  # whoever suspends it writes the same row
    changed = replace(await store.settings(session, organization_id=organization_id), mode=mode)
    await store.set_settings(session, changed)
    await store.wake_all(session, organization_id=organization_id)
    return changed


async def disputes(session: ReadSession, *, before: UUID | None, count: int) -> Sequence[DisputeRow]:
    """Disputes before that one, newest first."""
    return await returns.disputes(session, before=before, count=count)


async def reconciliations(session: ReadSession, *, count: int) -> Sequence[Reconciliation]:
    """The last comparisons with Stripe, newest first."""
    return await clearing_store.reconciliations(session, count=count)
