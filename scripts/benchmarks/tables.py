"""A result as Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from scripts.benchmarks.machine import BUSY_SHARE


class Column(NamedTuple):
    """A figure, and how a reader sees it."""

    figure: str
    title: str
    decimals: int = 0


TABLES: Mapping[str, tuple[str, Sequence[Column]]] = {
    "gateway": (
        "Calls that are answered whole",
        (
            Column("calls_per_second_16", "calls/s, 16 at once"),
            Column("calls_per_second_64", "calls/s, 64 at once"),
            Column("cpu_ms", "CPU ms a call", 3),
            Column("database_cpu_ms", "its PostgreSQL, ms a call", 3),
            Column("group_cpu_ms", "beside both, ms a call", 3),
            Column("added_p50_ms_at_50", "added p50 ms at 50/s", 2),
            Column("added_p99_ms_at_50", "added p99 ms at 50/s", 2),
            Column("added_p50_ms_at_1000", "added p50 ms at 1,000/s", 2),
            Column("added_p99_ms_at_1000", "added p99 ms at 1,000/s", 2),
            Column("rss_mb", "RSS MB"),
            Column("pss_mb", "PSS MB"),
        ),
    ),
    "streams": (
        "Calls whose answers stream",
        (
            Column("events_per_second_16", "events/s in bursts, 16 at once"),
            Column("events_per_second_64", "in bursts, 64 at once"),
            Column("burst_cpu_us_an_event", "CPU µs an event in bursts", 1),
            Column("spaced_events_per_second", "events/s spaced, 64 at once"),
            Column("cpu_us_an_event", "CPU µs an event, spaced", 1),
            Column("added_first_p50_ms", "added ms to first event, p50", 2),
            Column("added_first_p99_ms", "added ms to first event, p99", 2),
        ),
    ),
}


def markdown(result: Mapping[str, Any]) -> str:
    """The whole result."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    for kind in result["kinds"]:
        title, columns = TABLES[kind]
        yield f"## {title}\n"
        yield from table(["contestant", *(column.title for column in columns)], _rows(result, columns))
        yield ""
    if result["goals"]:
        yield "## Goals\n"
        yield goals(result["goals"])
    yield "## Who takes part\n"
    yield from table(["contestant", "version", "records", "answered", "not answered"], _contestants(result))
    yield ""
    yield from _notes(result)


def _rows(result: Mapping[str, Any], columns: Sequence[Column]) -> Iterator[Sequence[str]]:
    for contestant in result["contestants"]:
        if contestant["absent"] is not None:
            yield [contestant["name"], "does not take part"]
        else:
            figures = contestant["figures"]
            yield [contestant["name"], *(cell(figures.get(column.figure), column.decimals) for column in columns)]


def goals(told: Iterable[Mapping[str, Any]]) -> str:
    """Goals, what was reached, and by how much they are missed."""
    return "\n".join(table(["measure", "goal", "figure", ""], map(_goal, told))) + "\n"


def _goal(goal: Mapping[str, Any]) -> Sequence[str]:
    if goal["figure"] is None:
        reason = goal.get("reason")
        return [goal["measure"], goal["goal"], "-", f"not measured: {reason}" if reason else "not measured"]
    missed = f"missed by {goal['missed_by_percent']} %"
    return [goal["measure"], goal["goal"], f"{goal['figure']:,g}", "met" if goal["met"] else missed]


def _contestants(result: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for each in result["contestants"]:
        yield [each["name"], each["version"], each["records"], f"{each['answered']:,}", f"{each['failed']:,}"]


def _notes(result: Mapping[str, Any]) -> Iterator[str]:
    commits, ledger, machine = result["commits"], result["ledger"], result["machine"]
    yield f"- {busy(result)}"
    yield f"- Medians of {rounds(result['rounds'])}, each load for {result['seconds']:g} s, on {machine['at_hand']}."
    one, two = (
        f"p50 {commits[f'{name}_p50_ms']:.2f} ms, p99 {commits[f'{name}_p99_ms']:.2f} ms" for name in ("one", "two")
    )
    yield (
        f"- Bare commits on the same disk: one {one}; two, one after the other, {two}. A call waits for one flush of "
        "the disk; the goal is set by two."
    )
    if ledger is not None:
        yield (
            f"- Tollgate's ledger agrees with the provider's log and with what callers were told: "
            f"{ledger['recorded']:,} calls, {ledger['amount']} USD, nothing held."
        )
    for each in result["contestants"]:
        if each["absent"] is not None:
            yield f"- {each['name']} does not take part: {each['absent']}"
        for what, note in each["notes"].items():
            yield f"- {each['name']}, {what}: {note}"


def busy(result: Mapping[str, Any]) -> str:
    """What others took of the CPUs, with a warning if that was much."""
    most = max(result["busy_before"], result["busy_meanwhile"])
    warning = "**The machine was busy; distrust what follows from time.** " if most > BUSY_SHARE else ""
    return (
        f"{warning}Others took {result['busy_before']:.2f} CPUs before the run, and up to "
        f"{result['busy_meanwhile']:.2f} while something was measured."
    )


def rounds(count: int) -> str:
    """So many rounds."""
    return f"{count:,} round{'' if count == 1 else 's'}"


def processes(count: int, kind: str = "") -> str:
    """So many processes of a kind."""
    return f"{count:,} {kind and kind + ' '}process{'' if count == 1 else 'es'}"


def console(width_least: int) -> Console:
    """Where tables are shown, as wide as they need, however narrow the terminal is: cells are not to be squeezed."""
    shown = Console()
    shown.width = max(shown.width, width_least)
    return shown


def cell(figure: float | None, decimals: int) -> str:
    """A figure, if there is one."""
    return "-" if figure is None else f"{figure:,.{decimals}f}"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table, line by line; rows that are too short are filled up."""
    yield f"| {' | '.join(titles)} |"
    yield "|---" + "|---:" * (len(titles) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join([*row, *[''] * (len(titles) - len(row))])} |"
