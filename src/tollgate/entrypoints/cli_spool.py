"""`tollgate spool`: what the processes of this host keep on its disk for the ledger. Needs no database and no key."""

from collections.abc import Collection
from pathlib import Path

import click

from tollgate.entrypoints import cli_options
from tollgate.entrypoints.cli_invoices import TypedId
from tollgate.kit import ids
from tollgate.kit.clock import SystemClock
from tollgate.kit.ids import CallId
from tollgate.kit.money import amount_text
from tollgate.metering import kept
from tollgate.metering.kept import Contents, Kept

_calls_argument = click.argument("call_ids", metavar="[GEN_ID]...", nargs=-1, type=TypedId("gen"))


@click.group()
def spool() -> None:
    """What the processes of this host keep on its disk for the ledger."""


@spool.command("list")
@cli_options.data_dir_option
@cli_options.json_option
def list_(data_dir: Path, *, as_json: bool) -> None:
    """List settlements that wait for the ledger, and those that it refused. Changes nothing.

    What waits is sent until the ledger has it. What was refused stays until a person says `retry` or `discard`. The
    exit code is 1 if there is something that cannot be read.
    """
    contents = cli_options.run(_look(data_dir))
    if as_json:
        unreadable = [{"path": str(path), "error": error} for path, error in contents.unreadable.items()]
        cli_options.answer_json({"kept": [_plain(each) for each in contents.kept], "unreadable": unreadable})
    else:
        _print(contents)
    if contents.unreadable:
        raise SystemExit(1)


@spool.command()
@_calls_argument
@cli_options.data_dir_option
@cli_options.json_option
def retry(call_ids: tuple[CallId, ...], data_dir: Path, *, as_json: bool) -> None:
    """Send what was refused once more: these calls, or all of them.

    A process that lives takes them over within seconds, once the ledger answers. What is refused again is listed again.
    """
    chosen = cli_options.run(_retry(data_dir, call_ids))
    if as_json:
        cli_options.answer_json({"retried": [_plain(each) for each in chosen]})
    else:
        click.echo(f"{len(chosen)} settlements are sent once more.")


@spool.command()
@click.argument("call_ids", metavar="GEN_ID...", nargs=-1, required=True, type=TypedId("gen"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@cli_options.data_dir_option
@cli_options.json_option
def discard(call_ids: tuple[CallId, ...], data_dir: Path, *, yes: bool, as_json: bool) -> None:
    """Forget what was refused of these calls for good, and print it: it will be nowhere else.

    They will never be charged. Where they should be, post an adjustment first.
    """
    if as_json and not yes:
        raise click.UsageError("--json answers without asking: give --yes with it")
    if not yes:
        calls = len({each.call_id for each in cli_options.run(_refused(data_dir, call_ids))})
        click.confirm("Never charge this call?" if calls == 1 else f"Never charge these {calls} calls?", abort=True)
    # Chosen anew: somebody may have sent one once more while we asked.
    chosen = cli_options.run(_discard(data_dir, call_ids))
    whole = [{**_plain(each), "letter": each.letter.decode(errors="replace")} for each in chosen]
    if as_json:
        cli_options.answer_json({"discarded": whole})
    else:
        for each in whole:
            click.echo(each["letter"])


async def _look(data_dir: Path) -> Contents:
    return kept.in_data_dir(data_dir)


async def _retry(data_dir: Path, call_ids: Collection[CallId]) -> list[Kept]:
    chosen = kept.refused(data_dir, call_ids)
    kept.retry(chosen, SystemClock().now())
    return chosen


async def _refused(data_dir: Path, call_ids: Collection[CallId]) -> list[Kept]:
    return kept.refused(data_dir, call_ids)


async def _discard(data_dir: Path, call_ids: Collection[CallId]) -> list[Kept]:
    chosen = await _refused(data_dir, call_ids)
    kept.discard(chosen)
    return chosen


def _plain(each: Kept) -> dict[str, object]:
    """Who, what and how much; nothing that callers or providers wrote."""
    settlement = each.settlement
    call = None if settlement is None else settlement.call
    return {
        "generation": ids.typed("gen", each.call_id),
        "refused": each.refused,
        "organization": None if call is None else ids.typed("org", call.organization_id),
        "accepted_at": None if call is None else call.accepted_at.isoformat(),
        "model": None if call is None else call.model,
        "provider": None if call is None else call.provider,
        "status": None if call is None else call.status,
        "amount": None if call is None else amount_text(call.amount),
        "currency": None if call is None else call.currency,
        "process": each.estate.name,
        "ledger": each.estate.parent.name,
    }


def _print(contents: Contents) -> None:
    """Print each on a line of its own, which is not folded, so that ids can be copied."""
    for each in contents.kept:
        told = _plain(each)
        known = [str(told[name] or "-") for name in ("generation", "organization", "accepted_at", "model")]
        amount = f"{told['amount'] or '-'} {told['currency'] or ''}".rstrip()
        click.echo("  ".join([*known, amount, "waits" if each.refused is None else f"refused: {each.refused}"]))
    waiting = sum(each.refused is None for each in contents.kept)
    click.echo(f"{waiting} wait for the ledger, {len(contents.kept) - waiting} were refused.")
    for path, error in contents.unreadable.items():
        click.echo(f"unreadable: {path}: {error}")
