"""`tollgate prices`: bring in the public price list, see what it would change, publish one version from a file."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tollgate.catalog.service import find_endpoint
from tollgate.entrypoints import price_import
from tollgate.entrypoints.cli_database import opened
from tollgate.entrypoints.cli_options import answer_json, data_dir_option, json_option, run
from tollgate.entrypoints.price_import import Plan
from tollgate.infra import web
from tollgate.kit.clock import SystemClock
from tollgate.pricing import service as pricing
from tollgate.pricing.comparison import Action
from tollgate.pricing.schemas import PriceView, PublishPrice

_STYLES = {
    Action.ADDED: "green",
    Action.CHANGED: "yellow",
    Action.CONFLICT: "red",
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
@_provider_option
@data_dir_option
@json_option
def diff(only: tuple[str, ...], data_dir: Path, *, as_json: bool) -> None:
    """Show what importing the public price list would change."""
    planned = run(_plan(data_dir, frozenset(only)))
    _show(planned, as_json=as_json, applied=False)


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
    else:
        click.echo(f"{done.version_count} price versions published.")


@prices.command()
@click.argument("file", type=click.File("rb"))
@data_dir_option
@json_option
def publish(file: BinaryIO, data_dir: Path, *, as_json: bool) -> None:
    """Publish one version from FILE, which holds the JSON that POST /admin/prices takes; `-` reads it from a pipe."""
    published = run(_publish(data_dir, file.read()))
    if as_json:
        answer_json(msgspec.to_builtins(published))
    else:
        since = published.effective_from.isoformat()
        click.echo(f"{published.id}: {published.model} at {published.provider}, {published.service_tier}, from {since}")


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


async def _publish(data_dir: Path, text: bytes) -> PriceView:
    body = web.decode(text, PublishPrice)
    now = SystemClock().now()
    async with opened(data_dir) as database, database.write() as session:
        endpoint_id = await find_endpoint(session, model=body.model, provider=body.provider)
        publication = await pricing.publish(session, body.draft(endpoint_id, now=now), now=now, by=None)
    return PriceView.of(publication, model=body.model, provider=body.provider)


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
def _progress(total: int) -> Iterator[price_import.Progress]:
    """A bar on standard error, so that standard output stays an answer."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Publishing prices", total=total)
        yield lambda count: bar.advance(task, count)
