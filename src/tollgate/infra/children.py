"""Children: processes we start, which never outlive us.

A child leads a session of its own, so that a Ctrl-C at the terminal reaches us alone and we decide who stops when.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_GATE_VARIABLE = "TOLLGATE_GATE"
_SET_PARENT_DEATH_SIGNAL = 1


class Child:
    """One running process and whatever it starts itself."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

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

    def kill(self) -> None:
        """End it, and everything it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class Gate:
    """Holds a child back, once it has loaded and before it begins, until we let it."""

    def __init__(self) -> None:
        # Nobody ever writes: reading ends when the only writing end, ours, is closed.
        self.exit, self._entrance = os.pipe()

    def open(self) -> None:
        """Let the child begin."""
        os.close(self._entrance)
        os.close(self.exit)


def wait_at_gate(environment: Mapping[str, str]) -> None:
    """Wait until the parent opens the gate; a process that was started without one goes on at once."""
    if _GATE_VARIABLE in environment:
        os.read(int(environment[_GATE_VARIABLE]), 1)


async def start(
    name: str, command: Sequence[str | Path], environment: Mapping[str, str], *, gate: Gate | None = None
) -> Child:
    """Start a process; what it prints goes to our standard error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**environment, _GATE_VARIABLE: str(gate.exit)} if gate else environment,
        pass_fds=[gate.exit] if gate else [],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    return Child(name, process)


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
        prctl(_SET_PARENT_DEATH_SIGNAL, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)

    return prepare
