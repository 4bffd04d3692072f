"""A name leads to all of its addresses, or to none if that is not known."""

import asyncio
from typing import Any

import pytest

from tollgate.infra import names


async def test_the_name_of_this_very_host_leads_to_itself() -> None:
    assert set(await names.resolve("localhost")) <= {"127.0.0.1", "::1"}
    assert await names.resolve("192.0.2.1") == ["192.0.2.1"]


@pytest.mark.parametrize("name", ["nobody.invalid", "a" * 70 + ".test", "xn--\udc00"])
async def test_a_name_that_leads_nowhere_has_no_addresses(name: str) -> None:
    assert await names.resolve(name) == ()


async def test_a_name_that_nobody_answers_for_in_time_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*asked: Any, **rest: Any) -> Any:
        del asked, rest
        await asyncio.Event().wait()

    monkeypatch.setattr(names, "SECONDS_MAX", 0.01)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", silent)
    assert await names.resolve("slow.test") == ()
