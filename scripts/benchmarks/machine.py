"""The machine: which CPU does whose work, what processes take of it and of memory, and what others take meanwhile.

The gateway has the first CPU to itself; the load generator, the fake provider and PostgreSQL share the others.
"""

import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tollgate.infra.children import die_with_parent

_CPUS = sorted(os.sched_getaffinity(0))
GATEWAY_CPU = _CPUS[0]
CPU_COUNT = len(_CPUS)
OTHER_CPUS = frozenset(_CPUS[1:]) or frozenset(_CPUS)
_STOP_SECONDS_MAX = 10
BUSY_SHARE = 0.1
"""Of one CPU: what others may take before figures are to be distrusted."""
_LOOK_SECONDS = 1


@contextmanager
def pinned(cpus: Iterable[int]) -> Iterator[None]:
    """What is started within the block runs on these CPUs alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def started(command: Sequence[str], cpus: Iterable[int], **how: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A process on these CPUs alone, which has ended, asked first and then by force, when the block does.

    It is asked by the end of its standard input, if that is ours, and else by SIGTERM.
    """
    with pinned(cpus):
        # It must end with us, however we end.
        process = subprocess.Popen(command, preexec_fn=die_with_parent(signal.SIGTERM), **how)  # noqa: PLW1509, S603 - our own commands, started by the main thread
    with process:
        try:
            yield process
        finally:
            if process.stdin is not None:
                process.stdin.close()
            else:
                process.terminate()
            try:
                process.wait(_STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def leave_interrupts() -> None:
    """Go on at Ctrl-C, which reaches every process of the terminal: whoever started this one ends it in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def pin(pid: int, cpus: Iterable[int]) -> None:
    """Have a process, everything it started, and all their threads run on these CPUs alone from now on."""
    wanted = set(cpus)
    for process in tree(pid):
        with suppress(ProcessLookupError, FileNotFoundError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), wanted)


def tree(pid: int) -> list[psutil.Process]:
    """A process and everything it started, as far as it is alive."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int, *, but: int | None = None) -> float:
    """What a process tree has taken of the CPUs, processes that have ended among it; without another tree in it."""
    left_out = {process.pid for process in tree(but)} if but is not None else set()
    return sum(_cpu_seconds_of(process) for process in tree(pid) if process.pid not in left_out)


def _cpu_seconds_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0
    return times.user + times.system + times.children_user + times.children_system


class Memory(NamedTuple):
    """Of one process, or of several, in megabytes."""

    rss: float
    """What they have in memory: what they share is counted in each."""
    pss: float
    """The same, what is shared being shared out."""
    own: float
    """Of the latter what is neither a file nor memory that processes share, which counts as one's own (USS) as long as
    nobody else has touched it: with PostgreSQL's buffers that is what was read last, and no growth."""

    def __add__(self, other: "Memory") -> "Memory":  # type: ignore[override]  # sums, where tuples would be joined
        return Memory(self.rss + other.rss, self.pss + other.pss, self.own + other.own)


def memory_of_each(pid: int) -> Iterator[tuple[psutil.Process, Memory]]:
    """What a process and everything it started have in memory now, each by itself."""
    for process in tree(pid):
        # One that ends meanwhile has nothing any more.
        with suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            yield process, _memory_of(process.pid)


def _memory_of(pid: int) -> Memory:
    with Path(f"/proc/{pid}/smaps_rollup").open() as told:
        next(told)
        sizes = {name: int(size.split()[0]) / 1024 for name, _, size in (line.partition(":") for line in told)}
    return Memory(sizes["Rss"], sizes["Pss"], sizes["Pss_Anon"])


def busy_seconds() -> float:
    """What everybody has taken of all CPUs since the machine started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def described() -> dict[str, str]:
    """This machine, for whoever reads the figures elsewhere."""
    with Path("/proc/cpuinfo").open() as told:
        model = next((line.partition(":")[2].strip() for line in told if line.startswith("model name")), "unknown")
    memory_gb = psutil.virtual_memory().total / 2**30
    return {
        "at_hand": f"{len(_CPUS)} CPUs ({model}), {memory_gb:.0f} GB, Linux {platform.release()}",
        "python": platform.python_version(),
    }


class Others:
    """What share of one CPU is taken by whoever is no process of ours, nor started by one: before, and meanwhile."""

    def __init__(self) -> None:
        self.before = busy_share(_LOOK_SECONDS)
        self.meanwhile = 0.0
        """The largest, of those seconds that were looked at."""

    @contextmanager
    def watched(self) -> Iterator[Callable[[], None]]:
        """Look while the block runs: whenever what it is given is called, if a second has passed since, and at its end.

        No process of ours that has worked may be gone at the end without having been waited for.
        """
        last = _Taken.now()

        def look(seconds_min: float = _LOOK_SECONDS) -> None:
            nonlocal last
            if time.perf_counter() - last.at >= seconds_min:
                now = _Taken.now()
                # In less time than that, the ticks in which the kernel counts would be taken for work.
                self.meanwhile = max(
                    self.meanwhile, (now.seconds - last.seconds) / max(now.at - last.at, _LOOK_SECONDS)
                )
                last = now

        try:
            yield look
        finally:
            look(0)

    @property
    def told(self) -> dict[str, float]:
        """As results have it."""
        return {"busy_before": round(self.before, 2), "busy_meanwhile": round(self.meanwhile, 2)}


class _Taken(NamedTuple):
    """What others have taken of all CPUs up to an instant, from an instant of long ago."""

    seconds: float
    at: float

    @classmethod
    def now(cls) -> "_Taken":
        return cls(busy_seconds() - cpu_seconds(os.getpid()), time.perf_counter())


def busy_share(seconds: float) -> float:
    """What share of one CPU others take in so many seconds from now."""
    before = _Taken.now()
    time.sleep(seconds)
    after = _Taken.now()
    return max(0, (after.seconds - before.seconds) / (after.at - before.at))
