"""Upstream: the one door to providers over HTTP.

Pieces of a streamed reply are handed on the moment they arrive. Redirects are not followed and no proxy of the
environment is used: a request goes where the catalogue says, or nowhere.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import coroutine
from typing import Any

from pyreqwest.bytes import Bytes
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from tollgate.catalog.model import NO_TIMEOUTS, Timeouts
from tollgate.gateway.model import Reply, UpstreamRequest
from tollgate.gateway.watchdog import Watchdog
from tollgate.kit.errors import ProviderFailed, ProviderTimedOut, ProviderUnavailable, ProviderUnreachable

ANSWER_BYTES_MAX = 256 * 1024 * 1024
ANSWER_SECONDS_MAX = 3600
"""An answer that is larger, or takes longer, has no end: nobody would be served by waiting for it."""
_BROKE = "The connection to the provider broke before it answered."
_NO_CONNECTION = "client error (Connect)"
"""What the library says of a request for which no connection came about."""
_CONNECTING_SHARE = 0.9
"""Of the wait for an answer to begin, at most, for the connection: else it is unknown which of them did not come."""
_TAKEN_BYTES_MAX = 64 * 1024
"""How much of a body is taken at once, about: other calls wait meanwhile."""
_READ_HEADERS = ("retry-after", "date")
_LOOK_SECONDS = 1
"""How long an answer is waited for where only the connection matters."""


class HttpUpstream:
    """Sends requests to providers, keeping connections for the next one."""

    def __init__(self, *, connect_seconds: int, first_byte_seconds: int, idle_seconds: int) -> None:
        self._patience = _Patience(connect_seconds, first_byte_seconds, idle_seconds)
        self._clients: dict[tuple[float, int], Client] = {}
        """By how long they wait for connections, and for anything at all: the library knows no other way."""

    async def send(self, request: UpstreamRequest) -> Reply:
        """Send the request; answers when the reply's status is known.

        Raises:
            ProviderUnreachable: no connection came about.
            ProviderUnavailable: the connection broke before there was a reply.
            ProviderTimedOut: no reply in time.
        """
        patience = self._patience.but(request.timeouts)
        try:
            exchange = (
                self._client(patience)
                .post(request.url)
                .headers(dict(request.headers))
                .body_bytes(request.body)
                .streamed_read_buffer_limit(0)
                .build_streamed()
            )
            async with asyncio.timeout(patience.first_byte_seconds):
                response = await exchange.__aenter__()
        except (ConnectTimeoutError, ConnectError) as error:
            if _is_connected(error):
                raise ProviderUnavailable(_BROKE) from error
            raise ProviderUnreachable("The provider cannot be reached.") from error
        except (RequestTimeoutError, TimeoutError) as error:
            raise ProviderTimedOut(
                f"The provider did not begin to answer within {patience.first_byte_seconds} s."
            ) from error
        except PyreqwestError as error:
            raise ProviderUnavailable(_BROKE) from error
        except ValueError as error:
            raise ProviderUnavailable("The provider's address or credential cannot be used.") from error
        return _HttpReply(exchange, response, idle_seconds=patience.idle_seconds)

    async def reaches(self, url: str, timeouts: Timeouts) -> bool:
        """Whether a connection comes about. Whatever is said over it, or not, proves that there is one."""
        patience = self._patience.but(timeouts)
        try:
            asking = self._client(patience).head(url).build()
            async with asyncio.timeout(patience.connect_seconds + _LOOK_SECONDS):
                await asking.send()
        except (ConnectTimeoutError, ConnectError) as error:
            return _is_connected(error)
        except ValueError:
            return False
        except (PyreqwestError, TimeoutError):
            return True
        return True

    def _client(self, patience: "_Patience") -> Client:
        silence_seconds = max(patience.first_byte_seconds, patience.idle_seconds)
        connect_seconds = min(patience.connect_seconds, _CONNECTING_SHARE * patience.first_byte_seconds)
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


@dataclass(frozen=True, slots=True)
class _Patience:
    """How long to wait for a connection, for the beginning of an answer, and between two pieces of it."""

    connect_seconds: int
    first_byte_seconds: int
    idle_seconds: int

    def but(self, timeouts: Timeouts) -> "_Patience":
        """The same, but for what an endpoint has of its own."""
        if timeouts == NO_TIMEOUTS:
            return self
        return _Patience(
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

    def __init__(self, exchange: StreamRequest, response: Response, *, idle_seconds: int) -> None:
        self.status = response.status
        self.headers = _read(response)
        self._exchange = exchange
        self._arrivals = _Arrivals(response.body_reader.read_chunk)
        self._idle_seconds = idle_seconds
        self._watchdog = Watchdog(idle_seconds)
        self._bytes = 0
        self._deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            ProviderFailed: it broke off, or stalled.
        """
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def piece(self) -> bytes:
        """What has come of the body, or else what comes next; raises as `body` does."""
        try:
            with self._watchdog:
                piece = await self._arrivals.take()
        except (RequestTimeoutError, TimeoutError) as error:
            raise ProviderTimedOut(f"The provider's answer stalled for {self._idle_seconds} s.") from error
        except PyreqwestError as error:
            raise ProviderFailed("The provider's answer broke off.") from error
        self._account_for(len(piece))
        return piece

    def _account_for(self, size: int) -> None:
        self._bytes += size
        if self._bytes > ANSWER_BYTES_MAX or asyncio.get_running_loop().time() > self._deadline:
            raise ProviderFailed("The provider's answer does not end.")

    async def close(self) -> None:
        """Let go of the connection; closing an unread reply tells the provider to stop."""
        self._watchdog.rest()
        self._arrivals.give_up()
        with suppress(PyreqwestError):
            await self._exchange.__aexit__(None, None, None)


class _Arrivals:
    """The chunks of a body, taken together as far as they have come.

    Of a fast stream several wait for us: to handle each by itself would cost more than all that is done with them. The
    library cannot be asked what has come, but a read that waits can be told from one that does not: so one is begun
    after each, and one that has to wait is gone on with when there is nothing else to do.
    """

    def __init__(self, read: Callable[[], Coroutine[Any, None, Bytes | None]]) -> None:
        self._read = read
        self._reading: Coroutine[Any, None, Bytes | None] | None = None
        """A read that has to wait."""
        self._waits_for: object = None
        self._failure: PyreqwestError | None = None
        """Why the body broke off after what was taken last."""
        self._has_ended = False

    @coroutine
    def take(self) -> Generator[object, None, bytes]:
        """What has come; waits for something to come. Empty once the body has ended.

        Who is interrupted here can go on later: a read that waits has taken nothing yet.

        Raises:
            PyreqwestError: the body broke off.
        """
        chunks: list[bytes] = []
        size = 0
        while size < _TAKEN_BYTES_MAX and not self._has_ended:
            try:
                if self._reading is None:
                    self._reading = self._read()
                    self._waits_for = self._reading.send(None)
                if chunks:
                    break
                while True:
                    yield self._waits_for
                    self._waits_for = self._reading.send(None)
            except StopIteration as done:
                self._reading = None
                chunk = done.value
                if chunk is None:
                    self._has_ended = True
                else:
                    chunks.append(bytes(chunk))
                    size += len(chunk)
            except PyreqwestError as error:
                self._reading, self._has_ended, self._failure = None, True, error
            except BaseException:
                self.give_up()
                raise
        if self._failure is not None and not chunks:
            raise self._failure
        return b"".join(chunks)

    def give_up(self) -> None:
        """End a read under way: the library lets nobody close a body that is being read."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None
