"""How samples become buckets, and buckets figures. Pure.

Everything here only adds: in which order samples come, and in which parts they are folded, changes no figure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tollgate.kit.ids import EndpointId
from tollgate.statistics.model import (
    Buckets,
    EndpointStatistics,
    Figures,
    Grain,
    HourOfUptime,
    Known,
    Measured,
    Observed,
    Sample,
    Slot,
    Spread,
    Standing,
    Tally,
    Windows,
)
from tollgate.statistics.sketch import Sketch

LIVE = timedelta(hours=1)
LONG = timedelta(days=30)
HOURS_SHOWN = 24

KEPT_FOR: Mapping[Grain, timedelta] = {
    Grain.FIVE_MINUTES: timedelta(hours=3),
    Grain.HOUR: timedelta(days=35),
    Grain.DAY: timedelta(days=35),
}
"""How long buckets are kept: as long as a window can ask for them, and a while."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PERCENT = 100
_THOUSANDTHS = 1000


def start_of(grain: Grain, at: datetime) -> datetime:
    """The beginning of the stretch that the instant is in."""
    return at - (at - _EPOCH) % timedelta(minutes=grain)


def kept_from(grain: Grain, now: datetime) -> datetime:
    """The beginning of the oldest bucket that is kept."""
    return start_of(grain, now - KEPT_FOR[grain])


def windows(now: datetime) -> Windows:
    """Where the windows begin."""
    long = start_of(Grain.HOUR, now - LONG)
    midnight = start_of(Grain.DAY, long)
    return Windows(
        live=start_of(Grain.FIVE_MINUTES, now - LIVE),
        long=long,
        days=midnight if midnight == long else midnight + timedelta(days=1),
        day=start_of(Grain.HOUR, now) - timedelta(hours=HOURS_SHOWN - 1),
    )


def measured(values: Sequence[int]) -> Measured | None:
    """All the samples of a measure; `None` if there are none."""
    if not values:
        return None
    return Measured(len(values), sum(values), min(values), max(values), (Sketch.of(values).written(),))


def united(parts: Iterable[Measured | None]) -> Measured | None:
    """The samples of all the parts, their sketches side by side."""
    known = [part for part in parts if part is not None]
    if len(known) <= 1:
        return known[0] if known else None
    return Measured(
        count=sum(part.count for part in known),
        sum=sum(part.sum for part in known),
        min=min(part.min for part in known),
        max=max(part.max for part in known),
        sketches=tuple(sketch for part in known for sketch in part.sketches),
    )


def compact(measure: Measured | None) -> Measured | None:
    """The same samples in one sketch: equal for equal samples, whatever they were put together from."""
    if measure is None or len(measure.sketches) == 1:
        return measure
    return replace(measure, sketches=(Sketch.merged(measure.sketches).written(),))


def added(tallies: Iterable[Tally]) -> Tally:
    """The attempts of all of them."""
    ok = failed = 0
    for tally in tallies:
        ok, failed = ok + tally.ok, failed + tally.failed
    return Tally(ok, failed)


def merged(parts: Sequence[Observed]) -> Observed:
    """What is known of several stretches of time together."""
    return Observed(
        tally=added(part.tally for part in parts),
        latency=united(part.latency for part in parts),
        throughput=united(part.throughput for part in parts),
    )


def observed(samples: Sequence[Sample]) -> Observed:
    """What samples tell together."""
    return Observed(
        tally=added(sample.tally for sample in samples),
        latency=measured([latency for sample in samples for latency in sample.latencies_ms]),
        throughput=measured([throughput for sample in samples for throughput in sample.throughputs]),
    )


def compacted(seen: Observed) -> Observed:
    """The same with one sketch for each measure, as buckets have it."""
    return replace(seen, latency=compact(seen.latency), throughput=compact(seen.throughput))


def finest(samples: Iterable[Sample]) -> Buckets:
    """The samples as buckets of the finest grain."""
    together: dict[Slot, list[Sample]] = defaultdict(list)
    for sample in samples:
        together[Slot(sample.endpoint_id, Grain.FIVE_MINUTES, sample.starts_at)].append(sample)
    return {slot: observed(left) for slot, left in together.items()}


def folded(samples: Iterable[Sample], *, now: datetime) -> Buckets:
    """What is to be added to buckets of every grain; of those that are kept no longer, nothing."""
    parts: dict[Slot, list[Observed]] = defaultdict(list)
    for slot, seen in finest(samples).items():
        for grain in Grain:
            starts_at = start_of(grain, slot.starts_at)
            if starts_at >= kept_from(grain, now):
                parts[Slot(slot.endpoint_id, grain, starts_at)].append(seen)
    return {slot: compacted(merged(several)) for slot, several in parts.items()}


