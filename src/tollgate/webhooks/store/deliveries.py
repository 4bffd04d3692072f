"""Deliveries: a queue whose rows are the truth. Who takes one is alone with it until its lease is over."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import DeliveryId, EventId, OrganizationId, WebhookId
from tollgate.webhooks import rules
from tollgate.webhooks.model import (
    Delivery,
    DeliveryState,
    Event,
    EventType,
    Fate,
    Outbox,
    Outcome,
    Parcel,
)
from tollgate.webhooks.tables import EventRow, WebhookDeliveryRow

INSTANT = sa.DateTime(timezone=True)
_UUIDS = sa.ARRAY(sa.Uuid)
_ANY_DUE = sa.text("""
    SELECT EXISTS (SELECT FROM webhook_deliveries WHERE state = 'pending' AND next_at <= :now)
""").bindparams(sa.bindparam("now", type_=INSTANT))

_DUE = sa.text("""
    SELECT DISTINCT organization_id
    FROM (SELECT organization_id FROM webhook_deliveries WHERE state = 'pending' AND next_at <= :now
          ORDER BY next_at LIMIT 1000) AS longest
    LIMIT :most
""").bindparams(sa.bindparam("now", type_=INSTANT))

# Whose endpoint was disabled or removed while its event was told, and what nobody who took it ever came back with.
_DROP_DUE = sa.text("""
    UPDATE webhook_deliveries AS d
    SET state = CASE WHEN d.first_at < :given_up_before AND d.attempts > 0 THEN 'failed' ELSE 'dropped' END,
        next_at = NULL
    WHERE d.state = 'pending' AND d.next_at <= :now
      AND (d.first_at < :given_up_before AND d.attempts > 0
           OR NOT EXISTS (SELECT FROM webhooks AS w
                          WHERE w.organization_id = d.organization_id AND w.id = d.webhook_id
                            AND w.disabled_because IS NULL))
""").bindparams(*(sa.bindparam(name, type_=INSTANT) for name in ("now", "given_up_before")))
_LOST_AFTER = rules.TRIED_FOR + timedelta(hours=1)

# Each endpoint has its own turn: the backlog of one is neither read nor sent before what others wait for. Those that
# failed last come after those that did not, one delivery at a time, and get a share of the places only.
_TAKE = sa.text("""
    WITH ready AS MATERIALIZED (
        SELECT w.organization_id, w.id AS webhook_id, w.failing_since IS NOT NULL AS failing, d.event_id, d.next_at
        FROM webhooks AS w
        LEFT JOIN unnest(:busy, :under_way) AS mine (webhook_id, places) ON mine.webhook_id = w.id
        CROSS JOIN LATERAL (
            SELECT q.event_id, q.next_at FROM webhook_deliveries AS q
            WHERE q.organization_id = w.organization_id AND q.webhook_id = w.id AND q.state = 'pending'
              AND q.next_at <= :now
            ORDER BY q.next_at
            LIMIT greatest(CASE WHEN w.failing_since IS NULL THEN :each ELSE 1 END - coalesce(mine.places, 0), 0)
            FOR UPDATE SKIP LOCKED
        ) AS d
        WHERE w.disabled_because IS NULL
    ), queued AS (
        SELECT ready.*, row_number() OVER (PARTITION BY organization_id, webhook_id ORDER BY next_at) AS turn
        FROM ready
    ), placed AS (
        SELECT queued.*, row_number() OVER (PARTITION BY failing ORDER BY turn, next_at) AS place FROM queued
    ), taken AS (
        SELECT * FROM placed WHERE NOT failing OR place <= :failing_most ORDER BY failing, place LIMIT :most
    )
    UPDATE webhook_deliveries AS d SET attempts = d.attempts + 1, next_at = :leased_until
    FROM taken AS t
    JOIN webhooks AS w ON w.organization_id = t.organization_id AND w.id = t.webhook_id
    JOIN events AS e ON e.organization_id = t.organization_id AND e.id = t.event_id
    WHERE d.organization_id = t.organization_id AND d.event_id = t.event_id AND d.webhook_id = t.webhook_id
    RETURNING d.organization_id, d.id, d.webhook_id, d.event_id, d.attempts, d.first_at, t.failing, w.url, w.secret,
              CASE WHEN w.previous_until > :now THEN w.previous_secret END AS previous_secret,
              e.type, e.data, e.occurred_at
