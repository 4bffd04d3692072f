"""Pictures of figures: where each mark of a chart stands, in per cent, so that it is drawn at any width."""

from collections.abc import Sequence

from tollgate.console.model import ABSENT, NO_FIGURE, DayRow, DaysChart, Mark, Range, SpreadRow, UptimeHour, UptimeStrip
from tollgate.console.rules import figures
from tollgate.reports.model import DayOfTokens
from tollgate.statistics.model import EndpointStatistics, HourOfUptime, Spread, Tally

_WHOLE = 10_000
"""Places are reckoned in hundredths of a per cent."""
_BAR_SHARE, _GAP_SHARE = 8, 2
"""How many tenths of its place a bar takes, and how many are between it and its neighbours."""
_STEADY, _SHAKY = 999, 950
"""From how many attempts served of a thousand on an hour is good, and from how many on it is fair."""
_HEIGHTS = {"good": _WHOLE, "fair": 7000, "poor": 4000, "none": 1200}
"""Hours differ in height as well as in colour, for those who do not see the one."""
_CEILINGS = (1, 2, 3, 4, 5, 6, 8)


def per_cent(place: int) -> str:
    """A place in a picture, as pictures are written: `33.33%` for 3333."""
    whole, rest = divmod(place, 100)
    return f"{whole}.{rest:02}%" if rest else f"{whole}%"


def _share(part: int, whole: int) -> int:
    """A share as a place, to the nearest."""
    return (2 * part * _WHOLE + whole) // (2 * whole)


def _bars(count: int) -> list[tuple[str, str]]:
    """Where each of so many bars begins and how wide it is."""
    if not count:
        return []
    width = per_cent(_WHOLE * _BAR_SHARE // (10 * count))
    return [(per_cent(_WHOLE * (10 * number + _GAP_SHARE // 2) // (10 * count)), width) for number in range(count)]


def ceiling_of(highest: int) -> int:
    """The least of 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, … that is not below the highest: where the axis ends."""
    decade = 1
    while True:
        for step in _CEILINGS:
            if step * decade >= highest:
                return step * decade
        decade *= 10


def days_chart(days: Sequence[DayOfTokens]) -> DaysChart:
    """Tokens per day as bars, what was read below what was written; `days` is not empty."""
    total = sum(day.prompt_tokens + day.completion_tokens for day in days)
    ceiling = ceiling_of(max(day.prompt_tokens + day.completion_tokens for day in days))
    busiest = max(days, key=lambda day: day.prompt_tokens + day.completion_tokens)
    first, last = figures.day(days[0].day), figures.day(days[-1].day)
    said = f"{figures.count(total)} tokens from {first} to {last}; the most on {figures.day(busiest.day)}"
    return DaysChart(
        says=said if total else f"No tokens from {first} to {last}",
        marks=_day_marks(days, ceiling),
        ceiling=figures.count(ceiling),
        middle="" if ceiling % 2 else figures.count(ceiling // 2),
        first_day=figures.short_day(days[0].day),
        last_day=figures.short_day(days[-1].day),
        total=figures.tokens(total) if total else NO_FIGURE,
        rows=tuple(_day_row(day) for day in reversed(days)),
        empty=not total,
    )


def small_days(days: Sequence[DayOfTokens]) -> tuple[Mark, ...]:
    """Tokens per day as bars without an axis: the busiest day is the tallest; none if nothing was used."""
    highest = max((day.prompt_tokens + day.completion_tokens for day in days), default=0)
    return _day_marks(days, highest) if highest else ()


def _day_marks(days: Sequence[DayOfTokens], ceiling: int) -> tuple[Mark, ...]:
    marks = []
    for day, (left, width) in zip(days, _bars(len(days)), strict=True):
        all_told = day.prompt_tokens + day.completion_tokens
        read, top = _share(day.prompt_tokens, ceiling), _share(all_told, ceiling)
        says = f"{figures.day(day.day)}: {figures.count(all_told)} tokens"
        if day.prompt_tokens:
            marks.append(Mark(left, per_cent(_WHOLE - read), width, per_cent(read), "read", says))
        if day.completion_tokens:
            marks.append(Mark(left, per_cent(_WHOLE - top), width, per_cent(top - read), "written", says))
    return tuple(marks)


def _day_row(day: DayOfTokens) -> DayRow:
    return DayRow(
        day=figures.day(day.day),
        prompt=figures.tokens(day.prompt_tokens),
        completion=figures.tokens(day.completion_tokens),
        total=figures.tokens(day.prompt_tokens + day.completion_tokens),
    )


def spread_rows(
    spreads: Sequence[tuple[str, Spread | None]], *, unit: str, decimals: int
) -> tuple[tuple[SpreadRow, ...], str]:
    """Each provider's spread on one scale from zero, and where that scale ends; `decimals` are those of least and most.

    Means have two decimals.
    """
    highest = max((spread.max for _, spread in spreads if spread is not None), default=None)
    rows = tuple(_spread_row(provider, spread, highest, unit, decimals) for provider, spread in spreads)
    return rows, "" if highest is None else figures.rounded(highest, decimals)


def _spread_row(provider: str, spread: Spread | None, highest: float | None, unit: str, decimals: int) -> SpreadRow:
    if spread is None:
        return SpreadRow(provider, ABSENT, ABSENT, ABSENT, None, f"{provider}: no samples yet")
    least, most = figures.rounded(spread.min, decimals), figures.rounded(spread.max, decimals)
    mean = figures.rounded(spread.avg, 2)
    drawn = None
    if highest:
        start, end, middle = (round(value / highest * _WHOLE) for value in (spread.min, spread.max, spread.avg))
        drawn = Range(per_cent(start), per_cent(end - start), per_cent(middle))
    says = f"{provider}: {least} to {most} {unit}, {mean} on average"
    return SpreadRow(provider, least, most, mean, drawn, says)


def uptime_strip(provider: str, statistics: EndpointStatistics) -> UptimeStrip:
    """The last hours, oldest first."""
    hours = statistics.hourly
    told = [UptimeHour(figures.hour(hour.starts_at), figures.share(hour.tally)) for hour in hours]
    return UptimeStrip(
        says=f"Uptime of {provider} by the hour: {figures.share(statistics.last_day)} over the last day",
        marks=tuple(map(_hour_mark, hours, told, _bars(len(hours)))),
        hours=tuple(reversed(told)),
        first_hour=figures.clock_hour(hours[0].starts_at) if hours else "",
        last_hour=figures.clock_hour(hours[-1].starts_at) if hours else "",
    )


def _hour_mark(hour: HourOfUptime, told: UptimeHour, bar: tuple[str, str]) -> Mark:
    tone = _tone(hour.tally)
    height, (left, width) = _HEIGHTS[tone], bar
    return Mark(left, per_cent(_WHOLE - height), width, per_cent(height), tone, f"{told.hour}  {told.uptime}")


def _tone(tally: Tally) -> str:
    counted = tally.ok + tally.failed
    if not counted:
        return "none"
    served = tally.ok * 1000
    return "good" if served >= _STEADY * counted else "fair" if served >= _SHAKY * counted else "poor"
