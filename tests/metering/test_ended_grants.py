"""A grant that ends while calls are under way: they are still paid from it, nothing else is, and the rest is posted."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders import a_grant
from tests.ledger.books import assert_balanced, assert_grants_add_up
from tests.metering.scene import Caller, Scene, costing

from tollgate.kit.errors import Conflict
from tollgate.kit.ids import CallId
from tollgate.ledger import service as ledger
from tollgate.ledger.model import AdjustmentOrder, Grant
from tollgate.metering import store, tasks

HOUR = timedelta(hours=1)


async def void(scene: Scene, grant: Grant) -> Grant:
    async with scene.database.write() as session:
        return await ledger.void_grant(
            session, grant=(grant.organization_id, grant.id), reason="a mistake", by=None, now=scene.clock.at
        )


async def as_it_is(scene: Scene, grant: Grant) -> Grant:
    async with scene.database.read() as session:
        found = await ledger.grants(session, organization_id=grant.organization_id, before=None, count=100)
    return next(each for each in found if each.id == grant.id)


async def paid_by(scene: Scene, call_id: CallId) -> dict[str, Decimal]:
    rows = await scene.pool.fetch("SELECT debit_account, amount FROM transfers WHERE cause_id = $1", call_id)
    return dict(map(tuple, rows))


async def give_back(scene: Scene, call_id: CallId) -> None:
    """The lease of the call's hold runs out before its settlement comes."""
    await scene.pool.execute("UPDATE holds SET lease_until = '-infinity' WHERE call_id = $1", call_id)
    assert await store.release_expired_holds(scene.pool, now=scene.clock.at) == 1


async def assert_whole(scene: Scene) -> None:
    await assert_balanced(scene.pool)
    await assert_grants_add_up(scene.pool)


