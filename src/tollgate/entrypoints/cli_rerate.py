"""`tollgate rerate`: what past calls would have cost at corrected prices, and the adjustments that make it so."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from tollgate.catalog.service import find_endpoint
from tollgate.entrypoints import price_files
from tollgate.entrypoints.cli_database import opened
from tollgate.entrypoints.cli_options import answer_json, data_dir_option, json_option, run
from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.kit.clock import Clock, SystemClock
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import RerateId
from tollgate.rerating import service, tasks
from tollgate.rerating.model import Rerate, RerateState
from tollgate.rerating.schemas import BeginRerate, RerateView, ResultView, Shown

_PAGE = 1000
_AGAIN_SECONDS = 1
_WIDEST = 1000
_BUSY = {RerateState.MEASURING: "Measuring", RerateState.APPLYING: "Applying"}


@click.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--model", help="Instead of FILE: the model, as in openai/gpt-4.1-mini.")
@click.option("--provider", help="The provider.")
@click.option("--price", "items", multiple=True, metavar="KIND[@TOKENS]=PRICE", help="A price; repeat for each kind.")
@click.option("--service-tier", help="The service tier, if not standard.")
@click.option("--organization", metavar="ORG_ID", help="Whose own price it is, if not everyone's.")
@click.option("--from", "since", metavar="TIME", help="Calls accepted from then on (RFC 3339).")
@click.option("--to", "until", metavar="TIME", help="Calls accepted before then (RFC 3339), if not now.")
@click.option("--reason", help="Why; it is on the invoices of those whose amounts change.")
@click.option("--dry-run", "known", metavar="RERATE_ID", help="Instead of all these: a dry run that was made before.")
@click.option("--apply", "applies", is_flag=True, help="Apply what the dry run finds, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_dir_option
@json_option
def rerate(
    file: BinaryIO | None,
    data_dir: Path,
    *,
    applies: bool,
    yes: bool,
    as_json: bool,
    **given: object,
) -> None:
    """Show what calls of the past would have cost at corrected prices; with --apply, charge or give the difference.

    FILE holds the JSON that POST /admin/rerate takes, or the same as TOML if its name ends in .toml; `-` reads JSON
    from a pipe. As options, prices are written as for `prices publish`; they are what the calls were to cost. Published
    prices, calls and issued invoices stay as they are. Example:

        tollgate rerate --model openai/gpt-4.1-mini --provider openai --price prompt=0.4 --price completion=1.6
        --from 2026-11-01T00:00:00Z --to 2026-11-08T00:00:00Z --reason "a misprint in our list"
    """
    if applies and as_json and not yes:
        raise click.UsageError("--json answers without asking: give --yes with it")
    asked = _asked(file, given)
    found, results = run(_dry_run(data_dir, asked, SystemClock()))
    if not as_json:
        _show(found, results)
    if applies and (yes or found.difference == "0" or click.confirm("Apply?", abort=True)):
        found, results = run(_apply(data_dir, found.id, SystemClock()))
        if not as_json:
            click.echo(f"{found.id} is {found.state}: {found.progress.posted} organizations done.")
    if as_json:
        answer_json({**_plain(found), "organizations": [_plain(each) for each in results]})


def _asked(file: BinaryIO | None, given: Mapping[str, object]) -> BeginRerate | RerateId:
    """What is asked for: by a file, by options, or by the id of a dry run."""
    known = given["known"]
    options = {name: value for name, value in given.items() if name != "known" and value}
    if sum((file is not None, bool(options), known is not None)) != 1:
        raise click.UsageError("give a FILE, or --dry-run, or else --model, --provider, --from, --reason and prices")
    try:
        if known is not None:
            return RerateId(web.parse_id("rerate", str(known), "--dry-run"))
        if file is None:
            return _body("the options", _described(options))
        name = str(getattr(file, "name", "<stdin>"))  # a pipe may have none
        return _body(name, price_files.document(name, file.read()))
    except InvalidRequest as error:
        raise click.ClickException(str(error)) from error


def _described(options: Mapping[str, object]) -> dict[str, object]:
    renamed = {"since": "from", "until": "to"}
    prices = options.get("items", ())
    items = price_files.items_of([str(each) for each in prices] if isinstance(prices, tuple) else [])
    return {**{renamed.get(name, name): value for name, value in options.items()}, "items": items}


def _body(place: str, document: object) -> BeginRerate:
    try:
        return web.decode(msgspec.json.encode(document), BeginRerate)
    except InvalidRequest as error:
        raise price_files.refused_at(place, error) from error


async def _dry_run(data_dir: Path, asked: BeginRerate | RerateId, clock: Clock) -> tuple[RerateView, list[ResultView]]:
    async with opened(data_dir) as database:
        if isinstance(asked, BeginRerate):
            now = clock.now()
            async with database.write() as session:
                endpoint = await find_endpoint(session, model=asked.model, provider=asked.provider)
                terms = asked.terms(endpoint, now=now)
                asked = (await service.begin(session, terms=terms, by=None, now=now)).id
        return await _driven(database, asked, clock)


async def _apply(data_dir: Path, rerate_id: str, clock: Clock) -> tuple[RerateView, list[ResultView]]:
    wanted = RerateId(web.parse_id("rerate", rerate_id))
    async with opened(data_dir) as database:
        async with database.write() as session:
            await service.apply(session, rerate_id=wanted, by=None, now=clock.now())
        return await _driven(database, wanted, clock)


async def _driven(database: Database, rerate_id: RerateId, clock: Clock) -> tuple[RerateView, list[ResultView]]:
    """Go on with a re-rate to the end of what it is at; a worker that does the same is as welcome."""
    async with database.read() as session:
        found = await service.get(session, rerate_id)
        tally = await service.tally(session, rerate_id)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(_BUSY.get(found.state, ""), total=tally.organizations)
        while found.state in _BUSY:
            found = await tasks.go_on(database, clock, rerate_id, progress=lambda: bar.advance(task))
            if found.state in _BUSY:
                await asyncio.sleep(_AGAIN_SECONDS)
    return await _told(database, found, clock)


async def _told(database: Database, found: Rerate, clock: Clock) -> tuple[RerateView, list[ResultView]]:
    results: list[ResultView] = []
    last = None
    async with database.read() as session:
        tally = await service.tally(session, found.id)
        shown = Shown(found, tally, await service.warnings(session, found.terms, now=clock.now()))
        while True:
            page = await service.results(session, found.id, after=last, count=_PAGE)
            results += [ResultView.of(told) for told in page]
            if len(page) < _PAGE:
                return RerateView.of(shown), results
            last = page[-1].result.organization_id


def _show(found: RerateView, results: list[ResultView]) -> None:
    table = Table("Organization", "Months", "Invoices", title=f"{found.model} at {found.provider}", show_footer=True)
    table.columns[0].footer = found.currency
    totals = (str(found.calls), found.amount, found.new_amount, found.difference)
    for name, footer in zip(("Calls", "Cost now", "Would cost", "Difference"), totals, strict=True):
        table.add_column(name, justify="right", no_wrap=True, footer=footer)
    for each in results:
        months = ", ".join(month.month for month in each.months)
        invoices = ", ".join(month.invoice for month in each.months if month.invoice)
        table.add_row(
            each.organization, months, invoices or "-", str(each.calls), each.amount, each.new_amount, each.difference
        )
    console = Console()
    widest = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    console.width = max(console.width, widest)
    console.print(table)
    for warning in found.warnings:
        console.print(warning, style="yellow", markup=False)
    if found.unpriced:
        console.print(f"Not priced, so it cannot be applied: {', '.join(found.unpriced)}", style="red", markup=False)
    click.echo(f"{found.id} is {found.state}.")


def _plain(view: msgspec.Struct) -> dict[str, object]:
    shown = msgspec.to_builtins(view)
    return dict(shown)
