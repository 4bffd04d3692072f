"""Laws of statistics: what is put together, in which parts and order, tells the same."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.statistics.calls import DAY, FIVE_MINUTES, HOUR, assert_spread, floored

from tollgate.kit.ids import EndpointId
from tollgate.statistics import rules
from tollgate.statistics.model import (
    NO_STATISTICS,
    Buckets,
    EndpointStatistics,
    Grain,
    Known,
    Measured,
    Observed,
    Sample,
    Slot,
    Tally,
)
from tollgate.statistics.sketch import RELATIVE_ERROR, Sketch

NOW = datetime(2026, 11, 22, 12, 3, 4, 567, tzinfo=UTC)
ENDPOINTS = [EndpointId(UUID(int=number)) for number in (1, 2)]

values = st.integers(0, 10**15)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is drawn
samples = st.builds(
    Sample,
    endpoint_id=st.sampled_from(ENDPOINTS),
    starts_at=st.integers(0, 12 * 24 * 40).map(lambda ago: floored(NOW, FIVE_MINUTES) - ago * FIVE_MINUTES),
    tally=st.builds(Tally, st.integers(0, 5), st.integers(0, 5)),
    latencies_ms=st.lists(st.integers(0, 100_000), max_size=4).map(tuple),
    throughputs=st.lists(values, max_size=4).map(tuple),
)


def cut(whole: list[int], ends: list[int]) -> list[list[int]]:
    """The list in parts."""
    bounds = sorted({0, len(whole), *(min(end, len(whole)) for end in ends)})
    return [whole[start:end] for start, end in pairwise(bounds)]


def together(kept: Buckets, new: Buckets) -> Buckets:
    """What buckets hold once new ones are added to them."""
    whole = {slot: rules.merged([kept.get(slot, Observed()), seen]) for slot, seen in new.items()}
    return kept | {slot: rules.compacted(seen) for slot, seen in whole.items()}


def known(buckets: Buckets) -> dict[EndpointId, Known]:
    """What buckets tell of each window, as the store's statements add it up."""
    begun, found = rules.windows(NOW), {}
    for endpoint in {slot.endpoint_id for slot in buckets}:
        ours = {slot: seen for slot, seen in buckets.items() if slot.endpoint_id == endpoint}
        hours = {slot.starts_at: seen for slot, seen in ours.items() if slot.grain is Grain.HOUR}
        days = {slot.starts_at: seen for slot, seen in ours.items() if slot.grain is Grain.DAY}
        found[endpoint] = Known(
            live=live(ours).get(endpoint, Observed()),
            long=rules.merged(
                [seen for at, seen in hours.items() if begun.long <= at < begun.days]
                + [seen for at, seen in days.items() if at >= begun.days]
            ),
            hours={at: seen.tally for at, seen in hours.items() if at >= begun.day},
        )
    return found


def live(buckets: Buckets) -> dict[EndpointId, Observed]:
    parts = defaultdict(list)
    for slot, seen in buckets.items():
        if slot.grain is Grain.FIVE_MINUTES and slot.starts_at >= rules.windows(NOW).live:
            parts[slot.endpoint_id].append(seen)
    return {endpoint: rules.merged(several) for endpoint, several in parts.items()}


def with_data(figures: dict[EndpointId, EndpointStatistics]) -> dict[EndpointId, EndpointStatistics]:
    return {endpoint: found for endpoint, found in figures.items() if found != rules.no_statistics(NOW)}


class TestMeasures:
    @given(st.lists(values), st.lists(st.integers(0, 20), max_size=4), st.randoms())
    def test_any_order_and_any_parts_equal_one_pass(self, drawn: list[int], ends: list[int], chance: object) -> None:
        shuffled = list(drawn)
        getattr(chance, "shuffle")(shuffled)  # noqa: B009 - Hypothesis gives its own kind of chance

        parts = [rules.measured(part) for part in cut(shuffled, ends)]

        assert rules.compact(rules.united(parts)) == rules.measured(drawn)

    @given(st.lists(values, min_size=1), st.integers(1, 100))
    def test_a_quantile_is_within_the_error_of_the_sample_at_its_place(self, drawn: list[int], percent: int) -> None:
        measure = rules.measured(drawn)
        assert measure is not None

        (about,) = rules.quantiles(measure, (percent,))

        exact = next(value for value in sorted(drawn) if 100 * sum(v <= value for v in drawn) >= percent * len(drawn))
        assert abs(about - exact) <= RELATIVE_ERROR * exact * (1 + 1e-9)
        assert min(drawn) <= about <= max(drawn)

    @given(st.lists(values))
    def test_everything_but_quantiles_is_exact(self, drawn: list[int]) -> None:
        assert_spread(rules.spread(rules.measured(drawn)), drawn)

    def test_one_sample_is_every_figure(self) -> None:
        found = rules.spread(rules.measured([4_750]), parts=1000)

        assert found is not None
        assert {found.min, found.max, found.avg, found.p50, found.p90, found.p99} == {4.75}

    def test_a_sketch_of_ordinary_latencies_takes_a_few_hundred_bytes(self) -> None:
        assert len(Sketch.of(range(150, 3000)).written()) < 300


