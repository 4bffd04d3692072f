"""Callers who hang up in the middle of a stream: one record, the hold released, and nothing generated for nobody."""

import asyncio
import json
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from tests.gateway.fake_provider import DONE, USAGE, Behaviour, Line, chunk, silent, spoken, stream, whole
from tests.gateway.installation import MESSAGES, Customer, Installation, provider_of

from tollgate.gateway import tokenizer

WORD = "nevertheless "
LONG = [*spoken([WORD] * 200), chunk(finish="stop"), chunk(choices=[], usage=USAGE), DONE]


async def hang_up(customer: Customer, model: str, *, after: int, streams: bool = True) -> int:
    """Call, read the first events, and close the socket; how many words had come."""
    address = urlsplit(customer.gateway.base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    body = json.dumps({"model": model, "messages": MESSAGES, "stream": streams}).encode()
    head = f"POST {address.path}/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {customer.key}\r\n"
    writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    seen = b""
    while seen.count(WORD.encode()) < after:
        seen += await reader.readuntil(b"\n")
    await asyncio.sleep(0 if seen else 0.2)
    writer.transport.abort()
    return seen.count(WORD.encode())


@pytest.mark.parametrize("after", [1, 3])
async def test_a_provider_that_stops_is_stopped_and_what_was_delivered_is_charged(
    gateway: Installation, after: int
) -> None:
    customer, model = await gateway.customer(), await gateway.model(stream(LONG, pause=0.05))
    delivered = await hang_up(customer, model, after=after)
    call = await customer.call()
    [served] = gateway.provider.served_by(provider_of(model))
    async with asyncio.timeout(1):
        await served.left.wait()
    assert served.events < 60
    assert (call["status"], call["estimated"], call["finish_reason"]) == ("cancelled", True, None)
    quantities = json.loads(call["quantities"])
    counts = [await tokenizer.count(WORD * words, "o200k_base") for words in (delivered, served.events)]
    assert counts[0] <= quantities["completion"] <= counts[1]
    price = Decimal("0.4") * quantities["prompt"] + Decimal("1.6") * quantities["completion"]
    assert call["amount"] == price / 1_000_000
    await _is_recorded_once(customer)


async def test_silence_after_the_first_words_does_not_delay_the_notice(gateway: Installation) -> None:
    async def falls_silent(line: Line) -> None:
        await line.begin()
        await line.send(b"".join(LONG[:4]))
        await line.served.left.wait()

    customer, model = await gateway.customer(), await gateway.model(falls_silent)
    await hang_up(customer, model, after=2)
    [served] = gateway.provider.served_by(provider_of(model))
    async with asyncio.timeout(1):
        await served.left.wait()
    assert (await customer.call())["status"] == "cancelled"
    await _is_recorded_once(customer)


async def test_who_leaves_before_the_first_word_pays_the_prompt(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await gateway.model(silent, whole())
    await hang_up(customer, model, after=0)
    call = await customer.call()
    assert (call["status"], call["estimated"]) == ("cancelled", True)
    assert call["amount"] == Decimal("0.4") * json.loads(call["quantities"])["prompt"] / 1_000_000
    assert not await customer.holds()
    assert [row["status"] for row in await customer.attempts()] == ["cancelled"]
    assert not gateway.provider.served_by(provider_of(model, 1))
    [served] = gateway.provider.served_by(provider_of(model))
    async with asyncio.timeout(5):
        await served.left.wait()


async def test_usage_that_came_before_the_end_is_used(gateway: Installation) -> None:
    early = {"prompt_tokens": 50, "completion_tokens": 7}
    events = spoken([WORD] * 100, usage=early)
    customer, model = await gateway.customer(), await gateway.model(stream(events, pause=0.05))
    await hang_up(customer, model, after=2)
    call = await customer.call()
    assert (call["status"], call["estimated"]) == ("cancelled", False)
    assert json.loads(call["quantities"]) == {"prompt": 50, "completion": 7}


async def test_leaving_at_the_finish_reason_spares_nobody_the_reasoning(gateway: Installation) -> None:
    async def reasons(line: Line) -> None:
        await line.begin()
        await line.send(b"".join([*spoken([WORD]), chunk(finish="stop")]))
        await asyncio.sleep(0.3)
        await line.send(b"".join([chunk(choices=[], usage={"prompt_tokens": 50, "completion_tokens": 9000}), DONE]))
        await line.finish()

    customer, model = await gateway.customer(), await gateway.model(reasons)
    await hang_up(customer, model, after=1)
    call = await customer.call()
    assert (call["status"], call["estimated"], call["finish_reason"]) == ("cancelled", False, "stop")
    assert json.loads(call["quantities"]) == {"prompt": 50, "completion": 9000}
    await _is_recorded_once(customer)


async def test_a_provider_that_charges_on_is_read_to_its_usage(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await gateway.model(stream(LONG, pause=0.005), supports_cancel=False)
    await hang_up(customer, model, after=2)
    call = await customer.call()
    [served] = gateway.provider.served_by(provider_of(model))
    # Its last piece may be recorded before it knows that it is sent.
    async with asyncio.timeout(5):
        await served.complete.wait()
    assert (call["status"], call["estimated"], call["amount"]) == ("cancelled", False, Decimal("0.00082"))
    await _is_recorded_once(customer)


async def test_a_provider_that_never_comes_to_an_end_is_left_at_the_deadline(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await gateway.model(stream(spoken([WORD] * 1000), pause=0.05), supports_cancel=False)
    delivered = await hang_up(customer, model, after=2)
    call = await customer.call()
    [served] = gateway.provider.served_by(provider_of(model))
    assert 40 < served.events < 120
    assert (call["status"], call["estimated"]) == ("cancelled", True)
    assert delivered < json.loads(call["quantities"])["completion"] <= served.events * 3
    await _is_recorded_once(customer)


async def test_a_whole_answer_is_finished_and_charged_though_nobody_waits(gateway: Installation) -> None:
    async def slow(line: Line) -> None:
        await asyncio.sleep(0.5)
        await whole()(line)

    customer, model = await gateway.customer(), await gateway.model(slow)
    await hang_up(customer, model, after=0, streams=False)
    call = await customer.call()
    assert (call["status"], call["amount"]) == ("settled", Decimal("0.00082"))
    await _is_recorded_once(customer)


@pytest.mark.parametrize("behaviour", [stream(LONG, pause=0.01), stream([b"".join(LONG)])], ids=["slow", "at once"])
async def test_many_who_hang_up_leave_nothing_behind(gateway: Installation, behaviour: Behaviour) -> None:
    customer, model = await gateway.customer(), await gateway.model(behaviour)
    await asyncio.gather(*(hang_up(customer, model, after=1 + number % 5) for number in range(30)))
    async with asyncio.timeout(8):
        while len(await customer.calls()) < 30:  # noqa: ASYNC110 - the records are made in another process
            await asyncio.sleep(0.05)
    calls = await customer.calls()
    assert len(calls) == 30
    assert {call["status"] for call in calls} <= {"cancelled", "settled"}
    assert await customer.balance() == 5 - sum(call["amount"] for call in calls)
    assert not await customer.holds()
    assert await customer.held() == 0


async def _is_recorded_once(customer: Customer) -> None:
    assert not await customer.holds()
    assert await customer.held() == 0
    assert len(await customer.calls()) == 1
    assert [row["status"] for row in await customer.attempts()] == ["served"]
    assert await customer.balance() == 5 - (await customer.call())["amount"]
