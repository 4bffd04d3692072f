"""The gateway as `serve` starts it: loaded early, begun when the database has been prepared, stopped in time.

A main process loads what its workers share, the application and the vocabulary among it, forks them, and follows
`serve`; the workers take calls and follow it.
"""

import _thread
import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

# Collecting garbage while modules load finds none, and takes a quarter of the time.
gc.disable()

import click  # noqa: E402 - as above
import structlog  # noqa: E402 - as above
from granian import Granian  # noqa: E402 - as above
from granian.constants import Interfaces, Loops  # noqa: E402 - as above
from granian.log import LogLevels  # noqa: E402 - as above

from tollgate.entrypoints import http  # noqa: E402 - as above
from tollgate.gateway import tokenizer  # noqa: E402 - as above
from tollgate.infra import children, settings  # noqa: E402 - as above
from tollgate.infra.settings import Settings  # noqa: E402 - as above

_CALLS_AT_ONCE_MAX = 4096
"""Calls each worker works on at once; more wait in the socket's queue."""
_AGAIN_SECONDS = 1
_NEW_OBJECTS_MAX = 20_000
"""After so many, the garbage among them is looked for: most calls that were in flight have ended by then, and what has
ended need not be looked at."""

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""What ASGI calls with scope, receive and send."""

_log = structlog.get_logger(__name__)


@click.command()
@click.option("--host", required=True)
@click.option("--port", type=int, required=True)
@click.option("--workers", type=int, required=True)
def main(*, host: str, port: int, workers: int) -> None:
    configured = settings.read(os.environ)
    children.follow_parent(os.environ, patience_seconds=configured.stop_seconds_max)
    application = http.create_app()
    tokenizer.load()
    children.wait_to_begin(os.environ)
    children.work_in_batches()
    # What was loaded stays: the workers need not look at it again and again, and so it stays shared between them.
    gc.freeze()
    server = Granian(
        "tollgate.entrypoints.http:create_app",
        interface=Interfaces.ASGI,
        address=host,
        port=port,
        workers=workers,
        workers_kill_timeout=configured.stop_seconds_max,
        # Whoever comes in its place takes over what a worker that died has left; see metering.recovery.
        respawn_failed_workers=True,
        backpressure=_CALLS_AT_ONCE_MAX,
        loop=Loops.uvloop,
        websockets=False,
        log_access=False,
        log_level=LogLevels.warning,
    )

    @server.on_startup
    def stop_from_elsewhere() -> None:
        # The server's own handler takes a lock, in the thread that may have it when the signal comes, or comes again:
        # who is killed has the kernel signal their children once for each of their threads.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: _thread.start_new_thread(server.signal_handler_interrupt, ()))

    # The workers are forked from here: none of them builds an application of its own.
    server.serve(target_loader=partial(_begun, application, configured), wrap_loader=False)


def _begun(application: Application, configured: Settings) -> Application:
    """The application as one worker serves it."""
    # Until the server handles these, we have what handles them in the main process: it would do nothing here.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    main_process = multiprocessing.parent_process()
    if main_process is not None:
        children.follow(main_process.sentinel, patience_seconds=configured.stop_seconds_max)
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS_MAX)
    gc.enable()
    return StopsInTime(application, drain_seconds=configured.drain_timeout_seconds)


class StopsInTime:
    """The application; when a stop is asked for, it breaks off what is in flight and takes longer than that.

    The server would let it go on, until its main process loses patience and ends the worker by force: a call that ends
    like this is never recorded.
    """

    def __init__(self, application: Application, *, drain_seconds: int) -> None:
        self._application = application
        self._drain_seconds = drain_seconds
        self._in_flight: set[asyncio.Task[object]] = set()
        self._stopping = False

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request, or live for as long as the worker does."""
        if scope["type"] == "lifespan":
            # The server has begun to stop on SIGINT as on SIGTERM: the one is how we tell it of the other.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
            await self._application(scope, receive, send)
            return
        serving = asyncio.current_task()
        if serving is None:
            raise RuntimeError("a request is served outside of any task")
        self._in_flight.add(serving)
        try:
            await self._application(scope, receive, send)
        finally:
            self._in_flight.discard(serving)

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            asyncio.get_running_loop().call_later(self._drain_seconds, self._break_off)
            signal.raise_signal(signal.SIGINT)

    def _break_off(self) -> None:
        """Cancel what is in flight: first what it does, then what it waits for as it ends, for its record goes on."""
        if self._in_flight:
            _log.warning("requests in flight are broken off", requests=len(self._in_flight))
        for serving in self._in_flight:
            serving.cancel()
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._break_off)


if __name__ == "__main__":
    main()
