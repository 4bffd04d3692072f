"""A caller as the ASGI server presents it: who is told the answer, kept alive meanwhile, and may leave."""

import asyncio
from collections.abc import Awaitable, Mapping
from types import TracebackType
from typing import Any

from litestar.types import HTTPSendMessage, Receive, Send

from tollgate.gateway import patience
from tollgate.gateway.model import ClientGone

KEEP_ALIVE_SECONDS = 10.0
WRITE_SECONDS_MAX = 60.0
"""How long a caller may take to make room for a piece of an answer."""
_KEEP_ALIVE = b": keep-alive\n\n"


class _Stay:
    """A block that can be interrupted, as by `asyncio.Timeout`, and ends in `ClientGone` then.

    That one would do, at the price of a timer and of an asynchronous block for each stream and each try.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._is_interrupted = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancelled_before = 0 if self._task is None else self._task.cancelling()

    def interrupt(self) -> None:
        """End the block, if it has not ended."""
        if self._task is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None or not self._is_interrupted:
            return
        # If somebody else has cancelled the task as well, it stays cancelled.
        if task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise ClientGone from None


class AsgiClient:
    """The caller behind ASGI's `receive` and `send`. Streams that fall silent are kept alive by comments.

    The server may swallow what is sent to a caller who is gone, so those who wait for a stream are listened to.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._listening: asyncio.Task[None] | None = None
        self._gone = False
        self._stay: _Stay | None = None
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reminder: asyncio.Task[None] | None = None

    def staying(self) -> _Stay:
        """A block that a caller who hangs up interrupts: it ends in `ClientGone` at once."""
        self._listen()
        self._stay = _Stay()
        return self._stay

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status and the headers."""
        await self._deliver({
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()],
        })  # fmt: skip

    async def write(self, piece: bytes) -> None:
        """Send a piece; the pieces of a stream are whole events."""
        if self._reminder is not None:
            await self._reminder
        rest = self._begin_to_deliver({"type": "http.response.body", "body": piece, "more_body": True})
        if rest is not None:
            await rest
        self._sent_at = self._time()
        if self._timer is None:
            self._listen()
            self._remind_in(KEEP_ALIVE_SECONDS)

    async def finish(self, piece: bytes = b"") -> None:
        """Send the last piece."""
        self.rest()
        if self._reminder is not None:
            await self._reminder
        await self._deliver({"type": "http.response.body", "body": piece, "more_body": False})

    def rest(self) -> None:
        """Stop keeping the stream alive, and listening for its end."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        if self._listening is None:
            self._listening = self._loop.create_task(self._hear())

    async def _hear(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._stay is not None:
            self._stay.interrupt()

    def _remind_in(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._remind)

    def _remind(self) -> None:
        silent_for = self._time() - self._sent_at
        if silent_for < KEEP_ALIVE_SECONDS:
            self._remind_in(KEEP_ALIVE_SECONDS - silent_for)
            return
        self._sent_at += silent_for
        self._reminder = asyncio.ensure_future(self._keep_alive())
        self._remind_in(KEEP_ALIVE_SECONDS)

    async def _keep_alive(self) -> None:
        await self._deliver({"type": "http.response.body", "body": _KEEP_ALIVE, "more_body": True})
        self._reminder = None

    async def _deliver(self, message: HTTPSendMessage) -> None:
        rest = self._begin_to_deliver(message)
        if rest is not None:
            await rest

    def _begin_to_deliver(self, message: HTTPSendMessage) -> Awaitable[None] | None:
        """Send; nearly always that is over at once. If it is not, what is left to be waited for."""
        if self._gone:
            raise ClientGone
        try:
            rest = patience.begin(self._send(message))
        except (OSError, RuntimeError) as error:
            raise ClientGone from error
        return None if rest is None else self._go_on_with(rest)

    @staticmethod
    async def _go_on_with(rest: Awaitable[None]) -> None:
        try:
            # Who does not read for so long is as good as gone: the provider and the hold would wait with us.
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                await rest
        except (OSError, RuntimeError) as error:
            raise ClientGone from error
