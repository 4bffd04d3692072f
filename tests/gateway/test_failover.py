"""Failing over: while one endpoint is well, callers are served, whatever the others suffer, and billed once."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal

import asyncpg
import httpx
import pytest
from tests.gateway.failing import PATIENCE, Failing, failing
from tests.gateway.installation import Customer, Installation

PRICES = {"a": "1", "b": "2", "c": "3", "d": "4"}
"""US dollars a million tokens, read or written; the fake provider always says 1,000 read, 300 written."""
TOKENS = 1300
AT_ONCE = 24
PHASES: Sequence[Mapping[str, str]] = (
    {},
    {"a": "refused"},
    {"a": "hang"},
    {"a": "hang in body", "b": "storm"},
    {"a": "limited", "b": "slow", "c": "garbage"},
    {"a": "garbage", "b": "storm", "c": "refused"},
    {"a": "hang", "b": "hang in body", "c": "hang"},
    {"a": "refused", "b": "refused", "c": "refused"},
    {},
)
_MODELS = itertools.count(1)
_NUMBER_OF_CALLS = "SELECT user_id, status, amount, provider FROM calls WHERE organization_id = $1"
_SERVED = """
    SELECT c.user_id, count(*) FILTER (WHERE a.status = 'served') AS served, count(*) AS attempts
    FROM attempts AS a JOIN calls AS c ON c.organization_id = a.organization_id AND c.id = a.call_id
    WHERE a.organization_id = $1 GROUP BY c.user_id
"""
_CHARGED = "SELECT count(*), sum(amount) FROM transfers WHERE organization_id = $1 AND cause = 'call'"


@pytest.fixture
async def providers() -> AsyncIterator[Failing]:
    async with failing() as opened:
        yield opened


async def a_model(gateway: Installation, providers: Failing) -> tuple[str, dict[str, str]]:
    """A model at all four; and the providers' slugs, by name."""
    number = next(_MODELS)
    slug, slugs = f"acme/failing-{number}", {}
    await gateway.admin("/models", {"slug": slug, "name": "A model"})
    for name in providers.names:
        slugs[name] = f"failing-{number}-{name}"
        url = providers.providers[name].url("v1")
        await gateway.admin(
            "/providers", {"slug": slugs[name], "name": name, "format": "openai_compatible", "base_url": url}
        )
        await gateway.admin("/endpoints", {"model": slug, "provider": slugs[name], "timeouts": PATIENCE})
        await gateway.publish(slug, slugs[name], {"prompt": PRICES[name], "completion": PRICES[name]})
    return slug, slugs


async def ask(customer: Customer, model: str, number: int) -> httpx.Response:
    """Call number so and so; every other one streams."""
    said = [{"role": "user", "content": f"call {number}"}]
    return await customer.post({"model": model, "messages": said, "user": f"call {number}", "stream": number % 2 == 0})


