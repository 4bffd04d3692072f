"""All SQL of prices: versions with their items, read together and written once, and the adjustments of them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import IntegrityError

from tollgate.infra.chunks import chunks
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit import money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import EndpointId, OrganizationId, PriceAdjustmentId, PriceVersionId
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import (
    AdjustmentDraft,
    AdjustmentFilters,
    PriceAdjustment,
    PriceItem,
    PriceVersion,
    Publication,
    PublishedAdjustment,
    Source,
    Unit,
)
from tollgate.pricing.tables import PriceAdjustmentRow, PriceItemRow, PriceVersionRow

VERSIONS: sa.Table = PriceVersionRow.__table__  # type: ignore[attr-defined]  # SQLModel adds it to table classes
ITEMS: sa.Table = PriceItemRow.__table__  # type: ignore[attr-defined]  # as above
ADJUSTMENTS: sa.Table = PriceAdjustmentRow.__table__  # type: ignore[attr-defined]  # as above


async def lock_prices(session: WriteSession, endpoint_id: EndpointId) -> None:
    """Wait for whoever else is publishing a price of this endpoint, until the transaction ends."""
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(endpoint_id.int & (2**63 - 1))))


async def lock_all_prices(session: WriteSession) -> None:
    """Keep everyone else from publishing until the transaction ends; readers go on."""
    await session.execute(sa.text("LOCK TABLE price_versions IN SHARE ROW EXCLUSIVE MODE"))


async def priced_tiers(session: ReadSession, endpoint_ids: Iterable[EndpointId]) -> set[tuple[EndpointId, str]]:
    """The endpoints, of these, that have a general price, each with its service tier."""
    statement = sa.select(VERSIONS.c.endpoint_id, VERSIONS.c.service_tier).where(
        _STANDS,
        VERSIONS.c.endpoint_id == sa.any_(sa.cast(list(endpoint_ids), sa.ARRAY(sa.Uuid))),
        VERSIONS.c.organization_id.is_(None),
    )
    return {(EndpointId(row.endpoint_id), row.service_tier) for row in await session.execute(statement)}


async def versions_needed_after(session: ReadSession, instant: datetime) -> list[PriceVersion]:
    """Every version that is in force at some time after the instant, the latest to take effect first."""
    needed = sa.or_(VERSIONS.c.effective_to.is_(None), VERSIONS.c.effective_to > instant)
    rows = await session.execute(sa.select(*_VERSION_COLUMNS).where(_STANDS, needed).order_by(*_NEWEST_FIRST))
    return [_version(row) for row in rows]


async def versions(session: ReadSession, version_ids: Iterable[PriceVersionId]) -> list[PriceVersion]:
    """The versions with these ids, in no order."""
    wanted = VERSIONS.c.id == sa.any_(sa.cast(list(version_ids), sa.ARRAY(sa.Uuid)))
    return [_version(row) for row in await session.execute(sa.select(*_VERSION_COLUMNS).where(wanted))]


async def general_versions(session: ReadSession, endpoint_ids: Iterable[EndpointId]) -> list[PriceVersion]:
    """Every version of these endpoints that is not one organization's own, in no order."""
    wanted = VERSIONS.c.endpoint_id == sa.any_(sa.cast(list(endpoint_ids), sa.ARRAY(sa.Uuid)))
    general = VERSIONS.c.organization_id.is_(None)
    return [_version(row) for row in await session.execute(sa.select(*_VERSION_COLUMNS).where(wanted, general))]


async def versions_of(session: ReadSession, endpoint_id: EndpointId, *, service_tier: str) -> list[PriceVersion]:
    """The versions of an endpoint and tier, of every organization, withdrawn ones too, the latest to begin first."""
    statement = sa.select(*_VERSION_COLUMNS).where(
        VERSIONS.c.endpoint_id == endpoint_id, VERSIONS.c.service_tier == service_tier
    )
    return [_version(row) for row in await session.execute(statement.order_by(*_NEWEST_FIRST))]


async def timeline(
    session: ReadSession, *, endpoint_id: EndpointId, organization_id: OrganizationId | None, service_tier: str
) -> list[PriceVersion]:
    """The versions that supersede each other, oldest first."""
    publications = await _read(
        session,
        _STANDS,
        VERSIONS.c.endpoint_id == endpoint_id,
        VERSIONS.c.organization_id.is_not_distinct_from(organization_id),
        VERSIONS.c.service_tier == service_tier,
    )
    return [publication.version for publication in reversed(publications)]


