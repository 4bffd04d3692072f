"""Benchmarks: each starts a process group in a temporary directory, drives calls over loopback, and ends it.

What is compared is measured in turns in one run, so that whatever else the machine does meets both alike; every figure
is a median over the rounds.
"""

import signal
import sys

import click
from scripts.bench_admission import admission
from scripts.bench_close import close
from scripts.bench_failover import failover
from scripts.bench_prompt import prompt


@click.group()
def main() -> None:
    """Measure Tollgate on this machine, with a group of its own that is gone afterwards."""
    # A stop that is asked for must still end the group.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


main.add_command(prompt)
main.add_command(admission)
main.add_command(failover)
main.add_command(close)

if __name__ == "__main__":
    main()
