"""The nightly comparison of our books with Stripe's: first what is merely late is made good, then the rest is told.

Nothing here depends on webhooks: whatever they did not tell is found by looking.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import structlog

from tollgate.infra import identity, telemetry
from tollgate.infra.database import ReadSession
from tollgate.invoices.service import invoices
from tollgate.invoices.service import payments as invoice_payments
from tollgate.kit import money
from tollgate.kit.ids import OrganizationId
from tollgate.ledger import service as ledger
from tollgate.ledger.model import STRIPE_CLEARING
from tollgate.payments.model import BalanceTransaction, NotConfigured, NotTheirs, Payout, StripeInvoice, StripeMissing
from tollgate.payments.rules import reconciling as rules
from tollgate.payments.rules.reconciling import Pair
from tollgate.payments.service import clearing, collecting, returning, sources
from tollgate.payments.service.means import Means
from tollgate.payments.service.sources import Sums
from tollgate.payments.states import Collection, CollectionState, Difference, Reconciliation
from tollgate.payments.store import clearing as clearing_store
from tollgate.payments.store import collections as store
from tollgate.payments.store import returns
from tollgate.payments.stripe_client import StripeClient

OVERLAP = timedelta(days=3)
"""What was looked at shortly before the last comparison is looked at again: Stripe tells of some things late."""
_FIRST = timedelta(days=90)
_EVERY = timedelta(hours=20)
_COLLECTIONS_MAX = 100_000

Progress = Callable[[str, int, int], None]
"""Called with what is looked at, how many of it were, and how many there are."""

_log = structlog.get_logger(__name__)


def _quietly(what: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What was looked at, and what does not fit."""

    pairs: Sequence[Pair]
    theirs: Sequence[StripeInvoice]
    strange: Sequence[tuple[BalanceTransaction, str | None]]
    payouts: Sequence[tuple[Payout, str]]


async def reconcile(means: Means, *, progress: Progress = _quietly) -> Reconciliation:
    """Compare, make good what is late, and keep the report.

    Raises:
        NotConfigured: there is no way to Stripe.
        StripeError: Stripe does not answer; nothing is kept of it then.
    """
    if means.door is None:
        raise NotConfigured
    began_at = means.clock.now()
    since = await _since(means, began_at)
    repaired = await _make_good(means, since, progress)
    strange, wrong = await clearing.bring_in(means, since=since)
    pairs = await _pairs(means, since, progress)
    theirs = await means.door.invoices(since=since)
    owned = [(moved, await clearing.owner_of(means, moved)) for moved in strange]
    found = _Found(pairs, theirs, owned, wrong)
    async with means.database.write() as session:
        differences, compared = await _differences(session, found, since, began_at)
        report = Reconciliation(
            id=identity.new_id(began_at),
            began_at=began_at,
            finished_at=means.clock.now(),
            since=since,
            compared=compared,
            repaired=repaired,
            differences=tuple(differences),
        )
        await clearing_store.add_reconciliation(session, report)
    telemetry.RECONCILIATION_DIFFERENCES.set(len(differences))
    _log.info("reconciliation.finished", repaired=repaired, differences=len(differences), **compared)
    return report


async def is_due(means: Means) -> bool:
    """Whether the books were not compared for most of a day."""
    async with means.database.read() as session:
        last = await clearing_store.reconciliations(session, count=1)
    return not last or last[0].began_at <= means.clock.now() - _EVERY


async def _since(means: Means, now: datetime) -> datetime:
    async with means.database.read() as session:
        last = await clearing_store.reconciliations(session, count=1)
    return last[0].began_at - OVERLAP if last else now - _FIRST


async def _make_good(means: Means, since: datetime, progress: Progress) -> int:
    """Look at everything that may have moved without our hearing of it; answers how much of it had."""
    async with means.database.read() as session:
        known = await store.collections(
            session, states=[CollectionState.OPEN, CollectionState.PARKED], since=since, count=_COLLECTIONS_MAX
        )
        refunds = await returns.changed_refunds(session, since=since)
    repaired = 0
    for place, collection in enumerate(known):
        progress("invoices", place, len(known))
        repaired += await _looked_at(means, collection)
    for refund in refunds:
        if refund.stripe_refund_id is not None:
            with _told_by_the_rest(refund.stripe_refund_id):
                settled = await returning.settle(means, await _door(means).refund(refund.stripe_refund_id))
                repaired += settled is not None and settled.status is not refund.status
    for dispute in await _door(means).disputes(since=since):
        with _told_by_the_rest(dispute.id):
            noted = await returning.note_dispute(means, dispute)
            repaired += noted is not None and noted.updated_at >= means.clock.now()
    return repaired


