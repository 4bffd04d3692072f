"""Use cases of re-rating: begin one, measure it, look at it, apply it.

Measuring draws a line under an organization's records (a cut), so what is asked about never grows, and can be summed up
page by page in as many transactions as it takes. Applying posts what was measured, organization by organization, and
reckons nothing anew: what is applied is what was looked at.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from tollgate.accounts import service as accounts
from tollgate.infra import jobs
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.identity import new_id
from tollgate.invoices.model import InvoiceStatus
from tollgate.invoices.service import invoices
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import KeyId, OrganizationId, RerateId, typed
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.metering import service as metering
from tollgate.metering import unpriced
from tollgate.pricing import service as pricing
from tollgate.pricing.effects import NO_EFFECT
from tollgate.pricing.model import PriceDraft
from tollgate.pricing.rules import in_order
from tollgate.rerating import rules
from tollgate.rerating.model import (
    Answer,
    Key,
    MonthResult,
    Question,
    Rerate,
    RerateState,
    Result,
    Stretch,
    Sum,
    Tally,
    Terms,
    Told,
)
from tollgate.rerating.store import rerates as store
from tollgate.rerating.store import usage
from tollgate.webhooks import service as webhooks

LEASES = {RerateState.MEASURING: timedelta(minutes=10), RerateState.APPLYING: timedelta(minutes=1)}
"""How long who took up an organization has for it, before somebody else may, or they themselves once it failed."""

GO_ON_JOB = "go-on-with-rerates"
"""Measures, or posts, whatever of a re-rate can be taken up; its subject is the re-rate's id."""
_PAGE = 1000
_INVOICES_MAX = 1000
"""More invoices than an organization has in a lifetime of months."""
_VERSIONS_MAX = 10_000
"""Of one endpoint; the latest come first."""
_CALLS_AT_ONCE = timedelta(days=1)
"""How much time's calls one statement reads at most, where sums are not enough."""


async def begin(session: WriteSession, *, terms: Terms, by: KeyId | None, now: datetime) -> Rerate:
    """Write down a re-rate, and whose records are to be measured: of all who used the model then. Changes no amount.

    Raises:
        InvalidRequest: its window is not of the past, or its prices could not rate every call.
        NotFound: there is no such organization.
    """
    rules.check_window(terms.window, now)
    pricing.check(
        PriceDraft(terms.endpoint_id, terms.organization_id, terms.service_tier, terms.window.start, terms.items)
    )
    if terms.organization_id is not None:
        await accounts.get_organization(session, terms.organization_id)
    await store.lock_endpoint(session, terms.endpoint_id)
    rerate = Rerate(
        id=RerateId(new_id(now)),
        number=await store.next_number(session, terms.endpoint_id),
        terms=replace(terms, items=in_order(terms.items)),
        state=RerateState.MEASURING,
        created_at=now,
        created_by=by,
    )
    await store.add(session, rerate)
    await store.add_results(session, rerate.id, await _users(session, terms), now=now)
    return await _asked_for(session, await end_phase(session, rerate, now=now))


async def ask_for_all(session: WriteSession) -> None:
    """Ask for every re-rate that somebody has to go on with."""
    under_way = await store.under_way(session)
    await jobs.enqueue_all(session, job=GO_ON_JOB, subjects=[typed("rerate", each) for each in under_way])


async def _asked_for(session: WriteSession, rerate: Rerate) -> Rerate:
    if rerate.state in LEASES:
        await jobs.enqueue(session, job=GO_ON_JOB, subject=typed("rerate", rerate.id))
    return rerate


async def _users(session: ReadSession, terms: Terms) -> list[OrganizationId]:
    if terms.organization_id is not None:
        return await usage.users(session, [terms.organization_id], model=terms.model, window=terms.window)
    found: list[OrganizationId] = []
    last: UUID | None = None
    while True:
        page = await accounts.list_organizations(session, before=last, count=_PAGE)
        owners = [organization.id for organization in page]
        found += await usage.users(session, owners, model=terms.model, window=terms.window)
        if len(page) < _PAGE:
            return found
        last = page[-1].id


async def get(session: ReadSession, rerate_id: RerateId) -> Rerate:
    """The re-rate.

    Raises:
        NotFound: there is none with this id.
    """
    found = await store.rerate(session, rerate_id)
    if found is None:
        raise NotFound("There is no such re-rate.")
    return found


async def list_rerates(session: ReadSession, *, before: UUID | None, count: int) -> list[Rerate]:
    """Re-rates made before that one, newest first."""
    return await store.rerates(session, before=before, count=count)


async def tally(session: ReadSession, rerate_id: RerateId) -> Tally:
    """What a re-rate comes to, over all organizations that are measured."""
    return await store.tally(session, rerate_id)


