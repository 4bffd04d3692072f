"""The commands that start processes: `serve`, `worker`, `migrate`."""

import os
from pathlib import Path

import click

from tollgate.entrypoints import cli_options
from tollgate.entrypoints.serve import ServeOptions, serve_until_stopped
from tollgate.entrypoints.worker import work_until_stopped
from tollgate.infra import migrations


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 picks a free one.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Gateway processes.")
@cli_options.data_dir_option
@cli_options.json_option
def serve(*, host: str, port: int, workers: int, data_dir: Path, as_json: bool) -> None:
    """Run everything: the database (unless TOLLGATE_DATABASE_URL is set), the gateway and the worker.

    The first start makes an operator key, a management key and an inference key and shows them once. With --json,
    one line tells {"base_url", "operator_key", "management_key", "inference_key"} as soon as calls are answered; the
    keys are null on later starts.
    """
    options = ServeOptions(host=host, port=port, workers=workers, data_dir=data_dir.absolute(), as_json=as_json)
    raise SystemExit(cli_options.run(serve_until_stopped(options, os.environ)))


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
    cli_options.run(migrations.upgrade(cli_options.database_url(data_dir)))
    if as_json:
        cli_options.answer_json({"revision": migrations.head()})
    else:
        click.echo(f"The schema is up to date: {migrations.head()}.")
