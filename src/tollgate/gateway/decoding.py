"""Decoding: long bodies are read in a thread, so that no call waits for another one's."""

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

Read = TypeVar("Read")
Others = ParamSpec("Others")

_INLINE_BYTES_MAX = 64 * 1_024
"""Thousands of tiny parts in as much take some 15 ms to read; usual bodies, a tenth of one."""


async def decoded(
    decode: Callable[Concatenate[bytes, Others], Read], body: bytes, *others: Others.args, **named: Others.kwargs
) -> Read:
    """What a decoder makes of a body; raises what it raises."""
    if len(body) <= _INLINE_BYTES_MAX:
        return decode(body, *others, **named)
    return await asyncio.to_thread(decode, body, *others, **named)
