"""Children: processes we start, which never outlive us.

A child leads a session of its own, so that a Ctrl-C at the terminal reaches us alone and we decide who stops when.
"""

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import structlog

from tollgate.infra.settings import LIFELINE_VARIABLE

_SECOND_NOTICE_SECONDS = 1
_SET_PARENT_DEATH_SIGNAL = 1

_log = structlog.get_logger(__name__)


class Child:
    """One running process and whatever it starts itself."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, lifeline: IO[bytes]) -> None:
        self.name = name
        self._process = process
        self._lifeline = lifeline

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    def begin(self) -> None:
        """Let it begin, if it waits for that."""
        with contextlib.suppress(BrokenPipeError):
            self._lifeline.write(b"\n")

    async def wait(self) -> int:
        """Wait for its end; its exit code, or minus the signal that ended it."""
        return await self._process.wait()

    async def stop(self, *, patience_seconds: int) -> None:
        """Ask it to finish with SIGTERM, and end it by force when it takes longer than that."""
        if not self.has_ended:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    await self._process.wait()
        self.kill()
        await self._process.wait()
        self._lifeline.close()

    def kill(self) -> None:
        """End it, and everything it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def start(name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> Child:
    """Start a process, to be stopped in the end; what it prints goes to our standard error."""
    # The only writing end is ours: the pipe hangs up when we end, however that comes about.
    theirs, ours = os.pipe()
    lifeline = os.fdopen(ours, "wb", buffering=0)
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**environment, LIFELINE_VARIABLE: str(theirs)},
            pass_fds=[theirs],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr,
            stderr=sys.stderr,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
    except BaseException:
        lifeline.close()
        raise
    finally:
        os.close(theirs)
    return Child(name, process, lifeline)


def wait_to_begin(environment: Mapping[str, str]) -> None:
    """Wait, in a process that `start` started, until its parent lets it begin.

    Raises:
        SystemExit: the parent ended instead.
    """
    lifeline = select.poll()
    lifeline.register(int(environment[LIFELINE_VARIABLE]), select.POLLIN)
    ((_, events),) = lifeline.poll()
    # What was written stays unread: it says the same to whoever asks again.
    if not events & select.POLLIN:
        raise SystemExit("whoever started this process ended before it could begin")


def follow_parent(environment: Mapping[str, str], *, patience_seconds: int) -> None:
    """In a process that `start` started: `follow` its parent. Does nothing in any other."""
    if LIFELINE_VARIABLE in environment:
        follow(int(environment[LIFELINE_VARIABLE]), patience_seconds=patience_seconds)


def follow(lifeline: int, *, patience_seconds: int) -> None:
    """See to it that our process group ends soon after the other end of a pipe has: asked first, then by force.

    The kernel's signal to the child of a process that is killed is not enough: only Linux has it, and a process that
    hangs does not heed it.
    """
    threading.Thread(target=_follow, args=(lifeline, patience_seconds), name="lifeline", daemon=True).start()


def work_in_batches() -> None:
    """Have a thread of ours that wakes up not interrupt the one that works, as long as that has its share of a CPU.

    A call passes between three threads of its worker. Each handing over that waits for the end of the piece of work
    under way saves changes of context, and brings more calls into each batch for the database.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except (AttributeError, OSError) as error:
        # Not every kernel has the policy, and some containers are not allowed to choose one: they only lose the saving.
        _log.warning("threads may interrupt each other, for the policy SCHED_BATCH cannot be had", reason=str(error))


def _follow(lifeline: int, patience_seconds: int) -> None:
    hung_up = select.poll()
    hung_up.register(lifeline, 0)
    hung_up.poll()
    # Not at once: where the kernel has asked already, a second notice would only be in the way of the first.
    time.sleep(_SECOND_NOTICE_SECONDS)
    os.killpg(0, signal.SIGTERM)
    time.sleep(patience_seconds)
    os.killpg(0, signal.SIGKILL)


async def answer_of(command: Sequence[str | Path], environment: Mapping[str, str]) -> bytes | None:
    """Run a process to its end; what it printed on standard output, or `None` if it failed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    try:
        answer, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return answer if process.returncode == 0 else None


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child has to run before its program so that it gets the signal if we are killed; Linux only."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def prepare() -> None:
        # We may handle the signal, and until it runs its program the child would do so in our place: not at all.
        signal.signal(number, signal.SIG_DFL)
        prctl(_SET_PARENT_DEATH_SIGNAL, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)

    return prepare
