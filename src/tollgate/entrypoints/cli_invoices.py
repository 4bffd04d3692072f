"""The commands about invoices: `invoices close`, `invoices list`, `invoices show`, `invoices pdf`."""

from pathlib import Path
from uuid import UUID

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.entrypoints import cli_options
from tollgate.entrypoints.cli_database import opened
from tollgate.infra.database import Database
from tollgate.invoices import tasks
from tollgate.invoices.model import Closed, Heading, Invoice, Month
from tollgate.invoices.printing import Printer
from tollgate.invoices.rules import document
from tollgate.invoices.schemas.invoices import InvoiceSummary, InvoiceView
from tollgate.invoices.service import credit_notes, files
from tollgate.invoices.service import invoices as service
from tollgate.invoices.service.files import File
from tollgate.kit import ids
from tollgate.kit.clock import Clock, SystemClock
from tollgate.kit.ids import InvoiceId, OrganizationId
from tollgate.kit.money import amount_text
from tollgate.kit.period import NotAMonth

LIST_DEFAULT = 100
_WIDEST = 1000
_CREDIT_NOTES = "CN-"


class TypedId(click.ParamType[UUID]):
    """An id as the API shows it, such as `org_…`."""

    name = "id"

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        try:
            return ids.parse(self.prefix, value)
        except ids.NotAnId as error:
            self.fail(str(error), param, ctx)


class InvoiceName(click.ParamType[InvoiceId | str]):
    """An invoice's id, or its number."""

    name = "invoice"

    def convert(
        self, value: InvoiceId | str, param: click.Parameter | None, ctx: click.Context | None
    ) -> InvoiceId | str:
        if isinstance(value, str) and value.startswith("inv_"):
            return InvoiceId(TypedId("inv").convert(value, param, ctx))
        return value


class MonthName(click.ParamType[Month]):
    """A month such as 2026-11."""

    name = "YYYY-MM"

    def convert(self, value: str | Month, param: click.Parameter | None, ctx: click.Context | None) -> Month:
        try:
            return value if isinstance(value, Month) else Month.named(value)
        except NotAMonth as error:
            self.fail(str(error), param, ctx)


@click.group()
def invoices() -> None:
    """Close months, look at invoices, and act on them."""


@invoices.command()
@click.option("--month", type=MonthName(), required=True, help="Each organization's month in its own time zone.")
@click.option("--organization", "organization_id", type=TypedId("org"), help="Only this one; all if left out.")
@cli_options.data_dir_option
@cli_options.json_option
def close(*, month: Month, organization_id: OrganizationId | None, data_dir: Path, as_json: bool) -> None:
    """Issue the invoices of a month; an invoice that was issued before stays as it is.

    The worker does this by itself when a month and its grace are over. Done earlier, what is used afterwards goes on
    the next invoice as late usage. Every organization is closed on its own; the exit code is 1 if any could not be.
    """
    outcomes = cli_options.run(_close(data_dir, month, organization_id, SystemClock()))
    if as_json:
        cli_options.answer_json({"month": month.name, "closed": [_outcome(outcome) for outcome in outcomes]})
    else:
        _print_whole(_outcomes_table(month, outcomes))
    if any(outcome.failure for outcome in outcomes):
        raise SystemExit(1)


async def _close(data_dir: Path, month: Month, organization_id: OrganizationId | None, clock: Clock) -> list[Closed]:
    async with opened(data_dir) as database:
        organizations = await _organizations(database, organization_id)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            return [
                await tasks.close_month(database, organization, month, now=clock.now())
                for organization in progress.track(organizations, description=f"Closing {month.name}")
            ]


async def _organizations(database: Database, only: OrganizationId | None) -> list[Organization]:
    if only is None:
        return [organization async for organization in tasks.organizations(database)]
    async with database.read() as session:
        return [await accounts.get_organization(session, only)]


def _outcome(outcome: Closed) -> dict[str, object]:
    return {
        "organization": ids.typed("org", outcome.organization.id),
        "invoice": None if outcome.invoice is None else _plain(InvoiceSummary.of(outcome.invoice)),
        "failure": outcome.failure,
    }


def _plain(view: msgspec.Struct) -> object:
    return msgspec.to_builtins(view)


def _outcomes_table(month: Month, outcomes: list[Closed]) -> Table:
    table = Table("Organization", "Invoice", "Status", "Total", title=f"Invoices of {month.name}")
    for outcome in outcomes:
        name = escape(outcome.organization.name)
        if outcome.failure:
            table.add_row(name, "-", "[red]failed[/red]", escape(outcome.failure))
        elif outcome.invoice is None:
            table.add_row(name, "-", "nothing to invoice", "-")
        else:
            table.add_row(name, outcome.invoice.number, outcome.invoice.status, _total(outcome.invoice))
    return table


def _total(heading: Heading) -> str:
    return f"{document.rounded(heading.totals.total, heading.currency)} {heading.currency}"


