"""Use cases of prices: publish a version or an adjustment, withdraw or end one, see the history, load the book."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import pairwise, zip_longest
from typing import Protocol
from uuid import UUID

from tollgate.infra.changes import Act
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.identity import new_id
from tollgate.kit.errors import Conflict, InvalidRequest, NotFound
from tollgate.kit.ids import EndpointId, OrganizationId, PriceAdjustmentId, PriceVersionId
from tollgate.pricing import lifetimes, record, rules, store
from tollgate.pricing.comparison import Action, Comparison, succeed
from tollgate.pricing.lifetimes import Lasting
from tollgate.pricing.model import (
    AdjustmentDraft,
    AdjustmentFilters,
    Place,
    PriceAdjustment,
    PriceBook,
    PriceDraft,
    PriceVersion,
    Publication,
    PublishedAdjustment,
    Source,
)

BOOK_KEEPS = timedelta(hours=1)
"""How long a version that has ended stays in the book, for calls that were accepted under it and still run."""


class EndpointDirectory(Protocol):
    """Finds endpoints for us by the names people use; the catalogue has one to offer."""

    async def __call__(self, session: ReadSession, *, model: str, provider: str) -> Place: ...


class EndpointRegister(Protocol):
    """Finds endpoints for us by their ids; the catalogue has one to offer."""

    async def __call__(self, session: ReadSession, endpoint_id: EndpointId) -> Place: ...


async def load_book(session: ReadSession, *, now: datetime) -> PriceBook:
    """The versions and adjustments that calls accepted lately, now or later are charged by."""
    versions = await store.versions_needed_after(session, now - BOOK_KEEPS)
    return PriceBook.of(versions, await store.adjustments_needed_after(session, now - BOOK_KEEPS))


async def versions(
    session: ReadSession, charged: Mapping[PriceVersionId, EndpointId], *, organization_id: OrganizationId
) -> Mapping[PriceVersionId, PriceVersion]:
    """The versions that an organization's calls were charged by; each is as it was then, for ever.

    `charged` names them, each with an endpoint that charged by it: what an adjustment made has no row, and is made anew
    out of the endpoint's general versions and the adjustments that could apply to the organization.
    """
    found = {version.id: version for version in await store.versions(session, charged)}
    lost = {version_id: endpoint_id for version_id, endpoint_id in charged.items() if version_id not in found}
    if lost:
        general = await store.general_versions(session, set(lost.values()))
        found |= rules.found_again(lost.keys(), general, await store.adjustments_on(session, organization_id))
    return found


async def could_charge(
    session: ReadSession, endpoint_id: EndpointId, *, service_tier: str, organization_id: OrganizationId | None
) -> Mapping[PriceVersionId, PriceVersion]:
    """By id, what calls of the endpoint and tier may have been charged by: general versions and the organization's own.

    What an adjustment made of a general version has an id of its own, and stands here as the version it was made of.
    """
    found = [
        version
        for version in await store.versions_of(session, endpoint_id, service_tier=service_tier)
        if version.organization_id is None or version.organization_id == organization_id
    ]
    adjustments = await store.adjustments_on(session, organization_id)
    made = {
        rules.adjusted_id(version.id, adjustment.id): version
        for version in found
        if version.organization_id is None
        for adjustment in adjustments
    }
    return {version.id: version for version in found} | made


async def history(
    session: ReadSession,
    endpoint_id: EndpointId,
    *,
    organization_id: OrganizationId | None = None,
    before: UUID | None,
    count: int,
) -> list[Publication]:
    """Versions of an endpoint and every tier, withdrawn ones too, the latest to take effect first.

    With an organization its own alone, without one those of all and the general ones.
    """
    return await store.history(session, endpoint_id, organization_id=organization_id, before=before, count=count)


async def general_publications(session: ReadSession) -> list[Publication]:
    """Every version that is not one organization's own, the latest to take effect first."""
    return await store.publications(session)


async def publish(
    session: WriteSession, draft: PriceDraft, *, act: Act, source: Source = Source.OPERATOR
) -> Publication:
    """Publish a version; it supersedes the one in force when it takes effect.

    The first version of an endpoint, organization and tier may begin at any time; later ones begin now or later, and
    after every version that is there, so that no call is priced twice.

    Raises:
        InvalidRequest: items are at fault, or `effective_from` would rewrite what has been charged or published.
    """
    check(draft)
    rules.check_output(draft)
    await store.lock_prices(session, draft.endpoint_id)
    timeline = await store.timeline(
        session,
        endpoint_id=draft.endpoint_id,
        organization_id=draft.organization_id,
        service_tier=draft.service_tier,
    )
    if timeline:
        _check_succession(draft, timeline[-1], act.at)
        if timeline[-1].effective_to is None:
            await store.supersede(session, timeline[-1].id, draft.effective_from)
    publication = Publication(_version(draft, None, act.at), source, act.at, act.by)
    await store.add(session, [publication])
    await record.published(session, [publication], act=act)
    return publication


