"""The command line: `tollgate` and its commands, each loaded only when it is asked for."""

import gc
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import click


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command or a group of commands is defined, and what it is for."""

    module: str
    attribute: str
    purpose: str


COMMANDS: Mapping[str, Place] = {
    "serve": Place("tollgate.entrypoints.cli_serve", "serve", "Run everything: database, gateway and worker."),
    "worker": Place("tollgate.entrypoints.cli_processes", "worker", "Run the background jobs alone."),
    "migrate": Place("tollgate.entrypoints.cli_processes", "migrate", "Bring the database schema up to date."),
    "organizations": Place("tollgate.entrypoints.cli_accounts", "organizations", "Open and list organizations."),
    "keys": Place("tollgate.entrypoints.cli_accounts", "keys", "Make, list and revoke API keys."),
    "prices": Place("tollgate.entrypoints.cli_prices", "prices", "Compare, import and publish prices."),
    "rerate": Place("tollgate.entrypoints.cli_rerate", "rerate", "Correct what calls of the past were charged."),
    "invoices": Place(
        "tollgate.entrypoints.cli_invoice_acts", "invoices", "Close months, look at invoices, and act on them."
    ),
    "payments": Place("tollgate.entrypoints.cli_payments", "payments", "Collect at Stripe, and compare books with it."),
    "doctor": Place("tollgate.entrypoints.cli_doctor", "command", "Prove that the books are whole."),
    "spool": Place("tollgate.entrypoints.cli_spool", "spool", "Look at what waits on this host's disk."),
}
"""Every command, in the order of `tollgate --help`."""


class CommandsOnDemand(click.Group):
    """A group that imports a command's module when the command is used, so that the others cost nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click passes it
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command = getattr(_loaded(place.module), place.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{place} is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, place.purpose) for name, place in COMMANDS.items()])


def _loaded(module: str) -> ModuleType:
    """The module of a command.

    Looking for garbage while modules load, and through what they made when the process ends, finds none, and takes half
    of the time in which a command shows its help.
    """
    if not gc.isenabled() or module in sys.modules:
        return importlib.import_module(module)
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


@click.group(cls=CommandsOnDemand, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tollgate: a gateway for language-model calls that is also the system of record for what they cost."""
