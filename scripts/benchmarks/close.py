"""How many organizations a second have their month closed, and that this does not depend on how much they called."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from zoneinfo import ZoneInfo

import asyncpg
import click
from rich.box import MARKDOWN
from rich.table import Table
from scripts.benchmarks import machine, months, tables
from scripts.benchmarks.group import BenchFailed
from scripts.benchmarks.months import QUARTER_HOURS_MAX, Plan
from scripts.benchmarks.progress import Told

from tollgate.entrypoints import doctor
from tollgate.infra import database as databases
from tollgate.infra import upgrades
from tollgate.infra.embedded_postgres import EmbeddedPostgres
from tollgate.invoices import proofs as invoices
from tollgate.invoices import tasks
from tollgate.invoices.model import Month
from tollgate.kit.clock import SystemClock
from tollgate.ledger import proofs as ledger

_GRACE = timedelta(hours=1)
_TEMPLATE = "months"
_SECONDS_MAX = 600
_POLL_SECONDS = 0.01
_WIDTH = 140
_BUSY_SHARE = 10
"""In the month whose every quarter-hour is used, so many times fewer organizations have its calls."""
_LISTENING = """
    SELECT count(*) >= $1 FROM pg_stat_activity
    WHERE datname = current_database() AND query ILIKE 'LISTEN%ch_pgqueuer%'
"""
_NOTHING_LEFT = "SELECT count(*) = 0 FROM pgqueuer WHERE entrypoint = 'close-months'"
_PROVED = {check.name for check in (*ledger.CHECKS, *invoices.CHECKS)}
"""What the doctor has to find in order. Metering's own proofs want a row for every call, and only a share has one."""


@dataclass(frozen=True, slots=True)
class Closing:
    """What closing one month took."""

    seconds: float
    made_seconds: float


