"""What a stream has delivered is noted as it goes on, and no note of a call outlives its settlement."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from tests.gateway.clocked import Clocked, clocked
from tests.gateway.fake_client import FakeClient
from tests.gateway.fake_provider import chunk
from tests.gateway.watched import USAGE, Watched, finished

from tollgate.gateway import progress, tokenizer
from tollgate.kit.errors import TollgateError
from tollgate.metering.model import AttemptStatus, CallStatus, Settlement


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as opened:
        yield opened


@pytest.fixture
def watched(gateway: Clocked, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.02)
    return Watched(gateway)


async def test_a_call_is_noted_before_its_provider_is_asked(watched: Watched) -> None:
    watched.provider.answers.clear()
    call = await watched.call(await watched.gateway.tenant(), FakeClient(), stream=False)
    await watched.provider.asked.wait()
    [noted] = watched.noted()
    assert (noted.call.status, noted.call.estimated) == (CallStatus.RECOVERED, True)
    assert [attempt.status for attempt in noted.attempts] == [AttemptStatus.CANCELLED]
    assert json.loads(noted.call.quantities)["prompt"] > 0
    assert watched.safe.known == [noted.call.call_id]
    watched.provider.status = 500
    watched.provider.answers.set()
    watched.provider.give(b"{}")
    with pytest.raises(TollgateError):
        await finished(call)
    assert watched.is_clear


async def test_the_note_of_a_stream_grows_with_what_it_delivers_and_goes_when_it_is_settled(watched: Watched) -> None:
    tenant, client = await watched.gateway.tenant(), FakeClient()
    call = await watched.call(tenant, client)
    watched.provider.say("one")
    first = await watched.noted_tokens(1)
    watched.provider.say(" two", " three", " four")
    second = await watched.noted_tokens(4)
    assert first.call.call_id == second.call.call_id
    assert first.call.amount < second.call.amount == 4 * first.call.amount
    assert [attempt.status for attempt in second.attempts] == [AttemptStatus.SERVED]
    watched.provider.end()
    await finished(call)
    assert client.finished.is_set()
    assert watched.is_clear
    counter = await watched.gateway.counter(tenant)
    assert (counter["total_used"], counter["total_held"]) == (3 * first.call.amount, 0)


async def test_a_stream_in_which_nothing_came_is_not_noted_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await watched.call(await watched.gateway.tenant(), FakeClient())
    watched.provider.say("one")
    await watched.noted_tokens(1)
    noted: list[Settlement] = []
    monkeypatch.setattr(watched.safe, "note", noted.append)
    await asyncio.sleep(0.1)
    assert noted == []
    monkeypatch.undo()
    watched.provider.end()
    await finished(call)


async def test_a_stream_that_ends_while_it_is_counted_leaves_no_note(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = await watched.call(await watched.gateway.tenant(), FakeClient())
    counting, count, go_on = asyncio.Event(), tokenizer.count, asyncio.Event()

    async def slowly(text: str, vocabulary: str) -> int:
        counting.set()
        await go_on.wait()
        return await count(text, vocabulary)

    monkeypatch.setattr(tokenizer, "count", slowly)
    watched.provider.say("one")
    async with asyncio.timeout(5):
        await counting.wait()
    watched.provider.end()
    await finished(call)
    assert watched.is_clear
    go_on.set()
    await asyncio.sleep(0.05)
    assert watched.is_clear


@pytest.mark.parametrize("how", ["the client hangs up", "the call is cancelled", "the provider breaks off"])
async def test_a_stream_that_does_not_come_to_its_end_leaves_no_note(watched: Watched, how: str) -> None:
    tenant = await watched.gateway.tenant()
    client = FakeClient(leaves_after=1 if how == "the client hangs up" else None)
    call = await watched.call(tenant, client)
    watched.provider.say("one")
    noted = await watched.noted_tokens(1)
    if how == "the call is cancelled":
        call.cancel()
    else:
        watched.provider.say(" two")
        watched.provider.give(b"")
    async with asyncio.timeout(5):
        await asyncio.wait([call])
    await watched.served.drained()
    assert watched.is_clear
    recorded = await watched.gateway.pool.fetchrow("SELECT * FROM calls WHERE id = $1", noted.call.call_id)
    assert recorded is not None
    assert recorded["amount"] >= noted.call.amount
    assert (await watched.gateway.counter(tenant))["total_held"] == 0


async def test_a_stream_that_told_all_is_recorded_and_let_go_of_though_its_call_is_cancelled_meanwhile(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, settle, recording = await watched.gateway.tenant(), watched.served._meter.settle, asyncio.Event()

    async def told(settlement: Settlement) -> None:
        assert not watched.provider.is_let_go_of
        recording.set()
        await settle(settlement)

    monkeypatch.setattr(watched.served._meter, "settle", told)
    call = await watched.call(tenant, FakeClient())
    watched.provider.say("one")
    watched.provider.end()
    async with asyncio.timeout(5):
        await recording.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert watched.provider.is_let_go_of
    await watched.served.drained()
    assert watched.is_clear
    [row] = await watched.gateway.pool.fetch(
        "SELECT status, estimated FROM calls WHERE organization_id = $1", tenant.id_of("organization")
    )
    assert (row["status"], row["estimated"]) == ("settled", False)
    assert (await watched.gateway.counter(tenant))["total_held"] == 0


async def test_a_call_that_is_refused_leaves_no_note(watched: Watched) -> None:
    poor = await watched.gateway.tenant(grant="0")
    with pytest.raises(TollgateError):
        await finished(await watched.call(poor, FakeClient()))
    assert watched.is_clear


async def test_a_provider_that_goes_on_is_let_go_of_before_its_call_is_recorded(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, let_go = watched.served._meter.settle, list[bool]()

    async def told(settlement: Settlement) -> None:
        let_go.append(watched.provider.is_let_go_of)
        await settle(settlement)

    monkeypatch.setattr(watched.served._meter, "settle", told)
    call = await watched.call(await watched.gateway.tenant(), FakeClient(leaves_after=1))
    for _ in range(3):
        watched.provider.give(chunk({"content": "one"}, usage=USAGE))
    await finished(call)
    assert let_go == [True]


async def test_only_calls_that_go_on_are_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOOK_SECONDS", 0.02)
    now, again, looked = asyncio.get_running_loop().time(), asyncio.Event(), list[str]()
    under_way = {"ends before": now, "goes on": now, "ends as the other is looked after": now}

    async def look(call: str) -> None:
        under_way.pop("ends as the other is looked after", None)
        if call in looked:
            again.set()
        looked.append(call)

    looking = asyncio.create_task(progress.look_after(under_way, look))
    await asyncio.sleep(0)
    del under_way["ends before"]
    async with asyncio.timeout(5):
        await again.wait()
    looking.cancel()
    assert set(looked) == {"goes on"}
    assert set(under_way) == {"goes on"}
