"""The commands about issued invoices: `invoices void`, `mark-uncollectible`, `mark-paid`, `mark-refunded`, `credit`."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
import msgspec

from tollgate.entrypoints import cli_options
from tollgate.entrypoints.cli_database import opened
from tollgate.entrypoints.cli_invoices import InvoiceName, invoices
from tollgate.infra.database import WriteSession
from tollgate.invoices.acts import CreditNote, CreditOrder, LineOrder, Surplus
from tollgate.invoices.model import Heading, PaymentOrder, RefundOrder
from tollgate.invoices.rules.document import rounded
from tollgate.invoices.schemas.credit_notes import CreditNoteView
from tollgate.invoices.schemas.invoices import InvoiceSummary
from tollgate.invoices.service import credit_notes, payments, voiding
from tollgate.invoices.service import invoices as service
from tollgate.kit.clock import SystemClock
from tollgate.kit.ids import InvoiceId
from tollgate.kit.money import NotMoney, parse_amount

__all__ = ["invoices"]

Name: TypeAlias = InvoiceId | str
Result = TypeVar("Result")
Work: TypeAlias = Callable[[WriteSession, InvoiceId, datetime], Awaitable[Result]]


class Amount(click.ParamType[Decimal]):
    """Money above zero, such as 12.50."""

    name = "amount"

    def convert(self, value: str | Decimal, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            return value if isinstance(value, Decimal) else parse_amount(value)
        except NotMoney as error:
            self.fail(str(error), param, ctx)


class LineName(click.ParamType[LineOrder]):
    """A line's number, and how much of it: `3` or `3=1.50`."""

    name = "line"

    def convert(self, value: str | LineOrder, param: click.Parameter | None, ctx: click.Context | None) -> LineOrder:
        if isinstance(value, LineOrder):
            return value
        n, _, amount = value.partition("=")
        if not n.isdecimal():
            self.fail(f"{value!r} does not begin with the number of a line", param, ctx)
        return LineOrder(int(n), Amount().convert(amount, param, ctx) if amount else None)


_INVOICE = click.argument("invoice_name", type=InvoiceName(), metavar="INVOICE")
_REASON = click.option("--reason", required=True, help="Why; it is kept.")
_REFERENCE = click.option("--reference", help="What it is called elsewhere, such as a bank transfer's number.")
_AT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


@invoices.command()
@_INVOICE
@_REASON
@cli_options.data_dir_option
@cli_options.json_option
def void(*, invoice_name: Name, reason: str, data_dir: Path, as_json: bool) -> None:
    """Take back the newest invoice of an organization, while nothing of it is paid or credited.

    INVOICE is its id, `inv_` and a UUID, or its number. It keeps both and can still be looked at. Its usage is to be
    invoiced again: the worker does so when the grace has passed anew, and `invoices close` at once.
    """

    async def work(session: WriteSession, invoice_id: InvoiceId, now: datetime) -> Heading:
        return await voiding.void(session, invoice_id=invoice_id, reason=reason, by=None, now=now)

    _tell(cli_options.run(_done(data_dir, invoice_name, work)), as_json=as_json)


@invoices.command("mark-uncollectible")
@_INVOICE
@_REASON
@cli_options.data_dir_option
@cli_options.json_option
def mark_uncollectible(*, invoice_name: Name, reason: str, data_dir: Path, as_json: bool) -> None:
    """Give up what is due on an invoice. It may still be paid."""

    async def work(session: WriteSession, invoice_id: InvoiceId, now: datetime) -> Heading:
        return await voiding.mark_uncollectible(session, invoice_id=invoice_id, reason=reason, by=None, now=now)

    _tell(cli_options.run(_done(data_dir, invoice_name, work)), as_json=as_json)


@invoices.command("mark-paid")
@_INVOICE
@click.option("--amount", type=Amount(), help="How much was paid; all that is due if left out.")
@_REFERENCE
@click.option("--at", type=_AT, help="When, in UTC; now if left out.")
@cli_options.data_dir_option
@cli_options.json_option
def mark_paid(
    *, invoice_name: Name, amount: Decimal | None, reference: str | None, at: datetime | None, data_dir: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Record a payment that was made elsewhere."""
    order = PaymentOrder(amount, reference, _in_utc(at))

    async def work(session: WriteSession, invoice_id: InvoiceId, now: datetime) -> Heading:
        return await payments.mark_paid(session, invoice_id=invoice_id, order=order, by=None, now=now)

    _tell(cli_options.run(_done(data_dir, invoice_name, work)), as_json=as_json)


@invoices.command("mark-refunded")
@_INVOICE
@click.option("--amount", type=Amount(), help="How much was given back; all that is to be if left out.")
@_REFERENCE
@click.option("--at", type=_AT, help="When, in UTC; now if left out.")
@cli_options.data_dir_option
@cli_options.json_option
def mark_refunded(
    *, invoice_name: Name, amount: Decimal | None, reference: str | None, at: datetime | None, data_dir: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Record that what a credit note left to give back was given back."""
    order = RefundOrder(amount, reference, _in_utc(at))

    async def work(session: WriteSession, invoice_id: InvoiceId, now: datetime) -> Heading:
        return await payments.mark_refunded(session, invoice_id=invoice_id, order=order, by=None, now=now)

    _tell(cli_options.run(_done(data_dir, invoice_name, work)), as_json=as_json)


def _in_utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.replace(tzinfo=UTC)


@invoices.command()
@_INVOICE
@_REASON
@click.option("--amount", type=Amount(), help="How much of the invoice; all that is left of it if left out.")
@click.option("--line", "lines", type=LineName(), multiple=True, help="A line, N, or a part of it, N=AMOUNT.")
@click.option(
    "--settle",
    type=click.Choice([each.value for each in Surplus]),
    default=Surplus.BALANCE.value,
    show_default=True,
    help="What becomes of what was paid for it: it waits to be refunded, or becomes credit.",
)
@cli_options.data_dir_option
@cli_options.json_option
def credit(*, invoice_name: Name, data_dir: Path, as_json: bool, settle: str, **said: Any) -> None:
    """Issue a credit note for an invoice, or for a part of it."""
    order = CreditOrder(surplus=Surplus(settle), **said)

    async def work(session: WriteSession, invoice_id: InvoiceId, now: datetime) -> CreditNote:
        return await credit_notes.issue(session, invoice_id=invoice_id, order=order, by=None, now=now)

    note = cli_options.run(_done(data_dir, invoice_name, work))
    if as_json:
        cli_options.answer_json(msgspec.to_builtins(CreditNoteView.of(note)))
        return
    click.echo(f"{note.number}: {rounded(note.credited.total, note.currency)} {note.currency}")


async def _done(data_dir: Path, name: Name, work: "Work[Result]") -> Result:
    clock = SystemClock()
    async with opened(data_dir) as database, database.write() as session:
        invoice_id = (await service.find_numbered(session, name)).heading.id if isinstance(name, str) else name
        return await work(session, invoice_id, clock.now())


def _tell(heading: Heading, *, as_json: bool) -> None:
    if as_json:
        cli_options.answer_json(msgspec.to_builtins(InvoiceSummary.of(heading)))
        return
    due = rounded(heading.amount_due, heading.currency)
    click.echo(f"{heading.number} is {heading.status}; due: {due} {heading.currency}")
