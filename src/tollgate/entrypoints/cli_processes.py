"""The commands for one process of an installation at a time: `worker`, `migrate`."""

import os
from pathlib import Path

import click

from tollgate.entrypoints import cli_options
from tollgate.entrypoints.worker import work_until_stopped
from tollgate.infra import migrations, upgrades


@click.command()
@cli_options.data_dir_option
@cli_options.json_option
def worker(*, data_dir: Path, as_json: bool) -> None:
    """Run the background jobs alone. Any number of workers may share one database."""
    environment = {**os.environ, cli_options.DATABASE_URL_VARIABLE: cli_options.database_url(data_dir)}
    cli_options.run(work_until_stopped(environment))
    if as_json:
        cli_options.answer_json({"stopped": True})


@click.command()
@cli_options.data_dir_option
@cli_options.json_option
def migrate(*, data_dir: Path, as_json: bool) -> None:
    """Bring the database schema up to date. `serve` does this by itself."""
    cli_options.run(upgrades.upgrade(cli_options.database_url(data_dir)))
    if as_json:
        cli_options.answer_json({"revision": migrations.head()})
    else:
        click.echo(f"The schema is up to date: {migrations.head()}.")
