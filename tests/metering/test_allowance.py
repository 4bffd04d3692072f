"""What may be spent while the ledger is away is bounded, and settled when it is back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.metering.line import Line
from tests.metering.scene import Caller, Scene, costing

from tollgate.kit.errors import InsufficientCredit, LedgerUnavailable
from tollgate.kit.ids import CallId, KeyId, OrganizationId
from tollgate.metering.allowance import OfflineAllowance
from tollgate.metering.model import Admission, AdmissionRequest

ONE, OTHER = OrganizationId(UUID(int=1)), OrganizationId(UUID(int=2))
amounts = st.decimals(min_value="0.000000000001", max_value=5, places=12)


def asking(owner: OrganizationId, most: Decimal | str, least: Decimal | str | None = None) -> AdmissionRequest:
    return AdmissionRequest(
        organization_id=owner,
        call_id=CallId(uuid4()),
        project_id=None,
        key_id=KeyId(UUID(int=3)),
        hold_least=Decimal(most if least is None else least),
        hold_most=Decimal(most),
        tokens=1,
        currency="USD",
        revision=0,
    )


def answer(outcome: str, scope: str | None = None) -> Admission:
    return Admission(CallId(UUID(int=4)), outcome, Decimal(0), scope, None, None)


ADMITTED, TOO_POOR = answer("admitted"), answer("balance", "organization")


class TestOfflineAllowance:
    def test_gives_nothing_to_whom_the_ledger_was_not_seen_to_admit(self) -> None:
        allowance = OfflineAllowance(Decimal(1))
        assert allowance.take(asking(ONE, "0.1")) is None
        allowance.answered(ONE, TOO_POOR)
        assert allowance.take(asking(ONE, "0.1")) is None

    def test_gives_nothing_to_whom_the_ledger_refused_last(self) -> None:
        allowance = OfflineAllowance(Decimal(1))
        allowance.answered(ONE, ADMITTED)
        allowance.answered(ONE, TOO_POOR)
        assert allowance.take(asking(ONE, "0.1")) is None

    @pytest.mark.parametrize(
        "refused",
        [answer("rpm", "organization"), answer("concurrency", "key"), answer("monthly", "key"), answer("key")],
        ids=lambda refused: f"{refused.scope} {refused.outcome}",
    )
    def test_keeps_nothing_from_an_organization_for_what_refused_one_of_its_keys(self, refused: Admission) -> None:
        allowance = OfflineAllowance(Decimal(1))
        allowance.answered(ONE, ADMITTED)
        allowance.answered(ONE, refused)
        assert allowance.take(asking(ONE, "1")) == 1

    def test_gives_nothing_where_there_is_none(self) -> None:
        allowance = OfflineAllowance(Decimal(0))
        allowance.answered(ONE, ADMITTED)
        assert allowance.take(asking(ONE, "0")) is None

    def test_gives_what_is_left_if_that_is_worth_having(self) -> None:
        allowance = OfflineAllowance(Decimal(1))
        allowance.answered(ONE, ADMITTED)
        taken = [allowance.take(asking(ONE, "0.4", "0.2")) for _ in range(4)]
        assert taken == [Decimal("0.4"), Decimal("0.4"), Decimal("0.2"), None]

    def test_gets_back_what_a_call_did_not_use(self) -> None:
        allowance, long = OfflineAllowance(Decimal(1)), asking(ONE, "0.9")
        allowance.answered(ONE, ADMITTED)
        assert allowance.take(long) == Decimal("0.9")
        allowance.settled(ONE, long.call_id, Decimal("0.2"))
        allowance.settled(ONE, long.call_id, Decimal("0.2"))
        assert allowance.take(asking(ONE, "5", "0.1")) == Decimal("0.8")

    def test_gets_back_nothing_of_what_the_ledger_has_restored_since(self) -> None:
        allowance, long = OfflineAllowance(Decimal(1)), asking(ONE, "0.9")
        allowance.answered(ONE, ADMITTED)
        allowance.take(long)
        allowance.answered(ONE, ADMITTED)
        allowance.settled(ONE, long.call_id, Decimal("0.2"))
        assert allowance.take(asking(ONE, "5", "0.1")) == 1

    def test_begins_anew_when_the_ledger_answers(self) -> None:
        allowance = OfflineAllowance(Decimal(1))
        allowance.answered(ONE, ADMITTED)
        assert allowance.take(asking(ONE, "1")) == 1
        allowance.answered(ONE, ADMITTED)
        assert allowance.take(asking(ONE, "1")) == 1

    @given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), amounts, amounts), max_size=30))
    def test_never_gives_more_than_it_is_nor_to_one_what_is_anothers(
        self, wanted: list[tuple[OrganizationId, Decimal, Decimal]]
    ) -> None:
        allowance, given_to = OfflineAllowance(Decimal(3)), {ONE: Decimal(0), OTHER: Decimal(0)}
        for owner in given_to:
            allowance.answered(owner, ADMITTED)
        for owner, first, second in wanted:
            least, most = min(first, second), max(first, second)
            left = 3 - given_to[owner]
            taken = allowance.take(asking(owner, most, least))
            assert taken == (min(left, most) if left >= least else None)
            given_to[owner] += taken or 0
        assert max(given_to.values()) <= 3


class TestThroughTheMeter:
    @pytest.fixture
    async def line(self, shared_scene: Scene) -> AsyncIterator[Line]:
        line = Line(shared_scene.pool)
        yield line
        line.mend()
        for meter in shared_scene.meters:
            await meter.drained()

    async def admitted(self, *asked: Awaitable[Admission]) -> list[Decimal | None]:
        """What was allowed to each; `None` where the ledger was said to be away."""
        answers = await asyncio.gather(*asked, return_exceptions=True)
        unexpected = [each for each in answers if not isinstance(each, Admission | LedgerUnavailable)]
        assert unexpected == []
        return [answer.amount if isinstance(answer, Admission) else None for answer in answers]

    async def a_known_caller(self, scene: Scene, meter: Any) -> Caller:
        caller = await scene.a_caller(credit="10")
        await meter.settle(costing(caller, (await meter.admit(scene.request(caller))).call_id, scene.clock.at, "1"))
        return caller

    async def test_calls_are_admitted_one_after_the_other_until_it_is_spent(
        self, shared_scene: Scene, line: Line
    ) -> None:
        scene = shared_scene
        meter = scene.meter(pool=cast("Any", line), offline_allowance="1")
        caller = await self.a_known_caller(scene, meter)
        line.cut()
        answers = [await self.admitted(meter.admit(scene.request(caller, "0.4", least="0.1"))) for _ in range(5)]
        assert answers == [[Decimal("0.4")], [Decimal("0.4")], [Decimal("0.2")], [None], [None]]

    async def test_any_number_at_once_spend_no_more(self, shared_scene: Scene, line: Line) -> None:
        scene = shared_scene
        meter = scene.meter(pool=cast("Any", line), offline_allowance="1")
        caller = await self.a_known_caller(scene, meter)
        line.cut()
        answers = await self.admitted(*(meter.admit(scene.request(caller, "0.3")) for _ in range(50)))
        assert sorted(answers, key=str) == [*[Decimal("0.3")] * 3, *[None] * 47]

    async def test_who_was_never_admitted_or_refused_last_gets_nothing(self, shared_scene: Scene, line: Line) -> None:
        scene = shared_scene
        meter = scene.meter(pool=cast("Any", line), offline_allowance="1")
        poor, unseen = await self.a_known_caller(scene, meter), await scene.a_caller(credit="10")
        with pytest.raises(InsufficientCredit):
            await meter.admit(scene.request(poor, "100"))
        line.cut()
        for caller in (poor, unseen):
            assert await self.admitted(meter.admit(scene.request(caller, "0.1"))) == [None]

    async def test_to_ask_takes_nothing_of_it(self, shared_scene: Scene, line: Line) -> None:
        scene = shared_scene
        meter = scene.meter(pool=cast("Any", line), offline_allowance="1")
        caller = await self.a_known_caller(scene, meter)
        line.cut()
        for only_asks, most in ((True, "1"), (True, "1"), (False, "1"), (True, "0.1")):
            [answer] = await self.admitted(meter.admit(scene.request(caller, most, only_asks=only_asks)))
            assert answer == (None if most == "0.1" else 1)

    async def test_what_was_spent_is_settled_when_the_ledger_is_back(self, shared_scene: Scene, line: Line) -> None:
        scene = shared_scene
        meter = scene.meter(pool=cast("Any", line), offline_allowance="1", settle_timeout_seconds=0)
        caller = await self.a_known_caller(scene, meter)
        line.cut()
        for _ in range(2):
            answer = await meter.admit(scene.request(caller, "0.5"))
            await meter.settle(costing(caller, answer.call_id, scene.clock.at, "0.5"))
        assert await self.admitted(meter.admit(scene.request(caller, "0.5"))) == [None]
        line.mend()
        await meter.drained()
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (2, 0, 0)
        assert (await meter.admit(scene.request(caller, "8"))).amount == 8
        line.cut()
        assert await self.admitted(meter.admit(scene.request(caller, "1"))) == [1]

    async def test_a_hold_that_comes_late_for_a_call_that_is_served_stays_until_it_is_settled(
        self, shared_scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a sweep would settle the call by what it had come to when it was swept."""
        scene = shared_scene
        monkeypatch.setattr("tollgate.metering.service.ADMIT_SECONDS_MAX", 0.2)
        meter = scene.meter(offline_allowance="1")
        caller = await self.a_known_caller(scene, meter)
        late = scene.request(caller, "0.5")
        async with scene.pool.acquire() as connection, connection.transaction():
            locked = "SELECT FROM counters WHERE organization_id = $1 FOR UPDATE"
            await connection.execute(locked, caller.organization_id)
            assert (await meter.admit(late)).amount == Decimal("0.5")
            meter.note(costing(caller, late.call_id, scene.clock.at, "0.1"))
        async with asyncio.timeout(5):
            while not await scene.holds(caller):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        lasting = "SELECT lease_until > clock_timestamp() FROM holds WHERE call_id = $1"
        assert await scene.pool.fetchval(lasting, late.call_id)
        await meter.settle(costing(caller, late.call_id, scene.clock.at, "0.4"))
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"]) == (Decimal("1.4"), 0)
