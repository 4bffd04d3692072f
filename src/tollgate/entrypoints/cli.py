"""The command line: `tollgate` and its commands, each loaded only when it is asked for."""

import importlib
from collections.abc import Mapping

import click

COMMANDS: Mapping[str, str] = {
    "serve": "tollgate.entrypoints.cli_processes:serve",
    "worker": "tollgate.entrypoints.cli_processes:worker",
    "migrate": "tollgate.entrypoints.cli_processes:migrate",
    "invoices": "tollgate.entrypoints.cli_invoices:invoices",
}
"""Every command and group, and where it is defined."""


class CommandsOnDemand(click.Group):
    """A group that imports a command's module when the command is used, so that the others cost nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click passes it
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name]} is not a command")
        return command


@click.group(cls=CommandsOnDemand, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Tollgate: a gateway for language-model calls that is also the system of record for what they cost."""
