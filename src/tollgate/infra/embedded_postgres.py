"""The embedded server: a real PostgreSQL that lives and dies with us.

It keeps its cluster in `<data_dir>/postgres`, listens on a Unix socket in a private directory only, and tells its
address in `<data_dir>/database-url` while it runs. Starting acquires things one by one; stopping gives them back
in the opposite order, and so does a start that fails half-way.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import IO

import asyncpg

from tollgate.infra.children import die_with_parent
from tollgate.infra.embedded_account import Account, ServerFailed, account_for, programs_for

CONNECTIONS_MAX = 200
"""Connections the server accepts, the three among them that it keeps for superusers."""
USER = "tollgate"
DATABASE = "tollgate"
_URL_FILE = "database-url"
_PASSWORD_FILE = "database-password"  # noqa: S105 - the name of the file, not the password
_SOCKET_DIR_PREFIX = "tollgate-"
_SOCKET_PATH_BYTES_MAX = 107
_START_SECONDS_MAX = 300
_PREDECESSOR_SECONDS_MAX = 20
_POLL_SECONDS = 0.02
_LOG_BYTES_MAX = 1024 * 1024
_LOG_LINES_SHOWN = 15
_STOPPING = ((signal.SIGINT, 60), (signal.SIGQUIT, 10), (signal.SIGKILL, 10))
"""How to stop the server: each signal, and the seconds it may take. SIGINT rolls back what is open and shuts down."""
_STILL_THERE = ("already exists", "still in use")
"""What PostgreSQL says while the server of a killed process group is still on its way out."""

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": str(CONNECTIONS_MAX),
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "random_page_cost": "1.1",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "jit": "off",
    # Parallel plans need shared memory that small containers do not have, and cores that the gateway wants.
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
}
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One server on one data directory.

    `durable=False` trades the safety of the data for speed: for tests alone.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self._data_dir = data_dir.absolute()
        self._cluster = self._data_dir / "postgres"
        self._durable = durable
        self._url: str | None = None
        self._server: asyncio.subprocess.Process | None = None
        self._held = AsyncExitStack()

    @property
    def url(self) -> str:
        """`postgresql://…` of the product's database, while the server runs."""
        if self._url is None:
            raise ServerFailed("the embedded PostgreSQL is not running")
        return self._url

    async def start(self) -> None:
        """Start the server, making its cluster and its database if they are not there yet.

        Raises:
            ServerFailed: it cannot run, or another process serves from the data directory.
        """
        async with AsyncExitStack() as held:
            held.callback(_claim(self._data_dir).close)
            _remove_leftovers(self._data_dir)
            account = account_for(self._cluster)
            programs = programs_for(account)
            password = _password(self._data_dir)
            socket_dir = _make_socket_dir(account)
            held.callback(shutil.rmtree, socket_dir, ignore_errors=True)
            if not self._cluster.exists():
                await self._initialise(programs, account, password, socket_dir)
            self._server = await self._launch(programs, account, socket_dir, held)
            await _create_database(_url(password, socket_dir, "postgres"))
            self._url = _url(password, socket_dir, DATABASE)
            _write_private(self._data_dir / _URL_FILE, self._url)
            held.callback((self._data_dir / _URL_FILE).unlink, missing_ok=True)
            self._held = held.pop_all()

    async def stop(self) -> None:
        """Shut the server down, rolling back what is open. Does nothing if it does not run."""
        await self._held.aclose()
        self._url = self._server = None

    async def wait(self) -> int:
        """Wait until the server has ended, for whatever reason; its exit code."""
        if self._server is None:
            raise ServerFailed("the embedded PostgreSQL is not running")
        return await self._server.wait()

    async def _initialise(self, programs: Path, account: Account | None, password: str, private_dir: Path) -> None:
        """Make the cluster beside its final place and move it there, so that it is either whole or absent."""
        unfinished = self._data_dir / "postgres.new"
        password_file = private_dir / "password"
        _make_empty(unfinished, account)
        _write_private(password_file, password, account)
        arguments = ["--username", USER, "--pwfile", str(password_file), "--auth", "scram-sha-256", "--locale", "C"]
        arguments += ["--encoding", "UTF8", "--no-instructions", *([] if self._durable else ["--no-sync"])]
        begin = _log_end(self._data_dir)
        initdb = await self._spawn(programs / "initdb", arguments, account, unfinished)
        async with AsyncExitStack() as held:
            held.push_async_callback(_stop, initdb)
            if await initdb.wait() != 0:
                raise ServerFailed(_explain("initdb could not make the database cluster", self._data_dir, begin))
        password_file.unlink()
        unfinished.rename(self._cluster)

    async def _launch(
        self, programs: Path, account: Account | None, socket_dir: Path, held: AsyncExitStack
    ) -> asyncio.subprocess.Process:
        settings = {**_SETTINGS, **(_DURABLE if self._durable else _FORGETFUL), "unix_socket_directories": socket_dir}
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        patience = asyncio.get_running_loop().time() + _PREDECESSOR_SECONDS_MAX
        while True:
            begin = _log_end(self._data_dir)
            server = await self._spawn(programs / "postgres", arguments, account, self._cluster)
            held.push_async_callback(_stop, server)
            if await _is_ready(server, self._cluster / "postmaster.pid"):
                return server
            reason = _explain("PostgreSQL did not start", self._data_dir, begin)
            waiting_helps = any(words in reason for words in _STILL_THERE)
            if not waiting_helps or asyncio.get_running_loop().time() > patience:
                raise ServerFailed(reason)
            await asyncio.sleep(0.25)

    async def _spawn(
        self, program: Path, arguments: list[str], account: Account | None, cluster: Path
    ) -> asyncio.subprocess.Process:
        """Start a program of the server in the cluster's directory, away from the terminal's signals."""
        # A borrowed account may not be allowed into the directories above the cluster. We enter it before the account
        # changes, and the program reaches it through its working directory, which it never leaves.
        place = "/proc/self/cwd" if account else str(cluster)
        with _open_log(self._data_dir) as log:
            return await asyncio.create_subprocess_exec(
                program,
                "-D",
                place,
                *arguments,
                cwd=cluster,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
                user=account.user_id if account else None,
                group=account.group_id if account else None,
                extra_groups=[] if account else None,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),
            )


