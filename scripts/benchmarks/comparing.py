"""The commands that compare Tollgate with others: `gateway`, `streams`, and `all`, which is both."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from scripts.benchmarks import against, gateway, side_by_side, streams, tables
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.side_by_side import NAMES, Measure, Plan

_MEASURES: Mapping[str, Measure] = {"gateway": gateway.figures, "streams": streams.figures}


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What becomes of a result."""

    out: Path | None
    against: Mapping[str, Any] | None
    """An earlier result."""
    save_baseline: bool
    as_json: bool


def _names(_context: click.Context, _option: click.Parameter, text: str) -> Sequence[str]:
    names = [*dict.fromkeys(name.strip() for name in text.split(",") if name.strip())]
    if not names:
        raise click.BadParameter(f"name at least one of {', '.join(NAMES)}")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise click.BadParameter(f"nobody is called {unknown[0]!r}; there are {', '.join(NAMES)}")
    return names


def _folder(_context: click.Context, _option: click.Parameter, folder: Path | None) -> Path | None:
    """A folder that takes files: what was measured for minutes is not to be lost for want of one."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise click.BadParameter(f"nothing can be written to {str(folder)!r}: {error.strerror}") from error


def _earlier(_context: click.Context, _option: click.Parameter, named: str | None) -> Mapping[str, Any] | None:
    try:
        return None if named is None else against.read(named)
    except against.NoResult as error:
        raise click.BadParameter(str(error)) from error


_OPTIONS = (
    click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True),
    click.option(
        "--seconds", type=click.FloatRange(0.2, 60), default=4, show_default=True, help="That each load lasts."
    ),
    click.option(
        "--contestants", callback=_names, default=",".join(NAMES), show_default=True, help="Who takes part, by name."
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        callback=_folder,
        help="Write result.json, result.md and a picture of each kind of calls here, beside printing.",
    ),
    click.option("--against", callback=_earlier, help="An earlier result.json, or `baseline`: show what has changed."),
    click.option(
        "--save-baseline",
        is_flag=True,
        help="Have this result, if everything was measured, be the baseline: docs/benchmarks/baseline.json.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of Markdown."),
)


def compared(kinds: Sequence[str], *, rounds: int, seconds: float, contestants: Sequence[str], **wishes: Any) -> None:
    """Measure calls of these kinds, and show what came of it."""
    wished = _Wishes(**wishes)
    if wished.save_baseline and (set(kinds) != set(_MEASURES) or set(contestants) != set(NAMES)):
        raise click.UsageError("A baseline has everything: it is saved by `all`, with all contestants.")
    result = side_by_side.run(Plan({kind: _MEASURES[kind] for kind in kinds}, contestants, rounds, seconds))
    told = tables.markdown(result) + (
        "\n" + against.markdown(wished.against, result) if wished.against is not None else ""
    )
    text = json.dumps(result, indent=1) + "\n"
    # Before anything is written: that may fail, and the figures took minutes.
    click.echo(text if wished.as_json else told, nl=False)
    if wished.out is not None:
        _write(wished.out, text, told)
    if wished.save_baseline:
        _save_baseline(result, text)


def _save_baseline(result: Mapping[str, Any], text: str) -> None:
    absent = [each["name"] for each in result["contestants"] if each["absent"] is not None]
    if absent:
        raise BenchFailed(f"The baseline is left as it was: {', '.join(absent)} did not take part.")
    against.BASELINE.parent.mkdir(exist_ok=True)
    against.BASELINE.write_text(text)


def _write(folder: Path, result: str, told: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    result_file = folder / "result.json"
    result_file.write_text(result)
    pictures = _drawn(result_file, folder)
    links = "".join(f"\n![{picture.stem}]({picture.name})\n" for picture in pictures)
    (folder / "result.md").write_text(told + links)


def _drawn(result_file: Path, folder: Path) -> Sequence[Path]:
    """The pictures, drawn in another process: what draws them is not loaded to measure."""
    command = [sys.executable, "-m", "scripts.benchmarks.pictures", str(result_file), str(folder)]
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch:
        # The library keeps a cache of fonts, which is to be gone as well.
        environment = {**os.environ, "MPLCONFIGDIR": scratch}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        raise BenchFailed(f"The pictures could not be drawn: {done.stderr[-500:]}")
    return [Path(line) for line in done.stdout.splitlines()]


def _command(name: str, kinds: Sequence[str], about: str) -> click.Command:
    def run(**given: Any) -> None:
        compared(kinds, **given)

    command: Callable[..., None] = run
    for option in reversed(_OPTIONS):
        command = option(command)
    return click.command(name, help=about)(command)


_LAST = """

    Everybody has the first CPU in turn; load generator, fake provider and databases have the others. Ends with an
    error if Tollgate's ledger does not agree, to the token and the cent, with what the provider served and what
    callers were told.
"""
COMMANDS = (
    _command("gateway", ["gateway"], f"Gateways side by side, by calls that are answered whole.{_LAST}"),
    _command("streams", ["streams"], f"Gateways side by side, by calls whose answers stream.{_LAST}"),
    _command(
        "all",
        ["gateway", "streams"],
        f"`gateway` and `streams`; also what is done without a subcommand.{_LAST}",
    ),
)
