"""Upstream: the one door to providers over HTTP.

Pieces of a streamed reply are handed on the moment they arrive. Redirects are not followed and no proxy of the
environment is used: a request goes where the catalogue says, or nowhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from datetime import timedelta
from types import coroutine
from typing import Any, NamedTuple

from pyreqwest.bytes import Bytes
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from tollgate.catalog.model import NO_TIMEOUTS, Timeouts
from tollgate.gateway import fallback
from tollgate.gateway.model import Reply, UpstreamRequest
from tollgate.gateway.patience import within
from tollgate.kit.errors import ProviderFailed, ProviderTimedOut, ProviderUnavailable, ProviderUnreachable

ANSWER_BYTES_MAX = 256 * 1024 * 1024
ANSWER_SECONDS_MAX = 3600
"""An answer that is larger, or takes longer, has no end: nobody would be served by waiting for it."""
_BROKE = "The connection to the provider broke before it answered."
_BROKE_OFF = "The provider's answer broke off."
_NO_CONNECTION = "client error (Connect)"
"""What the library says of a request for which no connection came about."""
_CONNECTING_SHARE = 0.9
"""Of the wait for an answer to begin, at most, for the connection: else it is unknown which of them did not come."""
_TAKEN_BYTES_MAX = 64 * 1024
"""How much of a body is taken at once, about: other calls wait meanwhile."""
_ENDLESS = "The provider's answer does not end."
_READ_HEADERS = ("retry-after", "date")
_LOOK_SECONDS = 1
"""How long an answer is waited for where only the connection matters."""


class HttpUpstream:
    """Sends requests to providers, keeping connections for the next one."""

    def __init__(self, *, connect_seconds: int, first_byte_seconds: int, idle_seconds: int) -> None:
        self._waits = _Waits(connect_seconds, first_byte_seconds, idle_seconds)
        self._clients: dict[tuple[float, int], Client] = {}
        """By how long they wait for connections, and for anything at all: the library knows no other way."""

    async def send(self, request: UpstreamRequest) -> Reply:
        """Send the request; answers when the reply's status is known.

        Raises:
            ProviderUnreachable: no connection came about.
            ProviderUnavailable: the connection broke before there was a reply.
            ProviderTimedOut: no reply in time.
        """
        waits = self._waits.but(request.timeouts)
        try:
            asking = (
                self._client(waits)
                .post(request.url)
                .headers(dict(request.headers))
                .body_bytes(request.body)
                .streamed_read_buffer_limit(0)
                .build_streamed()
            )
            async with asyncio.timeout(waits.first_byte_seconds):
                response = await asking.__aenter__()
        except (ConnectTimeoutError, ConnectError) as error:
            if _is_connected(error):
                raise ProviderUnavailable(_BROKE) from error
            raise ProviderUnreachable("The provider cannot be reached.") from error
        except (RequestTimeoutError, TimeoutError) as error:
            raise ProviderTimedOut(
                f"The provider did not begin to answer within {waits.first_byte_seconds} s."
            ) from error
        except PyreqwestError as error:
            raise ProviderUnavailable(_BROKE) from error
        except ValueError as error:
            raise ProviderUnavailable("The provider's address or credential cannot be used.") from error
        return _HttpReply(asking, response, idle_seconds=waits.idle_seconds)

    async def reaches(self, url: str, timeouts: Timeouts) -> bool:
        """Whether a connection comes about. Whatever is said over it, or not, proves that there is one."""
        waits = self._waits.but(timeouts)
        try:
            asking = self._client(waits).head(url).build()
            async with asyncio.timeout(waits.connect_seconds + _LOOK_SECONDS):
                await asking.send()
        except (ConnectTimeoutError, ConnectError) as error:
            return _is_connected(error)
        except ValueError:
            return False
        except (PyreqwestError, TimeoutError):
            return True
        return True

    def _client(self, waits: "_Waits") -> Client:
        silence_seconds = max(waits.first_byte_seconds, waits.idle_seconds)
        connect_seconds = min(waits.connect_seconds, _CONNECTING_SHARE * waits.first_byte_seconds)
        key = (connect_seconds, silence_seconds)
        if key not in self._clients:
            self._clients[key] = (
                ClientBuilder()
                .connect_timeout(timedelta(seconds=connect_seconds))
                # The library leaves a request under way whose sender lost patience; this ends it.
                .read_timeout(timedelta(seconds=silence_seconds + 1))
                .follow_redirects(enable=False)
                .no_proxy()
                .error_for_status(enable=False)
                .user_agent("tollgate")
                .build()
            )
        return self._clients[key]

    async def close(self) -> None:
        """Close every connection."""
        for client in self._clients.values():
            await client.close()


def _is_connected(error: ConnectTimeoutError | ConnectError) -> bool:
    """Whether there was a connection, and it broke: the library has one error for that and for there being none."""
    if isinstance(error, ConnectTimeoutError):
        return False
    told: Any = error.details
    causes = told.get("causes") or () if told else ()
    return all(cause["message"] != _NO_CONNECTION for cause in causes)


class _Waits(NamedTuple):
    """How long to wait for a connection, for an answer, and for each piece of it, or all of it if it is short."""

    connect_seconds: int
    first_byte_seconds: int
    idle_seconds: int

    def but(self, timeouts: Timeouts) -> "_Waits":
        """The same, but for what an endpoint has of its own."""
        if timeouts is NO_TIMEOUTS:
            return self
        return _Waits(
            timeouts.connect_seconds or self.connect_seconds,
            timeouts.first_byte_seconds or self.first_byte_seconds,
            timeouts.idle_seconds or self.idle_seconds,
        )


def _read(response: Response) -> Mapping[str, str]:
    """The headers that matter. One that is no text says nothing; the library refuses to read any beside it."""
    read = {}
    for name in _READ_HEADERS:
        with suppress(ValueError):
            value = response.headers.get(name)
            if value is not None:
                read[name] = value
    return read


class _HttpReply:
    """One reply under way."""

    def __init__(self, asking: StreamRequest, response: Response, *, idle_seconds: int) -> None:
        self.status = response.status
        # Nobody reads those of an answer.
        self.headers = {} if self.status == fallback.OK else _read(response)
        self._request = asking
        self._response = response
        self._idle_seconds = idle_seconds
        self._arrivals: _Arrivals | None = None

    async def body(self) -> bytes:
        """The whole body. A short one has as long for all of it as others have for each piece.

        Raises:
            ProviderFailed: it broke off, stalled, came too slowly, or does not end.
        """
        if self._is_short():
            return await self._body_at_once()
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    def _is_short(self) -> bool:
        """Whether the body says how long it is, and that it is no longer than is taken at once."""
        try:
            length = self._response.get_header("content-length")
            return length is not None and int(length) <= _TAKEN_BYTES_MAX
        except ValueError:
            return False

    async def _body_at_once(self) -> bytes:
        """A body that has come with its head, most often: no piece of it is worth a timer of its own."""
        try:
            return bytes(await within(self._idle_seconds, self._response.bytes()))
        except (RequestTimeoutError, TimeoutError) as error:
            raise ProviderTimedOut(f"The provider's answer was not complete within {self._idle_seconds} s.") from error
        except PyreqwestError as error:
            raise ProviderFailed(_BROKE_OFF) from error

    def piece(self) -> Awaitable[bytes]:
        """What has come of the body, or else what comes next; raises as `body` does."""
        if self._arrivals is None:
            self._arrivals = _Arrivals(self._response.body_reader.read_chunk, idle_seconds=self._idle_seconds)
        return self._arrivals.take()

    async def close(self) -> None:
        """Let go of the connection; closing an unread reply tells the provider to stop."""
        if self._arrivals is not None:
            self._arrivals.close()
        with suppress(PyreqwestError):
            await self._request.__aexit__(None, None, None)


def _stalled(seconds: float) -> ProviderTimedOut:
    return ProviderTimedOut(f"The provider's answer stalled for {seconds} s.")


class _Arrivals:
    """The chunks of a body, taken together as far as they have come.

    Of a fast stream several wait for us: to handle each by itself would cost more than all that is done with them. The
    library cannot be asked what has come, but a read that has to wait can be told from one that has not. So after each
    chunk another read is begun, and one that has to wait is gone on with when there is nothing else to do.

    One timer watches over all waits: it is set anew not for each of them but when it rings.
    """

    def __init__(self, read: Callable[[], Coroutine[Any, None, Bytes | None]], *, idle_seconds: float) -> None:
        self._read = read
        self._reading: Coroutine[Any, None, Bytes | None] | None = None
        """A read that has to wait."""
        self._waits_for: asyncio.Future[None] | None = None
        self._waits_since: float | None = None
        self._has_stalled = False
        self._bytes = 0
        self._end: ProviderFailed | bool = False
        """Whether the body has ended, or why it broke off."""
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._deadline = self._time() + ANSWER_SECONDS_MAX
        self._timer = self._loop.call_later(idle_seconds, self._ring)

    @coroutine
    def take(self) -> Generator[asyncio.Future[None] | None, None, bytes]:
        """What has come; waits for something to come. Empty once the body has ended.

        Who is interrupted here can go on later: a read that waits has taken nothing yet.

        Raises:
            ProviderFailed: the body broke off, stalled, or does not end.
        """
        waits_for = self._waits_for
        piece = b"" if self._end or (waits_for is not None and not waits_for.done()) else self._read_on()
        while not piece and not self._end:
            now = self._time()
            if now > self._deadline:
                raise ProviderFailed(_ENDLESS)
            self._waits_since, self._has_stalled = now, False
            try:
                yield self._waits_for
            except asyncio.CancelledError as interruption:
                self._interrupted(interruption)
                break
            finally:
                self._waits_since = None
            piece = self._read_on()
        if self._bytes > ANSWER_BYTES_MAX:
            raise ProviderFailed(_ENDLESS)
        if not piece and isinstance(self._end, ProviderFailed):
            raise self._end
        return piece

    def _read_on(self) -> bytes:
        """What has come, up to a read that has to wait, the end, or enough."""
        chunks: list[bytes] = []
        size = 0
        while size < _TAKEN_BYTES_MAX:
            reading = self._reading = self._reading or self._read()
            try:
                self._waits_for = reading.send(None)
                break
            except StopIteration as read:
                self._reading = None
                if read.value is None:
                    self._end = True
                    break
                chunks.append(read.value.to_bytes())
                size += len(chunks[-1])
            except PyreqwestError as error:
                self._break_off(error)
                break
        self._bytes += size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _break_off(self, error: BaseException) -> None:
        """Nothing comes any more, because of this."""
        is_late = self._has_stalled or isinstance(error, RequestTimeoutError)
        self._reading = None
        self._end = _stalled(self._idle_seconds) if is_late else ProviderFailed(_BROKE_OFF)
        self._end.__cause__ = error

    def _interrupted(self, interruption: asyncio.CancelledError) -> None:
        """A wait was: by the timer, or by whoever waits, who then has to know."""
        self._give_up()
        task = asyncio.current_task()
        if not self._has_stalled or (task is not None and task.cancelling()):
            raise interruption
        self._break_off(interruption)

    def _ring(self) -> None:
        """Interrupt a wait that has lasted too long, or ring again when it will have."""
        now = self._loop.time()
        due = (self._waits_since or now) + self._idle_seconds
        if due <= now:
            due = now + self._idle_seconds
            self._has_stalled = self._waits_for is not None and self._waits_for.cancel()
        self._timer = self._loop.call_at(due, self._ring)

    def _give_up(self) -> None:
        """End a read under way: the library lets nobody close a body that is being read."""
        if self._reading is not None:
            self._reading.close()
            self._reading = self._waits_for = None

    def close(self) -> None:
        """Read no more."""
        self._timer.cancel()
        self._give_up()
