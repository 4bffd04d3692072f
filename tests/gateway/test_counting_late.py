"""Counting late: a long prompt is counted when it matters, and every figure is what it would be had it been at once."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from tests.gateway.clocked import Clocked, Tenant, clocked
from tests.gateway.fake_client import FakeClient
from tests.gateway.watched import Watched, finished

from tollgate.gateway import admitting, progress, tokenizer
from tollgate.gateway.model import Prompt, PromptTokens
from tollgate.gateway.recall import Recalled
from tollgate.infra import telemetry
from tollgate.kit.ids import OrganizationId
from tollgate.metering.model import CallStatus

LONG = "It was the best of times, and it was the worst of them. " * 1_500
PRICED = "acme/priced"
"""Each token costs a millionth, and its context holds the prompt, though not as many tokens as it has bytes."""
CONTEXT = 40_000
FAR = "1000"
COUNT = tokenizer.count_prompt


class Counting:
    """What comes to be counted; it waits until it is let through."""

    def __init__(self) -> None:
        self.prompts = 0
        self.began = asyncio.Event()
        self.let_through = asyncio.Event()
        self.let_through.set()

    async def count(self, prompt: Prompt, encoding: str, recalled: Recalled | None = None) -> PromptTokens:
        self.prompts += 1
        self.began.set()
        await self.let_through.wait()
        return await COUNT(prompt, encoding, recalled)


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as opened:
        await opened.manage("POST", "/admin/models", {"slug": PRICED, "name": "A model"})
        endpoint = {"model": PRICED, "provider": "sand", "context_length": CONTEXT}
        await opened.manage("POST", "/admin/endpoints", endpoint)
        unit = {"price": "1", "unit": "per_million_tokens"}
        items = [{"kind": kind, **unit} for kind in ("prompt", "completion")]
        await opened.manage("POST", "/admin/prices", {"model": PRICED, "provider": "sand", "items": items})
        yield opened


@pytest.fixture
def watched(gateway: Clocked, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 1_000)
    return Watched(gateway)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(tokenizer, "count_prompt", counting.count)
    return counting


@pytest.fixture
async def length() -> int:
    """Of the prompt, as it is counted."""
    return (await COUNT(Prompt((LONG,), messages=1, images=0), "o200k_base")).likely


def answer(prompt_tokens: int | None) -> bytes:
    usage = None if prompt_tokens is None else {"prompt_tokens": prompt_tokens, "completion_tokens": 2}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}
    return json.dumps({"id": "1", "choices": [choice], "usage": usage}).encode()


async def asked(
    watched: Watched, tenant: Tenant, client: FakeClient | None = None, **asking: Any
) -> "asyncio.Task[None]":
    """A call that has reached its provider."""
    messages = [{"role": "user", "content": LONG}]
    call = await watched.call(tenant, client or FakeClient(), model=PRICED, messages=messages, **asking)
    async with asyncio.timeout(5):
        await watched.provider.asked.wait()
    return call


async def recorded(watched: Watched, tenant: Tenant, told: int | None) -> asyncpg.Record:
    """A call whose provider tells so many tokens of prompt, as it is recorded."""
    call = await asked(watched, tenant, stream=False)
    watched.provider.give(answer(told))
    await finished(call)
    return await record_of(watched, tenant)


async def record_of(watched: Watched, tenant: Tenant) -> asyncpg.Record:
    row = await watched.gateway.pool.fetchrow(
        "SELECT * FROM calls WHERE organization_id = $1", tenant.id_of("organization")
    )
    assert row is not None
    return row


def quantities(row: asyncpg.Record) -> Any:
    return json.loads(row["quantities"])


@pytest.mark.parametrize("limits", [None, {"key": {"tpm": 10**9, "monthly": FAR}}])
async def test_where_bounds_are_far_and_its_provider_tells_a_prompt_is_not_counted(
    watched: Watched, counting: Counting, length: int, limits: Any
) -> None:
    row = await recorded(watched, await watched.gateway.tenant(grant=FAR, limits=limits), length + 100)
    assert (quantities(row)["prompt"], row["estimated"], row["estimate"]) == (length + 100, False, None)
    assert counting.prompts == 0


@pytest.mark.parametrize("how", ["counted", "recalled", "by_bytes"])
async def test_how_long_prompts_are_held_for_can_be_watched(watched: Watched, length: int, how: str) -> None:
    tenant = await watched.gateway.tenant(grant="0.05" if how == "counted" else FAR)
    if how == "recalled":
        known = watched.served._admissions._recall.of(OrganizationId(tenant.id_of("organization")), "o200k_base")
        await COUNT(Prompt((LONG,), messages=1, images=0), "o200k_base", known)
    before = watching()
    await recorded(watched, tenant, length)
    assert watching() - before == Counter([how])


async def test_prompts_that_are_counted_after_they_were_held_for_can_be_watched(watched: Watched) -> None:
    before = watching()
    await recorded(watched, await watched.gateway.tenant(grant=FAR), None)
    assert watching() - before == Counter(["by_bytes", "late"])


def watching() -> Counter[str]:
    telemetry.tell_counts()
    late = REGISTRY.get_sample_value("tollgate_prompts_counted_late_total") or 0
    held = {
        how: REGISTRY.get_sample_value("tollgate_prompts_total", {"how": how}) or 0
        for how in ("counted", "recalled", "by_bytes")
    }
    return Counter({name: int(count) for name, count in {**held, "late": late}.items()})


NEAR = {
    "balance": {"grant": "0.05"},
    "money": {"limits": {"key": {"daily": "0.05"}}},
    "tokens per minute": {"limits": {"project": {"tpm": 1_000_000}}},
}


@pytest.mark.parametrize("terms", NEAR.values(), ids=NEAR)
async def test_near_a_bound_it_is_counted_before_it_is_held_for(
    watched: Watched, counting: Counting, length: int, terms: Any
) -> None:
    tenant = await watched.gateway.tenant(**terms)
    call = await asked(watched, tenant, stream=False)
    assert counting.prompts == 1
    hold = await watched.gateway.pool.fetchrow(
        "SELECT * FROM holds WHERE organization_id = $1", tenant.id_of("organization")
    )
    assert hold is not None
    assert (hold["amount"] * 1_000_000, hold["tokens"]) == (length + 100, length + 100)
    watched.provider.give(answer(length))
    await finished(call)


async def test_a_hold_that_does_not_fit_any_more_is_asked_for_again_with_the_count(
    watched: Watched, counting: Counting, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(admitting, "_FAR", 0)
    tenant, client = await watched.gateway.tenant(grant=f"0.{length + 300:06}"), FakeClient()
    call = await asked(watched, tenant, client, stream=False, max_tokens=1_000)
    assert counting.prompts == 1
    watched.provider.give(answer(length))
    await finished(call)
    assert client.headers["x-tollgate-max-tokens"] == "300"


async def test_a_prompt_that_may_not_fit_the_context_is_counted(
    watched: Watched, counting: Counting, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(admitting, "_SAMPLED_PERCENT_MOST", CONTEXT * 100 // length + 10)
    row = await recorded(watched, await watched.gateway.tenant(grant=FAR), length)
    assert (counting.prompts, quantities(row)["prompt"]) == (1, length)


async def test_where_its_provider_does_not_tell_it_is_charged_as_it_is_counted(watched: Watched, length: int) -> None:
    row = await recorded(watched, await watched.gateway.tenant(grant=FAR), None)
    assert (quantities(row)["prompt"], row["estimated"]) == (length, True)


@pytest.mark.parametrize("percent", [40, 300])
async def test_where_its_provider_tells_another_both_are_recorded(watched: Watched, length: int, percent: int) -> None:
    told = length * percent // 100
    row = await recorded(watched, await watched.gateway.tenant(grant=FAR), told)
    assert quantities(row)["prompt"] == told
    assert json.loads(row["estimate"]) == {"prompt": length}


@pytest.mark.parametrize("how", ["hangs up", "is cut off"])
async def test_who_gets_no_end_of_an_answer_is_charged_as_it_is_counted(
    watched: Watched, length: int, how: str
) -> None:
    tenant = await watched.gateway.tenant(grant=FAR)
    call = await asked(watched, tenant, FakeClient(leaves_after=0 if how == "hangs up" else None))
    watched.provider.say("Yes")
    if how == "is cut off":
        watched.provider.give(b"")
    async with asyncio.timeout(5):
        await asyncio.wait([call])
    await watched.served.drained()
    row = await record_of(watched, tenant)
    assert (quantities(row)["prompt"], row["estimated"]) == (length, True)


async def test_a_call_that_goes_on_is_noted_as_it_is_counted(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    call = await asked(watched, await watched.gateway.tenant(grant=FAR), stream=False)
    [gauged] = [json.loads(noted.call.quantities)["prompt"] for noted in watched.noted()]
    assert abs(gauged - length) < length // 5
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    late = asyncio.create_task(watched.served.count_late())
    async with asyncio.timeout(5):
        while [json.loads(noted.call.quantities)["prompt"] for noted in watched.noted()] != [length]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)
    late.cancel()
    [noted] = watched.noted()
    assert (noted.call.status, noted.call.estimated) == (CallStatus.RECOVERED, True)
    watched.provider.give(answer(length))
    await finished(call)
    assert watched.is_clear


async def test_a_call_that_ends_while_it_is_counted_leaves_no_note(
    watched: Watched, counting: Counting, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    tenant = await watched.gateway.tenant(grant=FAR)
    call = await asked(watched, tenant, stream=False)
    counting.let_through.clear()
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0)
    late = asyncio.create_task(watched.served.count_late())
    async with asyncio.timeout(5):
        await counting.began.wait()
    watched.provider.give(answer(length))
    await finished(call)
    counting.let_through.set()
    await asyncio.sleep(0.02)
    late.cancel()
    assert watched.is_clear
    assert quantities(await record_of(watched, tenant))["prompt"] == length
