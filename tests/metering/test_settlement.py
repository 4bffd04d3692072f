"""Settling writes everything a call leaves behind at once, once, and gives back what it held."""

import asyncio
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.builders import a_grant
from tests.metering.scene import PRICE, Scene, a_settlement, an_attempt, costing, everything, free

from tollgate.accounts.model import BillingMode
from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId, derived_id
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import AttemptStatus, CallStatus
from tollgate.metering.rules import charge_records
from tollgate.pricing.rules import rate

SCOPES = ("organization", "project", "key")


class TestRecording:
    async def test_a_call_is_recorded_whole(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        answer, accepted = await scene.hold(caller, "0.001"), scene.clock.at
        scene.clock.at += timedelta(seconds=2)
        ended = a_settlement(
            caller, answer.call_id, accepted, prompt=100, completion=50, user_id="ü", metadata='{"a":"b"}'
        )
        failed = an_attempt(ended.call, 1, AttemptStatus.FAILED)
        ended = ended._replace(attempts=(failed, an_attempt(ended.call, 2)))
        assert await scene.settle(ended) == [(answer.call_id, True, Decimal(0), ended.call.amount)]

        written = await everything(scene.pool)
        assert {table: len(rows) for table, rows in written.items() if table != "counters"} == {
            "calls": 1,
            "attempts": 2,
            "transfers": 2,
            "ledger_accounts": 3,
            "grants": 1,
            "rollups": 3,
            "holds": 0,
        }
        call = await scene.pool.fetchrow("SELECT * FROM calls")
        assert call is not None
        assert (call["amount"], call["credits_amount"], call["overrun_amount"]) == (
            Decimal("0.00025"),
            Decimal("0.00025"),
            0,
        )
        assert (call["accepted_at"], call["settled_at"]) == (accepted, scene.clock.at)
        assert (call["user_id"], call["metadata"], call["status"]) == ("ü", '{"a": "b"}', "settled")
        attempts = await scene.pool.fetch("SELECT ordinal, status, http_status FROM attempts ORDER BY ordinal")
        assert [tuple(attempt) for attempt in attempts] == [(1, "failed", 500), (2, "served", 200)]

    async def test_its_transfers_follow_from_the_call(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1")
        call_id = CallId(new_id(scene.clock.at))
        await scene.settle(costing(caller, call_id, scene.clock.at, "1.5"))
        rows = await scene.pool.fetch("SELECT * FROM transfers WHERE cause = 'call' ORDER BY amount")
        [grant_id] = [row[0] for row in await scene.pool.fetch("SELECT id FROM grants")]
        assert [(row["debit_account"], row["amount"]) for row in rows] == [
            ("unbilled", Decimal("0.5")),
            (f"credits:{grant_id}", Decimal(1)),
        ]
        for row in rows:
            assert row["id"] == derived_id(call_id, f"charge:{row['debit_account']}")
            assert (row["credit_account"], row["cause_id"], row["currency"]) == ("revenue", call_id, "USD")
            assert row["occurred_at"] == row["posted_at"] == scene.clock.at

    async def test_its_rollups_stand_in_the_quarter_hour_it_was_accepted(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1")
        for minute in (0, 14, 15):
            at = scene.clock.at.replace(minute=minute, second=59)
            await scene.settle(a_settlement(caller, CallId(new_id(at)), at, prompt=10, completion=1))
        rows = await scene.pool.fetch("SELECT bucket, kind, calls, quantity, amount FROM rollups ORDER BY 1, 2")
        twelve, later = scene.clock.at, scene.clock.at + timedelta(minutes=15)
        assert [tuple(row) for row in rows] == [
            (twelve, "completion", 0, 2, Decimal("0.000006")),
            (twelve, "prompt", 0, 20, Decimal("0.00002")),
            (twelve, "request", 2, 2, 0),
            (later, "completion", 0, 1, Decimal("0.000003")),
            (later, "prompt", 0, 10, Decimal("0.00001")),
            (later, "request", 1, 1, 0),
        ]

    async def test_the_hold_is_given_back_at_every_scope(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        answer = await scene.hold(caller, "2", tokens=7)
        other = await scene.hold(caller, "1", tokens=5)
        await scene.settle(costing(caller, answer.call_id, scene.clock.at, "0.5", tokens=9))
        for scope in SCOPES:
            counter = await scene.counter(caller, scope)
            for window in ("total", "day", "week", "month"):
                assert (counter[f"{window}_used"], counter[f"{window}_held"]) == (Decimal("0.5"), 1)
            assert (counter["concurrent"], counter["minute_tokens"], counter["minute_requests"]) == (1, 14, 2)
        assert [row["call_id"] for row in await scene.holds(caller)] == [other.call_id]

    async def test_what_was_not_used_can_be_held_again(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="2")
        answer = await scene.hold(caller, "2")
        assert (await scene.hold(caller, "1.5")).outcome == "balance"
        await scene.settle(costing(caller, answer.call_id, scene.clock.at, "0.5"))
        assert (await scene.hold(caller, "1.5")).outcome == "admitted"

    async def test_a_call_without_a_hold_is_charged_all_the_same(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="2")
        call_id = CallId(new_id(scene.clock.at))
        settled = await scene.settle(costing(caller, call_id, scene.clock.at, "5"))
        assert settled == [(call_id, True, Decimal(0), Decimal(5))]
        assert await scene.pool.fetchval("SELECT overrun_amount FROM calls") == 0
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (5, 0, 0)
        assert (await scene.hold(caller)).outcome == "balance"

    async def test_what_exceeds_the_hold_is_charged_and_reported(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="2")
        answer = await scene.hold(caller, "1.25")
        assert await scene.settle(costing(caller, answer.call_id, scene.clock.at, "3")) == [
            (answer.call_id, True, Decimal("1.75"), Decimal(3))
        ]
        assert await scene.pool.fetchval("SELECT overrun_amount FROM calls") == Decimal("1.75")
        assert await scene.pool.fetchval("SELECT amount FROM transfers WHERE debit_account = 'unbilled'") == 1

    async def test_a_postpaid_call_burns_its_credit_first(self, scene: Scene) -> None:
        caller = await scene.a_caller(billing_mode=BillingMode.POSTPAID, credit_limit=None)
        await a_grant(scene.database, caller.organization_id, "0.4")
        await scene.settle(costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1"))
        assert await scene.pool.fetchval("SELECT credits_amount FROM calls") == Decimal("0.4")
        assert await scene.pool.fetchval("SELECT sum(credits_amount) FROM rollups") == Decimal("0.4")


class TestCallsThatCostNothing:
    @pytest.mark.parametrize("status", [CallStatus.INSURED, CallStatus.FAILED])
    async def test_they_are_recorded_and_counted_and_post_nothing(self, scene: Scene, status: CallStatus) -> None:
        caller = await scene.a_caller(credit="10")
        answer = await scene.hold(caller, "2")
        ended = free(a_settlement(caller, answer.call_id, scene.clock.at, prompt=100), status)
        assert await scene.settle(ended) == [(answer.call_id, True, Decimal(0), ended.call.amount)]
        assert await scene.pool.fetchval("SELECT status FROM calls") == status
        assert await scene.pool.fetchval("SELECT count(*) FROM transfers WHERE cause = 'call'") == 0
        rows = await scene.pool.fetch("SELECT kind, calls, quantity, amount FROM rollups")
        assert [tuple(row) for row in rows] == [("request", 1, 1, 0)]
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (0, 0, 0)

    async def test_a_kind_without_a_price_is_kept_beside_the_others(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        usage = UsageQuantities({Kind.PROMPT: 100, Kind.WEB_SEARCH: 2})
        ended = a_settlement(
            caller, CallId(new_id(scene.clock.at)), scene.clock.at, prompt=100, status=CallStatus.UNPRICED
        )
        ended = ended._replace(charges=charge_records(ended.call.call_id, rate(usage, PRICE), usage))
        await scene.settle(ended)
        rows = await scene.pool.fetch("SELECT kind, unit, unit_price, quantity, amount FROM rollups ORDER BY kind")
        assert [tuple(row) for row in rows] == [
            ("prompt", "per_million_tokens", 1, 100, Decimal("0.0001")),
            ("request", None, None, 1, 0),
            ("web_search", "per_count", None, 2, 0),
        ]


class TestSendingAgain:
    async def test_a_settlement_sent_ten_times_is_recorded_once(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        ended = [costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "0.5") for _ in range(5)]
        assert all(answer.recorded for answer in await scene.settle(*ended))
        written = await everything(scene.pool)
        for _ in range(9):
            assert not any(answer.recorded for answer in await scene.settle(*ended))
        assert await everything(scene.pool) == written

    async def test_a_settlement_may_be_sent_by_several_processes_and_twice_in_one_batch(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        ended = [costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "0.5") for _ in range(20)]
        meters = [scene.meter() for _ in range(3)]
        await asyncio.gather(*(meter.settle(each) for each in ended for meter in meters for _ in range(4)))
        assert await scene.pool.fetchval("SELECT count(*) FROM calls") == 20
        assert await scene.pool.fetchval("SELECT count(*) FROM attempts") == 20
        assert await scene.pool.fetchval("SELECT sum(amount) FROM transfers WHERE cause = 'call'") == 10
        assert await scene.pool.fetchval("SELECT sum(amount) FROM rollups") == 10
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (10, 0, 0)

    async def test_what_is_sent_again_differently_changes_nothing(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        ended = costing(caller, (await scene.hold(caller)).call_id, scene.clock.at, "0.5")
        await scene.settle(ended)
        written = await everything(scene.pool)
        scene.clock.at += timedelta(days=3)
        await scene.settle(costing(caller, ended.call.call_id, scene.clock.at, "0.7"))
        assert await everything(scene.pool) == written

    async def test_new_calls_beside_one_that_is_recorded_are_recorded(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        first, second = (costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1") for _ in range(2))
        await scene.settle(first)
        assert [answer.recorded for answer in await scene.settle(second, first)] == [True, False]
        assert (await scene.counter(caller))["total_used"] == 2

    async def test_a_hold_taken_for_a_recorded_call_is_given_back(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        request = scene.request(caller, "3")
        ended = costing(caller, request.call_id, scene.clock.at, "1")
        await scene.settle(ended)
        await scene.admit(request)
        await scene.settle(ended)
        counter = await scene.counter(caller)
        assert (counter["total_used"], counter["total_held"], counter["concurrent"]) == (1, 0, 0)


class TestWaiting:
    async def test_a_caller_who_stops_waiting_does_not_stop_the_settlement(self, scene: Scene) -> None:
        caller, meter = await scene.a_caller(credit="10"), scene.meter()
        waiting = asyncio.create_task(
            meter.settle(costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1"))
        )
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await meter.drained()
        assert (await scene.counter(caller))["total_used"] == 1

    async def test_a_caller_is_answered_when_the_ledger_takes_too_long_and_it_is_recorded_later(
        self, scene: Scene
    ) -> None:
        caller, meter = await scene.a_caller(credit="10"), scene.meter(settle_timeout_seconds=0)
        await meter.settle(costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1"))
        await meter.drained()
        assert (await scene.counter(caller))["total_used"] == 1
        assert meter.safe.known == []