async def withdraw(session: WriteSession, version_id: PriceVersionId, *, act: Act) -> Publication:
    """Take back a version before it begins. What it would have superseded goes on, as if it had not been published.

    It is kept and shown, and its time is free for another version.

    Raises:
        NotFound: there is none of this id.
        Conflict: it has begun, or was withdrawn before.
    """
    published = await _alone_with(session, version_id)
    version = published.version
    lifetimes.check_withdrawal(version, published.withdrawn_at, now=act.at)
    timeline = await store.timeline(
        session,
        endpoint_id=version.endpoint_id,
        organization_id=version.organization_id,
        service_tier=version.service_tier,
    )
    await store.withdraw(session, version_id, act.at)
    await store.extend(session, version, until=lifetimes.next_beginning(timeline, version))
    gone = replace(published, withdrawn_at=act.at)
    await record.withdrawn(session, gone, act=act)
    return gone


async def end(session: WriteSession, version_id: PriceVersionId, *, at: datetime, act: Act) -> Publication:
    """Let an organization's own version end; from then on the general price is charged, or its own next one.

    Its end is set once.

    Raises:
        NotFound: there is none of this id.
        InvalidRequest: that instant is past, or not after the version's beginning.
        Conflict: it is a general one, ends already, or was withdrawn.
    """
    published = await _alone_with(session, version_id)
    if published.version.organization_id is None:
        raise Conflict(
            "A general price is never ended, only superseded: publish the next one with POST /admin/prices. "
            "An organization's own can be ended."
        )
    lifetimes.check_end(published.version, published.withdrawn_at, at=at, now=act.at)
    await store.end(session, version_id, at, ended_at=act.at)
    ended = replace(published, version=replace(published.version, effective_to=at))
    await record.ended(session, published, ended, act=act)
    return ended


async def _alone_with(session: WriteSession, version_id: PriceVersionId) -> Publication:
    """The version, while nobody else publishes prices of its endpoint.

    Raises:
        NotFound: there is none of this id.
    """
    published = await store.publication(session, version_id)
    if published is not None:
        await store.lock_prices(session, published.version.endpoint_id)
        # Read again: while we waited it may have been withdrawn, and its end may have come to be known.
        published = await store.publication(session, version_id)
    if published is None:
        raise NotFound("There is no such price.")
    return published


async def compare(session: ReadSession, draft: PriceDraft, *, now: datetime) -> Comparison:
    """What publishing the version would change; a conflict, with the reason, if it could not be published then.

    Raises:
        InvalidRequest: its items are at fault.
    """
    check(draft)
    rules.check_output(draft)
    timeline = await store.timeline(
        session,
        endpoint_id=draft.endpoint_id,
        organization_id=draft.organization_id,
        service_tier=draft.service_tier,
    )
    try:
        if timeline:
            _check_succession(draft, timeline[-1], now)
    except InvalidRequest as refusal:
        return Comparison(Action.CONFLICT, detail=refusal.message)
    return succeed(draft, timeline)


def check(draft: PriceDraft) -> None:
    """Refuse a version that nothing could be charged by, whatever else is published.

    Raises:
        InvalidRequest: naming the part at fault.
    """
    rules.check_items(draft.items)
    rules.check_service_tier(draft.service_tier)


def _check_succession(draft: PriceDraft, latest: PriceVersion, now: datetime) -> None:
    if draft.effective_from < now:
        raise InvalidRequest("A price that replaces another takes effect now or later.", field="effective_from")
    if not lifetimes.can_follow(latest, draft.effective_from):
        raise InvalidRequest(f"A version {_there(latest)} is published already.", field="effective_from")


def _version(draft: PriceDraft, effective_to: datetime | None, now: datetime) -> PriceVersion:
    return PriceVersion(
        id=PriceVersionId(new_id(now)),
        endpoint_id=draft.endpoint_id,
        organization_id=draft.organization_id,
        service_tier=draft.service_tier,
        effective_from=draft.effective_from,
        effective_to=effective_to,
        items=rules.in_order(draft.items),
    )


async def publish_adjustment(session: WriteSession, draft: AdjustmentDraft, *, act: Act) -> PublishedAdjustment:
    """Publish an adjustment; it supersedes the one of the same scope that is in force when it takes effect.

    It begins now or later, and after every one of its scope that is there: what was charged stays as it was charged.

    Raises:
        InvalidRequest: the percentage or the scope cannot be, or `effective_from` would rewrite what was charged or
            published; `field` names the part.
    """
    rules.check_percent(draft.percent)
    if draft.effective_from < act.at:
        raise InvalidRequest("An adjustment of prices takes effect now or later.", field="effective_from")
    await store.lock_adjustments(session)
    timeline = await store.adjustment_timeline(session, draft)
    if timeline:
        _check_follows(draft, timeline[-1])
        if timeline[-1].effective_to is None:
            await store.supersede_adjustment(session, timeline[-1].id, draft.effective_from)
    made = PriceAdjustment(PriceAdjustmentId(new_id(act.at)), **asdict(draft), effective_to=None)
    published = PublishedAdjustment(made, act.at, act.by)
    await store.add_adjustment(session, published)
    await record.published(session, [published], act=act)
    return published