""").bindparams(
    *(sa.bindparam(name, type_=INSTANT) for name in ("now", "leased_until")),
    sa.bindparam("busy", type_=_UUIDS),
    sa.bindparam("under_way", type_=sa.ARRAY(sa.Integer)),
)

_RECORD = sa.text("""
    UPDATE webhook_deliveries
    SET state = :state, next_at = :next_at, tried_at = :tried_at, status = :status, error = :error, answer = :answer,
        milliseconds = :milliseconds
    WHERE organization_id = :organization_id AND id = :id
      AND (state = 'pending' AND attempts = :attempt OR :state = 'delivered' AND state <> 'delivered')
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id")),
    *(sa.bindparam(name, type_=INSTANT) for name in ("next_at", "tried_at")),
    *(sa.bindparam(name, type_=sa.Text) for name in ("state", "error", "answer")),
    *(sa.bindparam(name, type_=sa.Integer) for name in ("status", "milliseconds", "attempt")),
)

_FAILS = sa.text("""
    UPDATE webhooks SET failing_since = :since
    WHERE organization_id = :organization_id AND id = :id AND (failing_since IS NULL) <> (:since IS NULL)
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id")), sa.bindparam("since", type_=INSTANT)
)

_GONE = sa.text("""
    UPDATE webhooks SET disabled_because = 'gone'
    WHERE organization_id = :organization_id AND id = :id AND disabled_because IS NULL
""").bindparams(*(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "id")))

_REPLAY = sa.text("""
    INSERT INTO webhook_deliveries AS d
        (organization_id, event_id, webhook_id, id, state, attempts, first_at, next_at)
    SELECT e.organization_id, e.id, w.id, derived_id(e.id, 'delivery:' || w.id), 'pending', 0, :now, :now
    FROM webhooks AS w JOIN events AS e ON e.organization_id = w.organization_id
    WHERE w.organization_id = :organization_id AND w.id = :webhook_id AND e.recorded_at >= :since
      AND e.type <> 'webhook.test' AND (w.types IS NULL OR e.type = ANY (w.types))
    ORDER BY e.id
    ON CONFLICT ON CONSTRAINT webhook_deliveries_pkey DO UPDATE
        SET state = 'pending', attempts = 0, first_at = excluded.first_at, next_at = excluded.next_at
        WHERE d.state <> 'pending'
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "webhook_id")),
    *(sa.bindparam(name, type_=INSTANT) for name in ("now", "since")),
)


@dataclass(frozen=True, slots=True)
class Places:
    """How much may be under way at once, and what is in this process."""

    most: int
    failing_most: int
    """Of those, for endpoints whose last attempt failed."""
    each: int
    """For one endpoint."""
    busy: Mapping[WebhookId, int]
    """How many deliveries are under way, by endpoint."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A parcel, and whether its endpoint failed last."""

    parcel: Parcel
    failing: bool


async def due(session: ReadSession, *, now: datetime, most: int) -> list[OrganizationId]:
    """Some organizations of which something is due, of those that have waited longest."""
    return [row[0] for row in await session.execute(_DUE, {"now": now, "most": most})]


async def take(session: WriteSession, places: Places, *, now: datetime, lease: timedelta) -> list[Taken]:
    """Take deliveries that are due, for as long as the lease: whoever is lost with them loses none."""
    if not (await session.execute(_ANY_DUE, {"now": now})).scalar_one():
        return []
    await session.execute(_DROP_DUE, {"now": now, "given_up_before": now - _LOST_AFTER})
    taken = await session.execute(
        _TAKE,
        {
            "now": now,
            "leased_until": now + lease,
            "most": places.most,
            "failing_most": places.failing_most,
            "each": places.each,
            "busy": list(places.busy),
            "under_way": list(places.busy.values()),
        },
    )
    return [Taken(_parcel(row), bool(row.failing)) for row in taken]


async def record(session: WriteSession, parcel: Parcel, outcome: Outcome, fate: Fate, *, now: datetime) -> None:
    """Write down what an attempt came to, unless a later one was begun; that it was delivered holds in any case."""
    owner, webhook_id = parcel.event.organization_id, parcel.webhook_id
    await session.execute(
        _RECORD,
        {
            "organization_id": owner,
            "id": parcel.delivery_id,
            "attempt": parcel.attempt,
            "state": fate.state.value,
            "next_at": fate.next_at,
            "tried_at": now,
            "status": outcome.status,
            "error": outcome.error,
            "answer": outcome.answer,
            "milliseconds": outcome.milliseconds,
        },
    )
    since = None if fate.state is DeliveryState.DELIVERED else now
    await session.execute(_FAILS, {"organization_id": owner, "id": webhook_id, "since": since})


async def disable_gone(session: WriteSession, parcel: Parcel) -> None:
    """Send nothing more to an endpoint that said that it is gone."""
    owner, webhook_id = parcel.event.organization_id, parcel.webhook_id
    await session.execute(_GONE, {"organization_id": owner, "id": webhook_id})
    await drop_pending(session, organization_id=owner, webhook_id=webhook_id)


