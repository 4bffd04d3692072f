"""One PostgreSQL server for the whole run, and for each test a database of its own, as if freshly migrated."""

import fcntl
import gc
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import settings
from tests.compiling import Compiled
from tests.recycling import Shelf

from tollgate.infra import database as databases
from tollgate.infra import migrations, upgrades
from tollgate.infra.database import Database
from tollgate.infra.embedded_postgres import DATABASE, USER, EmbeddedPostgres
from tollgate.kit.clock import FixedClock

settings.register_profile("default run", max_examples=50, deadline=None)  # the machine may be busy
settings.load_profile("default run")  # a law that needs more says so; `--hypothesis-profile default` tries a hundred

TEMPLATE = "tollgate_template"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
_NUMBERS = itertools.count(1)
_MEMORY = Path("/dev/shm")  # noqa: S108 - TemporaryDirectory makes a private directory there
_MEMORY_BYTES_MIN = 4 * 1024**3
"""What must be free there: a server in each of several processes may take up to a gigabyte."""


_LONGEST_FIRST = (
    "tests/test_readme.py",
    "tests/crashes/test_crashes.py",
    "tests/entrypoints/test_serve.py",
    "tests/gateway/test_budgets.py",
    "tests/entrypoints/test_gateway_process.py",
    "tests/infra/test_worker.py",
    "tests/stories/test_a_restart_changes_no_figure.py",
    "tests/stories/test_the_samples_on_a_models_page_run.py",
)
"""Files that take ten seconds or more, though they have few tests."""


gc.disable()  # what is imported and collected lives until the end: looking for garbage in it took half of the time


def pytest_collection_finish() -> None:
    """Look for garbage from now on, and only in what tests make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it in the end."""
    places = {file: place for place, file in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Have the databases of all tests share what SQLAlchemy makes of statements."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tollgate.infra.database.create_async_engine", Compiled().engine)
        yield


def url_of(server_url: str, database_name: str) -> str:
    """The URL of another database of the same server."""
    address, mark, options = server_url.partition("?")
    return f"{address.rpartition('/')[0]}/{database_name}{mark}{options}"


@asynccontextmanager
async def a_copy(server_url: str, template: str, name: str) -> AsyncIterator[str]:
    """The URL of a migrated database of this name, which is gone when the block ends."""
    await _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    try:
        yield url_of(server_url, name)
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a migrated database and a template of it, made once for all the processes of a run."""
    ours = tmp_path_factory.getbasetemp()
    shared = ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours
    made, unfinished = shared / "migrated", shared / "migrated.new"
    with (shared / "migrated.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            server = EmbeddedPostgres(unfinished, durable=False)
            await server.start()
            await upgrades.upgrade(server.url)
            await _ease_logging_in(server.url)
            beside = url_of(server.url, "postgres")  # nobody may be connected to what is copied
            await _execute(beside, f"CREATE DATABASE {TEMPLATE} TEMPLATE {DATABASE} STRATEGY FILE_COPY")
            await server.stop()
            unfinished.rename(made)
    return made


def copied(data_dir: Path, to: Path) -> Path:
    """A copy of a data directory, whose files belong to whom they belonged."""
    subprocess.run(["cp", "-a", f"{data_dir}/.", str(to)], check=True)
    return to


@pytest.fixture(scope="session")
def server_dir(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the server keeps its data: in memory if there is enough, since a database is copied for most tests."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _MEMORY_BYTES_MIN:
        yield copied(migrated, tmp_path_factory.mktemp("data"))
        return
    with TemporaryDirectory(prefix="tollgate-tests-", dir=_MEMORY) as folder:
        yield copied(migrated, Path(folder))


@pytest.fixture(scope="session")
async def server_url(server_dir: Path) -> AsyncIterator[str]:
    """A server whose role may create databases: TOLLGATE_TEST_DATABASE_URL, or one of our own."""
    given = os.environ.get("TOLLGATE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    server = EmbeddedPostgres(server_dir, durable=False)
    await server.start()
    yield server.url
    await server.stop()


@pytest.fixture(scope="session")
async def template(server_url: str) -> AsyncIterator[str]:
    """The name of a migrated database to copy."""
    if not os.environ.get("TOLLGATE_TEST_DATABASE_URL"):
        yield TEMPLATE
        return
    name = f"{TEMPLATE}_{os.getpid()}"
    await _execute(server_url, f"CREATE DATABASE {name}")
    await upgrades.upgrade(url_of(server_url, name))
    yield name
    await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
async def shelf(server_url: str, template: str) -> AsyncIterator[Shelf]:
    """Databases that others have used, and that are as new."""
    server = await asyncpg.connect(server_url)
    opened = Shelf(server, template)
    fresh = await asyncpg.connect(url_of(server_url, template))
    await opened.look_at(fresh)
    await fresh.close()
    yield opened
    for name in opened.idle:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


@pytest.fixture
async def database_url(server_url: str, shelf: Shelf) -> AsyncIterator[str]:
    """A migrated database of this test alone."""
    name = await shelf.take()
    url = url_of(server_url, name)
    yield url
    await shelf.put_back(name, url)


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    """A database of this test alone, before any migration."""
    name = f"test_{os.getpid()}_{next(_NUMBERS)}"
    await _execute(server_url, f"CREATE DATABASE {name}")
    yield url_of(server_url, name)
    await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The control plane's door to this test's database."""
    opened = databases.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """The data plane's pool on this test's database."""
    opened = await databases.connect_pool(database_url, connections_max=8)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> FixedClock:
    """Noon of 22 November 2026, UTC, until the test says otherwise."""
    return FixedClock(NOON)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the project."""
    return migrations.ROOT


async def _ease_logging_in(server_url: str) -> None:
    """Have a password hashed once to log in, not 4,096 times: tests log in thousands of times."""
    password = urlsplit(server_url).password
    await _execute(server_url, f"SET scram_iterations = 1; ALTER ROLE {USER} PASSWORD '{password}'")


async def _execute(server_url: str, statement: str) -> None:
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