async def history(
    session: ReadSession,
    endpoint_id: EndpointId,
    *,
    organization_id: OrganizationId | None,
    before: UUID | None,
    count: int,
) -> list[Publication]:
    """Versions of an endpoint and every tier, withdrawn ones too, the latest to take effect first.

    With an organization its own alone, without one those of all and the general ones.
    """
    conditions = [VERSIONS.c.endpoint_id == endpoint_id]
    if organization_id is not None:
        conditions.append(VERSIONS.c.organization_id == organization_id)
    if before is not None:
        last = sa.select(VERSIONS.c.effective_from, VERSIONS.c.id).where(VERSIONS.c.id == before)
        conditions.append(sa.tuple_(VERSIONS.c.effective_from, VERSIONS.c.id) < last.scalar_subquery())
    return await _read(session, *conditions, count=count)


async def publications(session: ReadSession) -> list[Publication]:
    """Every general version there is, the latest to take effect first."""
    return await _read(session, _STANDS, VERSIONS.c.organization_id.is_(None))


async def publication(session: ReadSession, version_id: PriceVersionId) -> Publication | None:
    """The version with this id, withdrawn or not."""
    return next(iter(await _read(session, VERSIONS.c.id == version_id)), None)


async def _read(
    session: ReadSession, *conditions: sa.ColumnElement[bool], count: int | None = None
) -> list[Publication]:
    chosen = sa.select(
        *_VERSION_COLUMNS,
        VERSIONS.c.source,
        VERSIONS.c.published_at,
        VERSIONS.c.published_by,
        VERSIONS.c.withdrawn_at,
    )
    rows = await session.execute(chosen.where(*conditions).order_by(*_NEWEST_FIRST).limit(count))
    return [
        Publication(_version(columns), Source(source), published_at, published_by, withdrawn_at)
        for *columns, source, published_at, published_by, withdrawn_at in rows
    ]


_ADJUSTMENT_STANDS = ADJUSTMENTS.c.withdrawn_at.is_(None)
_STANDS = VERSIONS.c.withdrawn_at.is_(None)
_NEWEST_FIRST = (VERSIONS.c.effective_from.desc(), VERSIONS.c.id.desc())
_ITEMS_TEXT = (
    sa.select(
        sa.cast(
            sa.func.json_agg(
                aggregate_order_by(
                    sa.func.json_build_array(
                        ITEMS.c.kind,
                        sa.cast(ITEMS.c.unit_price, sa.Text),
                        ITEMS.c.unit,
                        ITEMS.c.prompt_tokens_from,
                        ITEMS.c.prompt_tokens_below,
                    ),
                    ITEMS.c.position,
                )
            ),
            sa.Text,
        )
    )
    .where(ITEMS.c.price_version_id == VERSIONS.c.id)
    .scalar_subquery()
)
"""The items of a version as JSON, an array for each: decoding rows of them takes several times as long."""
_VERSION_COLUMNS = (
    VERSIONS.c.id,
    VERSIONS.c.endpoint_id,
    VERSIONS.c.organization_id,
    VERSIONS.c.service_tier,
    VERSIONS.c.effective_from,
    VERSIONS.c.effective_to,
    _ITEMS_TEXT,
)
_ITEM_FIELDS = msgspec.json.Decoder(list[tuple[Kind, Decimal, Unit, int, int | None]])


def _version(columns: Sequence[Any]) -> PriceVersion:
    identifier, endpoint_id, organization_id, service_tier, effective_from, effective_to, items = columns
    return PriceVersion(
        id=PriceVersionId(identifier),
        endpoint_id=EndpointId(endpoint_id),
        organization_id=organization_id,
        service_tier=service_tier,
        effective_from=effective_from,
        effective_to=effective_to,
        items=_items(items),
    )


@lru_cache(maxsize=10_000)
def _items(text: str) -> tuple[PriceItem, ...]:
    """The items of a version. Cached: a gateway reads the same prices again and again, and many models share theirs."""
    return tuple(
        PriceItem(kind, money.EXACT.normalize(unit_price), unit, start, end)
        for kind, unit_price, unit, start, end in _ITEM_FIELDS.decode(text)
    )


async def supersede(session: WriteSession, version_id: PriceVersionId, at: datetime) -> None:
    """Let an open version end where the next one begins."""
    await session.execute(sa.update(VERSIONS).where(VERSIONS.c.id == version_id).values(effective_to=at))


