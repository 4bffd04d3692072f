"""A result against an earlier one: what a change did.

The machine may have been another, or busier. What a gateway did is therefore compared as a share of what the bare
pass-through did in the same run, where both were measured.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.benchmarks.tables import TABLES, Column, cell, table

BASELINE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "baseline.json"
_BASELINE_NAME = "baseline"
_NO_BASELINE = "no baseline is kept yet; `scripts/bench all --save-baseline` has its result be the baseline."
_NEEDED = {"at", "contestants"}
"""What is read of an earlier result."""
_ALONE = ("database", "group", "rss", "pss")
"""What figures begin with that a pass-through has nothing to compare with, or that do not depend on the machine."""


class NoResult(Exception):
    """There is no earlier result of this name."""


def read(named: str) -> dict[str, Any]:
    """An earlier result, from a file or the one that is kept.

    Raises:
        NoResult: there is none.
    """
    try:
        result = json.loads((BASELINE if named == _BASELINE_NAME else Path(named)).read_text())
    except FileNotFoundError as error:
        missing = _NO_BASELINE if named == _BASELINE_NAME else f"there is no file {named!r}."
        raise NoResult(missing) from error
    except (OSError, ValueError) as error:
        raise NoResult(f"{named!r} cannot be read: {error}") from error
    if not isinstance(result, dict) or not result.keys() >= _NEEDED:
        raise NoResult(f"{named!r} is no result.json that compares contestants.")
    return result


def markdown(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Every figure that both have, before and after."""
    lines = [f"## Against {before['at']}\n"]
    lines += table(["contestant", "figure", "before", "after", "change", "as a share of bare"], _rows(before, after))
    return "\n".join(lines) + "\n"


def _rows(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    then, now = _figures(before), _figures(after)
    for kind in after["kinds"]:
        for column in TABLES[kind][1]:
            for name in now:
                if column.figure in now[name] and column.figure in then.get(name, {}):
                    yield _row(name, column, then, now)


def _figures(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {each["name"]: each["figures"] for each in result["contestants"] if each["name"] != "direct"}


def _row(
    name: str, column: Column, then: Mapping[str, Mapping[str, float]], now: Mapping[str, Mapping[str, float]]
) -> Sequence[str]:
    before, after = then[name][column.figure], now[name][column.figure]
    bare = [figures.get("bare", {}).get(column.figure) for figures in (then, now)]
    shares = "-"
    if all(bare) and name != "bare" and not column.figure.startswith(_ALONE):
        shares = _change(before / (bare[0] or 1), after / (bare[1] or 1))
    told = (cell(before, column.decimals), cell(after, column.decimals))
    return [name, column.title, *told, _change(before, after), shares]


def _change(before: float, after: float) -> str:
    return f"{100 * (after - before) / before:+.1f} %" if before else "-"
