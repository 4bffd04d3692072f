"""Portkey's gateway, which records nothing: Node.js, one process.

`@portkey-ai/gateway` comes from npm, without its install script, which patches packages of its developers. It is
started as its own `start:node` does, in production mode, without its pages. There is nothing to tune: whom to ask comes
with every call, as headers. Two things that a reader of its figures must know: it waits 25 ms before a stream's first
event, on purpose, and it listens on all interfaces, which it cannot be talked out of.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.benchmarks.contestants import Contestant, Served
from scripts.benchmarks.group import free_port
from scripts.benchmarks.opponents import versions
from scripts.benchmarks.opponents.installing import installed, program, run
from scripts.benchmarks.opponents.serving import call, serving

_MODEL = "portkey"
_NODE = "Node.js 18 or newer, with npm"
_PACKAGE = "@portkey-ai/gateway"
_SERVER = "@hono/node-server"


def _install(directory: Path) -> None:
    wanted = {
        "private": True,
        "dependencies": {_PACKAGE: versions.PORTKEY},
        "overrides": {_SERVER: versions.HONO_NODE_SERVER},
    }
    (directory / "package.json").write_text(json.dumps(wanted))
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run([program("npm", _NODE), "install", *options], directory)


@contextmanager
def _running(provider_url: str, cpu: int) -> Iterator[Served]:
    node = program("node", _NODE)
    packages = {_PACKAGE: versions.PORTKEY, _SERVER: versions.HONO_NODE_SERVER}
    script = installed("portkey", packages, _install) / "node_modules" / _PACKAGE / "build" / "start-server.js"
    port = free_port()
    headers = {
        "authorization": "Bearer sk-nobody-looks-at-it",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": provider_url,
    }
    command = [node, str(script), f"--port={port}", "--headless"]
    environment = {"PATH": os.environ["PATH"], "NODE_ENV": "production"}
    with (
        tempfile.TemporaryDirectory(prefix="tollgate-bench-") as scratch,
        serving(command, environment, cpu=cpu, scratch=Path(scratch)) as gateway,
    ):
        served = Served(f"http://127.0.0.1:{port}/v1", headers, _MODEL, gateway.process.pid)
        gateway.answering(lambda: call(served))
        yield served


PORTKEY = Contestant("portkey", versions.PORTKEY, "nothing", _running)
