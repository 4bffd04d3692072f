"""Names: the addresses that a host's name leads to, as this system resolves it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

SECONDS_MAX = 2.0

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""From a name to its addresses; none if it leads nowhere."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Where addresses that operators enter may lead."""

    resolve: Resolve
    private: bool
    """Whether into private networks as well."""


async def resolve(host: str) -> Sequence[str]:
    """The addresses of a host; none if its name leads nowhere, or that is not known in time."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError, UnicodeError):
        return ()
    return sorted({str(address[0]) for *_, address in found})