def running_url(data_dir: Path) -> str | None:
    """The database URL of the server that runs on the data directory now, if there is one."""
    try:
        return (data_dir / _URL_FILE).read_text().strip()
    except FileNotFoundError:
        return None


def _claim(data_dir: Path) -> IO[str]:
    """Make the data directory ours alone for as long as the returned file is open, even if we are killed."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a")
    except OSError as error:
        raise ServerFailed(f"cannot write to the data directory {data_dir} ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ServerFailed(
            f"another process serves from {data_dir}: stop it, or choose another directory with --data-dir"
        ) from None
    return lock


def _remove_leftovers(data_dir: Path) -> None:
    """Clear away what a killed predecessor could not: its address and the directory of its socket."""
    url = running_url(data_dir)
    if url is None:
        return
    socket_dir = Path(url.rpartition("?host=")[2])
    if socket_dir.name.startswith(_SOCKET_DIR_PREFIX):
        shutil.rmtree(socket_dir, ignore_errors=True)
    (data_dir / _URL_FILE).unlink()


def _password(data_dir: Path) -> str:
    file = data_dir / _PASSWORD_FILE
    if not file.exists():
        if (data_dir / "postgres").exists():
            raise ServerFailed(
                f"{file} is missing: put it back; without it nobody can log in to the database beside it"
            )
        _write_private(file, secrets.token_hex(24))
    return file.read_text().strip()


def _write_private(file: Path, text: str, account: Account | None = None) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    unfinished = file.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text + "\n")
    if account is not None:
        os.chown(unfinished, account.user_id, account.group_id)
    unfinished.rename(file)


def _make_empty(directory: Path, account: Account | None) -> None:
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700)
    directory.chmod(0o700)
    if account is not None:
        os.chown(directory, account.user_id, account.group_id)


def _make_socket_dir(account: Account | None) -> Path:
    """A fresh private directory with a path short enough for a socket and open enough for the account."""
    place = Path("/tmp")  # noqa: S108 - mkdtemp makes a private directory; TMPDIR may be too long or closed to the account
    if not os.access(place, os.W_OK | os.X_OK):
        place = Path(tempfile.gettempdir())
    directory = Path(tempfile.mkdtemp(prefix=_SOCKET_DIR_PREFIX, dir=place))
    if len(os.fsencode(directory / ".s.PGSQL.5432")) > _SOCKET_PATH_BYTES_MAX:
        directory.rmdir()
        raise ServerFailed(f"{place} is too long a path for a Unix socket; set TMPDIR to a shorter one")
    if account is not None:
        os.chown(directory, account.user_id, account.group_id)
    return directory


def _log_end(data_dir: Path) -> int:
    """Where the log's next line will begin; a log that grew too long is put aside first."""
    log = data_dir / "postgres.log"
    if not log.exists():
        return 0
    if log.stat().st_size > _LOG_BYTES_MAX:
        log.rename(data_dir / "postgres.log.old")
        return 0
    return log.stat().st_size


def _open_log(data_dir: Path) -> IO[bytes]:
    return os.fdopen(os.open(data_dir / "postgres.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def _explain(what: str, data_dir: Path, begin: int) -> str:
    log = data_dir / "postgres.log"
    with log.open("rb") as stream:
        stream.seek(begin)
        lines = stream.read().decode(errors="replace").splitlines()
    end = "\n".join(f"    {line}" for line in lines[-_LOG_LINES_SHOWN:]) or "    (it said nothing)"
    return (
        f"{what}. The end of {log}:\n{end}\n"
        "Remove what it complains about and start again, or set TOLLGATE_DATABASE_URL to a PostgreSQL of your own."
    )


async def _is_ready(server: asyncio.subprocess.Process, status_file: Path) -> bool:
    """Wait until the server accepts connections; false if it ended instead, or takes too long."""
    deadline = asyncio.get_running_loop().time() + _START_SECONDS_MAX
    while server.returncode is None and asyncio.get_running_loop().time() < deadline:
        if _reports_ready(status_file, server.pid):
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _reports_ready(status_file: Path, pid: int) -> bool:
    # The server's own status file: its process id in the first line, its state in the eighth.
    try:
        lines = status_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - as above


async def _stop(server: asyncio.subprocess.Process) -> None:
    for number, seconds in _STOPPING:
        if server.returncode is not None:
            return
        server.send_signal(number)
        try:
            async with asyncio.timeout(seconds):
                await server.wait()
        except TimeoutError:
            continue


def _url(password: str, socket_dir: Path, database: str) -> str:
    return f"postgresql://{USER}:{password}@/{database}?host={socket_dir}"


async def _create_database(maintenance_url: str) -> None:
    connection = await asyncpg.connect(maintenance_url)
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
