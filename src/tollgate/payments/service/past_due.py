"""What a customer hears who does not pay, and what it comes to: notices, suspension, and its end.

Each is written down and told of in one transaction, so that it happens once.
"""

from dataclasses import replace
from datetime import datetime

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization, OrganizationStatus
from tollgate.infra import telemetry
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.invoices.model import Heading
from tollgate.invoices.rules import telling
from tollgate.invoices.service import invoices
from tollgate.kit import instants
from tollgate.kit.ids import OrganizationId, derived_id, typed
from tollgate.ledger import service as ledger
from tollgate.payments.rules import dunning
from tollgate.payments.service import turns
from tollgate.payments.service.means import Means
from tollgate.payments.states import Collection, CollectionSettings
from tollgate.payments.store import collections as store
from tollgate.webhooks import service as webhooks
from tollgate.webhooks.model import EventType
from tollgate.webhooks.rules import event


async def failed(means: Means, collection: Collection, *, reason: str, page: str | None) -> Collection:
    """The attempt under way came to nothing: tell so, with the page on which the customer can pay or confirm."""
    now = means.clock.now()
    after = dunning.after_failure(collection.dunning, now)
    telemetry.PAYMENT_FAILURES.inc()
    async with means.database.write() as session:
        saved = await turns.write(session, replace(collection, dunning=after, errors=0), now=now, last_error=reason)
        heading = await _heading(session, collection, now)
        retry_at = dunning.next_attempt(after, means.policy, now)
        told = telling.of(
            heading,
            EventType.INVOICE_PAYMENT_FAILED,
            derived_id(collection.invoice_id, f"attempt:{after.attempts}"),
            attempt=after.attempts,
            reason=reason,
            next_attempt_at=instants.text_or_none(retry_at),
            payment_page=page,
        )
        await webhooks.emit(session, replace(told, occurred_at=now))
    return saved


async def remind(means: Means, collection: Collection) -> Collection:
    """Tell that the invoice is past due."""
    now = means.clock.now()
    async with means.database.write() as session:
        noted = replace(collection, dunning=replace(collection.dunning, past_due_at=now))
        saved = await turns.write(session, noted, now=now)
        heading = await _heading(session, collection, now)
        told = telling.of(heading, EventType.INVOICE_PAST_DUE, collection.invoice_id)
        await webhooks.emit(session, replace(told, occurred_at=now))
    return saved


async def suspend(means: Means, collection: Collection) -> Collection:
    """Close the organization's keys until it pays, if they are open; once for an invoice."""
    now, owner = means.clock.now(), collection.organization_id
    async with means.database.write() as session:
        await ledger.lock(session, organization_id=owner)
        noted = replace(collection, dunning=replace(collection.dunning, suspended_at=now))
        saved = await turns.write(session, noted, now=now)
        organization = await accounts.get_organization(session, owner)
        if organization.status is OrganizationStatus.ACTIVE:
            await accounts.change_organization(session, organization_id=owner, edit=_suspended)
            settings = await store.settings(session, organization_id=owner)
            await store.set_settings(session, replace(settings, suspended_at=now))
            data = {"organization": typed("org", owner), "invoice": typed("inv", collection.invoice_id)}
            told = event(owner, collection.invoice_id, EventType.ORGANIZATION_SUSPENDED, data, now=now)
            await webhooks.emit(session, told)
            telemetry.SUSPENSIONS.inc()
    return saved


async def resume(means: Means, *, organization_id: OrganizationId) -> None:
    """Open the organization's keys again, if they were closed because it did not pay, and nothing is past due."""
    async with means.database.write() as session:
        settings = await _suspended_by_us(session, organization_id)
        if settings is None or await store.is_past_due(session, organization_id=organization_id):
            return
        await accounts.change_organization(session, organization_id=organization_id, edit=_resumed)
        await store.set_settings(session, replace(settings, suspended_at=None))


async def keep_closed(means: Means, *, organization_id: OrganizationId) -> None:
    """What was given up was not paid: keys that were closed before stay so, until a person opens them."""
    async with means.database.write() as session:
        settings = await _suspended_by_us(session, organization_id)
        if settings is not None:
            await store.set_settings(session, replace(settings, suspended_at=None))


async def _suspended_by_us(session: WriteSession, organization_id: OrganizationId) -> CollectionSettings | None:
    """The organization's settings, with its lock; `None` if it was not suspended because it did not pay."""
    if (await store.settings(session, organization_id=organization_id)).suspended_at is None:
        return None
    await ledger.lock(session, organization_id=organization_id)
    settings = await store.settings(session, organization_id=organization_id)
    return None if settings.suspended_at is None else settings


def _suspended(organization: Organization) -> Organization:
    return replace(organization, status=OrganizationStatus.SUSPENDED)


def _resumed(organization: Organization) -> Organization:
    if organization.status is not OrganizationStatus.SUSPENDED:
        return organization
    return replace(organization, status=OrganizationStatus.ACTIVE)


async def _heading(session: ReadSession, collection: Collection, now: datetime) -> Heading:
    found = await invoices.get(
        session, organization_id=collection.organization_id, invoice_id=collection.invoice_id, now=now
    )
    return found.heading