@invoices.command("list")
@click.option("--organization", "organization_id", type=TypedId("org"), required=True, help="Whose invoices.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=LIST_DEFAULT, show_default=True, help="How many at most."
)
@cli_options.data_dir_option
@cli_options.json_option
def list_invoices(*, organization_id: OrganizationId, limit: int, data_dir: Path, as_json: bool) -> None:
    """List an organization's issued invoices, newest period first."""
    headings = cli_options.run(_list(data_dir, organization_id, limit))
    if as_json:
        cli_options.answer_json([_plain(InvoiceSummary.of(heading)) for heading in headings])
        return
    table = Table("Number", "Month", "Status", "Total", "Id")
    for heading in headings:
        number, identifier = heading.number, ids.typed("inv", heading.id)
        table.add_row(number, heading.month.name, heading.status, _total(heading), identifier)
    _print_whole(table)


def _print_whole(table: Table) -> None:
    """Print a table as wide as it is, however narrow the terminal: ids and amounts are there to be copied."""
    console = Console()
    widest = console.measure(table, options=console.options.update(max_width=_WIDEST)).maximum
    console.width = max(console.width, widest)
    console.print(table)


async def _list(data_dir: Path, organization_id: OrganizationId, limit: int) -> list[Heading]:
    async with opened(data_dir) as database, database.read() as session:
        organization = await accounts.get_organization(session, organization_id)
        return await service.list_invoices(session, organization_id=organization.id, before=None, count=limit)


@invoices.command()
@click.argument("invoice_name", type=InvoiceName(), metavar="INVOICE")
@cli_options.data_dir_option
@cli_options.json_option
def show(*, invoice_name: InvoiceId | str, data_dir: Path, as_json: bool) -> None:
    """Show an invoice, or the draft that will become it. INVOICE is its id, `inv_` and a UUID, or its number."""
    invoice = cli_options.run(_show(data_dir, invoice_name, SystemClock()))
    if as_json:
        cli_options.answer_json(_plain(InvoiceView.of(invoice)))
        return
    console = Console()
    console.print(_invoice_table(invoice))
    for usage in invoice.unpriced:
        console.print(f"[red]No price:[/red] {usage.quantity} {usage.kind} of {escape(usage.model)}")


async def _show(data_dir: Path, name: InvoiceId | str, clock: Clock) -> Invoice:
    async with opened(data_dir) as database, database.read() as session:
        if isinstance(name, str):
            return await service.find_numbered(session, name)
        return await service.find(session, invoice_id=name, now=clock.now())


@invoices.command()
@click.argument("invoice_name", type=InvoiceName(), metavar="INVOICE")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path),
    help="Where to write it, - for standard output; a file named after the invoice if left out.",
)
@cli_options.data_dir_option
@cli_options.json_option
def pdf(*, invoice_name: InvoiceId | str, output: Path | None, data_dir: Path, as_json: bool) -> None:
    """Write an invoice, a draft or a credit note to a PDF file.

    INVOICE is the invoice's id, `inv_` and a UUID, or its number, or the number of a credit note.
    """
    if as_json and output is not None and str(output) == "-":
        raise click.UsageError("Standard output can hold the file or the answer as JSON, not both.")
    file = cli_options.run(_pdf(data_dir, invoice_name, SystemClock()))
    path = str(output or file.name)
    try:
        with click.open_file(path, "wb") as opening:
            opening.write(file.content)
    except OSError as error:
        raise click.FileError(path, hint=error.strerror) from error
    if as_json:
        cli_options.answer_json({"file": path, "bytes": len(file.content)})
    elif path != "-":
        click.echo(f"Wrote {path} ({len(file.content):,} bytes)")


async def _pdf(data_dir: Path, name: InvoiceId | str, clock: Clock) -> File:
    if isinstance(name, str) and name.startswith(_CREDIT_NOTES):
        async with opened(data_dir) as database, database.read() as session:
            note = await credit_notes.find_numbered(session, name)
        return await files.credit_note_file(Printer(), note=note)
    return await files.invoice_file(Printer(), invoice=await _show(data_dir, name, clock))


def _invoice_table(invoice: Invoice) -> Table:
    heading, totals = invoice.heading, invoice.heading.totals
    title = f"{heading.number or 'Draft'} · {escape(heading.customer_name)} · {heading.month.name} · {heading.status}"
    table = Table(title=title, show_footer=True)
    table.add_column("#", no_wrap=True)
    table.add_column("Project", overflow="fold")
    table.add_column("Description", overflow="fold", footer=f"Total {heading.currency}")
    table.add_column("Quantity", justify="right", no_wrap=True)
    table.add_column("Unit price", justify="right")
    exact = amount_text(totals.total_exact)
    table.add_column("Exact", justify="right", no_wrap=True, footer=exact)
    rounded = document.rounded(totals.total, heading.currency)
    table.add_column("Amount", justify="right", no_wrap=True, footer=rounded)
    for line in invoice.lines:
        usage = line.usage
        table.add_row(
            str(line.n),
            escape((usage.project_name if usage else None) or "-"),
            escape(document.description(line)),
            f"{usage.quantity:,}" if usage else "",
            f"{amount_text(usage.unit_price)} {usage.unit.replace('_', ' ')}" if usage else "",
            amount_text(line.amount_exact),
            document.rounded(line.amount, heading.currency),
        )
    return table
