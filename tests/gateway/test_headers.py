"""Whoever is limited by rates reads in each answer what is left of them, of the scope that has least."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.gateway.clocked import PATHS, TOKENS, Clocked, clocked

from tollgate.gateway import headers
from tollgate.kit.ids import CallId
from tollgate.metering.model import Admission

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CALL_ID = CallId(UUID(int=1))


def admitted(**left: Any) -> Admission:
    return Admission(CALL_ID, "admitted", None, None, None, None, **left)


class TestRates:
    @pytest.mark.parametrize("admission", [None, admitted()])
    def test_are_not_told_where_none_limits(self, admission: Admission | None) -> None:
        assert headers.rates(admission, now=NOON) == {}

    def test_are_told_by_the_names_that_openai_gives_them(self) -> None:
        admission = admitted(
            requests_limit=60,
            requests_left=59,
            tokens_limit=1000,
            tokens_left=0,
            minute_end=NOON + timedelta(minutes=1),
        )
        assert headers.rates(admission, now=NOON) == {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "60s",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "60s",
        }

    def test_are_told_one_without_the_other(self) -> None:
        told = headers.rates(admitted(requests_limit=1, requests_left=0, minute_end=NOON), now=NOON)
        assert set(told) == {f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")}

    @pytest.mark.parametrize(
        ("seconds", "told"), [(60, "60s"), (0.001, "1s"), (1, "1s"), (1.5, "2s"), (0, "0s"), (-3, "0s")]
    )
    def test_say_in_how_many_whole_seconds_waiting_is_enough(self, seconds: float, told: str) -> None:
        admission = admitted(tokens_limit=1, tokens_left=0, minute_end=NOON + timedelta(seconds=seconds))
        assert headers.rates(admission, now=NOON)["x-ratelimit-reset-tokens"] == told


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as opened:
        yield opened


def rates(answer: httpx.Response) -> Mapping[str, str]:
    assert answer.status_code == 200, answer.text
    return {name[12:]: told for name, told in answer.headers.items() if name.startswith("x-ratelimit-")}


class TestAnswers:
    @pytest.mark.parametrize("speaking", PATHS)
    @pytest.mark.parametrize("stream", [False, True])
    async def test_tell_what_was_left_once_the_call_was_admitted(
        self, gateway: Clocked, speaking: str, *, stream: bool
    ) -> None:
        tenant = await gateway.tenant(limits={"project": {"rpm": 7, "tpm": 10 * TOKENS}})
        assert rates(await gateway.call(tenant, speaking=speaking, stream=stream)) == {
            "limit-requests": "7", "remaining-requests": "6", "reset-requests": "60s",
            "limit-tokens": str(10 * TOKENS), "remaining-tokens": str(9 * TOKENS), "reset-tokens": "60s",
        }  # fmt: skip

    async def test_tell_of_each_rate_the_scope_that_has_least_of_it(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant(
            limits={"organization": {"rpm": 9, "tpm": 50 * TOKENS}, "project": {"rpm": 3}, "key": {"tpm": 60 * TOKENS}}
        )
        told = rates(await gateway.call(tenant))
        assert (told["limit-requests"], told["remaining-requests"]) == ("3", "2")
        assert (told["limit-tokens"], told["remaining-tokens"]) == (str(50 * TOKENS), str(49 * TOKENS))
        await gateway.limit(tenant, "key", rpm=2, tpm=None)
        told = rates(await gateway.call(tenant))
        assert (told["limit-requests"], told["remaining-requests"]) == ("2", "0")

    async def test_tell_of_the_least_left_and_not_of_the_lowest_limit(self, gateway: Clocked) -> None:
        """Another key of the organization has used up most of what it may."""
        tenant = await gateway.tenant(limits={"organization": {"rpm": 5}, "key": {"rpm": 4}})
        counted = "UPDATE counters SET minute_requests = 3 WHERE scope_id = $1"
        first = rates(await gateway.call(tenant))
        await gateway.pool.execute(counted, tenant.id_of("organization"))
        second = rates(await gateway.call(tenant))
        assert [(told["limit-requests"], told["remaining-requests"]) for told in (first, second)] == [
            ("4", "3"),
            ("5", "1"),
        ]

    async def test_tell_nothing_of_rates_where_there_are_none(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant(limits={"organization": {"daily": "100", "concurrency": 5}})
        assert rates(await gateway.call(tenant)) == {}