async def results(session: ReadSession, rerate_id: RerateId, *, after: UUID | None, count: int) -> list[Told]:
    """What a re-rate changes, organization by organization, for those after that one."""
    found = await store.results(session, rerate_id, after=after, count=count)
    months = await store.months(session, rerate_id, [result.organization_id for result in found])
    return [Told(result, months.get(result.organization_id, ())) for result in found]


async def warnings(session: ReadSession, terms: Terms, *, now: datetime) -> list[str]:
    """What is to be known of the price that is in force now."""
    published = await pricing.history(
        session, terms.endpoint_id, organization_id=terms.organization_id, before=None, count=_VERSIONS_MAX
    )
    live = [
        each.version
        for each in published
        if each.withdrawn_at is None
        and each.version.organization_id == terms.organization_id
        and each.version.service_tier == terms.service_tier
        and each.version.in_force(now)
    ]
    return rules.warnings(terms, live[0] if live else None)


async def take(session: WriteSession, rerate: Rerate, *, now: datetime) -> tuple[Result, int] | None:
    """Take up an organization that is next, and draw the line under its records if it is to be measured.

    Answers also how often that was tried before; `None` if there is nothing to take up now.
    """
    taken = await store.take(session, rerate, now=now, lease=LEASES[rerate.state])
    if taken is None or rerate.state is not RerateState.MEASURING:
        return taken
    result, attempts = taken
    cut = await metering.cut_records(session, organization_id=result.organization_id)
    await store.save_cut(session, result, cut)
    return replace(result, cut=cut), attempts


async def renew(session: WriteSession, result: Result, *, now: datetime) -> bool:
    """Keep a measurement for as long as a lease from now; false if somebody else has taken it up."""
    return await store.renew(session, result, until=now + LEASES[RerateState.MEASURING])


async def question(session: ReadSession, rerate: Rerate, result: Result) -> tuple[Question, Period | None, ZoneInfo]:
    """What to ask of an organization's records, in which part of the window, and the zone of its months."""
    if result.cut is None:
        raise ValueError("A measurement begins with a cut")
    terms, owner = rerate.terms, result.organization_id
    zone = (await accounts.get_organization(session, owner)).zone
    layers = await store.layers(session, owner, terms)
    could_charge = await pricing.could_charge(
        session, terms.endpoint_id, service_tier=terms.service_tier, organization_id=owner
    )
    asked = Question(
        organization_id=owner,
        terms=terms,
        cut=result.cut,
        layers=layers,
        edges=rules.edges_of(terms.window, layers, zone),
        steps=rules.steps_of(terms.items, layers),
        versions={
            version_id: version
            for version_id, version in could_charge.items()
            if version.organization_id is None or terms.organization_id is not None
        },
    )
    return asked, await usage.extent(session, owner, terms.window), zone


async def sums(session: ReadSession, asked: Question, stretch: Stretch) -> dict[Key, Sum]:
    """What the records of a stretch come to, by what decides their price; calls are read only where sums do not do."""
    if not stretch.whole:
        return _merged(await _calls(session, asked, stretch.period))
    found = await usage.rolled_up(session, asked, stretch.period)
    cut_through = {place: each for place, each in found.items() if not _fits(asked, place)}
    kept = {place: each for place, each in found.items() if place not in cut_through}
    if cut_through:
        ids = {key.price_version_id for key, _ in cut_through}
        narrow = replace(asked, versions={each: asked.versions[each] for each in ids})
        calls = await _calls(session, narrow, stretch.period)
        kept |= {
            (key, tier): each
            for (key, tier), each in calls.items()
            if key.price_version_id in ids and not _fits(asked, (key, tier))
        }
    return _merged(kept)


def _fits(asked: Question, place: tuple[Key, int]) -> bool:
    key, tier = place
    version = asked.versions.get(key.price_version_id)
    return version is None or rules.fits(tier, version, asked.steps)


async def _calls(session: ReadSession, asked: Question, period: Period) -> dict[tuple[Key, int], Sum]:
    found: dict[tuple[Key, int], Sum] = {}
    start = period.start
    while start < period.end:
        end = min(start + _CALLS_AT_ONCE, period.end)
        for place, each in (await usage.call_by_call(session, asked, Period(start, end))).items():
            found[place] = found[place] + each if place in found else each
        start = end
    return found


def _merged(found: dict[tuple[Key, int], Sum]) -> dict[Key, Sum]:
    merged: dict[Key, Sum] = {}
    for (key, _), each in found.items():
        merged[key] = merged[key] + each if key in merged else each
    return merged


