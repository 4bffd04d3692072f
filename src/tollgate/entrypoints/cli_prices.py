"""`tollgate prices`: bring in the public price list, publish versions of one's own, and see first what would change."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tollgate.catalog.service import find_endpoint
from tollgate.entrypoints import price_files, price_import
from tollgate.entrypoints.cli_database import opened
from tollgate.entrypoints.cli_options import answer_json, data_dir_option, json_option, run
from tollgate.entrypoints.price_files import Entry
from tollgate.entrypoints.price_import import Difference, Plan
from tollgate.infra.changes import Act
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.clock import SystemClock
from tollgate.kit.errors import InvalidRequest
from tollgate.pricing import service as pricing
from tollgate.pricing.comparison import Action
from tollgate.pricing.model import PriceDraft
from tollgate.pricing.schemas import PriceView

_STYLES = {
    Action.ADDED: "green",
    Action.CHANGED: "yellow",
    Action.CONFLICT: "red",
    Action.INPUT_ONLY: "red",
    Action.SKIPPED: "dim",
    Action.LEFT_OUT: "dim",
}
"""The differences worth a line, with their colours."""


@click.group()
def prices() -> None:
    """Import, compare and publish prices."""


_provider_option = click.option(
    "--provider",
    "only",
    multiple=True,
    type=click.Choice(price_import.listed_providers()),
    metavar="NAME",
    help="Only this provider of the list; may be repeated.",
)


@prices.command()
@click.argument("file", type=click.File("rb"), required=False)
@_provider_option
@data_dir_option
@json_option
def diff(file: BinaryIO | None, only: tuple[str, ...], data_dir: Path, *, as_json: bool) -> None:
    """Show what publishing FILE would change; without one, what importing the public price list would. Writes nothing.

    FILE is one that `publish` takes; `-` reads it from a pipe.
    """
    if file is None:
        _show(run(_plan(data_dir, frozenset(only))), as_json=as_json, applied=False)
        return
    if only:
        raise click.UsageError("--provider chooses from the public list, and not from a file")
    entries, _ = _read(file)
    _show(Plan(differences=[each for each, _ in run(_compare(data_dir, entries))]), as_json=as_json, applied=False)


@prices.command("import")
@_provider_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_dir_option
@json_option
def import_(only: tuple[str, ...], data_dir: Path, *, yes: bool, as_json: bool) -> None:
    """Bring in the public price list, with its models and providers.

    Nothing that is here is edited: the catalogue is added to, and prices are superseded from now on. What an operator
    published by hand stays.
    """
    if as_json and not yes:
        raise click.UsageError("--json answers without asking: give --yes with it")
    if not yes:
        planned = run(_plan(data_dir, frozenset(only)))
        _show(planned, as_json=False, applied=False)
        if planned.changes_nothing:
            return
        click.confirm("Import?", abort=True)
    done = run(_import(data_dir, frozenset(only)))
    if as_json:
        _show(done, as_json=True, applied=True)
        return
    for each in done.differences:
        if yes and each.action is Action.INPUT_ONLY:  # whoever was asked has seen it
            click.echo(f"{each.model} at {each.provider}: {each.action}, {each.detail}")
    click.echo(f"{done.version_count} price versions published.")


@prices.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--model", help="Instead of FILE: the model, as in openai/gpt-4.1-mini.")
@click.option("--provider", help="The provider.")
@click.option("--price", "items", multiple=True, metavar="KIND[@TOKENS]=PRICE", help="A price; repeat for each kind.")
@click.option("--service-tier", help="The service tier, if not standard.")
@click.option("--organization", metavar="ORG_ID", help="Whose own price it is, if not everyone's.")
@click.option("--effective-from", metavar="TIME", help="When it takes effect (RFC 3339), if not now.")
@click.option("--only-changes", is_flag=True, help="Leave out what is in force with the same prices.")
@data_dir_option
@json_option
def publish(
    file: BinaryIO | None,
    data_dir: Path,
    *,
    items: tuple[str, ...],
    only_changes: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Publish versions: those in FILE, or the one that options describe. All of them, or none if one is refused.

    FILE holds the JSON that POST /admin/prices takes, or the same as TOML if its name ends in .toml, or a list of them,
    in TOML under [[prices]]; `-` reads JSON from a pipe.

    Prices are US dollars for a million tokens, or for one of what is counted otherwise. Example:

        tollgate prices publish --model openai/gpt-4.1-mini --provider openai --price prompt=0.4 --price completion=1.6
    """
    described = items or any(value is not None for value in given.values())
    if (file is None) is not bool(described):
        raise click.UsageError("give a FILE, or else --model, --provider and a --price for each kind")
    entries, is_list = _read(file) if file is not None else ([_described(items, given)], False)
    published = run(_publish(data_dir, entries, only_changes=only_changes))
    if as_json:
        shown = msgspec.to_builtins(published)
        answer_json(shown[0] if shown and not is_list else {"data": shown})
        return
    for each in published:
        since = each.effective_from.isoformat()
        click.echo(f"{each.id}: {each.model} at {each.provider}, {each.service_tier}, from {since}")
    if not published:
        click.echo("Nothing changes.")


