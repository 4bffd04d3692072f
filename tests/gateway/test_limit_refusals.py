"""A refusal names the bound, its window, what the call needs, what is left and when it resets, in every format."""

import math
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from tests.gateway.clocked import MODEL, NEEDED, OUTPUT_TOKENS, PATHS, PROMPT_TOKENS, TOKENS, Clocked, Tenant, clocked
from tests.gateway.installation import MESSAGES

NOW = datetime(2026, 11, 1, 3, 59, 41, 250_000, tzinfo=UTC)
"""In New York it is the last evening of October, a Saturday; the next day has 25 hours."""
MIDNIGHT = "2026-11-01T04:00:00Z"
SCOPES = ("organization", "project", "key")
MONEY: Mapping[str, Any] = {"amount": "0.305", "available": "0.296", "needed": NEEDED}
"""Enough for one call, and what is left of it when that is charged."""
TPM = TOKENS + OUTPUT_TOKENS
BOUNDS: Mapping[str, Mapping[str, Any]] = {
    "total": {**MONEY, "resets_at": None},
    "daily": {**MONEY, "resets_at": MIDNIGHT},
    "weekly": {**MONEY, "resets_at": "2026-11-02T05:00:00Z"},
    "monthly": {**MONEY, "resets_at": MIDNIGHT},
    "rpm": {"amount": 1, "available": 0, "needed": 1, "resets_at": MIDNIGHT, "retry_after_seconds": 19},
    "tpm": {"amount": TPM, "available": TPM - PROMPT_TOKENS - OUTPUT_TOKENS, "needed": TOKENS, "resets_at": MIDNIGHT,
            "retry_after_seconds": 19},
    "concurrency": {"amount": 1, "available": 0, "needed": 1, "resets_at": None, "retry_after_seconds": 1},
}  # fmt: skip
WORDS = {"rpm": "requests per minute", "tpm": "tokens per minute", "concurrency": "concurrent calls"}
OPENAI = ("chat", "responses")


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as running:
        running.set(NOW)
        yield running


@pytest.fixture(scope="module")
async def tenant(gateway: Clocked) -> Tenant:
    """One that has made one call, and has another under way."""
    made = await gateway.tenant(timezone="America/New_York")
    assert (await gateway.call(made)).status_code == 200
    await gateway.pool.execute(
        "UPDATE counters SET concurrent = 1 WHERE organization_id = $1", made.id_of("organization")
    )
    return made


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("name", BOUNDS)
async def test_a_refusal_tells_all_of_its_bound(gateway: Clocked, tenant: Tenant, scope: str, name: str) -> None:
    expected = {"limit": name, "scope": scope, **BOUNDS[name]}
    is_rate = name in WORDS
    await gateway.limit(tenant, scope, **{name: expected["amount"]})
    answers = {speaking: await gateway.call(tenant, speaking=speaking) for speaking in (*OPENAI, "messages")}
    await gateway.limit(tenant, scope, **{name: None})
    for answer in answers.values():
        assert answer.status_code == (429 if is_rate else 402)
        assert answer.headers.get("retry-after") == (str(expected["retry_after_seconds"]) if is_rate else None)
        assert "x-generation-id" not in answer.headers
    for speaking in OPENAI:
        error = answers[speaking].json()["error"]
        assert (error["code"], error["type"]) == (429, "rate_limit") if is_rate else (402, "limit_exceeded")
        assert error["metadata"] == expected
    spoken = answers["messages"].json()
    assert spoken["error"]["type"] == ("rate_limit_error" if is_rate else "billing_error")
    # Where there is no place for figures, the message tells them.
    message = spoken["error"]["message"]
    assert message == answers["chat"].json()["error"]["message"]
    assert message.startswith(f"{scope.capitalize()} ")
    assert f"limit of {expected['amount']} {WORDS.get(name, 'USD')}" in message
    assert is_rate or f"{name} limit" in message
    assert is_rate or str(expected["available"]) in message
    assert expected["available"] in {0, "0"} or f"needs {expected['needed']}" in message
    when = f"{expected['retry_after_seconds']} s" if is_rate else expected["resets_at"]
    assert when is None or when in message


OF_THE_BALANCE = {
    "limit": "balance",
    "scope": "organization",
    "needed": NEEDED,
    "currency": "USD",
    "resets_at": None,
}


async def test_a_balance_that_is_too_low_tells_what_is_needed_and_left(gateway: Clocked) -> None:
    poor = await gateway.tenant(grant="0.305")
    assert (await gateway.call(poor)).status_code == 200
    for speaking in OPENAI:
        answer = await gateway.call(poor, speaking=speaking)
        assert (answer.status_code, answer.json()["error"]["type"]) == (402, "insufficient_credit")
        assert told(answer) == {**OF_THE_BALANCE, "available": "0.296"}
    spoken = await gateway.call(poor, speaking="messages")
    assert (spoken.status_code, spoken.json()["error"]["type"]) == (402, "billing_error")
    assert f"{NEEDED} USD" in spoken.json()["error"]["message"]
    assert "0.296 USD" in spoken.json()["error"]["message"]