async def answer(session: ReadSession, asked: Question, found: dict[Key, Sum], zone: ZoneInfo) -> Answer:
    """What re-rating these records changes, each at its price as it was published, adjusted and corrected since."""
    spared = sum(each.quantities[Kind.REQUEST] for key, each in found.items() if _is_spared(key))
    charged = {key: each for key, each in found.items() if not _is_spared(key)}
    versions = await pricing.versions(
        session,
        {key.price_version_id: asked.terms.endpoint_id for key in charged},
        organization_id=asked.organization_id,
    )
    return rules.answer(replace(asked, versions=versions), charged, spared=spared, zone=zone)


def _is_spared(key: Key) -> bool:
    return key.price_version_id == usage.NOTHING


async def save(session: WriteSession, result: Result, found: Answer, *, now: datetime) -> bool:
    """Write down what was measured; false if somebody else took it up meanwhile."""
    total = sum(found.months.values(), start=NO_EFFECT)
    measured = replace(
        result,
        measured_at=now,
        calls=total.calls,
        calls_spared=found.calls_spared,
        amount=total.amount,
        new_amount=total.new_amount,
        percents=tuple(found.percents),
        unpriced=total.unpriced,
        lacking=tuple(sorted(found.lacking)),
    )
    return await store.save_measured(session, measured, await _months(session, result, found), now=now)


async def _months(session: ReadSession, result: Result, found: Answer) -> list[MonthResult]:
    """The months with calls, each with its invoice if it was issued."""
    issued = await invoices.list_invoices(
        session, organization_id=result.organization_id, before=None, count=_INVOICES_MAX
    )
    numbers = {heading.month: heading.number for heading in issued if heading.status is not InvoiceStatus.VOID}
    return [
        MonthResult(month, effect.calls, effect.amount, effect.new_amount, numbers.get(month))
        for month, effect in found.months.items()
    ]


async def apply(session: WriteSession, *, rerate_id: RerateId, by: KeyId | None, now: datetime) -> Rerate:
    """Begin to apply what was measured; it will be posted, organization by organization, by whoever goes on with it.

    One that is being applied, or was, is answered as it is.

    Raises:
        NotFound: there is no such re-rate.
        Conflict: it is still being measured; something was used that its prices lack; or another re-rate of the same
            calls was applied since it was begun.
    """
    await store.lock_endpoint(session, (await get(session, rerate_id)).terms.endpoint_id)
    rerate = await get(session, rerate_id)
    if rerate.state in {RerateState.APPLYING, RerateState.APPLIED}:
        return rerate
    rules.check_may_apply(rerate, await store.tally(session, rerate_id))
    rules.check_up_to_date(await store.applied_since(session, rerate))
    begun = replace(
        rerate,
        state=RerateState.APPLYING,
        applied_number=await store.next_number(session, rerate.terms.endpoint_id),
        applied_at=now,
        applied_by=by,
    )
    await store.save_state(session, begun, was=rerate.state)
    return await _asked_for(session, await end_phase(session, begun, now=now))


async def post(session: WriteSession, rerate: Rerate, result: Result, *, now: datetime) -> None:
    """Post the adjustment of an organization, if it takes any; once it is posted, nothing more happens."""
    owner = result.organization_id
    await ledger.lock(session, organization_id=owner)
    if not await store.is_unposted(session, result):
        return
    months = (await store.months(session, rerate.id, [owner])).get(owner, ())
    order = rules.order(rerate.terms, result, months)
    if order is not None:
        made = await ledger.adjust(session, organization_id=owner, order=order, by=rerate.applied_by, now=now)
        result = replace(result, adjustment_id=made.id)
    if result.cut is not None:
        await unpriced.resolve(
            session,
            organization_id=owner,
            rerate_id=rerate.id,
            versions=result.lacking,
            window=rerate.terms.window,
            cut=result.cut,
        )
    result = replace(result, posted_at=now)
    await store.save_posted(session, result, result.adjustment_id, now=now)
    if order is not None or result.lacking:
        await webhooks.emit(session, rules.told(rerate, result, months, now=now))


async def end_phase(session: WriteSession, rerate: Rerate, *, now: datetime) -> Rerate:
    """Say that the re-rate is measured, or applied, if there is nothing left of that to do."""
    done, was = await store.tally(session, rerate.id), rerate.state
    if rerate.state is RerateState.MEASURING and done.measured == done.organizations:
        rerate = replace(rerate, state=RerateState.MEASURED, measured_at=now)
    elif rerate.state is RerateState.APPLYING and done.posted == done.organizations:
        rerate = replace(rerate, state=RerateState.APPLIED, finished_at=now)
    else:
        return rerate
    await store.save_state(session, rerate, was=was)
    return rerate
