"""A watchdog over waits that follow each other: each may last so long, and one that lasts longer is interrupted."""

import asyncio
from types import TracebackType


class Watchdog:
    """Like `asyncio.timeout`, to be entered again and again, by one wait at a time.

    A stream waits for each of its pieces, and nearly all of them come in time: so there is one timer for all waits,
    which is set anew not for each of them but when it rings.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None
        self._since = 0.0
        self._cancelled_before: int | None = None
        """How often whoever waits had been asked to stop before it was interrupted; `None`: it was not."""

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._since = loop.time()
        self._waiting = asyncio.current_task()
        if self._timer is None:
            self._timer = loop.call_at(self._since + self._seconds, self._ring)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        waiting, before = self._waiting, self._cancelled_before
        self._waiting = self._cancelled_before = None
        if (
            waiting is not None
            and before is not None
            and waiting.uncancel() <= before
            and kind is asyncio.CancelledError
        ):
            raise TimeoutError from error

    def _ring(self) -> None:
        self._timer = None
        if self._waiting is None:
            return  # The next wait sets it.
        due = self._since + self._seconds
        loop = asyncio.get_running_loop()
        if loop.time() < due:
            self._timer = loop.call_at(due, self._ring)
        else:
            self._cancelled_before = self._waiting.cancelling()
            self._waiting.cancel()

    @property
    def is_watching(self) -> bool:
        """Whether somebody waits."""
        return self._waiting is not None

    def rest(self) -> None:
        """Let go of the timer; the next wait sets it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