def quantiles(measure: Measured, percents: Sequence[int]) -> list[float]:
    """For each percentage, from 1 to 100, about the least sample that so many of all are not above.

    That is what PostgreSQL's `percentile_disc` answers; the sketch's relative error is the most that we can be off it.
    """
    # Rounded up, as many of them as the percentage says; the smallest stands at place 0.
    places = [-(-percent * measure.count // _PERCENT) - 1 for percent in percents]
    about = Sketch.merged(measure.sketches).values_at(places)
    return [min(max(value, float(measure.min)), float(measure.max)) for value in about]


def spread(measure: Measured | None, *, parts: int = 1) -> Spread | None:
    """How the measure is spread, its samples counting so many parts of the figures' unit."""
    if measure is None:
        return None
    p50, p90, p99 = (value / parts for value in quantiles(measure, (50, 90, 99)))
    return Spread(
        count=measure.count,
        min=measure.min / parts,
        max=measure.max / parts,
        avg=measure.sum / (measure.count * parts),
        p50=p50,
        p90=p90,
        p99=p99,
    )


def figures(parts: Sequence[Observed]) -> Figures:
    """The figures of a window that is made of these parts."""
    whole = merged(parts)
    return Figures(
        latency_ms=spread(whole.latency), throughput=spread(whole.throughput, parts=_THOUSANDTHS), tally=whole.tally
    )


def statistics(
    known: Mapping[EndpointId, Known], samples: Iterable[Sample], *, now: datetime
) -> dict[EndpointId, EndpointStatistics]:
    """The figures of every endpoint of which anything is known in some window, by buckets and by samples.

    The samples are those that are in no bucket yet.
    """
    begun = windows(now)
    waiting: dict[EndpointId, list[tuple[datetime, Observed]]] = defaultdict(list)
    for slot, seen in finest(samples).items():
        if slot.starts_at >= min(begun.long, begun.day):
            waiting[slot.endpoint_id].append((slot.starts_at, seen))
    return {
        endpoint_id: _statistics(known.get(endpoint_id, Known()), waiting[endpoint_id], begun)
        for endpoint_id in (*known, *(each for each in waiting if each not in known))
    }


def _statistics(known: Known, waiting: Sequence[tuple[datetime, Observed]], begun: Windows) -> EndpointStatistics:
    def since(start: datetime) -> list[Observed]:
        return [seen for starts_at, seen in waiting if starts_at >= start]

    hours: dict[datetime, list[Tally]] = defaultdict(list)
    for starts_at, tally in known.hours.items():
        hours[starts_at].append(tally)
    for starts_at, seen in waiting:
        if starts_at >= begun.day:
            hours[start_of(Grain.HOUR, starts_at)].append(seen.tally)
    return EndpointStatistics(
        live=figures([known.live, *since(begun.live)]),
        long=figures([known.long, *since(begun.long)]),
        last_day=added(tally for tallies in hours.values() for tally in tallies),
        hourly=_hourly(hours, begun),
    )


def _hourly(hours: Mapping[datetime, Sequence[Tally]], begun: Windows) -> tuple[HourOfUptime, ...]:
    starts = (begun.day + timedelta(hours=number) for number in range(HOURS_SHOWN))
    return tuple(HourOfUptime(starts_at, added(hours.get(starts_at, ()))) for starts_at in starts)


def no_statistics(now: datetime) -> EndpointStatistics:
    """The figures of an endpoint of which nothing is known."""
    return EndpointStatistics(hourly=_hourly({}, windows(now)))


def standings(
    live: Mapping[EndpointId, Observed], samples: Iterable[Sample], *, now: datetime
) -> dict[EndpointId, Standing]:
    """The last hour of every endpoint of which anything is known in it; the samples are in no bucket yet."""
    parts: dict[EndpointId, list[Observed]] = defaultdict(list)
    for endpoint_id, seen in live.items():
        parts[endpoint_id].append(seen)
    for slot, seen in finest(samples).items():
        if slot.starts_at >= windows(now).live:
            parts[slot.endpoint_id].append(seen)
    return {endpoint_id: _standing(merged(several)) for endpoint_id, several in parts.items()}


def _standing(seen: Observed) -> Standing:
    return Standing(tally=seen.tally, latency_ms=_median(seen.latency), throughput=_median(seen.throughput))


def _median(measure: Measured | None) -> int | None:
    return None if measure is None else round(quantiles(measure, (50,))[0])
