"""The commands about money at Stripe: `payments collect`, `payments reconcile`, `payments status`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from tollgate.entrypoints import cli_options, stripe_access
from tollgate.entrypoints.cli_database import opened
from tollgate.infra import settings
from tollgate.kit.clock import SystemClock
from tollgate.kit.ids import typed
from tollgate.payments.model import NotConfigured
from tollgate.payments.schemas.collecting import CollectionView, PaymentsView, ReconciliationView, RefundView
from tollgate.payments.service import overseeing, reconciling, sweeping
from tollgate.payments.service.means import Means
from tollgate.payments.service.sweeping import Swept
from tollgate.payments.states import CollectionState, Reconciliation


@click.group()
def payments() -> None:
    """Collect invoices at Stripe, and compare its books with ours."""


@payments.command()
@cli_options.data_dir_option
@cli_options.json_option
def collect(*, data_dir: Path, as_json: bool) -> None:
    """Do what is due now: take money, follow refunds, tell who is past due. The worker does this by itself.

    It needs the variables of Stripe that the worker has. The exit code is 1 if anything waits for a person.
    """
    swept = cli_options.run(_collect(data_dir))
    if as_json:
        cli_options.answer_json(
            {
                "collections": [msgspec.to_builtins(CollectionView.of(each)) for each in swept.collections],
                "refunds": [msgspec.to_builtins(RefundView.of(each)) for each in swept.refunds],
            }
        )
    else:
        Console().print(_swept(swept))
    if any(each.state is CollectionState.PARKED for each in swept.collections):
        raise SystemExit(1)


async def _collect(data_dir: Path) -> Swept:
    async with _means(data_dir) as means:
        if means.door is None:
            raise NotConfigured
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Collecting", total=None)
            return await sweeping.sweep(
                means, progress=lambda done, total: progress.update(task, completed=done, total=total)
            )


def _swept(swept: Swept) -> Table:
    table = Table("What", "State", "Next or why")
    for each in swept.collections:
        why = each.parked_reason or each.last_error or f"{each.next_at:%Y-%m-%d %H:%M}"
        table.add_row(typed("inv", each.invoice_id), each.state, escape(why if each.state != "done" else ""))
    for refund in swept.refunds:
        table.add_row(typed("re", refund.id), refund.status, escape(refund.last_error or ""))
    return table


@payments.command()
@cli_options.data_dir_option
@cli_options.json_option
def reconcile(*, data_dir: Path, as_json: bool) -> None:
    """Compare our books with Stripe's, both ways, and keep the report. The worker does this every night.

    What is merely late is made good; the exit code is 1 if anything differs after that.
    """
    found = cli_options.run(_reconcile(data_dir))
    if as_json:
        cli_options.answer_json(msgspec.to_builtins(ReconciliationView.of(found)))
    else:
        _print(found)
    if found.differences:
        raise SystemExit(1)


async def _reconcile(data_dir: Path) -> Reconciliation:
    async with _means(data_dir) as means:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Comparing", total=None)

            def show(what: str, done: int, total: int) -> None:
                progress.update(task, description=what.capitalize(), completed=done, total=total)

            return await reconciling.reconcile(means, progress=show)


def _print(found: Reconciliation) -> None:
    console = Console()
    looked_at = ", ".join(f"{count} {what}" for what, count in found.compared.items())
    console.print(f"Since {found.since:%Y-%m-%d}: {looked_at}; {found.repaired} made good.")
    if not found.differences:
        console.print("[green]No differences.[/green]")
        return
    table = Table("Kind", "What", "Ours", "Stripe's", title=f"{len(found.differences)} differences")
    for each in found.differences:
        table.add_row(each.kind, escape(each.what), escape(each.ours or "-"), escape(each.stripes or "-"))
    console.print(table)


@payments.command()
@cli_options.data_dir_option
@cli_options.json_option
def status(*, data_dir: Path, as_json: bool) -> None:
    """Tell whether Stripe is set up, how many invoices are being collected, and what waits for a person."""
    found = cli_options.run(_status(data_dir))
    if as_json:
        cli_options.answer_json(msgspec.to_builtins(found))
        return
    console = Console()
    console.print(f"Stripe: {'set up' if found.stripe else 'not set up; invoices are collected by hand'}")
    console.print("Invoices: " + ", ".join(f"{count} {state}" for state, count in found.collections.items()))
    if found.oldest_due_at is not None:
        console.print(f"Due since {found.oldest_due_at:%Y-%m-%d %H:%M:%S}")
    compared = "never" if found.reconciled_at is None else f"{found.reconciled_at:%Y-%m-%d %H:%M}"
    differences = "" if found.differences is None else f"; differences: {found.differences}"
    console.print(f"Compared with Stripe: {compared}{differences}")


async def _status(data_dir: Path) -> PaymentsView:
    async with _means(data_dir) as means:
        async with means.database.read() as session:
            found = await overseeing.overview(session, now=means.clock.now())
        return PaymentsView.of(found, stripe=means.door is not None)


@asynccontextmanager
async def _means(data_dir: Path) -> AsyncIterator[Means]:
    url = cli_options.database_url(data_dir)
    configured = settings.read({**os.environ, cli_options.DATABASE_URL_VARIABLE: url})
    stripe = stripe_access.client(configured)
    try:
        async with opened(data_dir) as database:
            yield stripe_access.means(database, SystemClock(), configured, stripe)
    finally:
        if stripe is not None:
            await stripe.close()
