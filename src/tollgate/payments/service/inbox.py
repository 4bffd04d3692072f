"""Use cases of the inbox: keep each event of Stripe's once, and act on it later, in any order, until it is done."""

from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tollgate.infra import jobs, telemetry
from tollgate.infra.database import Database, ReadSession, WriteSession
from tollgate.kit.clock import Clock
from tollgate.kit.errors import TollgateError
from tollgate.payments.model import StripeEvent
from tollgate.payments.records import InboxEvent
from tollgate.payments.rules import inbox as rules
from tollgate.payments.service import waking
from tollgate.payments.service.surroundings import Handlers, Surroundings
from tollgate.payments.store import events as store

KEPT_FOR = timedelta(days=60)
"""Longer than Stripe keeps events, by hand or by itself: until then a repeat is known as one."""

_log = structlog.get_logger(__name__)


async def receive(session: WriteSession, *, event: StripeEvent, is_live: bool, now: datetime) -> bool:
    """Keep the event to be acted on; false if it is known.

    Raises:
        InvalidRequest: it is of the mode, live or test, that our key is not of.
    """
    is_new = await store.add(session, rules.received(event, is_live=is_live, now=now))
    telemetry.STRIPE_EVENTS.labels("received" if is_new else "known").inc()
    if is_new:
        await jobs.enqueue(session, job=waking.EVENT_JOB, subject=event.id)
    return is_new


async def process(at: Surroundings, handlers: Handlers, *, event_id: str) -> bool:
    """Act on one event, unless somebody else is at it or it was acted on; false if it has to be tried again."""
    event = await _taken(at.database, at.clock, event_id)
    if event is None:
        return True
    handler = handlers.get(event.type)
    outcome, error = "ignored", None
    try:
        if handler is not None:
            told = StripeEvent(event.id, event.type, event.object_id, event.is_live, event.created_at)
            await handler(at, told)
            outcome = "processed"
    except (TollgateError, SQLAlchemyError) as raised:
        outcome, error = "failed", f"{type(raised).__name__}: {getattr(raised, 'message', 'the database refused')}"
        _log.warning("stripe_event.failed", stripe_event=event.id, type=event.type, error=error)
    telemetry.STRIPE_EVENTS.labels(outcome).inc()
    now = at.clock.now()
    done = replace(event, error=error, processed_at=None if error else now)
    async with at.database.write() as session:
        await store.save(session, done)
    return error is None


async def _taken(database: Database, clock: Clock, event_id: str) -> InboxEvent | None:
    """The event, put off so that nobody else takes it meanwhile; if this process dies, it is due again then."""
    async with database.write() as session:
        found = await store.locked(session, event_id)
        if found is None or found.processed_at is not None or found.next_at > clock.now():
            return None
        next_at = rules.next_try(found.attempts, clock.now())
        taken = replace(found, attempts=found.attempts + 1, next_at=next_at)
        await store.save(session, taken)
        return taken


async def due(session: ReadSession, *, now: datetime, count: int) -> list[str]:
    """The ids of the events to act on now."""
    return await store.due(session, now=now, count=count)


async def forget(session: WriteSession, *, now: datetime) -> None:
    """Drop what was acted on and cannot come again."""
    await store.forget(session, received_before=now - KEPT_FOR)