class TestBuckets:
    @given(moments)
    def test_each_grain_is_part_of_the_next(self, at: datetime) -> None:
        starts = [rules.start_of(grain, at) for grain in Grain]

        assert starts == [floored(at, length) for length in (FIVE_MINUTES, HOUR, DAY)]
        assert at >= starts[0] >= starts[1] >= starts[2] > at - DAY

    @given(st.lists(samples, max_size=12), st.lists(st.integers(0, 12), max_size=4))
    def test_whatever_is_folded_at_a_time_the_buckets_are_the_same(self, drawn: list[Sample], ends: list[int]) -> None:
        kept: Buckets = {}
        bounds = sorted({0, len(drawn), *(min(end, len(drawn)) for end in ends)})
        for start, end in pairwise(bounds):
            kept = together(kept, rules.folded(drawn[start:end], now=NOW))

        assert kept == rules.folded(drawn, now=NOW)

    @given(samples)
    def test_a_sample_is_in_one_bucket_of_every_grain_that_is_kept(self, sample: Sample) -> None:
        found = rules.folded([sample], now=NOW)

        assert set(found) == {
            Slot(sample.endpoint_id, grain, floored(sample.starts_at, timedelta(minutes=grain)))
            for grain in Grain
            if floored(sample.starts_at, timedelta(minutes=grain)) >= rules.kept_from(grain, NOW)
        }
        assert all(seen.tally == sample.tally for seen in found.values())

    @given(moments)
    def test_what_windows_ask_for_is_kept(self, now: datetime) -> None:
        begun = rules.windows(now)

        assert rules.kept_from(Grain.FIVE_MINUTES, now) < begun.live
        assert rules.kept_from(Grain.HOUR, now) < min(begun.long, begun.day)
        assert rules.kept_from(Grain.DAY, now) < begun.days


class TestFigures:
    @given(moments)
    def test_windows_begin_where_their_grain_does(self, now: datetime) -> None:
        begun = rules.windows(now)

        assert now - HOUR - FIVE_MINUTES < begun.live <= now - HOUR
        assert now - 30 * DAY - HOUR < begun.long <= now - 30 * DAY
        assert begun.long <= begun.days < begun.long + DAY
        assert (floored(begun.days, DAY), floored(begun.day, HOUR)) == (begun.days, begun.day)
        assert begun.day + 23 * HOUR <= now < begun.day + DAY

    @given(st.lists(samples, max_size=12), st.integers(0, 12))
    def test_folding_changes_no_figure(self, drawn: list[Sample], count: int) -> None:
        folded, rest = rules.folded(drawn[:count], now=NOW), drawn[count:]

        figures = rules.statistics(known(folded), rest, now=NOW)
        assert with_data(figures) == with_data(rules.statistics({}, drawn, now=NOW))
        assert rules.standings(live(folded), rest, now=NOW) == rules.standings({}, drawn, now=NOW)

    @given(st.lists(samples, max_size=12))
    def test_a_window_is_made_of_the_samples_since_its_beginning(self, drawn: list[Sample]) -> None:
        begun = rules.windows(NOW)
        for endpoint in ENDPOINTS:
            ours = [sample for sample in drawn if sample.endpoint_id == endpoint]
            found = rules.statistics({}, drawn, now=NOW).get(endpoint, rules.no_statistics(NOW))
            for figures, since in ((found.live, begun.live), (found.long, begun.long)):
                inside = [sample for sample in ours if sample.starts_at >= since]
                assert figures.tally == rules.added(sample.tally for sample in inside)
                assert_spread(figures.latency_ms, [value for each in inside for value in each.latencies_ms])
                assert_spread(figures.throughput, [value for each in inside for value in each.throughputs], parts=1000)
            assert found.last_day == rules.added(each.tally for each in ours if each.starts_at >= begun.day)
            assert found.last_day == rules.added(hour.tally for hour in found.hourly)

    def test_nothing_known_is_no_figure_at_all(self) -> None:
        nothing = rules.no_statistics(NOW)

        assert rules.statistics({}, [], now=NOW) == {}
        assert nothing == EndpointStatistics(hourly=nothing.hourly)
        assert (nothing.live, nothing.long, nothing.last_day) == (NO_STATISTICS.live, NO_STATISTICS.long, Tally())
        assert {hour.tally.uptime for hour in nothing.hourly} == {None}
        assert len(nothing.hourly) == 24

    def test_the_standing_is_the_median_of_the_last_hour(self) -> None:
        def at(ago: timedelta, *latencies: int) -> Sample:
            return Sample(ENDPOINTS[0], floored(NOW - ago, FIVE_MINUTES), Tally(1, 1), latencies, (52_000,))

        found = rules.standings({}, [at(timedelta(), 100, 300), at(HOUR, 200), at(HOUR + FIVE_MINUTES, 9)], now=NOW)

        standing = found[ENDPOINTS[0]]
        assert standing.tally == Tally(2, 2)
        assert standing.latency_ms == pytest.approx(200, rel=RELATIVE_ERROR, abs=1)
        assert standing.throughput == pytest.approx(52_000, rel=RELATIVE_ERROR)

    def test_an_endpoint_without_streams_has_no_latency(self) -> None:
        sample = Sample(ENDPOINTS[0], floored(NOW, FIVE_MINUTES), Tally(1, 0), (), ())

        standing = rules.standings({}, [sample], now=NOW)[ENDPOINTS[0]]

        assert (standing.latency_ms, standing.throughput) == (None, None)
        assert rules.observed([sample]) == Observed(Tally(1, 0))
        assert isinstance(rules.measured([0]), Measured)
