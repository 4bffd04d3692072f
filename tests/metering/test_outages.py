"""What is wrong with one record stays with that record; what is wrong with the ledger passes, and nothing is lost."""

import asyncio
from decimal import Decimal
from typing import Any, cast

import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.metering.line import Line
from tests.metering.scene import Caller, Scene, costing, free

from tollgate.infra import database as databases
from tollgate.infra.identity import new_id
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.ids import CallId
from tollgate.metering import sending
from tollgate.metering.model import Admission, CallStatus, Settlement
from tollgate.metering.sending import BATCH_MAX


def an_ended_call(scene: Scene, caller: Caller, **changes: Any) -> Settlement:
    ended = costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1")
    return ended._replace(call=ended.call._replace(**changes))


class TestPoison:
    @pytest.mark.parametrize(
        "poison",
        [
            {"quantities": "{"},
            {"tokens": 2**63},
            {"latency_ms": 2**31},
            {"amount": Decimal(10) ** 26},
            {"amount": Decimal(-1)},
            {"status": "lost"},
            {"model": "m" * 9000 + "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))},
            {"accepted_at": "noon"},
        ],
        ids=lambda poison: next(iter(poison)),
    )
    async def test_a_record_the_ledger_cannot_keep_does_not_sink_its_batch(
        self, shared_scene: Scene, poison: dict[str, Any]
    ) -> None:
        scene = shared_scene
        caller, meter = await scene.a_caller(), scene.meter()
        poisoned = an_ended_call(scene, caller, **poison)
        batch = [*(an_ended_call(scene, caller) for _ in range(3)), poisoned, an_ended_call(scene, caller)]
        answers = await asyncio.gather(*(meter.settle(each) for each in batch), return_exceptions=True)
        assert [isinstance(answer, LedgerUnavailable) for answer in answers] == [False, False, False, True, False]
        assert [answer for answer in answers if not isinstance(answer, LedgerUnavailable)] == [None] * 4
        assert (await scene.counter(caller))["total_used"] == 4

    @pytest.mark.parametrize(
        "decoration",
        [{"user_id": "a\0b"}, {"session_id": "\ud800"}, {"metadata": '{"a": "\\u0000"}'}, {"finish_reason": "\0"}],
        ids=lambda decoration: next(iter(decoration)),
    )
    async def test_what_a_caller_wrote_makes_no_call_free(
        self, shared_scene: Scene, decoration: dict[str, Any]
    ) -> None:
        scene = shared_scene
        caller, meter = await scene.a_caller(), scene.meter()
        batch = [an_ended_call(scene, caller, **decoration), an_ended_call(scene, caller)]
        await asyncio.gather(*(meter.settle(each) for each in batch))
        assert (await scene.counter(caller))["total_used"] == 2
        kept = "SELECT coalesce(user_id, session_id, metadata::text, finish_reason) FROM calls WHERE id = $1"
        assert await scene.pool.fetchval(kept, batch[0].call.call_id) is None

    async def test_a_hold_that_comes_too_late_is_given_back(
        self, shared_scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene = shared_scene
        monkeypatch.setattr("tollgate.metering.service.ADMIT_SECONDS_MAX", 0.2)
        caller, meter = await scene.a_caller(credit="10"), scene.meter()
        await scene.hold(caller)
        async with scene.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT FROM counters WHERE organization_id = $1 FOR UPDATE", caller.organization_id
            )
            late = scene.request(caller)
            with pytest.raises(LedgerUnavailable):
                await meter.admit(late)
        taken = "SELECT count(*) FROM holds WHERE call_id = $1"
        while not await scene.pool.fetchval(taken, late.call_id):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
        while await scene.pool.fetchval(taken, late.call_id):
            await meter.give_back_unwanted()
        assert (await scene.counter(caller))["total_held"] == 1

    async def test_a_hold_whose_answer_was_lost_is_given_back(self, shared_scene: Scene) -> None:
        scene = shared_scene
        line = Line(scene.pool)
        caller, meter = await scene.a_caller(credit="10"), scene.meter(pool=cast("Any", line))
        line.lose_answers("FROM admit")
        with pytest.raises(LedgerUnavailable):
            await meter.admit(scene.request(caller))
        line.mend()
        assert (await scene.counter(caller))["total_held"] == 1
        await meter.give_back_unwanted()
        assert (await scene.counter(caller))["total_held"] == 0

    async def test_admissions_that_nobody_waits_for_are_not_sent(
        self, shared_scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scene = shared_scene
        monkeypatch.setattr("tollgate.metering.service.ADMIT_SECONDS_MAX", 0.2)
        caller, meter = await scene.a_caller(credit="10000"), scene.meter()
        await scene.hold(caller)
        async with scene.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT FROM counters WHERE organization_id = $1 FOR UPDATE", caller.organization_id
            )
            answers = await asyncio.gather(
                *(meter.admit(scene.request(caller)) for _ in range(5 * BATCH_MAX)), return_exceptions=True
            )
        assert {type(answer) for answer in answers} == {LedgerUnavailable}
        monkeypatch.undo()
        await meter.admit(scene.request(caller))
        assert (await scene.counter(caller))["total_held"] <= 2 + 2 * BATCH_MAX

    @pytest.mark.parametrize(
        "poison",
        [{"hold_most": Decimal(10) ** 30}, {"tokens": 2**63}, {"currency": "\0"}, {"hold_least": "much"}],
        ids=lambda poison: next(iter(poison)),
    )
    async def test_a_request_the_ledger_cannot_read_does_not_sink_its_batch(
        self, shared_scene: Scene, poison: dict[str, Any]
    ) -> None:
        scene = shared_scene
        caller, meter = await scene.a_caller(credit="10"), scene.meter()
        requests = [scene.request(caller) for _ in range(4)]
        requests[1] = requests[1]._replace(**poison)
        answers = await asyncio.gather(*(meter.admit(each) for each in requests), return_exceptions=True)
        assert [answer.amount for answer in answers if isinstance(answer, Admission)] == [1, 1, 1]
        assert isinstance(answers[1], asyncpg.DataError)

    async def test_a_call_that_holds_already_does_not_hold_twice(self, shared_scene: Scene) -> None:
        scene = shared_scene
        caller, meter = await scene.a_caller(credit="10"), scene.meter()
        request, other = scene.request(caller), scene.request(caller)
        answers = await asyncio.gather(
            *(meter.admit(each) for each in (request, request, other)), return_exceptions=True
        )
        assert [isinstance(answer, Admission) for answer in answers] == [True, False, True]
        assert (await scene.counter(caller))["total_held"] == 2


FAIL = "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {}; END $$"


class TestWhatKeepsGoingWrong:
    @pytest.fixture(autouse=True)
    def _sooner(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sending, "_RETRY_MILLISECONDS", (1, 1))
        monkeypatch.setattr(sending, "_RETRY_ALONE_SECONDS_MAX", 0.05)

    @staticmethod
    async def _refuse(scene: Scene, user: str) -> None:
        """Let the ledger fail on calls of this user, in a way that does not look like the record's own fault."""
        await scene.pool.execute(FAIL.format("RAISE EXCEPTION 'out of order'"))
        await scene.pool.execute(f"""
            CREATE TRIGGER out_of_order BEFORE INSERT ON calls FOR EACH ROW WHEN (NEW.user_id = '{user}')
            EXECUTE FUNCTION fail()
        """)

    async def test_holds_up_neither_its_batch_nor_those_that_follow_and_is_never_dropped(self, scene: Scene) -> None:
        caller, meter = await scene.a_caller(), scene.meter(settle_timeout_seconds=1)
        await self._refuse(scene, "bad")
        bad = [an_ended_call(scene, caller, user_id="bad") for _ in range(4)]
        batch = [*bad, *(an_ended_call(scene, caller) for _ in range(3))]
        await asyncio.gather(*(meter.settle(each) for each in batch))
        assert sorted(meter.safe.known) == sorted(each.call.call_id for each in bad)
        for _ in range(20):
            await meter.settle(an_ended_call(scene, caller))
        assert (await scene.counter(caller))["total_used"] == 23

        draining = asyncio.create_task(meter.drained())
        await asyncio.sleep(0.1)
        assert not draining.done()
        await scene.pool.execute(FAIL.format("RETURN NEW"))
        async with asyncio.timeout(10):
            await draining
        assert (await scene.counter(caller))["total_used"] == 27
        assert meter.safe.known == []

    async def test_is_answered_when_it_is_recorded_in_time_after_all(self, scene: Scene) -> None:
        caller, meter = await scene.a_caller(), scene.meter()
        await self._refuse(scene, "bad")
        settling = asyncio.create_task(meter.settle(an_ended_call(scene, caller, user_id="bad")))
        await asyncio.sleep(0.2)
        assert not settling.done()
        await scene.pool.execute(FAIL.format("RETURN NEW"))
        async with asyncio.timeout(5):
            await settling
        assert (await scene.counter(caller))["total_used"] == 1


async def test_a_settlement_that_is_sent_again_says_that_it_was_recorded_before(scene: Scene) -> None:
    caller, meter = await scene.a_caller(), scene.meter()
    ended = an_ended_call(scene, caller)
    with capture_logs() as logged:
        await meter.settle(ended)
        assert logged == []
        await meter.settle(ended)
    assert [each["event"] for each in logged] == ["call was recorded before"]


async def test_a_settlement_at_another_amount_than_was_recorded_before_tells_both(scene: Scene) -> None:
    caller, meter = await scene.a_caller(), scene.meter()
    ended = an_ended_call(scene, caller)
    await meter.settle(ended)
    with capture_logs() as logged:
        await meter.settle(ended._replace(call=ended.call._replace(amount=ended.call.amount + 1)))
    (told,) = (each for each in logged if each["event"] == "call was recorded before at another amount")
    assert (Decimal(told["recorded"]), Decimal(told["late"])) == (ended.call.amount, ended.call.amount + 1)
    assert await scene.pool.fetchval("SELECT amount FROM calls") == ended.call.amount


class TestOutages:
    async def test_connections_that_die_during_settling_lose_nothing_and_double_nothing(
        self, scene: Scene, database_url: str
    ) -> None:
        caller = await scene.a_caller(credit="1000")
        ended = [costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "1") for _ in range(200)]
        pools = [await databases.connect_pool(database_url, connections_max=3) for _ in range(2)]
        meters = [scene.meter(pool=pool) for pool in pools]
        operator = await asyncpg.connect(database_url)

        async def settle(start: int) -> None:
            for each in ended[start::20]:
                await meters[start % 2].settle(each)

        async def terminate() -> None:
            for _ in range(12):
                await operator.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"
                )
                await asyncio.sleep(0.03)

        await asyncio.gather(terminate(), *(settle(start) for start in range(20)))
        for pool in pools:
            await pool.close()
        await operator.close()
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (200, 0, 0)
        assert await scene.pool.fetchval("SELECT count(*) FROM calls") == 200
        assert await scene.pool.fetchval("SELECT sum(amount) FROM transfers WHERE cause = 'call'") == 200

    async def test_a_ledger_that_cannot_write_for_a_while_gets_everything_in_the_end(
        self, scene: Scene, database_url: str
    ) -> None:
        """As after a failover to a server that is still a replica."""
        caller = await scene.a_caller(credit="10")
        name = database_url.partition("?")[0].rpartition("/")[2]
        pool = await databases.connect_pool(database_url, connections_max=2)
        await pool.execute("SET default_transaction_read_only = on")
        await scene.pool.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await pool.expire_connections()
        meter = scene.meter(pool=pool)
        with pytest.raises(LedgerUnavailable) as told:
            await meter.admit(scene.request(caller))
        assert told.value.retry_after_seconds == 1
        settling = asyncio.create_task(meter.settle(an_ended_call(scene, caller)))
        await asyncio.sleep(0.1)
        assert not settling.done()
        await scene.pool.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await pool.expire_connections()
        await settling
        assert (await scene.counter(caller))["total_used"] == 1
        await pool.close()

    async def test_a_hold_is_refused_while_the_ledger_is_away(self, scene: Scene, database_url: str) -> None:
        caller = await scene.a_caller(credit="10")
        pool = await databases.connect_pool(database_url, connections_max=1)
        await pool.close()
        with pytest.raises(LedgerUnavailable):
            await scene.meter(pool=pool).admit(scene.request(caller))

    async def test_a_cut_call_is_settled_though_nothing_of_it_was_delivered(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        answer = await scene.hold(caller)
        refused = free(costing(caller, answer.call_id, scene.clock.at, "1"), CallStatus.FAILED)
        await scene.meter().settle(refused._replace(charges=(), attempts=()))
        assert (await scene.counter(caller))["total_held"] == 0
