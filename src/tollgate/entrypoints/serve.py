"""Serve: one process group, started from the bottom up and stopped from the top down.

PostgreSQL, schema and first keys, gateway, worker; then wait. A signal, or the unexpected end of any of them, stops the
rest in the opposite order, so that calls in flight are settled while there is still a ledger to settle them in. This
process itself loads little: it starts the others at once, and they load side by side.
"""

import asyncio
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tollgate.infra import children, settings
from tollgate.infra.children import Child
from tollgate.infra.embedded_postgres import CONNECTIONS_MAX, EmbeddedPostgres
from tollgate.kit.errors import TollgateError

_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is checked to be ours alone
_READY_SECONDS_MAX = 60
_READY_POLL_SECONDS = 0.02
_ENDING_SECONDS = 5
"""What a process may take to end its own processes by force, when they take too long to stop."""
_CONNECTIONS_BESIDE = 20
"""What the worker, the command line and superusers need of the database, beside the gateway processes."""
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, not listened on


class ServeFailed(TollgateError):
    """Tollgate could not start."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line decides about a process group."""

    host: str
    port: int
    workers: int
    data_dir: Path
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys that the first start made."""

    operator_key: str | None = None
    management_key: str | None = None
    inference_key: str | None = None


@dataclass(slots=True)
class _Group:
    """The processes that run now, in the order to stop them in, and whether somebody asked for that."""

    stop_seconds_max: int = 0
    children: list[Child] = field(default_factory=list)
    postgres: EmbeddedPostgres | None = None
    stopping: bool = False

    async def stop_children(self) -> None:
        for child in self.children:
            await child.stop(patience_seconds=self.stop_seconds_max + _ENDING_SECONDS)

    def kill_children(self) -> None:
        for child in self.children:
            child.kill()


async def serve_until_stopped(options: ServeOptions, environment: Mapping[str, str]) -> int:
    """Run the process group until a signal; the exit code.

    Raises:
        TollgateError: something could not start, or ended by itself; everything else has been stopped.
    """
    group = _Group()
    _stop_on_signals(group)
    try:
        async with AsyncExitStack() as held:
            await _serve(options, environment, group, held)
    except asyncio.CancelledError:
        if not group.stopping:
            raise
    return 0


async def _serve(options: ServeOptions, given: Mapping[str, str], group: _Group, held: AsyncExitStack) -> None:
    address = _free_address(options)
    environment = {**_without_unknown(given), "TOLLGATE_DATA_DIR": str(options.data_dir)}
    if not environment.get("TOLLGATE_DATABASE_URL"):
        _say("Starting PostgreSQL …")
        group.postgres = EmbeddedPostgres(options.data_dir)
        held.push_async_callback(group.postgres.stop)
        await group.postgres.start()
        environment["TOLLGATE_DATABASE_URL"] = group.postgres.url
    configured = settings.read(environment)
    if group.postgres is not None:
        _check_connections(options.workers, configured.database_pool_max)
    group.stop_seconds_max = configured.stop_seconds_max
    metrics_dir = _fresh_metrics_dir(options.data_dir, address[1], alone=group.postgres is not None)
    held.callback(_remove_metrics, metrics_dir)
    environment[settings.METRICS_DIR_VARIABLE] = str(metrics_dir)
    held.push_async_callback(group.stop_children)
    keys = _Keys()
    try:
        gateway = await _start_gateway(options.workers, address, environment)
        group.children.append(gateway)
        keys = await _prepare(environment)
        gateway.begin()
        await _until_ready(address, group)
        group.children.append(await children.start("worker", [sys.executable, "-m", "tollgate", "worker"], environment))
    except BaseException:
        # No call was taken yet, so nobody waits for a good end. But keys are told only once, and these are made.
        group.kill_children()
        if keys.inference_key:
            _say(_keys_text(keys))
        raise
    _announce(address, keys, as_json=options.as_json)
    await _until_something_ends(group)


def _stop_on_signals(group: _Group) -> None:
    """The first signal stops the group in good order; the second ends the gateway and the worker at once."""
    serving = asyncio.current_task()

    def stop() -> None:
        if group.stopping:
            group.kill_children()
        elif serving is not None:
            group.stopping = True
            _say("Stopping; calls in flight are allowed to finish. Once more to hurry.")
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)


def _free_address(options: ServeOptions) -> tuple[str, int]:
    """The address to listen on, its port chosen if need be, before anything heavy is started."""
    try:
        family = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((options.host, options.port))
            return options.host, probe.getsockname()[1]
    except OSError as error:
        raise ServeFailed(
            f"cannot listen on {options.host}:{options.port} ({error.strerror}): stop what does, or give another --port"
        ) from error


def _without_unknown(given: Mapping[str, str]) -> dict[str, str]:
    """The environment without what only looks like settings; of that the operator is told once, not by each process."""
    unknown = settings.unknown(given)
    if unknown:
        _say(f"Warning: there are no such settings, so they are ignored: {', '.join(unknown)}")
    return {name: value for name, value in given.items() if name not in unknown}


def _check_connections(workers: int, each: int) -> None:
    if workers * each + _CONNECTIONS_BESIDE > CONNECTIONS_MAX:
        raise ServeFailed(
            f"{workers} gateway processes with {each} connections each, and {_CONNECTIONS_BESIDE} for all else, are "
            f"more than the {CONNECTIONS_MAX} of the embedded PostgreSQL: give fewer --workers, lower "
            "TOLLGATE_DATABASE_POOL_MAX, or set TOLLGATE_DATABASE_URL to a server that accepts more"
        )


def _fresh_metrics_dir(data_dir: Path, port: int, *, alone: bool) -> Path:
    """Where the group's processes count, each in files of its own, so that any gateway process can tell the sum.

    What a killed predecessor counted is forgotten. A group that is not alone on its data directory has its port alone.
    """
    home = _metrics_home(data_dir)
    directory = home / f"metrics-{port}"
    for old in home.glob("metrics-*") if alone else [directory]:
        shutil.rmtree(old, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    return directory


def _remove_metrics(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    # Other groups of the data directory may count there as well, and what else is in it is not ours.
    with suppress(OSError):
        directory.parent.rmdir()


def _metrics_home(data_dir: Path) -> Path:
    """A folder in memory that goes with the data directory, where there can be one; else that directory.

    The metrics' library maps its files, and a process that writes to a mapped file on a full disk is killed.
    """
    home = _MEMORY / f"tollgate-{hashlib.sha256(bytes(data_dir.absolute())).hexdigest()[:16]}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        status = home.lstat()
    except OSError:
        return data_dir
    is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    return home if is_ours else data_dir


async def _prepare(environment: Mapping[str, str]) -> _Keys:
    """Have the schema, the seed and, on the first start, the keys made, in a process that has loaded what it takes."""
    answer = await children.answer_of([sys.executable, "-m", "tollgate.entrypoints.prepare"], environment)
    if answer is None:
        raise ServeFailed("the database could not be prepared; the reason is above")
    return _Keys(**json.loads(answer))


async def _start_gateway(workers: int, address: tuple[str, int], environment: Mapping[str, str]) -> Child:
    options = ["--host", address[0], "--port", str(address[1]), "--workers", str(workers)]
    command = [sys.executable, "-m", "tollgate.entrypoints.gateway_process", *options]
    return await children.start("gateway", command, environment)


async def _until_ready(address: tuple[str, int], group: _Group) -> None:
    deadline = asyncio.get_running_loop().time() + _READY_SECONDS_MAX
    while not await asyncio.to_thread(_answers, address):
        for child in group.children:
            if child.has_ended:
                raise ServeFailed(f"the {child.name} did not start; what it said is above")
        if asyncio.get_running_loop().time() > deadline:
            raise ServeFailed(f"the gateway was not ready after {_READY_SECONDS_MAX} seconds")
        await asyncio.sleep(_READY_POLL_SECONDS)


def _answers(address: tuple[str, int]) -> bool:
    connection = http.client.HTTPConnection(_ANY_ADDRESS.get(address[0], address[0]), address[1], timeout=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


async def _until_something_ends(group: _Group) -> None:
    """Wait for the first process to end by itself, which none of them should.

    Raises:
        ServeFailed: always; the message names the process.
    """
    watched = {asyncio.ensure_future(child.wait()): child.name for child in group.children}
    if group.postgres is not None:
        watched[asyncio.ensure_future(group.postgres.wait())] = "database server"
    try:
        ended, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiting in watched:
            waiting.cancel()
    first = ended.pop()
    raise ServeFailed(f"the {watched[first]} ended unexpectedly (exit code {first.result()}); everything was stopped")


def _announce(address: tuple[str, int], keys: _Keys, *, as_json: bool) -> None:
    host = _ANY_ADDRESS.get(address[0], address[0])
    origin = f"http://{f'[{host}]' if ':' in host else host}:{address[1]}"
    if as_json:
        _print(json.dumps({"base_url": f"{origin}/api/v1", **asdict(keys)}))
        return
    _print(f"Tollgate answers at {origin}/api/v1 and explains itself at {origin}/docs")
    if keys.inference_key:
        _print(f"\n{_keys_text(keys)}\n\nTry it:\n\n{_example(origin, keys)}\n")


def _keys_text(keys: _Keys) -> str:
    return (
        "These keys were made for you and are shown only this once:\n\n"
        f"  operator key    {keys.operator_key}\n"
        f"  management key  {keys.management_key}\n"
        f"  inference key   {keys.inference_key}"
    )


def _example(origin: str, keys: _Keys) -> str:
    body = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hello, Tollgate!"}], "stream": False}
    return (
        f"curl {origin}/api/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {keys.inference_key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{json.dumps(body)}'"
    )


def _print(text: str) -> None:
    """Write to standard output at once, even when it is a pipe."""
    sys.stdout.write(text + os.linesep)
    sys.stdout.flush()


def _say(text: str) -> None:
    """Tell progress on standard error, which --json leaves to it."""
    sys.stderr.write(text + os.linesep)
    sys.stderr.flush()
