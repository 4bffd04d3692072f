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


class _Commands(click.Group):
    """Options without a command are those of `all`, or of `reports` if months are to be made."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names_one = bool(args) and (not args[0].startswith("-") or args[0] in self.get_help_option_names(ctx))
        usual = [] if names_one else ["reports" if "--generate" in args else "all"]
        return super().parse_args(ctx, [*usual, *args])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measure Tollgate on this machine, with a group of its own that is gone afterwards.

    Options without a command are those of `all`; with --generate, those of `reports`.
    """
    # A stop that is asked for must still end the group.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


for command in (*comparing.COMMANDS, admission, failover, close, prompt, reports, soak):
    main.add_command(command)