async def end(session: WriteSession, version_id: PriceVersionId, at: datetime, *, ended_at: datetime) -> None:
    """Let an organization's open version end at an instant that stays, whatever is published or withdrawn after it."""
    ended = sa.update(VERSIONS).where(VERSIONS.c.id == version_id)
    await session.execute(ended.values(effective_to=at, ended_at=ended_at))


async def withdraw(session: WriteSession, version_id: PriceVersionId, at: datetime) -> None:
    """Take back a version; raises `Conflict` if it has begun by the database's clock."""
    await _withdraw(session, VERSIONS, version_id, at)


async def _withdraw(session: WriteSession, table: sa.Table, row_id: UUID, at: datetime) -> None:
    try:
        await session.execute(sa.update(table).where(table.c.id == row_id).values(withdrawn_at=at))
    except IntegrityError as error:
        raise Conflict("It has begun meanwhile, and what was in force never changes.") from error


async def extend(session: WriteSession, gone: PriceVersion, *, until: datetime | None) -> None:
    """Let the version that the withdrawn one would have superseded last until then; one that was ended does not."""
    superseded = sa.and_(
        _STANDS,
        VERSIONS.c.endpoint_id == gone.endpoint_id,
        VERSIONS.c.organization_id.is_not_distinct_from(gone.organization_id),
        VERSIONS.c.service_tier == gone.service_tier,
        VERSIONS.c.effective_to == gone.effective_from,
        VERSIONS.c.ended_at.is_(None),
    )
    await session.execute(sa.update(VERSIONS).where(superseded).values(effective_to=until))


async def add(session: WriteSession, published: Sequence[Publication]) -> None:
    """Insert versions with their items, with few statements, because each moves the revision.

    Raises:
        InvalidRequest: the organization or the endpoint they are for does not exist.
    """
    try:
        for chunk in chunks([_columns(publication) for publication in published]):
            await session.execute(sa.insert(VERSIONS).values(chunk))
    except IntegrityError as error:
        if "price_versions_organization" in str(error.orig):
            raise InvalidRequest("There is no such organization.", field="organization") from error
        if "price_versions_endpoint" in str(error.orig):
            raise InvalidRequest("The endpoint was deleted at this moment.", field="model") from error
        raise
    items = [
        {"price_version_id": publication.version.id, "position": position, **asdict(item)}
        for publication in published
        for position, item in enumerate(publication.version.items)
    ]
    for chunk in chunks(items):
        await session.execute(sa.insert(ITEMS).values(chunk))


def _columns(publication: Publication) -> dict[str, Any]:
    version = publication.version
    return {
        "id": version.id,
        "endpoint_id": version.endpoint_id,
        "organization_id": version.organization_id,
        "service_tier": version.service_tier,
        "effective_from": version.effective_from,
        "effective_to": version.effective_to,
        "item_count": len(version.items),
        "source": publication.source,
        "published_at": publication.published_at,
        "published_by": publication.published_by,
    }


async def lock_adjustments(session: WriteSession) -> None:
    """Wait for whoever else is publishing an adjustment, until the transaction ends; readers go on."""
    await session.execute(sa.text("LOCK TABLE price_adjustments IN SHARE ROW EXCLUSIVE MODE"))


async def adjustments_needed_after(session: ReadSession, instant: datetime) -> list[PriceAdjustment]:
    """Every adjustment that is in force at some time after the instant."""
    ends = ADJUSTMENTS.c.effective_to
    needed = await _read_adjustments(session, _ADJUSTMENT_STANDS, sa.or_(ends.is_(None), ends > instant))
    return [each.adjustment for each in needed]


async def adjustments_on(session: ReadSession, organization_id: OrganizationId | None) -> list[PriceAdjustment]:
    """Every adjustment there ever was that could apply to the organization: its own, and those for everybody.

    Without an organization, to any of them. Withdrawn ones are among them: a call of the last moment may name one.
    """
    owner = ADJUSTMENTS.c.organization_id
    conditions = () if organization_id is None else (sa.or_(owner.is_(None), owner == organization_id),)
    return [each.adjustment for each in await _read_adjustments(session, *conditions)]


