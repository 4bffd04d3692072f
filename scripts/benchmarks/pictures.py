"""Pictures of a result, as SVG: `python -m scripts.benchmarks.pictures RESULT FOLDER`, in a process of its own."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

_BARS = {
    "gateway": (
        ("calls_per_second", "calls/s on one core", "more is better"),
        ("cpu_ms", "gateway's CPU ms a call", "less is better"),
        ("added_p50_ms_at_50", "added ms at 50 calls/s, p50", "less is better"),
    ),
    "streams": (
        ("events_per_second", "events/s on one core, in bursts", "more is better"),
        ("cpu_us_an_event", "gateway's CPU µs an event, spaced", "less is better"),
        ("added_first_p50_ms", "added ms to the first event, p50", "less is better"),
    ),
}
_COLOURS = {"tollgate": "#1f6f5c", "bare": "#9aa5a1"}
_OTHERS_COLOUR = "#c9783a"


def draw(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """One picture of each kind of calls; where they are."""
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "tollgate"
    return [_drawn(kind, result, folder / f"{kind}.svg") for kind in result["kinds"]]


def _drawn(kind: str, result: Mapping[str, Any], file: Path) -> Path:
    bars = _BARS[kind]
    figure = Figure(figsize=(4 * len(bars), 3.2), layout="constrained")
    for axes, (name, title, which) in zip(figure.subplots(1, len(bars)), bars, strict=True):
        found = {each["name"]: each["figures"][name] for each in result["contestants"] if name in each["figures"]}
        found.pop("direct", None)
        colours = [_COLOURS.get(each, _OTHERS_COLOUR) for each in found]
        drawn = axes.barh([*found], [*found.values()], color=colours)
        axes.bar_label(drawn, [f" {value:,.3g}" if value < 100 else f" {value:,.0f}" for value in found.values()])  # noqa: PLR2004 - three digits are enough
        axes.set_title(f"{title}\n({which})", fontsize=10)
        axes.margins(x=0.25)
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, metadata={"Date": None})
    return file


def main() -> None:
    result_file, folder = map(Path, sys.argv[1:])
    for picture in draw(json.loads(result_file.read_text()), folder):
        print(picture)


if __name__ == "__main__":
    main()
