"""Laws of usage reports: whatever is grouped, cut or filtered, the sums are those of the calls, bit for bit."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.metering.scene import fold_usage
from tests.pricing.builders import tiers
from tests.reports.scene import MODEL, Scene, Used

from tollgate.infra.changes import Act
from tollgate.kit import period
from tollgate.kit.money import EXACT
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.metering.model import CallStatus, Settlement
from tollgate.pricing import service as pricing
from tollgate.pricing.model import STANDARD, PriceDraft, PriceVersion
from tollgate.reports.model import Asked, Dimension, Filters, Granularity, UsageQuestion, UsageReport
from tollgate.reports.service import usage as service

START = datetime(2026, 11, 1, tzinfo=UTC)
QUARTER_HOURS = 3000
EVERYTHING = Filters()
DISCOUNT, MARKUP = "-25", "12.3456"
ZONES = ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"]
TAGLESS = tuple(dimension for dimension in Dimension if dimension is not Dimension.TAG)

counts = st.dictionaries(
    st.sampled_from([Kind.PROMPT, Kind.INPUT_CACHE_READ, Kind.COMPLETION, Kind.WEB_SEARCH]),
    st.integers(1, 400_000),
)
endings = st.sampled_from(
    [
        {},
        {"percent": DISCOUNT},
        {"percent": MARKUP},
        {"status": CallStatus.INSURED},
        {"status": CallStatus.FAILED, "provider": None},
    ]
)
drawn_calls = st.lists(
    st.tuples(
        st.integers(0, QUARTER_HOURS * 900 - 1),  # seconds into the window
        st.integers(0, 1),  # which key
        st.integers(0, 1),  # which price
        counts,
        endings,
        st.sampled_from([MODEL, "sandbox/echo"]),
        st.sampled_from([None, "ann", "bob"]),
    ),
    max_size=12,
)
DrawnCall = tuple[int, int, int, dict[Kind, int], dict[str, Any], str, str | None]
groupings = st.lists(st.sampled_from(TAGLESS), unique=True).map(tuple)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=drawn_calls,
    group_by=groupings,
    granularity=st.sampled_from(Granularity),
    zone=st.sampled_from(ZONES),
    folded=st.lists(st.integers(0, 12), max_size=2).map(sorted),
)
async def test_every_report_is_the_sum_of_its_calls(
    scene: Scene,
    drawn: list[DrawnCall],
    group_by: tuple[Dimension, ...],
    granularity: Granularity,
    zone: str,
    folded: list[int],
) -> None:
    """Whenever they were folded: after so many of the calls, once, twice or never."""
    scene = await scene.another_organization(timezone=zone)
    keys = [await scene.a_key(), await scene.a_key(project_id=(await scene.a_project()).id)]
    prices = [scene.price, await _tiered(scene)]
    adjustments = {
        DISCOUNT: await scene.an_adjustment(DISCOUNT),
        MARKUP: await scene.an_adjustment(MARKUP, model=MODEL),
    }
    used_by_calls = [
        Used(
            at=START + timedelta(seconds=seconds),
            key=keys[key],
            price=prices[price],
            adjustment=adjustments.get(ending.get("percent", "")) if prices[price] is scene.price else None,
            counts=used | {Kind.REQUEST: 1},
            model=model,
            user=user,
            **{name: value for name, value in ending.items() if name != "percent"},
        )
        for seconds, key, price, used, ending, model, user in drawn
    ]
    settled: list[Settlement] = []
    for first, last in pairwise([0, *folded, len(used_by_calls)]):
        settled += await scene.record(used_by_calls[first:last])
        if last in folded:
            await fold_usage(scene.database, scene.organization.id)

    report = await _report(scene, group_by=group_by, granularity=granularity)

    assert _as_dict(report) == _folded(settled, report)
    assert report.total.amount == sum((each.call.amount for each in settled), Decimal(0))
    assert report.total.calls == sum(each.call.provider is not None for each in settled)
    assert sum((row.amount for row in report.rows), Decimal(0)) == report.total.amount


async def _tiered(scene: Scene) -> PriceVersion:
    draft = PriceDraft(
        scene.endpoint_id,
        scene.organization.id,
        STANDARD,
        datetime(2026, 1, 1, tzinfo=UTC),
        (*tiers(Kind.PROMPT, "1.25", "2.5"), *tiers(Kind.COMPLETION, "10", "15.02")),
    )
    async with scene.database.write() as session:
        return (await pricing.publish(session, draft, act=Act(scene.clock.now()))).version


async def _report(
    scene: Scene, *, group_by: tuple[Dimension, ...], granularity: Granularity, filters: Filters = EVERYTHING
) -> UsageReport:
    asked = Asked(start=START, end=START + QUARTER_HOURS * period.QUARTER_HOUR)
    question = UsageQuestion(asked, granularity, group_by, filters)
    async with scene.database.read() as session:
        return await service.report(
            session, organization_id=scene.organization.id, question=question, now=scene.clock.now()
        )


Row = tuple[int | None, dict[Kind, int], Decimal]


def _as_dict(report: UsageReport) -> dict[tuple[object, ...], Row]:
    return {
        (row.period, *row.group.values()): (row.calls, dict(row.quantities.counts), row.amount) for row in report.rows
    }


def _folded(settled: Sequence[Settlement], report: UsageReport) -> dict[tuple[object, ...], Row]:
    """What a report must say, added up call by call and kind by kind."""
    query = report.query
    pieces = list(period.split(query.window, query.granularity, query.zone))
    calls: dict[tuple[object, ...], int] = defaultdict(int)
    quantities: dict[tuple[object, ...], dict[Kind, int]] = defaultdict(lambda: defaultdict(int))
    amounts: dict[tuple[object, ...], Decimal] = defaultdict(Decimal)
    for settlement in settled:
        for charge in settlement.charges:
            is_usage = charge.kind is not Kind.REQUEST or charge.unit is not None
            if Dimension.KIND in query.group_by and not is_usage:
                continue
            group = _group(settlement, charge.kind, pieces, query.group_by)
            calls[group] += charge.kind is Kind.REQUEST
            if is_usage:
                quantities[group][charge.kind] += charge.quantity
            amounts[group] = EXACT.add(amounts[group], charge.amount)
    return {group: (calls[group] or None, dict(quantities[group]), amounts[group]) for group in amounts}


def _group(
    settlement: Settlement, kind: Kind, pieces: Sequence[Period], group_by: tuple[Dimension, ...]
) -> tuple[object, ...]:
    call = settlement.call
    (piece,) = (piece for piece in pieces if call.accepted_at in piece)
    values = {
        Dimension.PROJECT: call.project_id,
        Dimension.KEY: call.key_id,
        Dimension.MODEL: call.model,
        Dimension.PROVIDER: call.provider,
        Dimension.KIND: kind,
        Dimension.USER: call.user_id,
    }
    return piece, *(values[dimension] for dimension in group_by)


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),  # back at 02:00 local
        ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),  # half an hour forward at 02:00 local
        ("Asia/Kathmandu", datetime(2026, 10, 31, 18, 15, tzinfo=UTC)),  # no change, but three quarters off the hour
    ],
)
async def test_each_quarter_hour_falls_on_the_local_day_of_its_clock(scene: Scene, zone: str, change: datetime) -> None:
    key, local = await scene.a_key(), ZoneInfo(zone)
    first = change - timedelta(hours=36)
    moments = [first + number * period.QUARTER_HOUR for number in range(4 * 72)]
    await scene.record(Used(at=moment + timedelta(minutes=14), key=key) for moment in moments)

    answer = await scene.get(
        "/usage", start=first.isoformat(), end=moments[-1].isoformat(), granularity="day", timezone=zone
    )

    per_day: dict[str, int] = defaultdict(int)
    for moment in moments[:-1]:
        per_day[moment.astimezone(local).date().isoformat()] += 1
    seen = {
        datetime.fromisoformat(row["start"]).astimezone(local).date().isoformat(): row["calls"]
        for row in answer.json()["data"]
    }
    assert seen == dict(per_day)


async def test_a_call_counts_once_for_each_tag_of_its_key_and_once_in_the_total(scene: Scene) -> None:
    keys = [await scene.a_key(tags=tags) for tags in (("web", "beta"), ("web",), ())]
    await scene.record(Used(at=START, key=key) for key in keys)

    everything = await _report(scene, group_by=(Dimension.TAG,), granularity=Granularity.TOTAL)
    beta = await _report(
        scene, group_by=(Dimension.TAG,), granularity=Granularity.TOTAL, filters=Filters(tag=("beta",))
    )

    assert {row.group[Dimension.TAG]: row.calls for row in everything.rows} == {"beta": 1, "web": 2, None: 1}
    assert everything.total.calls == 3
    assert {row.group[Dimension.TAG]: row.calls for row in beta.rows} == {"beta": 1}
    assert beta.total.calls == 1


async def test_filters_of_every_dimension_agree_with_the_groups(scene: Scene) -> None:
    project = await scene.a_project()
    keys = [await scene.a_key(), await scene.a_key(project_id=project.id)]
    await scene.record(
        Used(at=START, key=key, user=user, model=model)
        for key in keys
        for user in ("ann", "bob")
        for model in (MODEL, "sandbox/echo")
    )
    wanted = (
        Filters(project=(project.id,)),
        Filters(key=(keys[1].id,)),
        Filters(model=("sandbox/echo",)),
        Filters(provider=("openai",)),
        Filters(kind=(Kind.COMPLETION, Kind.PROMPT)),
        Filters(user=("bob",)),
    )
    for filters in wanted:
        ((dimension, values),) = filters.given().items()
        filtered = await _report(scene, group_by=(), granularity=Granularity.TOTAL, filters=filters)
        grouped = await _report(scene, group_by=(dimension,), granularity=Granularity.TOTAL)
        rows = [row for row in grouped.rows if row.group[dimension] in values]
        assert filtered.total.amount == sum((row.amount for row in rows), Decimal(0)) > 0
        assert (filtered.total.calls or 0) == sum(row.calls or 0 for row in rows)
