"""An alarm that rings when it is due, and leaves the CPU alone until then.

The timers of event loops, asyncio's and uvloop's alike, count whole milliseconds, and so ring up to one too late, which
would be told as a delay of whatever is asked then. This one is a timer of the kernel's (timerfd, nanoseconds),
which Python has a function for from 3.13 on (`os.timerfd_create`): here it is asked of the C library.
"""

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_AN_INSTANT = 1
"""TFD_TIMER_ABSTIME."""
_Setting = ctypes.c_long * 4
"""A `struct itimerspec`: seconds and nanoseconds of its period, here none, and of when it rings first."""
_READ_BYTES = 8


class Alarm:
    """What rings is called by the running loop."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._file = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "no timer can be had")
        self._loop.add_reader(self._file, self._rung)

    def set(self, at: float) -> None:
        """Ring once, at this second of `time.perf_counter`, which is the same clock; at once if it is past."""
        seconds, nanoseconds = divmod(int(at * 1_000_000_000), 1_000_000_000)
        _LIBC.timerfd_settime(self._file, _AT_AN_INSTANT, _Setting(0, 0, seconds, nanoseconds), None)

    def _rung(self) -> None:
        with suppress(BlockingIOError):  # it was set anew before it was heard
            os.read(self._file, _READ_BYTES)
            self._ring()

    def close(self) -> None:
        """Ring no more."""
        self._loop.remove_reader(self._file)
        os.close(self._file)