async def test_a_balance_that_is_overdrawn_has_nothing_left_and_never_less(gateway: Clocked) -> None:
    indebted = await gateway.tenant(grant="0", billing_mode="postpaid", credit_limit="0.305")
    assert (await gateway.call(indebted)).status_code == 200
    await gateway.manage("PATCH", f"/admin/organizations/{indebted.organization}", {"credit_limit": "0.001"})
    answer = await gateway.call(indebted)
    assert told(answer) == {**OF_THE_BALANCE, "available": "0"}


async def test_waiting_as_long_as_a_refusal_says_is_enough_and_no_longer_than_its_minute(gateway: Clocked) -> None:
    busy = await gateway.tenant(limits={"project": {"rpm": 1}})
    for hour, seconds_gone in enumerate((0, 41.25, 59.999999), start=1):
        gateway.set(NOW.replace(second=0, microsecond=0) + timedelta(hours=hour, seconds=seconds_gone))
        assert (await gateway.call(busy)).status_code == 200
        refused = await gateway.call(busy)
        seconds, now = int(refused.headers["retry-after"]), gateway.plane.clock.at
        resets_at = datetime.fromisoformat(told(refused)["resets_at"])
        assert 1 <= seconds == math.ceil((resets_at - now).total_seconds()) <= 60
        gateway.set(now + timedelta(seconds=seconds))
        assert (await gateway.call(busy)).status_code == 200
    gateway.set(NOW)


async def test_answers_tell_what_is_left_of_the_tightest_rates(gateway: Clocked) -> None:
    limits = {"organization": {"rpm": 5}, "project": {"rpm": 2, "tpm": 1000}, "key": {"rpm": 4, "tpm": 300}}
    busy = await gateway.tenant(limits=limits)
    used = PROMPT_TOKENS + OUTPUT_TOKENS
    for left, speaking in ((1, "chat"), (0, "messages")):
        assert rates(await gateway.call(busy, speaking=speaking)) == {
            "limit-requests": "2",
            "remaining-requests": str(left),
            "reset-requests": "19s",
            "limit-tokens": "300",
            "remaining-tokens": str(300 - TOKENS - (1 - left) * used),
            "reset-tokens": "19s",
        }
    for speaking in (*OPENAI, "messages"):
        refused = await gateway.call(busy, speaking=speaking)
        told_of_requests = {"limit-requests": "2", "remaining-requests": "0", "reset-requests": "19s"}
        assert (refused.status_code, told_of_requests.items() <= rates(refused).items()) == (429, True)
    assert rates(await gateway.call(await gateway.tenant())) == {}


def rates(answer: httpx.Response) -> Mapping[str, str]:
    prefix = "x-ratelimit-"
    return {name.removeprefix(prefix): said for name, said in answer.headers.items() if name.startswith(prefix)}


async def test_counting_tokens_takes_nothing_and_is_refused_to_who_could_make_no_call(gateway: Clocked) -> None:
    busy = await gateway.tenant(grant="0", limits={"key": {"rpm": 1}})
    body = {"model": MODEL, "messages": MESSAGES}
    headers = {"authorization": f"Bearer {busy.key}"}
    path = f"{PATHS['messages']}/count_tokens"
    counted = [await gateway.plane.client.post(path, json=body, headers=headers) for _ in range(3)]
    assert [answer.status_code for answer in counted] == [200] * 3
    await gateway.limit(busy, "key", rpm=0)
    assert (await gateway.plane.client.post(path, json=body, headers=headers)).status_code == 429


async def test_a_call_larger_than_its_limit_is_told_so(gateway: Clocked) -> None:
    """No waiting makes it fit."""
    small = await gateway.tenant(limits={"key": {"tpm": TOKENS - 1}})
    answer = await gateway.call(small)
    assert answer.status_code == 429
    assert answer.json()["error"]["message"].endswith(f"is less than the {TOKENS} that this call alone needs.")


async def test_a_call_that_fits_with_less_output_is_made_with_less(gateway: Clocked) -> None:
    """256 tokens are worth having: 0.768 USD of the 0.9 that are left buy 300, and the caller is told."""
    frugal = await gateway.tenant(limits={"organization": {"daily": "0.9"}})
    answer = await gateway.call(frugal, max_tokens=1000)
    assert (answer.status_code, answer.headers["x-tollgate-max-tokens"]) == (200, "300")
    await gateway.limit(frugal, "organization", daily="0.7")
    refused = await gateway.call(frugal, max_tokens=1000)
    assert told(refused)["needed"] == "0.768"


def told(answer: httpx.Response) -> Any:
    return answer.json()["error"]["metadata"]