def _check_follows(draft: AdjustmentDraft, latest: PriceAdjustment) -> None:
    if not lifetimes.can_follow(latest, draft.effective_from):
        raise InvalidRequest(
            f"An adjustment of this scope {_there(latest)} is published already.", field="effective_from"
        )


def _there(latest: Lasting) -> str:
    lasts = "" if latest.effective_to is None else f" and ends at {latest.effective_to.isoformat()}"
    return f"that takes effect at {latest.effective_from.isoformat()}{lasts}"


async def withdraw_adjustment(
    session: WriteSession, adjustment_id: PriceAdjustmentId, *, act: Act
) -> PublishedAdjustment:
    """Take back an adjustment before it begins. What it would have superseded goes on, as if it had not been published.

    It is kept and shown, and its time is free for another adjustment.

    Raises:
        NotFound: there is none of this id.
        Conflict: it has begun, or was withdrawn before.
    """
    await store.lock_adjustments(session)
    published = await _adjustment(session, adjustment_id)
    adjustment = published.adjustment
    lifetimes.check_withdrawal(adjustment, published.withdrawn_at, now=act.at)
    timeline = await store.adjustment_timeline(session, adjustment)
    await store.withdraw_adjustment(session, adjustment_id, act.at)
    await store.extend_adjustment(session, adjustment, until=lifetimes.next_beginning(timeline, adjustment))
    gone = replace(published, withdrawn_at=act.at)
    await record.withdrawn(session, gone, act=act)
    return gone


async def end_adjustment(
    session: WriteSession, adjustment_id: PriceAdjustmentId, *, at: datetime, act: Act
) -> PublishedAdjustment:
    """Let an adjustment end; from then on the next less specific one applies, or none. Its end is set once.

    Raises:
        NotFound: there is no such adjustment.
        InvalidRequest: that instant is past, or not after the adjustment's beginning.
        Conflict: it ends already, or was withdrawn.
    """
    await store.lock_adjustments(session)
    published = await _adjustment(session, adjustment_id)
    lifetimes.check_end(published.adjustment, published.withdrawn_at, at=at, now=act.at)
    await store.end_adjustment(session, adjustment_id, at, ended_at=act.at)
    ended = replace(published, adjustment=replace(published.adjustment, effective_to=at))
    await record.ended(session, published, ended, act=act)
    return ended


async def _adjustment(session: ReadSession, adjustment_id: PriceAdjustmentId) -> PublishedAdjustment:
    found = await store.adjustment(session, adjustment_id)
    if found is None:
        raise NotFound("There is no such adjustment of prices.")
    return found


async def list_adjustments(
    session: ReadSession, filters: AdjustmentFilters, *, before: UUID | None, count: int
) -> list[PublishedAdjustment]:
    """Adjustments that pass the filters, withdrawn ones too, the latest to take effect first."""
    return await store.adjustments(session, filters, before=before, count=count)


async def publish_histories(
    session: WriteSession, histories: Sequence[Sequence[PriceDraft]], *, act: Act, source: Source
) -> list[PriceVersion]:
    """Publish the dated versions of endpoints and tiers that have none yet, each history oldest first and in one go.

    Raises:
        InvalidRequest: items are at fault, or a history is not in order of time.
        Conflict: an endpoint has a price of this tier already.
    """
    for history in histories:
        _check_history(history)
    await store.lock_all_prices(session)
    taken = await store.priced_tiers(session, {draft.endpoint_id for history in histories for draft in history})
    if taken & {(history[0].endpoint_id, history[0].service_tier) for history in histories}:
        raise Conflict("An endpoint has prices already; publish its next version instead.")
    versions = [version for history in histories for version in _chained(history, act.at)]
    publications = [Publication(version, source, act.at, act.by) for version in versions]
    await store.add(session, publications)
    await record.published(session, publications, act=act)
    return versions


def _check_history(history: Sequence[PriceDraft]) -> None:
    for draft in history:
        check(draft)
    for earlier, later in pairwise(history):
        if later.effective_from <= earlier.effective_from:
            raise InvalidRequest("The versions of a history are in order of time.", field="effective_from")


def _chained(history: Sequence[PriceDraft], now: datetime) -> list[PriceVersion]:
    """A history's versions: each ends where the next begins, the last is open."""
    ends = [draft.effective_from for draft in history[1:]]
    return [_version(draft, end, now) for draft, end in zip_longest(history, ends)]
