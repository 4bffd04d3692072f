"""Use cases of top-ups: ask for one, look after it until it ends, credit it once Stripe confirms that it is paid."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.agreements import service as agreements
from tollgate.infra import identity, jobs, telemetry
from tollgate.infra.database import Database, ReadSession, WriteSession
from tollgate.kit import money
from tollgate.kit.errors import Conflict, IdempotencyConflict
from tollgate.kit.ids import KeyId, OrganizationId, TopUpId, typed
from tollgate.ledger import service as ledger
from tollgate.ledger.model import REFUNDABLE
from tollgate.payments.model import CheckoutSession, NotTheirs, StripeError, StripeMissing, StripeRefused
from tollgate.payments.records import FINAL, TopUp, TopUpOrder, TopUpStatus, Verdict
from tollgate.payments.rules import links
from tollgate.payments.rules import top_ups as rules
from tollgate.payments.service import opening, waking
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.store import top_ups as store
from tollgate.webhooks import service as webhooks

_TOO_LATE = Verdict(TopUpStatus.FAILED, "The page could not be opened in time.")
_log = structlog.get_logger(__name__)


async def ask(
    database: Database, *, owner: OrganizationId, order: TopUpOrder, by: KeyId | None, once: str | None, now: datetime
) -> TopUp:
    """Write down that an organization wants to buy credit; `once` is the request's idempotency key.

    Asked again with the same key, it answers the top-up as it is now.

    Raises:
        InvalidRequest: the amount or a link cannot be; `field` says which.
        Conflict: too many pages wait to be paid already.
        IdempotencyConflict: the key was used for another request.
    """
    links.check(order.success_url, "success_url")
    links.check(order.cancel_url, "cancel_url")
    async with database.write() as session:
        await ledger.lock(session, organization_id=owner)
        once_key = None if once is None else hashlib.sha256(once.encode()).digest()
        known = None if once_key is None else await store.asked_once(session, organization_id=owner, once_key=once_key)
        if known is not None:
            if known.once_request != _digest(order):
                raise IdempotencyConflict
            return known
        organization = await accounts.get_organization(session, owner)
        rules.check_amount(order.amount, organization.currency)
        if await store.count_unpaid(session, organization_id=owner, now=now) >= rules.OPEN_MAX:
            raise Conflict(f"{rules.OPEN_MAX} top-ups wait to be paid already; they end by themselves after a while.")
        terms = (await agreements.billing(session, organization_id=owner)).tax
        tax = rules.tax_on(order.amount, terms, organization.currency)
        top_up = replace(_wanted(organization, order, by=by, once_key=once_key, now=now), tax=tax)
        await store.add(session, top_up)
        subject = waking.subject(waking.TOP_UP_JOB, owner, top_up.id)
        await jobs.enqueue(session, job=waking.TOP_UP_JOB, subject=subject, after=now + rules.LEFT_TO_THE_REQUEST)
        return top_up


def _wanted(
    organization: Organization, order: TopUpOrder, *, by: KeyId | None, once_key: bytes | None, now: datetime
) -> TopUp:
    return TopUp(
        organization_id=organization.id,
        id=TopUpId(identity.new_id(now)),
        amount=order.amount,
        tax=money.ZERO,
        currency=organization.currency,
        status=TopUpStatus.OPENING,
        reason=None,
        success_url=order.success_url,
        cancel_url=order.cancel_url,
        customer_id=None,
        attempt=1,
        session_id=None,
        url=None,
        payment_intent_id=None,
        grant_id=None,
        once_key=once_key,
        once_request=None if once_key is None else _digest(order),
        tries=0,
        next_at=now,
        created_at=now,
        created_by=by,
        expires_at=now.replace(microsecond=0) + rules.PAGE_LASTS,
        closed_at=None,
    )


def _digest(order: TopUpOrder) -> bytes:
    said = (money.amount_text(order.amount), order.success_url, order.cancel_url)
    return hashlib.sha256(msgspec.json.encode(said)).digest()


async def look_after(at: Surroundings, *, organization_id: OrganizationId, top_up_id: TopUpId) -> TopUp:
    """Take it one step further by what Stripe says: open its page, credit it, end it. Any number may do so at once.

    If Stripe cannot be asked, it stays as it is, and is due again later.

    Raises:
        NotFound: the organization has no such top-up.
    """
    top_up = await _taken(at, organization_id, top_up_id)
    if not top_up.status.is_waiting and (top_up.status in FINAL or top_up.session_id is None):
        return top_up
    try:
        page = await opening.page_of(at, top_up)
        if page is None:
            return await _settle(at, top_up, _TOO_LATE, None)
        return await _follow(at, page, await _now(at, top_up))
    except StripeError as error:
        telemetry.STRIPE_FAILURES.labels(type(error).__name__).inc()
        _log.warning(
            "top_up.stripe_failed", top_up=typed("tup", top_up_id), error=type(error).__name__, reason=error.message
        )
        verdict = _given_up(top_up, error)
        return top_up if verdict is None else await _settle(at, top_up, verdict, None)


def _given_up(top_up: TopUp, error: StripeError) -> Verdict | None:
    """What an error decides at once; `None` for one that may be gone the next time."""
    if isinstance(error, NotTheirs):
        return Verdict(TopUpStatus.PARKED, error.message)
    if isinstance(error, StripeMissing):
        # The customer may just have been deleted; but a page never is.
        return None if top_up.session_id is None else Verdict(TopUpStatus.PARKED, "Stripe does not know the page.")
    if isinstance(error, StripeRefused) and top_up.status is TopUpStatus.OPENING:
        return Verdict(TopUpStatus.FAILED, error.message)
    return None


async def is_due(session: ReadSession, *, organization_id: OrganizationId, top_up_id: TopUpId, now: datetime) -> bool:
    """Whether the top-up is to be looked after now."""
    found = await store.top_up(session, organization_id=organization_id, top_up_id=top_up_id)
    return found is not None and found.next_at is not None and found.next_at <= now


async def _taken(at: Surroundings, organization_id: OrganizationId, top_up_id: TopUpId) -> TopUp:
    """The top-up, not due again before whoever looks after it now has had time to."""
    async with at.database.write() as session:
        found = rules.found(
            await store.top_up(session, organization_id=organization_id, top_up_id=top_up_id, lock=True)
        )
        if not found.status.is_waiting:
            return found
        taken = replace(found, tries=found.tries + 1, next_at=rules.next_look(found, at.clock.now()))
        await store.save(session, taken)
        return taken


async def _now(at: Surroundings, top_up: TopUp) -> TopUp:
    async with at.database.read() as session:
        return await get(session, organization_id=top_up.organization_id, top_up_id=top_up.id)


async def _follow(at: Surroundings, page: CheckoutSession, top_up: TopUp) -> TopUp:
    intent = None if page.payment_intent_id is None else await at.stripe.payment_intent(page.payment_intent_id)
    return await _settle(at, top_up, rules.judge(top_up, page, intent), page)


async def _settle(at: Surroundings, top_up: TopUp, verdict: Verdict, page: CheckoutSession | None) -> TopUp:
    """Write down what was found out, once, whoever found out first; and credit it if it is paid."""
    now = at.clock.now()
    async with at.database.write() as session:
        await ledger.lock(session, organization_id=top_up.organization_id)
        before = rules.found(
            await store.top_up(session, organization_id=top_up.organization_id, top_up_id=top_up.id, lock=True)
        )
        if before.status in FINAL or (before.session_id and page and before.session_id != page.id):
            return before
        after = _after(before, verdict, page, now)
        if after.status is TopUpStatus.PAID:
            after = await _credited(session, after, now)
        await store.save(session, after)
    if after.status is not before.status and not after.status.is_waiting:
        telemetry.TOP_UPS.labels(after.status).inc()
        _log.info("top_up.ended", top_up=typed("tup", after.id), status=after.status.value, reason=after.reason)
    return after


def _after(before: TopUp, verdict: Verdict, page: CheckoutSession | None, now: datetime) -> TopUp:
    after = replace(
        before,
        status=verdict.status,
        reason=verdict.reason,
        payment_intent_id=verdict.payment_intent_id or before.payment_intent_id,
        url=page.url if page is not None and verdict.status is TopUpStatus.OPEN else None,
        session_id=before.session_id or (None if page is None else page.id),
        tries=before.tries if verdict.status is before.status else 0,
        closed_at=now if verdict.status in FINAL else None,
    )
    return replace(after, next_at=rules.next_look(after, now))


async def _credited(session: WriteSession, top_up: TopUp, now: datetime) -> TopUp:
    for transfer in rules.postings(top_up, now):
        await ledger.post(session, transfer)
    grant = await ledger.grant_credit(
        session,
        organization_id=top_up.organization_id,
        terms=rules.terms(top_up),
        by=top_up.created_by,
        now=now,
        source=REFUNDABLE,
    )
    paid = replace(top_up, grant_id=grant.id)
    await webhooks.emit(session, rules.telling(paid, now))
    return paid


async def on_page(at: Surroundings, page: CheckoutSession) -> bool:
    """Stripe says that something happened to a page for a payment; false if it is none of ours."""
    named = rules.named_in(page.metadata)
    if named is None:
        return False
    async with at.database.read() as session:
        top_up = await store.top_up(session, organization_id=named[0], top_up_id=named[1])
    if top_up is None:
        return False
    if top_up.session_id not in {None, page.id}:
        if page.is_paid:
            telemetry.TOP_UPS.labels(TopUpStatus.PARKED).inc()
            _log.error("top_up.paid_on_another_page", top_up=typed("tup", top_up.id), page=page.id)
        return True
    if top_up.status not in FINAL:
        await _follow(at, page, top_up)
    return True


async def get(session: ReadSession, *, organization_id: OrganizationId, top_up_id: TopUpId) -> TopUp:
    """One of the organization's top-ups.

    Raises:
        NotFound: it has no such top-up.
    """
    return rules.found(await store.top_up(session, organization_id=organization_id, top_up_id=top_up_id))


async def list_top_ups(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> Sequence[TopUp]:
    """The organization's top-ups made before that one, newest first."""
    return await store.top_ups(session, organization_id=organization_id, before=before, count=count)


async def due(session: ReadSession, *, now: datetime, count: int) -> list[tuple[OrganizationId, TopUpId]]:
    """The top-ups to look after now."""
    return await store.due(session, now=now, count=count)
