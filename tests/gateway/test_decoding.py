"""Decoding: long bodies beside the event loop, short ones where they stand."""

import threading

import pytest

from tollgate.gateway.decoding import decoded
from tollgate.kit.errors import InvalidRequest


def thread_of(body: bytes, *headers: str) -> int:
    del body, headers
    return threading.get_ident()


def refusing(body: bytes) -> int:
    raise InvalidRequest(f"{len(body)} bytes of nothing.")


async def test_a_short_body_is_read_at_once() -> None:
    assert await decoded(thread_of, b"x" * 65_536, "more") == threading.get_ident()


async def test_a_long_body_is_read_in_a_thread() -> None:
    assert await decoded(thread_of, b"x" * 65_537, "more") != threading.get_ident()


@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_refusal_is_the_decoders_own(size: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{size} bytes"):
        await decoded(refusing, b"x" * size)
