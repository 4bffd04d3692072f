"""Long prompts are counted in turns, and only for those who could pay; nobody else waits for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.gateway.clocked import MODEL, Clocked, Tenant, clocked

from tollgate.gateway import tokenizer
from tollgate.gateway.admitting import LONG_BYTES
from tollgate.gateway.model import Prompt, PromptTokens, Wire
from tollgate.gateway.recall import Recalled
from tollgate.gateway.service import Gateway, Inquiry
from tollgate.kit.errors import AuthenticationFailed, PermissionDenied, TollgateError
from tollgate.kit.principal import Principal

LONG, SHORT = "a word of it " * (LONG_BYTES // 10), "Say hello."
COUNTED = "/api/anthropic/v1/messages/count_tokens"


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as opened:
        yield opened


def served_by(gateway: Clocked) -> Gateway:
    served: Gateway = gateway.plane.app.state.gateway
    return served


def saying(text: str) -> Any:
    return {"messages": [{"role": "user", "content": text}]}


class Counting:
    """Counts as the tokenizer does; long prompts only when they are let through."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        """Every prompt that came to be counted."""
        self.waiting = 0
        self.waiting_most = 0
        self._let_through = asyncio.Event()
        self._let_through.set()
        self._count = tokenizer.count_prompt

    def hold_up(self) -> None:
        self._let_through.clear()

    def let_through(self) -> None:
        self._let_through.set()

    async def count(self, prompt: Prompt, vocabulary: str, recalled: Recalled | None = None) -> PromptTokens:
        text = "".join(prompt.texts)
        self.texts.append(text)
        if LONG in text and not self._let_through.is_set():
            self.waiting += 1
            self.waiting_most = max(self.waiting, self.waiting_most)
            await self._let_through.wait()
            self.waiting -= 1
        return await self._count(prompt, vocabulary, recalled)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(tokenizer, "count_prompt", counting.count)
    return counting


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the gateway, which tells nobody
            await asyncio.sleep(0.005)


class TestLongPrompts:
    async def test_of_who_cannot_pay_for_any_are_refused_uncounted(self, gateway: Clocked, counting: Counting) -> None:
        poor, rich = await gateway.tenant(grant="0"), await gateway.tenant()
        refused = await gateway.call(poor, **saying(LONG))
        assert (refused.status_code, counting.texts) == (402, [])
        assert (await gateway.call(poor, **saying(SHORT))).status_code == 402
        assert counting.texts == [SHORT]
        assert (await gateway.call(rich, **saying(LONG))).status_code == 200
        assert LONG in counting.texts

    async def test_over_a_limit_are_refused_uncounted(self, gateway: Clocked, counting: Counting) -> None:
        busy = await gateway.tenant(limits={"key": {"rpm": 1}})
        assert (await gateway.call(busy)).status_code == 200
        counting.texts.clear()
        assert (await gateway.call(busy, **saying(LONG))).status_code == 429
        assert counting.texts == []

    async def test_that_only_ask_take_nothing_of_any_limit(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant(limits={"key": {"rpm": 1, "concurrency": 1}})
        assert (await gateway.call(tenant, **saying(LONG))).status_code == 200
        counter = await gateway.counter(tenant)
        assert (counter["minute_requests"], counter["total_held"], counter["concurrent"]) == (1, 0, 0)

    async def test_are_counted_two_at_once_of_an_organization_and_keep_no_other_waiting(
        self, gateway: Clocked, counting: Counting
    ) -> None:
        # Near a limit, where a prompt has to be counted before it is held for.
        one, other = await gateway.tenant(grant="20"), await gateway.tenant(grant="20")
        counting.hold_up()
        calls = [asyncio.create_task(gateway.call(one, **saying(LONG))) for _ in range(5)]
        await until(lambda: counting.waiting == 2)
        assert (await gateway.call(one, **saying(SHORT))).status_code == 200
        calls.append(asyncio.create_task(gateway.call(other, **saying(LONG))))
        await until(lambda: counting.waiting == 3)
        await asyncio.sleep(0.05)
        assert counting.waiting_most == 3
        counting.let_through()
        assert [call.status_code for call in await asyncio.gather(*calls)] == [200] * 6

    async def test_that_are_abandoned_while_they_wait_leave_their_turn_to_others(
        self, gateway: Clocked, counting: Counting
    ) -> None:
        tenant = await gateway.tenant(grant="20")
        counting.hold_up()
        calls = [asyncio.create_task(gateway.call(tenant, **saying(LONG))) for _ in range(4)]
        await until(lambda: counting.waiting == 2)
        for call in calls[1:]:
            call.cancel()
        await asyncio.gather(*calls[1:], return_exceptions=True)
        counting.let_through()
        assert (await calls[0]).status_code == 200
        assert (await gateway.call(tenant, **saying(LONG))).status_code == 200
        assert served_by(gateway)._admissions._turns == {}


class TestCountingTokens:
    async def principal(self, gateway: Clocked, tenant: Tenant) -> Principal:
        return (await served_by(gateway).door.authenticate([(b"x-api-key", tenant.key.encode())])).principal

    def counted(self, gateway: Clocked, principal: Principal, text: str = SHORT) -> Awaitable[int]:
        body = json.dumps({"model": MODEL, "max_tokens": 1, **saying(text)}).encode()
        return served_by(gateway).count_tokens(Inquiry(principal, Wire.MESSAGES, body, {}))

    async def test_leaves_nothing_behind(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant(grant="0")
        principal = await self.principal(gateway, tenant)
        assert await self.counted(gateway, principal) > 0
        assert await self.counted(gateway, principal, LONG) > 1000
        held = "SELECT count(*) FROM holds WHERE organization_id = $1"
        assert await gateway.pool.fetchval(held, tenant.id_of("organization")) == 0
        used = "SELECT count(*) FROM counters WHERE scope_id = $1 AND minute_requests + minute_tokens > 0"
        assert await gateway.pool.fetchval(used, tenant.id_of("organization")) == 0

    @pytest.mark.parametrize(
        ("change", "refusal"),
        [
            ("UPDATE api_keys SET revoked_at = now() WHERE organization_id = $1", AuthenticationFailed),
            ("UPDATE organizations SET status = 'closed' WHERE id = $1", PermissionDenied),
            ("UPDATE projects SET archived_at = now() WHERE organization_id = $1", PermissionDenied),
        ],
        ids=["key", "organization", "project"],
    )
    async def test_is_refused_to_who_may_call_no_more_though_this_process_did_not_hear_of_it(
        self, gateway: Clocked, counting: Counting, change: str, refusal: type[TollgateError]
    ) -> None:
        tenant = await gateway.tenant()
        principal = await self.principal(gateway, tenant)
        await gateway.pool.execute(change, tenant.id_of("organization"))
        for text in (SHORT, LONG):
            with pytest.raises(refusal):
                await self.counted(gateway, principal, text)
        assert counting.texts == []

    async def test_is_refused_over_http_once_the_key_is_revoked(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant()
        body, given = {"model": MODEL, **saying(SHORT)}, {"x-api-key": tenant.key}
        assert (await gateway.plane.client.post(COUNTED, json=body, headers=given)).status_code == 200
        await gateway.manage("DELETE", f"/keys/{tenant.key_id}", None, key=tenant.manager)
        assert (await gateway.plane.client.post(COUNTED, json=body, headers=given)).status_code == 401