@click.command(short_help="Close a month of many organizations.")
@click.option(
    "--calls",
    type=click.IntRange(1, 100_000_000),
    multiple=True,
    default=(100_000, 1_000_000, 10_000_000),
    show_default=True,
    help="In the month, of all organizations; may be given several times.",
)
@click.option("--organizations", type=click.IntRange(1, 10_000), default=200, show_default=True)
@click.option("--models", type=click.IntRange(1, 100), default=10, show_default=True, help="Two lines for each.")
@click.option(
    "--quarter-hours",
    type=click.IntRange(1, QUARTER_HOURS_MAX),
    default=50,
    show_default=True,
    help="In which each organization uses each model.",
)
@click.option("--workers", type=click.IntRange(1, 32), default=2, show_default=True, help="Processes that close.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def close(*, calls: Sequence[int], workers: int, rounds: int, as_json: bool, **shape: int) -> None:
    """Close a month of many organizations by the jobs of worker processes, with ever more calls in it.

    Each month has the same number of lines and rows, and more calls behind each. One more has as many calls as the
    largest, of a tenth of the organizations, in every quarter-hour of 26 days: more rows there cannot be. Ends with an
    error if not every organization has one invoice of exactly what it used, with numbers that follow on each other,
    or if the ledger says anything else.
    """
    plans = [Plan(calls=each, **shape) for each in sorted(calls)]
    busy = max(1, shape["organizations"] // _BUSY_SHARE)
    plans.append(Plan(plans[-1].calls, busy, shape["models"], QUARTER_HOURS_MAX))
    measured: list[list[Closing]] = [[] for _ in plans]
    others = machine.Others()
    with Told() as progress:
        task = progress.begin("Closing", rounds * len(plans))
        asyncio.run(_measure(plans, measured, rounds, workers, others, lambda: progress.step(task)))
    result = {
        "workers": workers,
        "rounds": rounds,
        "months": [_figures(plan, closings) for plan, closings in zip(plans, measured, strict=True)],
    } | others.told
    click.echo(json.dumps(result)) if as_json else _show(result)


async def _measure(
    plans: Sequence[Plan],
    measured: list[list[Closing]],
    rounds: int,
    workers: int,
    others: machine.Others,
    done: Callable[[], None],
) -> None:
    """Each round closes every month once, so that whatever else the machine does meets all of them."""
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch:
        server = EmbeddedPostgres(Path(scratch))
        await server.start()
        try:
            await _create(server.url, _TEMPLATE)
            await upgrades.upgrade(_url(server.url, _TEMPLATE))
            for number in range(rounds):
                for plan, closings in zip(plans, measured, strict=True):
                    async with _a_month(server.url, f"month_{number}_{len(plans)}") as url:
                        closings.append(await _closed(url, plan, workers, others, Path(scratch)))
                    done()
        finally:
            await server.stop()


async def _closed(url: str, plan: Plan, workers: int, others: machine.Others, scratch: Path) -> Closing:
    now = SystemClock().now()
    month = Month.at(now - _GRACE - timedelta(days=1), ZoneInfo("UTC")).preceding
    connection = await asyncpg.connect(url)
    database = databases.connect(url)
    try:
        began = time.perf_counter()
        organizations = await months.make(connection, plan, month)
        await months.tidy(connection)
        made = time.perf_counter() - began
        with _workers(url, workers, scratch):
            await _until(connection, _LISTENING, workers)
            with others.watched():
                began = time.perf_counter()
                asked = await tasks.ask_for_due(database, SystemClock(), _GRACE)
                await _until(connection, _NOTHING_LEFT)
                seconds = time.perf_counter() - began
        if asked != plan.organizations:
            raise BenchFailed(f"{asked} organizations were due instead of {plan.organizations}.")
        await months.check(connection, plan, organizations, issued_in=now)
        report = await doctor.examine(database)
        wrong = [result.check.name for result in report.results if result.findings and result.check.name in _PROVED]
        if wrong:
            raise BenchFailed(f"The doctor finds errors in {', '.join(wrong)}.")
        return Closing(seconds, made)
    finally:
        await database.close()
        await connection.close()


@asynccontextmanager
async def _a_month(server_url: str, name: str) -> AsyncIterator[str]:
    """A migrated database that is gone when the block ends."""
    await _create(server_url, name, template=_TEMPLATE)
    try:
        yield _url(server_url, name)
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


async def _create(server_url: str, name: str, *, template: str = "template1") -> None:
    await _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _url(server_url: str, name: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))


@contextmanager
def _workers(url: str, count: int, scratch: Path) -> Iterator[None]:
    """Processes of `tollgate worker` that have ended when the block does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    environment = {**kept, "TOLLGATE_DATABASE_URL": url, "TOLLGATE_INVOICE_GRACE_SECONDS": str(_GRACE.seconds)}
    command = [sys.executable, "-m", "tollgate", "worker", "--data-dir", str(scratch / "worker")]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(count)]  # noqa: S603 - our own command
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


async def _until(connection: "asyncpg.Connection[asyncpg.Record]", question: str, *arguments: int) -> None:
    """Ask until the answer is yes."""
    try:
        async with asyncio.timeout(_SECONDS_MAX):
            while not await connection.fetchval(question, *arguments):  # noqa: ASYNC110 - nothing announces it
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise BenchFailed(f"After {_SECONDS_MAX} s the database still says no to: {question.strip()}") from error


def _figures(plan: Plan, closings: Sequence[Closing]) -> dict[str, Any]:
    seconds = statistics.median(closing.seconds for closing in closings)
    return {
        "calls": plan.calls_made,
        "organizations": plan.organizations,
        "lines_each": plan.lines,
        "rollup_rows": plan.rollups,
        "call_rows": plan.raw,
        "made_seconds": round(statistics.median(closing.made_seconds for closing in closings), 1),
        "seconds": round(seconds, 2),
        "seconds_of_each_round": [round(closing.seconds, 2) for closing in closings],
        "organizations_per_second": round(plan.organizations / seconds, 1),
        "calls_per_second": round(plan.calls_made / seconds),
        "ms_per_organization": round(1000 * seconds / plan.organizations, 2),
    }


def _show(result: dict[str, Any]) -> None:
    table = Table(
        title=f"A month closed by {tables.processes(result['workers'], 'worker')}, "
        f"medians of {tables.rounds(result['rounds'])}.\n"
        "Generated: organizations, rollup rows and a transfer of each for all of its calls, and so many call rows.",
        box=MARKDOWN,
    )
    columns = ("calls", "organizations", "lines each", "rollup rows", "call rows", "seconds")
    for column in (*columns, "organizations/s", "calls/s covered", "ms/organization"):
        table.add_column(column, justify="right")
    for month in result["months"]:
        names = ("calls", "organizations", "lines_each", "rollup_rows", "call_rows")
        row = [f"{month[name]:,}" for name in names] + [f"{month['seconds']:.2f}"]
        row.append(f"{month['organizations_per_second']:,.0f}")
        table.add_row(*row, f"{month['calls_per_second']:,}", f"{month['ms_per_organization']:.1f}")
    console = tables.console(_WIDTH)
    console.print(table)
    console.print(
        "Every organization has one invoice of exactly what it used, numbers follow on each other, and the ledger says"
        " the same."
    )
    click.echo("\n" + tables.busy(result))
