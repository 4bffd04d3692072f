"""The commands of `scripts/bench`."""

import signal
import sys

import click
from scripts.benchmarks import comparing
from scripts.benchmarks.admission import admission
from scripts.benchmarks.close import close
from scripts.benchmarks.failover import failover
from scripts.benchmarks.prompt import prompt
from scripts.benchmarks.reports import reports
from scripts.benchmarks.soak import soak


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure Tollgate on this machine, with a group of its own that is gone afterwards."""
    # A stop that is asked for must still end the group.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if context.invoked_subcommand is None:
        main.commands["all"].main([], prog_name="scripts/bench all", standalone_mode=False)


for command in (*comparing.COMMANDS, admission, failover, close, prompt, reports, soak):
    main.add_command(command)
