"""Prepare: what has to be in the database before calls are taken, made in a process of its own.

Prints one line of JSON: the keys that the first start made, or an empty object.
"""

import json
import os
import sys
from dataclasses import asdict

import click

from tollgate.entrypoints import cli_options
from tollgate.entrypoints.bootstrap import FirstKeys, first_start
from tollgate.infra import children, database, migrations
from tollgate.infra.migrations import MigrationFailed, Position
from tollgate.kit.clock import SystemClock


@click.command()
def main() -> None:
    keys = cli_options.run(_prepare(os.environ[cli_options.DATABASE_URL_VARIABLE]))
    click.echo(json.dumps(asdict(keys) if keys else {}))


async def _prepare(database_url: str) -> FirstKeys | None:
    if await migrations.position(database_url) is Position.BEHIND:
        # In a process of its own: most starts have nothing to migrate and need not load what it takes.
        environment = {**os.environ, cli_options.DATABASE_URL_VARIABLE: database_url}
        if await children.answer_of([sys.executable, "-m", "tollgate", "migrate"], environment) is None:
            raise MigrationFailed("so nothing was started")
    opened = database.connect(database_url)
    try:
        return await first_start(opened, SystemClock().now())
    finally:
        await opened.close()


if __name__ == "__main__":
    main()