async def adjustments(
    session: ReadSession, filters: AdjustmentFilters, *, before: UUID | None, count: int
) -> list[PublishedAdjustment]:
    """Adjustments whose scope names what the filters name, withdrawn ones too, the latest to take effect first."""
    conditions = [ADJUSTMENTS.c[name] == value for name, value in asdict(filters).items() if value is not None]
    if before is not None:
        last = sa.select(ADJUSTMENTS.c.effective_from, ADJUSTMENTS.c.id).where(ADJUSTMENTS.c.id == before)
        conditions.append(sa.tuple_(ADJUSTMENTS.c.effective_from, ADJUSTMENTS.c.id) < last.scalar_subquery())
    return await _read_adjustments(session, *conditions, count=count)


async def adjustment(session: ReadSession, adjustment_id: PriceAdjustmentId) -> PublishedAdjustment | None:
    return next(iter(await _read_adjustments(session, ADJUSTMENTS.c.id == adjustment_id)), None)


async def adjustment_timeline(session: ReadSession, one: AdjustmentDraft | PriceAdjustment) -> list[PriceAdjustment]:
    """The adjustments of one's scope, which supersede each other, oldest first."""
    found = await _read_adjustments(session, _ADJUSTMENT_STANDS, *_of_scope(one))
    return [each.adjustment for each in reversed(found)]


def _of_scope(one: AdjustmentDraft | PriceAdjustment) -> list[sa.ColumnElement[bool]]:
    scope = ("organization_id", "model", "provider")
    return [ADJUSTMENTS.c[name].is_not_distinct_from(getattr(one, name)) for name in scope]


async def supersede_adjustment(session: WriteSession, adjustment_id: PriceAdjustmentId, at: datetime) -> None:
    """Let an open adjustment end where the next one begins."""
    await session.execute(sa.update(ADJUSTMENTS).where(ADJUSTMENTS.c.id == adjustment_id).values(effective_to=at))


async def end_adjustment(
    session: WriteSession, adjustment_id: PriceAdjustmentId, at: datetime, *, ended_at: datetime
) -> None:
    """Let an open adjustment end at an instant that stays, whatever is published or withdrawn after it."""
    ended = sa.update(ADJUSTMENTS).where(ADJUSTMENTS.c.id == adjustment_id)
    await session.execute(ended.values(effective_to=at, ended_at=ended_at))


async def withdraw_adjustment(session: WriteSession, adjustment_id: PriceAdjustmentId, at: datetime) -> None:
    """Take back an adjustment; raises `Conflict` if it has begun by the database's clock."""
    await _withdraw(session, ADJUSTMENTS, adjustment_id, at)


async def extend_adjustment(session: WriteSession, gone: PriceAdjustment, *, until: datetime | None) -> None:
    """Let the adjustment that the withdrawn one would have superseded last until then; one that was ended does not."""
    ends = ADJUSTMENTS.c.effective_to == gone.effective_from
    superseded = sa.and_(_ADJUSTMENT_STANDS, *_of_scope(gone), ends, ADJUSTMENTS.c.ended_at.is_(None))
    await session.execute(sa.update(ADJUSTMENTS).where(superseded).values(effective_to=until))


async def add_adjustment(session: WriteSession, published: PublishedAdjustment) -> None:
    """Insert an adjustment.

    Raises:
        InvalidRequest: the organization, model or provider it is for does not exist; `field` names it.
    """
    row = {
        **asdict(published.adjustment),
        "published_at": published.published_at,
        "published_by": published.published_by,
    }
    try:
        await session.execute(sa.insert(ADJUSTMENTS).values(row))
    except IntegrityError as error:
        for part in ("organization", "model", "provider"):
            if f"price_adjustments_{part}" in str(error.orig):
                raise InvalidRequest(f"There is no such {part}.", field=part) from error
        raise


async def _read_adjustments(
    session: ReadSession, *conditions: sa.ColumnElement[bool], count: int | None = None
) -> list[PublishedAdjustment]:
    """The adjustments, the latest to take effect first."""
    newest_first = (ADJUSTMENTS.c.effective_from.desc(), ADJUSTMENTS.c.id.desc())
    rows = await session.execute(sa.select(ADJUSTMENTS).where(*conditions).order_by(*newest_first).limit(count))
    return [
        PublishedAdjustment(
            PriceAdjustment(
                id=PriceAdjustmentId(row.id),
                organization_id=row.organization_id,
                model=row.model,
                provider=row.provider,
                percent=money.EXACT.normalize(row.percent),
                effective_from=row.effective_from,
                effective_to=row.effective_to,
            ),
            row.published_at,
            row.published_by,
            row.withdrawn_at,
        )
        for row in rows
    ]
