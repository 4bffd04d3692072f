"""The endpoints that organizations are told at."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import OrganizationId, WebhookId
from tollgate.webhooks.model import DisabledBecause, EventType, Webhook
from tollgate.webhooks.tables import WebhookRow, WebhookSealRow


async def seal_fingerprint(session: WriteSession, ours: bytes) -> bytes:
    """The fingerprint of the key that seals secrets here: ours, if there was none."""
    await session.execute(postgresql.insert(WebhookSealRow).values(fingerprint=ours).on_conflict_do_nothing())
    found = await session.execute(sa.select(col(WebhookSealRow.fingerprint)))
    return bytes(found.scalar_one())


async def lock(session: WriteSession, organization_id: OrganizationId) -> None:
    """Keep others from adding endpoints to the organization until the transaction ends."""
    name = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('webhooks of ' || :id, 0))")
    await session.execute(name, {"id": str(organization_id)})


async def count(session: ReadSession, organization_id: OrganizationId) -> int:
    """How many endpoints the organization has."""
    counted = sa.select(sa.func.count()).where(col(WebhookRow.organization_id) == organization_id)
    return int((await session.execute(counted)).scalar_one())


async def add(session: WriteSession, webhook: Webhook, *, secret: bytes) -> None:
    session.add(WebhookRow(**_columns(webhook), secret=secret))
    await session.flush()


async def webhook(
    session: ReadSession, *, organization_id: OrganizationId, webhook_id: WebhookId, lock: bool = False
) -> Webhook | None:
    """The endpoint; with `lock`, held against other changes until the transaction ends."""
    found = sa.select(WebhookRow).where(*_is(organization_id, webhook_id))
    row = (await session.execute(found.with_for_update(key_share=True) if lock else found)).scalar_one_or_none()
    return None if row is None else _webhook(row)


async def webhooks(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> list[Webhook]:
    """The organization's endpoints entered before that one, newest first."""
    found = sa.select(WebhookRow).where(col(WebhookRow.organization_id) == organization_id)
    if before is not None:
        found = found.where(col(WebhookRow.id) < before)
    rows = await session.execute(found.order_by(col(WebhookRow.id).desc()).limit(count))
    return [_webhook(row) for row in rows.scalars()]


async def save(session: WriteSession, webhook: Webhook) -> None:
    """Write what may change of an endpoint."""
    changed = {"url", "types", "description", "disabled_because", "failing_since"}
    values = {name: value for name, value in _columns(webhook).items() if name in changed}
    await session.execute(sa.update(WebhookRow).where(*_is(webhook.organization_id, webhook.id)).values(**values))


async def save_secret(session: WriteSession, webhook: Webhook, *, secret: bytes, until: datetime) -> Webhook:
    """Put the secret before the present one, which signs as well until then."""
    await session.execute(
        sa.update(WebhookRow)
        .where(*_is(webhook.organization_id, webhook.id))
        .values(previous_secret=col(WebhookRow.secret), previous_until=until, secret=secret)
    )
    return replace(webhook, previous_until=until)


async def remove(session: WriteSession, webhook: Webhook) -> None:
    await session.execute(sa.delete(WebhookRow).where(*_is(webhook.organization_id, webhook.id)))


def _is(organization_id: OrganizationId, webhook_id: WebhookId) -> tuple[sa.ColumnElement[bool], ...]:
    return col(WebhookRow.organization_id) == organization_id, col(WebhookRow.id) == webhook_id


def _columns(webhook: Webhook) -> dict[str, Any]:
    columns = {name: getattr(webhook, name) for name in Webhook.__slots__ if name != "previous_until"}
    return {**columns, "types": None if webhook.types is None else [kind.value for kind in webhook.types]}


def _webhook(row: WebhookRow) -> Webhook:
    return Webhook(
        organization_id=row.organization_id,
        id=row.id,
        url=row.url,
        types=None if row.types is None else tuple(EventType(kind) for kind in row.types),
        description=row.description,
        disabled_because=None if row.disabled_because is None else DisabledBecause(row.disabled_because),
        failing_since=row.failing_since,
        previous_until=row.previous_until,
        created_at=row.created_at,
        created_by=row.created_by,
    )
