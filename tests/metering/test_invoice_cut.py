"""A cut parts an organization's records exactly: every call is on one invoice, and its lines are sums of its calls."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from tests.builders import a_grant, seeded
from tests.metering.scene import PRICE, Caller, Scene, a_settlement, free

from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId
from tollgate.kit.tokens import Kind
from tollgate.metering import service
from tollgate.metering.model import BilledLine, BilledUsage, CallStatus, CallSummary, RecordScope, Settlement
from tollgate.metering.sums import Position
from tollgate.pricing.rules import rate

OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))
FOR_EVER = datetime(2100, 1, 1, tzinfo=UTC)


def a_call(caller: Caller, at: datetime, prompt: int, completion: int) -> Settlement:
    return a_settlement(caller, CallId(new_id(at)), at, prompt=prompt, completion=completion)


async def cut(scene: Scene, caller: Caller) -> int:
    async with scene.database.write() as session:
        return await service.cut_records(session, organization_id=caller.organization_id)


async def usage(scene: Scene, caller: Caller, scope: RecordScope) -> tuple[BilledUsage, ...]:
    async with scene.database.read() as session:
        position = await service.position(session, organization_id=caller.organization_id)
        return await service.billed_usage(
            session, organization_id=caller.organization_id, scope=scope, position=position
        )


async def calls_behind(scene: Scene, caller: Caller, scope: RecordScope, billed: BilledUsage) -> list[CallSummary]:
    """All calls of a line, read page by page."""
    line = BilledLine(billed.project_id, billed.model, billed.kind, billed.tier, billed.price_version_id)
    if billed.late:
        scope = replace(scope, start=OCTOBER, end=scope.start)
    found: list[CallSummary] = []
    async with scene.database.read() as session:
        while True:
            page = await service.billed_calls(
                session,
                organization_id=caller.organization_id,
                scope=scope,
                line=line,
                after=found[-1].id if found else None,
                limit=7,
            )
            found += page
            if len(page) < 7:
                return found


def successive(ends: list[datetime], cuts: list[int]) -> list[RecordScope]:
    """The scopes of one invoice after the other."""
    scopes: list[RecordScope] = []
    for end, number in zip(ends, cuts, strict=True):
        last = scopes[-1] if scopes else None
        previous = None if last is None else (last.end, last.cut)
        scopes.append(RecordScope(OCTOBER if last is None else last.end, end, number, previous))
    return scopes


async def test_every_call_is_on_exactly_one_invoice_though_calls_settle_while_records_are_cut(scene: Scene) -> None:
    chance = seeded(23)
    caller = await scene.a_caller(credit="1", project=False)
    other = await scene.a_key(caller.organization_id)
    ended = [
        a_call(
            chance.choice([caller, other]),
            OCTOBER + timedelta(minutes=chance.randrange(90 * 24 * 60)),
            chance.randrange(1, 5000),
            chance.randrange(1, 5000),
        )
        for _ in range(300)
    ]
    meters = [scene.meter() for _ in range(2)]
    cuts: list[int] = []

    async def settle(start: int) -> None:
        for each in ended[start::15]:
            await meters[start % 2].settle(each)

    async def close() -> None:
        for _ in range(3):
            await asyncio.sleep(0.02)
            cuts.append(await cut(scene, caller))

    await asyncio.gather(close(), *(settle(start) for start in range(15)))
    cuts.append(await cut(scene, caller))
    assert cuts == [0, 1, 2, 3]
    scopes = successive([NOVEMBER, DECEMBER, datetime(2026, 12, 20, tzinfo=UTC), FOR_EVER], cuts)

    found: Counter[CallId] = Counter()
    billed_amount, billed_credits, billed_calls = Decimal(0), Decimal(0), 0
    for scope in scopes:
        for billed in await usage(scene, caller, scope):
            billed_amount += billed.amount
            billed_credits += billed.credits_amount
            billed_calls += billed.calls
            if billed.kind is Kind.PROMPT:
                found.update(call.id for call in await calls_behind(scene, caller, scope, billed))
    assert found == Counter(each.call.call_id for each in ended)
    assert billed_calls == 300
    assert billed_amount == sum(each.call.amount for each in ended)
    assert billed_credits == await scene.pool.fetchval("SELECT sum(credits_amount) FROM calls")


async def test_the_calls_behind_a_line_sum_to_it(scene: Scene) -> None:
    chance = seeded(29)
    caller = await scene.a_caller(credit="0.01")
    callers = [caller, await scene.a_key(caller.organization_id)]
    ended = [
        a_settlement(
            chance.choice(callers),
            CallId(new_id(at)),
            at,
            prompt=chance.choice([0, chance.randrange(5000)]),
            completion=chance.randrange(1, 5000),
            model=chance.choice(["openai/gpt-4.1-mini", "sandbox/echo"]),
        )
        for at in (OCTOBER + timedelta(hours=chance.randrange(61 * 24)) for _ in range(120))
    ]
    await scene.settle(*ended[:60])
    first = await cut(scene, caller)
    await scene.settle(*ended[60:])
    scopes = successive([NOVEMBER, FOR_EVER], [first, await cut(scene, caller)])
    lines = [(scope, billed) for scope in scopes for billed in await usage(scene, caller, scope)]
    assert {billed.late for _, billed in lines} == {True, False}
    for scope, billed in lines:
        if billed.kind is Kind.REQUEST:
            continue
        calls = await calls_behind(scene, caller, scope, billed)
        charges = [item for call in calls for item in rate(call.quantities, PRICE).items if item.kind is billed.kind]
        assert sum(item.quantity for item in charges) == billed.quantity
        assert sum(item.amount for item in charges) == billed.amount
        assert [call.id for call in calls] == sorted({call.id for call in calls})
        assert all((call.accepted_at < scope.start) == billed.late for call in calls)


async def test_a_late_call_is_on_the_next_invoice_and_marked(scene: Scene) -> None:
    caller = await scene.a_caller()
    await scene.settle(a_call(caller, OCTOBER, 100, 1))
    first = await cut(scene, caller)
    await scene.settle(a_call(caller, OCTOBER, 200, 1), a_call(caller, NOVEMBER, 400, 1))
    scopes = successive([NOVEMBER, DECEMBER], [first, await cut(scene, caller)])
    lines = [
        [(billed.late, billed.quantity) for billed in await usage(scene, caller, scope) if billed.kind is Kind.PROMPT]
        for scope in scopes
    ]
    assert lines == [[(False, 100)], [(False, 400), (True, 200)]]


async def test_a_call_accepted_after_the_period_waits_for_its_own_invoice(scene: Scene) -> None:
    caller = await scene.a_caller()
    await scene.settle(a_call(caller, OCTOBER, 100, 1), a_call(caller, NOVEMBER, 200, 1))
    scopes = successive([NOVEMBER, DECEMBER], [await cut(scene, caller), await cut(scene, caller)])
    quantities = [
        [billed.quantity for billed in await usage(scene, caller, scope) if billed.kind is Kind.PROMPT]
        for scope in scopes
    ]
    assert quantities == [[100], [200]]


async def test_a_cut_waits_for_settlements_under_way_and_they_are_before_it(scene: Scene) -> None:
    caller = await scene.a_caller()
    await scene.settle(a_call(caller, OCTOBER, 1, 1))
    async with scene.pool.acquire() as connection:
        async with connection.transaction():
            ended = a_call(caller, OCTOBER, 2, 1)
            statement = "SELECT * FROM settle($1::call_record[], $2::charge_record[], $3::attempt_record[], $4)"
            await connection.fetch(statement, [ended.call], list(ended.charges), list(ended.attempts), OCTOBER)
            cutting = asyncio.create_task(cut(scene, caller))
            await asyncio.sleep(0.05)
            assert not cutting.done()
        assert await cutting == 0
    await scene.settle(a_call(caller, OCTOBER, 4, 1))
    scopes = successive([NOVEMBER, DECEMBER], [0, await cut(scene, caller)])
    quantities = [sum(billed.quantity for billed in await usage(scene, caller, scope)) for scope in scopes]
    assert quantities == [(1 + 1 + 1) + (2 + 1 + 1), 4 + 1 + 1]


async def test_the_running_cut_is_told_before_anything_was_settled(scene: Scene) -> None:
    caller = await scene.a_caller()
    async with scene.database.read() as session:
        assert await service.position(session, organization_id=caller.organization_id) == Position(0, None)
    assert [await cut(scene, caller) for _ in range(3)] == [0, 1, 2]
    async with scene.database.read() as session:
        assert await service.position(session, organization_id=caller.organization_id) == Position(3, None)


@pytest.mark.parametrize("status", [CallStatus.INSURED, CallStatus.FAILED])
async def test_a_call_that_costs_nothing_is_counted_once_and_adds_to_no_line(scene: Scene, status: CallStatus) -> None:
    caller = await scene.a_caller()
    await a_grant(scene.database, caller.organization_id, "1")
    await scene.settle(free(a_call(caller, OCTOBER, 100, 50), status))
    [billed] = await usage(scene, caller, RecordScope(OCTOBER, NOVEMBER, 0, None))
    assert (billed.kind, billed.calls) == (Kind.REQUEST, 1)
    assert billed.amount == billed.credits_amount == 0