class TestVoidedWhileHeld:
    async def test_it_pays_for_what_was_admitted_and_nothing_else(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        grant = await a_grant(scene.database, caller.organization_id, "10")
        accepted, held = scene.clock.at, await scene.hold(caller, "4")
        scene.clock.at += HOUR / 60

        voided = await void(scene, grant)

        assert [voided.burned, voided.voided, voided.remaining, voided.closed_at] == [0, 0, 10, None]
        assert (await scene.hold(caller, "1")).outcome == "balance"
        assert await tasks.end_grants(scene.database, scene.clock) == 0
        await scene.settle(costing(caller, held.call_id, accepted, "3"))
        assert await tasks.end_grants(scene.database, scene.clock) == 1
        ended = await as_it_is(scene, grant)
        assert [ended.burned, ended.voided, ended.remaining] == [3, 7, 0]
        assert await paid_by(scene, held.call_id) == {f"credits:{grant.id}": Decimal(3)}
        await assert_whole(scene)

    async def test_other_credit_is_admitted_on_from_that_moment(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        grant = await a_grant(scene.database, caller.organization_id, "10", priority=1)
        other = await a_grant(scene.database, caller.organization_id, "10", priority=2)
        accepted, first = scene.clock.at, await scene.hold(caller, "4")
        scene.clock.at += HOUR / 60
        await void(scene, grant)

        second_at, second = scene.clock.at, await scene.hold(caller, "5")
        await scene.settle(costing(caller, second.call_id, second_at, "5"))
        await scene.settle(costing(caller, first.call_id, accepted, "4"))

        assert await paid_by(scene, second.call_id) == {f"credits:{other.id}": Decimal(5)}
        assert await paid_by(scene, first.call_id) == {f"credits:{grant.id}": Decimal(4)}
        await assert_whole(scene)

    async def test_a_hold_that_is_given_back_lets_it_end(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        grant = await a_grant(scene.database, caller.organization_id, "10")
        held_at, held = scene.clock.at, await scene.hold(caller, "4")
        scene.clock.at += HOUR / 60
        await void(scene, grant)
        await give_back(scene, held.call_id)

        assert await tasks.end_grants(scene.database, scene.clock) == 1
        await scene.settle(costing(caller, held.call_id, held_at, "3"))

        assert await paid_by(scene, held.call_id) == {"unbilled": Decimal(3)}
        assert (await as_it_is(scene, grant)).voided == 10
        await assert_whole(scene)

    async def test_calls_of_others_hold_nothing_up(self, scene: Scene) -> None:
        caller, other = await scene.a_caller(), await scene.a_caller(credit="5")
        grant = await a_grant(scene.database, caller.organization_id, "10")
        await scene.hold(other, "1")

        assert (await void(scene, grant)).voided == 10

    async def test_calls_accepted_afterwards_hold_nothing_up(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        end = scene.clock.at + HOUR
        await a_grant(scene.database, caller.organization_id, "1", expires_at=end)
        await a_grant(scene.database, caller.organization_id, "10")
        scene.clock.at = end
        held = await scene.hold(caller, "1")
        assert await tasks.end_grants(scene.database, scene.clock) == 0  # ids tell no more than the millisecond

        await give_back(scene, held.call_id)
        scene.clock.at = end + timedelta(milliseconds=1)
        await scene.hold(caller, "1")

        assert await tasks.end_grants(scene.database, scene.clock) == 1

    async def test_settling_and_ending_at_once_neither_lose_nor_double(self, scene: Scene) -> None:
        callers = [await scene.a_caller() for _ in range(8)]
        ended = []
        for caller in callers:
            for _ in range(3):
                await a_grant(scene.database, caller.organization_id, "1", expires_at=scene.clock.at + HOUR)
            ended += [
                costing(caller, (await scene.hold(caller, "0.7")).call_id, scene.clock.at, "0.6") for _ in range(4)
            ]
        scene.clock.at += HOUR

        await asyncio.gather(
            *(scene.settle(*ended[place::6]) for place in range(6)),
            *(tasks.end_grants(scene.database, scene.clock) for _ in range(6)),
        )
        await tasks.end_grants(scene.database, scene.clock)

        sums = await scene.pool.fetch("SELECT cause, sum(amount) FROM transfers GROUP BY cause ORDER BY cause")
        assert list(map(tuple, sums)) == [
            ("call", Decimal("19.2")),
            ("expiry", Decimal("4.8")),
            ("grant", Decimal(24)),
        ]
        await assert_whole(scene)


Step: TypeAlias = tuple[Literal["grant", "call", "settle", "lose", "void", "adjust", "wait", "end"], int]
"""What happens, and a number from which the step takes what it needs to choose."""

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["grant", "call", "settle", "lose", "void", "adjust", "wait", "end"]), st.integers(0, 10**6)
    ),
    max_size=30,
)


@dataclass(slots=True)
class Story:
    """One organization, what happens to it, and what is under way."""

    scene: Scene
    caller: Caller
    grants: list[Grant] = field(default_factory=list)
    calls: list[tuple[CallId, datetime]] = field(default_factory=list)
    lost: list[tuple[CallId, datetime]] = field(default_factory=list)

    async def take(self, step: Step) -> None:
        name, number = step
        await getattr(self, f"_{name}")(number)

    async def _grant(self, number: int) -> None:
        terms = {
            "priority": number % 3,
            "expires_at": None if number % 4 == 0 else self.scene.clock.at + (number % 5 + 1) * HOUR,
        }
        amount = str(Decimal(number + 1).scaleb(-5))
        self.grants.append(
            await a_grant(self.scene.database, self.caller.organization_id, amount, now=self.scene.clock.at, **terms)
        )

    async def _call(self, number: int) -> None:
        answer = await self.scene.hold(self.caller, str(Decimal(number % 10**5 + 1).scaleb(-5)))
        if answer.outcome == "admitted":
            self.calls.append((answer.call_id, self.scene.clock.at))

    async def _settle(self, number: int) -> None:
        waiting = self.calls if number % 3 or not self.lost else self.lost
        if waiting:
            call_id, accepted = waiting.pop(number % len(waiting))
            cost = str(Decimal(number % 10**5).scaleb(-5))
            await self.scene.settle(costing(self.caller, call_id, accepted, cost))

    async def _lose(self, number: int) -> None:
        if self.calls:
            self.lost.append(self.calls.pop(number % len(self.calls)))
            await give_back(self.scene, self.lost[-1][0])

    async def _void(self, number: int) -> None:
        if self.grants:
            # What was paid just before, was paid before: at one instant nobody could tell.
            self.scene.clock.at += timedelta(microseconds=1)
            with suppress(Conflict):  # it has expired, or is used up
                await void(self.scene, self.grants[number % len(self.grants)])

    async def _adjust(self, number: int) -> None:
        if number != 500_000:
            order = AdjustmentOrder(Decimal(number - 500_000).scaleb(-5), "USD", "a reason")
            async with self.scene.database.write() as session:
                await ledger.adjust(
                    session, organization_id=self.caller.organization_id, order=order, by=None, now=self.scene.clock.at
                )

    async def _wait(self, number: int) -> None:
        self.scene.clock.at += (number % 90 + 1) * HOUR / 60

    async def _end(self, number: int) -> None:
        await asyncio.gather(*(tasks.end_grants(self.scene.database, self.scene.clock) for _ in range(number % 2 + 1)))

    async def finish(self) -> None:
        """Everything is settled, every expiry is past, and the job has run."""
        while self.calls or self.lost:
            await self._settle(len(self.calls))
        self.scene.clock.at += 10 * HOUR
        await self._end(0)


@given(steps=STEPS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_happens_grants_add_up_and_pay_only_for_what_was_accepted_before_they_ended(
    scene: Scene, steps: list[Step]
) -> None:
    story, bystander = Story(scene, await scene.a_caller()), await scene.a_caller(credit="5")
    for step in steps:
        await story.take(step)
        await assert_whole(scene)
    await story.finish()
    await assert_whole(scene)

    ended = await scene.pool.fetch(
        "SELECT ends_at, closed_at FROM grants WHERE organization_id = $1", story.caller.organization_id
    )
    assert all((row["closed_at"] is None) == (row["ends_at"] is None) for row in ended)
    assert await scene.pool.fetchval(_PAID_TOO_LATE) == 0
    assert await scene.pool.fetchval(_REMAINING, bystander.organization_id) == 5


_PAID_TOO_LATE = """
    SELECT count(*) FROM transfers AS t
    JOIN grants AS g ON g.organization_id = t.organization_id AND t.debit_account = 'credits:' || g.id
    WHERE t.cause NOT IN ('expiry', 'void') AND t.occurred_at >= g.ends_at
"""
_REMAINING = "SELECT sum(remaining) FROM grants WHERE organization_id = $1"
