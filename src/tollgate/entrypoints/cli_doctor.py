"""`tollgate doctor`: prove that the books are whole, on the database that serves or on any other."""

from itertools import count
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tollgate.entrypoints import cli_options, doctor
from tollgate.entrypoints.cli_database import opened
from tollgate.entrypoints.cli_invoices import TypedId
from tollgate.entrypoints.doctor import Finding, Report, Result
from tollgate.kit import ids
from tollgate.kit.checks import Check, Severity
from tollgate.kit.ids import OrganizationId

NOT_WHOLE = 1
"""The exit code of books with errors in them."""

_STYLES = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


class CouldNotLook(click.ClickException):
    """The doctor knows neither that the books are whole nor that they are not."""

    exit_code = 2


@click.command("doctor")
@click.option("--organization", "organization_id", type=TypedId("org"), help="Only this one; all if left out.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=doctor.FINDINGS_MAX,
    show_default=True,
    help="How many discrepancies of a check are shown.",
)
@cli_options.data_dir_option
@cli_options.json_option
def command(*, organization_id: OrganizationId | None, limit: int, data_dir: Path, as_json: bool) -> None:
    """Prove that the books are whole: balances are the sum of transfers, and so are rollups, counters and invoices.

    Reads one snapshot of the database and changes nothing; it may run beside a busy gateway, with a role that may
    only SELECT. The exit code is 0 if the books are whole (warnings and notes are no errors), 1 if they are not, and 2
    if it could not look.
    """
    try:
        report = cli_options.run(_examine(data_dir, organization_id, limit))
    except click.ClickException as error:
        raise CouldNotLook(error.message) from error
    if as_json:
        cli_options.answer_json(_plain(report))
    else:
        _print(report)
    if not report.whole:
        raise SystemExit(NOT_WHOLE)


async def _examine(data_dir: Path, organization_id: OrganizationId | None, limit: int) -> Report:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, done = bar.add_task("Looking", total=len(doctor.CHECKS)), count()

        def begin(check: Check) -> None:
            bar.update(task, description=check.name, completed=next(done))

        async with opened(data_dir) as database:
            return await doctor.examine(database, organization_id=organization_id, findings_max=limit, progress=begin)


def _plain(report: Report) -> dict[str, object]:
    return {
        "whole": report.whole,
        "checks": [
            {
                "name": result.check.name,
                "proves": result.check.proves,
                "severity": result.check.severity,
                "discrepancies": result.count,
                "findings": [
                    {
                        "organization": ids.typed_or_none("org", finding.organization_id),
                        "what": finding.what,
                        "expected": finding.expected,
                        "found": finding.found,
                    }
                    for finding in result.findings
                ],
            }
            for result in report.results
        ],
    }


def _print(report: Report) -> None:
    """Print every check on a line of its own, and below it what it found. No line is folded: ids are to be copied."""
    console = Console(soft_wrap=True, highlight=False)
    for result in report.results:
        if result.findings:
            _print_findings(console, result)
        else:
            console.print(f"[green]holds[/green]    {result.check.name}")
    failed = len(report.of(Severity.ERROR))
    if report.whole:
        console.print("The books are whole.")
    else:
        console.print(f"[red]The books are not whole: {failed} of {len(report.results)} checks found errors.[/red]")


def _print_findings(console: Console, result: Result) -> None:
    check = result.check
    style = _STYLES[check.severity]
    console.print(f"[{style}]{check.severity:<8}[/{style}] {check.name}: {result.count:,}. {escape(check.proves)}")
    for finding in result.findings:
        console.print(f"         {escape(_told(finding))}")
    if result.count > len(result.findings):
        console.print(f"         and {result.count - len(result.findings):,} more")


def _told(finding: Finding) -> str:
    owner = ids.typed_or_none("org", finding.organization_id) or "all organizations"
    return f"{owner}: {finding.what}: expected {finding.expected}, found {finding.found}"
