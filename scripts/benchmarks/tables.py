"""A result as Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A figure, and how a reader sees it."""

    figure: str
    title: str
    decimals: int = 0


COLUMNS: Mapping[str, Sequence[Column]] = {
    "Calls answered whole": (
        Column("calls_per_second_16", "calls/s, 16 at once"),
        Column("calls_per_second_64", "calls/s, 64 at once"),
        Column("cpu_ms", "CPU ms a call", 3),
        Column("database_cpu_ms", "PostgreSQL ms a call", 3),
        Column("group_cpu_ms", "beside them ms a call", 3),
        Column("added_p50_ms_at_50", "added p50 ms at 50/s", 2),
        Column("added_p99_ms_at_50", "added p99 ms at 50/s", 2),
        Column("added_p50_ms_at_1000", "added p50 ms at 1,000/s", 2),
        Column("added_p99_ms_at_1000", "added p99 ms at 1,000/s", 2),
        Column("rss_mb", "RSS MB"),
        Column("pss_mb", "PSS MB"),
    ),
}


def markdown(result: Mapping[str, Any]) -> str:
    """The whole result."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    for title, columns in COLUMNS.items():
        yield f"## {title}"
        yield ""
        yield from table(["contestant", *(column.title for column in columns)], _rows(result, columns))
        yield ""
    commits = result["commits"]
    yield f"Two bare commits on the same disk take {commits['p50_ms']:.2f} ms (p99 {commits['p99_ms']:.2f} ms)."
    yield f"Others took {result['busy_before']} CPUs before, and up to {result['busy_meanwhile']} meanwhile."
    yield ""
    for contestant in result["contestants"]:
        for note in contestant["notes"]:
            yield f"- {contestant['name']}: {note}"


def _rows(result: Mapping[str, Any], columns: Sequence[Column]) -> Iterator[Sequence[str]]:
    for contestant in result["contestants"]:
        if contestant["absent"] is not None:
            yield [contestant["name"], f"does not take part: {contestant['absent']}"]
            continue
        figures = contestant["figures"]
        yield [contestant["name"], *(_cell(figures.get(column.figure), column.decimals) for column in columns)]


def _cell(figure: float | None, decimals: int) -> str:
    return "–" if figure is None else f"{figure:,.{decimals}f}"


def table(titles: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """A table, line by line; rows that are too short are filled up."""
    yield f"| {' | '.join(titles)} |"
    yield "|---" + "|---:" * (len(titles) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join([*row, *[''] * (len(titles) - len(row))])} |"
