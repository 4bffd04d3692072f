"""Upstream: the one door to providers over HTTP.

Pieces of a streamed reply are handed on the moment they arrive. Redirects are not followed and no proxy of the
environment is used: a request goes where the catalogue says, or nowhere.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, ConnectTimeoutError, PyreqwestError, RequestTimeoutError
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from tollgate.gateway.model import Reply, UpstreamRequest
from tollgate.kit.errors import ProviderFailed, ProviderTimedOut, ProviderUnavailable

ANSWER_BYTES_MAX = 256 * 1024 * 1024
ANSWER_SECONDS_MAX = 3600
"""An answer that is larger, or takes longer, has no end: nobody would be served by waiting for it."""


class HttpUpstream:
    """Sends requests to providers, keeping connections for the next one."""

    def __init__(self, client: Client, *, first_byte_seconds: int, idle_seconds: int) -> None:
        self._client = client
        self._first_byte_seconds = first_byte_seconds
        self._idle_seconds = idle_seconds

    async def send(self, request: UpstreamRequest) -> Reply:
        """Send the request; answers when the reply's status is known.

        Raises:
            ProviderUnavailable: no connection, or it broke before there was a reply.
            ProviderTimedOut: no connection or no reply in time.
        """
        try:
            exchange = (
                self._client.post(request.url)
                .headers(dict(request.headers))
                .body_bytes(request.body)
                .streamed_read_buffer_limit(0)
                .build_streamed()
            )
            async with asyncio.timeout(self._first_byte_seconds):
                response = await exchange.__aenter__()
        except (ConnectTimeoutError, ConnectError) as error:
            raise ProviderUnavailable("The provider cannot be reached.") from error
        except (RequestTimeoutError, TimeoutError) as error:
            raise ProviderTimedOut(
                f"The provider did not begin to answer within {self._first_byte_seconds} s."
            ) from error
        except PyreqwestError as error:
            raise ProviderUnavailable("The connection to the provider broke before it answered.") from error
        except ValueError as error:
            raise ProviderUnavailable("The provider's address or credential cannot be used.") from error
        return _HttpReply(exchange, response, idle_seconds=self._idle_seconds)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()


class _HttpReply:
    """One reply under way."""

    def __init__(self, exchange: StreamRequest, response: Response, *, idle_seconds: int) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._exchange = exchange
        self._response = response
        self._idle_seconds = idle_seconds
        self._bytes = 0
        self._deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            ProviderFailed: it broke off, or stalled.
        """
        return b"".join([piece async for piece in self.pieces()])

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; raises as `body` does."""
        reader = self._response.body_reader
        try:
            while True:
                async with asyncio.timeout(self._idle_seconds):
                    piece = await reader.read_chunk()
                if piece is None:
                    return
                self._account_for(len(piece))
                yield bytes(piece)
        except (RequestTimeoutError, TimeoutError) as error:
            raise ProviderTimedOut(f"The provider's answer stalled for {self._idle_seconds} s.") from error
        except PyreqwestError as error:
            raise ProviderFailed("The provider's answer broke off.") from error

    def _account_for(self, size: int) -> None:
        self._bytes += size
        if self._bytes > ANSWER_BYTES_MAX or asyncio.get_running_loop().time() > self._deadline:
            raise ProviderFailed("The provider's answer does not end.")

    async def close(self) -> None:
        """Let go of the connection; closing an unread reply tells the provider to stop."""
        with suppress(PyreqwestError):
            await self._exchange.__aexit__(None, None, None)


def connect(*, connect_seconds: int, first_byte_seconds: int, idle_seconds: int) -> HttpUpstream:
    """A way to providers with these patiences, in seconds."""
    client = (
        ClientBuilder()
        .connect_timeout(timedelta(seconds=connect_seconds))
        # The library leaves a request whose sender lost patience under way until its reply begins; this ends it.
        .read_timeout(timedelta(seconds=max(first_byte_seconds, idle_seconds) + 1))
        .follow_redirects(enable=False)
        .no_proxy()
        .error_for_status(enable=False)
        .user_agent("tollgate")
        .build()
    )
    return HttpUpstream(client, first_byte_seconds=first_byte_seconds, idle_seconds=idle_seconds)
