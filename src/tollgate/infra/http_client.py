"""HTTP client: the one door to addresses that customers enter.

The name is resolved and judged for every request, and the connection is made to the very address that was judged, so
that no name can lead elsewhere in between; TLS still proves the name. Redirects are not followed, no proxy of the
environment is used, and of an answer only the beginning is read.
"""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import httpx

from tollgate.infra.names import Reach
from tollgate.kit import addresses

ANSWER_BYTES_MAX = 2048
_CONNECT_SECONDS_MAX = 2
"""For a connection, and again for TLS on it: the library leaves a socket behind that is broken off in the middle, so
this has to end first."""
_ADDRESSES_MAX = 2
_BODY_SECONDS_MAX = 1
_DECODING = {"accept-encoding": "identity", "connection": "close"}
"""What is sent back is read as it comes: nobody's compressed answer shall unfold here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the beginning of the body."""

    status: int
    beginning: bytes


class NoAnswer(Exception):
    """Nothing came back; the message says why, in words that its owner may read."""


class NotPermitted(NoAnswer):
    """The address leads where nothing may be sent."""


@dataclass(frozen=True, slots=True)
class HttpClient:
    """Posts to addresses that are not ours. Keeps no connections: the next one is judged afresh."""

    reach: Reach
    trust: ssl.SSLContext | None = None
    """Whom to believe who they are; the usual authorities by default."""

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, seconds_max: float) -> Answer:
        """Send the body, and wait no longer than that for the beginning of an answer.

        Raises:
            NoAnswer: there is none.
            NotPermitted: it may not be sent there.
        """
        try:
            async with asyncio.timeout(seconds_max):
                return await self._post(httpx.URL(url), headers=headers, body=body)
        except TimeoutError as error:
            raise NoAnswer(f"No answer within {seconds_max:g} seconds.") from error
        except httpx.InvalidURL as error:
            raise NotPermitted("This is not a URL.") from error

    async def _post(self, url: httpx.URL, *, headers: Mapping[str, str], body: bytes) -> Answer:
        found = await self._addresses(url)
        whole = {**_DECODING, **headers, "host": url.netloc.decode("ascii")}
        timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS_MAX)
        for position, address in enumerate(found, start=1):
            request = httpx.Request(
                "POST",
                url.copy_with(host=address),
                headers=whole,
                content=body,
                extensions={"sni_hostname": url.host, "timeout": timeout.as_dict()},
            )
            try:
                return await self._exchange(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if position == len(found) or _tls_fault(error):
                    raise NoAnswer(_why(error)) from error
            except (httpx.HTTPError, httpx.StreamError) as error:
                raise NoAnswer(_why(error)) from error
        raise NoAnswer("The name leads nowhere.")

    async def _addresses(self, url: httpx.URL) -> list[str]:
        """Where the name leads at this moment: nowhere is an empty list, and one address too private is too many."""
        if url.scheme not in ({"http", "https"} if self.reach.private else {"https"}) or not url.host:
            raise NotPermitted("Nothing is sent but over https.")
        found = await self.reach.resolve(url.host)
        for host in () if self.reach.private else (url.host, *found):
            if addresses.is_private(host):
                raise NotPermitted(f"{url.host} is not on the public network.")
        return sorted(found, key=lambda address: ":" in address)[:_ADDRESSES_MAX]

    async def _exchange(self, request: httpx.Request) -> Answer:
        # A client for each: a connection that proved one name must not carry what is for another.
        trust = self.trust or _usual_authorities()
        async with httpx.AsyncClient(verify=trust, trust_env=False, follow_redirects=False) as client:
            response = await client.send(request, stream=True)
            try:
                return Answer(response.status_code, await _beginning(response))
            finally:
                await response.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    """The first bytes of the body; one that breaks off or does not come was an answer all the same."""
    read = bytearray()
    with suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS_MAX):
            async for piece in response.aiter_raw():
                read += piece
                if len(read) >= ANSWER_BYTES_MAX:
                    break
    return bytes(read[:ANSWER_BYTES_MAX])


@cache
def _usual_authorities() -> ssl.SSLContext:
    trust = httpx.create_ssl_context(trust_env=False)
    trust.load_default_certs()  # those of the system as well: an installation may have authorities of its own
    return trust


def _why(error: httpx.HTTPError | httpx.StreamError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"No connection within {_CONNECT_SECONDS_MAX} seconds."
    if isinstance(error, httpx.ConnectError):
        return _tls_fault(error) or "No connection came about."
    return "The connection broke before there was an answer."


def _tls_fault(error: httpx.ConnectError | httpx.ConnectTimeout) -> str | None:
    """What is wrong with the other side's TLS; `None` if it did not come to that."""
    cause: BaseException | None = error
    while cause is not None and isinstance(error, httpx.ConnectError):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"The certificate does not prove the name: {cause.verify_message}."
        if isinstance(cause, ssl.SSLError):
            return "No TLS connection came about."
        cause = cause.__cause__ or cause.__context__
    return None