async def drop_pending(session: WriteSession, *, organization_id: OrganizationId, webhook_id: WebhookId) -> None:
    """Give up what waits to be sent to an endpoint."""
    await session.execute(
        sa.update(WebhookDeliveryRow)
        .where(
            col(WebhookDeliveryRow.organization_id) == organization_id,
            col(WebhookDeliveryRow.webhook_id) == webhook_id,
            col(WebhookDeliveryRow.state) == DeliveryState.PENDING.value,
        )
        .values(state=DeliveryState.DROPPED.value, next_at=None)
    )


async def replay(
    session: WriteSession, *, organization_id: OrganizationId, webhook_id: WebhookId, since: datetime, now: datetime
) -> int:
    """Make all that was told since then, and that the endpoint wants, due now; answers how many deliveries that is."""
    given = {"organization_id": organization_id, "webhook_id": webhook_id, "since": since, "now": now}
    return int((await session.execute(_REPLAY, given)).rowcount)  # type: ignore[attr-defined]  # an INSERT's has it


async def make_due(session: WriteSession, delivery: Delivery, *, now: datetime) -> None:
    """Try a delivery again, as if it had never been tried."""
    await session.execute(
        sa.update(WebhookDeliveryRow)
        .where(
            col(WebhookDeliveryRow.organization_id) == delivery.organization_id,
            col(WebhookDeliveryRow.id) == delivery.id,
        )
        .values(state=DeliveryState.PENDING.value, attempts=0, first_at=now, next_at=now)
    )


async def deliveries(
    session: ReadSession,
    *,
    scope: tuple[OrganizationId, WebhookId],
    states: Collection[DeliveryState],
    before: UUID | None,
    count: int,
) -> list[Delivery]:
    """The endpoint's deliveries that were due first before that one, latest first; in any state if none is named."""
    rows, due = WebhookDeliveryRow, (col(WebhookDeliveryRow.first_at), col(WebhookDeliveryRow.id))
    found = _select().where(col(rows.organization_id) == scope[0], col(rows.webhook_id) == scope[1])
    if states:
        found = found.where(col(rows.state).in_([state.value for state in states]))
    if before is not None:
        place = sa.select(due[0]).where(col(rows.organization_id) == scope[0], col(rows.id) == before).scalar_subquery()
        found = found.where(sa.tuple_(*due) < sa.tuple_(place, before))
    latest = found.order_by(*(each.desc() for each in due)).limit(count)
    return [_delivery(row, kind) for row, kind in await session.execute(latest)]


async def delivery(
    session: ReadSession, *, scope: tuple[OrganizationId, WebhookId], delivery_id: DeliveryId
) -> Delivery | None:
    """The endpoint's delivery."""
    found = _select().where(
        col(WebhookDeliveryRow.organization_id) == scope[0],
        col(WebhookDeliveryRow.webhook_id) == scope[1],
        col(WebhookDeliveryRow.id) == delivery_id,
    )
    row = (await session.execute(found)).one_or_none()
    return None if row is None else _delivery(*row)


async def outbox(session: ReadSession) -> Outbox:
    """What waits to be sent, of everybody; what is to be tried again later waits from then on."""
    waiting = sa.select(sa.func.count(), sa.func.min(col(WebhookDeliveryRow.next_at))).where(
        col(WebhookDeliveryRow.state) == DeliveryState.PENDING.value
    )
    pending, due_since = (await session.execute(waiting)).one()
    return Outbox(pending, due_since)


def _select() -> sa.Select[WebhookDeliveryRow, str]:
    return sa.select(WebhookDeliveryRow, col(EventRow.type)).join(
        EventRow,
        sa.and_(
            col(EventRow.organization_id) == col(WebhookDeliveryRow.organization_id),
            col(EventRow.id) == col(WebhookDeliveryRow.event_id),
        ),
    )


def _delivery(row: WebhookDeliveryRow, kind: str) -> Delivery:
    last = None
    if row.tried_at is not None:
        last = Outcome(row.status, row.error, row.answer or "", row.milliseconds or 0)
    return Delivery(
        organization_id=row.organization_id,
        id=row.id,
        webhook_id=row.webhook_id,
        event_id=row.event_id,
        type=EventType(kind),
        state=DeliveryState(row.state),
        attempts=row.attempts,
        first_at=row.first_at,
        next_at=row.next_at,
        tried_at=row.tried_at,
        last=last,
    )


def _parcel(row: Any) -> Parcel:
    owner = OrganizationId(row.organization_id)
    return Parcel(
        event=Event(owner, EventId(row.event_id), EventType(row.type), row.data, row.occurred_at),
        delivery_id=DeliveryId(row.id),
        webhook_id=WebhookId(row.webhook_id),
        url=row.url,
        secrets=(row.secret,) if row.previous_secret is None else (row.secret, row.previous_secret),
        attempt=row.attempts,
        first_at=row.first_at,
    )
