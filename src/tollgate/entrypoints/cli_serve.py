"""The command `serve`; apart from the others, because what it does not load it need not wait for."""

import os
from pathlib import Path

import click

from tollgate.entrypoints import cli_options
from tollgate.entrypoints.serve import ServeOptions, serve_until_stopped


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