@contextmanager
def _told_by_the_rest(stripe_id: str) -> Iterator[None]:
    """One object that is not there or does not fit keeps nothing else from being compared; its money then differs."""
    try:
        yield
    except (StripeMissing, NotTheirs) as error:
        _log.warning("reconciliation.left_out", stripe_id=stripe_id, error=error.message)


async def _looked_at(means: Means, collection: Collection) -> bool:
    owner, invoice_id = collection.organization_id, collection.invoice_id
    if collection.mirror.invoice_id is not None:
        async with means.database.write() as session:
            await store.wake(session, stripe_invoice_id=collection.mirror.invoice_id)
    after = await collecting.collect(means, organization_id=owner, invoice_id=invoice_id)
    return after is not None and after.state is not collection.state and after.errors == 0


async def _pairs(means: Means, since: datetime, progress: Progress) -> list[Pair]:
    async with means.database.read() as session:
        known = await store.collections(
            session, states=[CollectionState.OPEN, CollectionState.PARKED], since=since, count=_COLLECTIONS_MAX
        )
    pairs = []
    for place, collection in enumerate(known):
        progress("comparing", place, len(known))
        mirror = await _mirror(means, collection)
        async with means.database.read() as session:
            found = await invoices.get(
                session,
                organization_id=collection.organization_id,
                invoice_id=collection.invoice_id,
                now=means.clock.now(),
            )
        pairs.append(Pair(collection, found.heading, mirror))
    return pairs


async def _mirror(means: Means, collection: Collection) -> StripeInvoice | None:
    if collection.mirror.invoice_id is None:
        return None
    try:
        return await _door(means).invoice(collection.mirror.invoice_id)
    except StripeMissing:
        return None


def _door(means: Means) -> StripeClient:
    if means.door is None:
        raise NotConfigured
    return means.door


async def _differences(
    session: ReadSession, found: _Found, since: datetime, began_at: datetime
) -> tuple[list[Difference], dict[str, int]]:
    moved = await clearing_store.movements_since(session, since)
    intents = {each.payment_intent_id for each in moved}
    intents |= {*await invoice_payments.moved_at_stripe(session, since=since)}
    intents |= await sources.top_ups_since(session, since)
    ours, moving = await _ours(session, intents, began_at)
    stripes = await clearing_store.by_payment(session, intents)
    compared = {"invoices": len(found.pairs), "payments": len(intents), "movements": len(moved)}
    here = await ledger.balances(session, account=STRIPE_CLEARING)
    there = await clearing_store.at_stripe(session)
    # What was paid while this went on is compared the next time.
    busy = {owner for owner, _ in moving.values()}
    return [
        *rules.invoices(found.pairs, found.theirs),
        *rules.payments(
            {name: sums for name, sums in ours.items() if name not in moving},
            {name: sums for name, sums in stripes.items() if name not in moving},
        ),
        *rules.clearing(_settled(here, busy), _settled(there, busy)),
        *rules.strangers(found.strange),
        *rules.payouts(found.payouts),
    ], compared


def _settled(
    sums: dict[tuple[OrganizationId, str], Decimal], busy: set[OrganizationId]
) -> dict[tuple[OrganizationId, str], Decimal]:
    return {place: amount for place, amount in sums.items() if place[0] not in busy}


async def _ours(session: ReadSession, intents: set[str], began_at: datetime) -> tuple[Sums, Sums]:
    """What each payment brought and gave back by our books, and those of them that moved while this went on."""
    sums, moving = await sources.top_up_sums(session, intents), Sums()
    for payment in await invoice_payments.at_stripe(session, references=intents):
        change = payment.amount if payment.kind.comes_in else payment.amount.copy_negate()
        owner, before = sums.get(str(payment.reference), (payment.organization_id, money.ZERO))
        sums[str(payment.reference)] = (owner, money.EXACT.add(before, change))
        if payment.recorded_at > began_at:
            moving[str(payment.reference)] = (owner, change)
    return sums, moving
