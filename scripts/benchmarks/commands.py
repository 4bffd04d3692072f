"""The commands of `scripts/bench`."""

import signal
import sys

import click
from scripts.benchmarks.admission import admission
from scripts.benchmarks.close import close
from scripts.benchmarks.failover import failover
from scripts.benchmarks.prompt import prompt
from scripts.benchmarks.reports import reports


@click.group()
def main() -> None:
    """Measure Tollgate on this machine, with a group of its own that is gone afterwards."""
    # A stop that is asked for must still end the group.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


main.add_command(prompt)
main.add_command(admission)
main.add_command(failover)
main.add_command(close)
main.add_command(reports)