def is_answered(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and '"error"' not in answer.text


async def calls_in_phases(
    customer: Customer, model: str, providers: Failing, phases: Sequence[Mapping[str, str]], each: int
) -> list[str]:
    """Make so many calls in each phase, always some at once; what was answered instead of what was asked for."""
    numbers, gate = itertools.count(1), asyncio.Semaphore(AT_ONCE)
    wrong: list[str] = []

    async def one(phase: Mapping[str, str]) -> None:
        async with gate:
            answer = await ask(customer, model, next(numbers))
            if not is_answered(answer):
                wrong.append(f"{dict(phase)}: {answer.status_code} {answer.text[-300:]}")

    for phase in phases:
        await providers.suffer(**phase)
        async with asyncio.TaskGroup() as group:
            for _ in range(each):
                group.create_task(one(phase))
    return wrong


async def check_ledger(customer: Customer, providers: Failing, slugs: Mapping[str, str], calls: int) -> None:
    """Each call has one record, was served once by whom its record says, and charged that one's price, once."""
    pool: asyncpg.Pool[asyncpg.Record] = customer.gateway.pool
    records = await pool.fetch(_NUMBER_OF_CALLS, customer.organization_id)
    assert Counter(row["user_id"] for row in records) == Counter(f"call {number}" for number in range(1, calls + 1))
    names = {slug: name for name, slug in slugs.items()}
    for row in records:
        name = names[row["provider"]]
        assert row["status"] == "settled"
        assert row["amount"] == Decimal(PRICES[name]) * TOKENS / 1_000_000
        assert providers.truth[name][row["user_id"]] == 1
    served = await pool.fetch(_SERVED, customer.organization_id)
    assert {row["served"] for row in served} == {1}
    charged = await pool.fetchrow(_CHARGED, customer.organization_id)
    assert charged is not None
    total = sum(row["amount"] for row in records)
    assert (charged[0], charged[1]) == (calls, total)
    assert await customer.balance() == Decimal(1000) - total
    assert not await customer.holds()


async def fail_over(gateway: Installation, providers: Failing, *, calls: int) -> None:
    customer = await gateway.customer("1000")
    model, slugs = await a_model(gateway, providers)
    each = calls // len(PHASES)
    wrong = await calls_in_phases(customer, model, providers, PHASES, each)
    assert len(wrong) <= calls // 10_000, wrong[:10]
    assert not wrong or calls >= 10_000
    await check_ledger(customer, providers, slugs, each * len(PHASES))


async def test_while_one_endpoint_is_well_every_call_is_served_and_billed_once(
    gateway: Installation, providers: Failing
) -> None:
    await fail_over(gateway, providers, calls=450)


@pytest.mark.long
async def test_ten_thousand_calls_are_served_and_billed_once_while_one_endpoint_is_well(
    gateway: Installation, providers: Failing
) -> None:
    await fail_over(gateway, providers, calls=10_000 + 10_000 % len(PHASES))


async def test_a_dead_provider_costs_callers_one_refused_connection_and_then_nothing(
    gateway: Installation, providers: Failing
) -> None:
    customer = await gateway.customer("1000")
    model, _ = await a_model(gateway, providers)
    await providers.suffer(a="refused")
    for number in range(1, 21):
        assert is_answered(await ask(customer, model, number))
    attempts = await customer.attempts()
    assert Counter(row["status"] for row in attempts) == {"served": 20, "failed": 1}
    assert [row["error"] for row in attempts if row["status"] == "failed"] == ["provider_unavailable"]


async def test_an_endpoint_that_recovers_serves_again(gateway: Installation, providers: Failing) -> None:
    customer = await gateway.customer("1000")
    model, slugs = await a_model(gateway, providers)
    await providers.suffer(a="refused")
    assert is_answered(await ask(customer, model, 1))
    await providers.suffer()
    for number in range(2, 200):
        answer = await ask(customer, model, number)
        assert is_answered(answer)
        if answer.headers["x-tollgate-provider"] == slugs["a"]:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("it never did")


async def test_where_nobody_is_left_the_refusal_says_when_to_come_back(
    gateway: Installation, providers: Failing
) -> None:
    customer = await gateway.customer("1000")
    model, _ = await a_model(gateway, providers)
    await providers.suffer(**dict.fromkeys("abcd", "refused"))
    first, second = await ask(customer, model, 1), await ask(customer, model, 2)
    assert (first.status_code, second.status_code) == (502, 502)
    assert int(second.headers["retry-after"]) >= 1
    assert set(json.loads(second.text)["error"]["metadata"]["excluded"].values()) == {"it is unreachable"}
    assert len(await customer.attempts()) == 4
    assert await customer.balance() == 1000


async def test_a_session_stays_where_it_was_served(gateway: Installation, providers: Failing) -> None:
    customer = await gateway.customer("1000")
    model, slugs = await a_model(gateway, providers)
    await providers.suffer(a="storm")
    said = {"model": model, "messages": [{"role": "user", "content": "call 1"}], "session_id": "s-1"}
    served = [(await customer.post(said)).headers["x-tollgate-provider"] for _ in range(4)]
    assert served == [slugs["b"]] * 4
    await providers.suffer()
    again, other = (
        await customer.post(said),
        await customer.post({**said, "session_id": "s-2", "provider": {"ignore": []}}),
    )
    assert again.headers["x-tollgate-provider"] == slugs["b"]
    assert other.headers["x-tollgate-provider"] in {slugs["a"], slugs["b"]}


async def test_who_is_refused_because_all_limit_us_is_told_of_the_soonest(
    gateway: Installation, providers: Failing
) -> None:
    customer = await gateway.customer("1000")
    model, _ = await a_model(gateway, providers)
    await providers.suffer(a="limited", b="limited for long", c="limited for long", d="limited for long")
    answer = await ask(customer, model, 1)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
