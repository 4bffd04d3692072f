"""Prisma, LiteLLM's way to its database, from packages alone.

LiteLLM talks to PostgreSQL through a child process, Prisma's query engine, which is usually fetched from Prisma's own
server. Here it comes from npm: `@prisma/internals` 4.7.1 was published with the engine as a library, for OpenSSL 1.1,
which in turn is in a wheel of `psycopg2-binary`. `query_engine.cjs` makes a program of the library: Rust does the work
as in Prisma's own binary, and Node.js the HTTP around it. Whatever it takes counts as LiteLLM's; it is a
twentieth of that at most. The migrations are LiteLLM's, and run as they are.
"""

import os
import platform
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from scripts.benchmarks.contestants import NotStarted
from scripts.benchmarks.opponents import versions
from scripts.benchmarks.opponents.installing import program, run

PACKAGES: Mapping[str, str] = {
    "prisma (PyPI)": versions.PRISMA_PYTHON,
    "prisma (npm)": versions.PRISMA_CLI,
    "@prisma/internals": versions.PRISMA_INTERNALS,
    "psycopg2-binary": versions.PSYCOPG2_BINARY,
}
_NODE = "Node.js 18 or newer, with npm"
_PROGRAM = Path(__file__).with_name("query_engine.cjs")
_LIBRARY = Path("node_modules/@prisma/internals/dist/libquery_engine-debian-openssl-1.1.x.so.node")
_ENGINE = "query-engine"
_OPENSSL = "openssl"


def install(directory: Path, programs: Path) -> None:
    """Put the engine into a directory, and give the Python environment whose programs these are a client for it.

    Raises:
        NotStarted: this is not the machine that the engine was built for, or something cannot be had.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NotStarted("its database needs a query engine that npm has for Linux on x86-64 alone")
    packages = [f"prisma@{versions.PRISMA_CLI}", f"@prisma/internals@{versions.PRISMA_INTERNALS}"]
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", str(directory)]
    run([program("npm", _NODE), "install", *options, *packages], directory)
    _take_openssl(directory, programs / "python")
    engine = directory / _ENGINE
    command = f'{program("node", _NODE)} {_PROGRAM} {directory / _LIBRARY} "$@"'
    engine.write_text(f"#!/bin/sh\nexport LD_LIBRARY_PATH={directory / _OPENSSL}\nexec {command}\n")
    engine.chmod(0o755)
    schema = _packages(programs) / "litellm" / "proxy" / "schema.prisma"
    generate = [str(programs / "python"), "-m", "prisma", "generate", "--schema", str(schema)]
    run(generate, directory, **environment(directory, programs))


def environment(directory: Path, programs: Path) -> dict[str, str]:
    """What has to be set so that it is used, and nothing is fetched."""
    engine = str(directory / _ENGINE)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PRISMA_BINARY_CACHE_DIR": str(directory),
        "PRISMA_QUERY_ENGINE_BINARY": engine,
        # The other engine migrates, which nobody asks for here; its place must be taken all the same.
        "PRISMA_SCHEMA_ENGINE_BINARY": engine,
        "PRISMA_USE_NODEJS_BIN": "false",
        "PRISMA_HIDE_UPDATE_MESSAGE": "true",
        "CHECKPOINT_DISABLE": "1",
    }


def migrations(programs: Path) -> list[str]:
    """LiteLLM's own migrations, in the order in which they are to be run."""
    steps = _packages(programs) / "litellm_proxy_extras" / "migrations"
    return [step.read_text() for step in sorted(steps.glob("*/migration.sql"))]


def _packages(programs: Path) -> Path:
    (found,) = (programs.parent / "lib").glob("python3*/site-packages")
    return found


def _take_openssl(directory: Path, python: Path) -> None:
    """The two libraries, under the names by which they are looked for."""
    place = directory / _OPENSSL
    # Any interpreter's wheel will do, as only its libraries are wanted.
    target = ["--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64", "--dest", str(place)]
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", *target]
    run([python, "-m", "pip", "download", *options, f"psycopg2-binary=={versions.PSYCOPG2_BINARY}"], directory)
    (wheel,) = place.glob("psycopg2_binary-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        for member in packed.namelist():
            path = Path(member)
            if path.parent.name == "psycopg2_binary.libs":
                (place / path.name).write_bytes(packed.read(member))
    for name in ("libssl", "libcrypto"):
        (found,) = place.glob(f"{name}-*.so.1.1")
        (place / f"{name}.so.1.1").symlink_to(found.name)