def _read(file: BinaryIO) -> tuple[list[Entry], bool]:
    name = str(getattr(file, "name", "<stdin>"))  # a pipe may have none
    try:
        return price_files.read(name, file.read())
    except InvalidRequest as error:
        raise click.ClickException(str(error)) from error


def _described(items: tuple[str, ...], given: Mapping[str, str | None]) -> Entry:
    try:
        return price_files.from_options(items, **given)
    except InvalidRequest as error:
        raise click.ClickException(str(error)) from error


async def _plan(data_dir: Path, only: frozenset[str]) -> Plan:
    async with opened(data_dir) as database, database.read() as session:
        return await price_import.plan(session, only=only, now=SystemClock().now())


async def _import(data_dir: Path, only: frozenset[str]) -> Plan:
    now = SystemClock().now()
    async with opened(data_dir) as database, database.write() as session:
        planned = await price_import.plan(session, only=only, now=now)
        with _progress(planned.version_count) as advance:
            await price_import.apply(session, planned, now=now, progress=advance)
    return planned


async def _compare(data_dir: Path, entries: Sequence[Entry]) -> list[tuple[Difference, Entry]]:
    async with opened(data_dir) as database, database.read() as session:
        return await _compared(session, entries, SystemClock().now())


async def _compared(session: ReadSession, entries: Sequence[Entry], now: datetime) -> list[tuple[Difference, Entry]]:
    """What each entry would change, as things stand."""
    found = []
    with _progress(len(entries), "Comparing prices") as advance:
        for entry in entries:
            draft = await _draft(session, entry, now)
            try:
                compared = await pricing.compare(session, draft, now=now)
            except InvalidRequest as error:
                raise entry.refused(error) from error
            body = entry.body
            found.append(
                (Difference(compared.action, body.model, body.provider, draft.service_tier, compared.detail), entry)
            )
            advance(1)
    return found


async def _draft(session: ReadSession, entry: Entry, now: datetime) -> PriceDraft:
    try:
        endpoint = await find_endpoint(session, model=entry.body.model, provider=entry.body.provider)
        return entry.body.draft(endpoint, now=now)
    except InvalidRequest as error:
        raise entry.refused(error) from error


async def _publish(data_dir: Path, entries: Sequence[Entry], *, only_changes: bool) -> list[PriceView]:
    now = SystemClock().now()
    async with opened(data_dir) as database, database.write() as session:
        if only_changes:
            compared = await _compared(session, entries, now)
            entries = [entry for difference, entry in compared if difference.action is not Action.UNCHANGED]
        return await _published(session, entries, now)


async def _published(session: WriteSession, entries: Sequence[Entry], now: datetime) -> list[PriceView]:
    views = []
    with _progress(len(entries)) as advance:
        for entry in entries:
            draft = await _draft(session, entry, now)
            try:
                publication = await pricing.publish(session, draft, act=Act(now))
            except InvalidRequest as error:
                raise entry.refused(error) from error
            views.append(PriceView.of(publication, model=entry.body.model, provider=entry.body.provider))
            advance(1)
    return views


def _show(planned: Plan, *, as_json: bool, applied: bool) -> None:
    counts = Counter(difference.action for difference in planned.differences)
    if as_json:
        answer_json(
            {
                "applied": applied,
                "providers_added": sorted(planned.providers),
                "models_added": len(planned.models),
                "endpoints_added": len(planned.endpoints),
                "versions": planned.version_count,
                "counts": {action: counts[action] for action in Action},
                "differences": [
                    asdict(difference)
                    for difference in planned.differences
                    if difference.action is not Action.UNCHANGED
                ],
            }
        )
        return
    console = Console()
    if any(difference.action in _STYLES for difference in planned.differences):
        console.print(_table(planned))
    console.print(", ".join(f"{counts[action]} {action}" for action in Action))


def _table(planned: Plan) -> Table:
    table = Table("", "model", "provider", "tier", "US dollars, and why not", box=None)
    for action, style in _STYLES.items():
        for difference in planned.differences:
            if difference.action is action:
                table.add_row(
                    action,
                    difference.model,
                    difference.provider,
                    difference.service_tier or "",
                    difference.detail,
                    style=style,
                )
    return table


@contextmanager
def _progress(total: int, what: str = "Publishing prices") -> Iterator[price_import.Progress]:
    """A bar on standard error, so that standard output stays an answer."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
