"""What settling tells of: limits that come near, credits that run low, and calls without a price; each exactly once."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.builders import BORN, a_grant, seeded
from tests.conftest import NOON
from tests.metering.scene import Caller, Scene, a_settlement, costing

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Limits
from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId, EndpointId
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import AdjustmentOrder
from tollgate.metering.model import CallStatus, ChargeRecord, Settlement
from tollgate.metering.tasks import end_grants

USED = {"total": "total_used", "daily": "day_used", "weekly": "week_used", "monthly": "month_used"}


async def told(scene: Scene, caller: Caller, kind: str = "limit.threshold") -> list[dict[str, Any]]:
    """What the caller's organization was told of, in order."""
    rows = await scene.pool.fetch(
        "SELECT data FROM events WHERE organization_id = $1 AND type = $2 ORDER BY recorded_at",
        caller.organization_id,
        kind,
    )
    return [json.loads(row["data"]) for row in rows]


async def limits_told(scene: Scene, caller: Caller) -> list[tuple[str, str, str, int]]:
    return [(each["scope"], each["limit"], each["amount"], each["alert_percent"]) for each in await told(scene, caller)]


def a_call(scene: Scene, caller: Caller, amount: str, *, at: datetime | None = None, **rest: Any) -> Settlement:
    accepted = at or scene.clock.at
    return costing(caller, CallId(new_id(accepted)), accepted, amount, **rest)


async def spend(scene: Scene, caller: Caller, *amounts: str) -> None:
    await scene.settle(*[a_call(scene, caller, amount) for amount in amounts])


class TestLimits:
    @pytest.mark.parametrize("seed", range(4))
    async def test_each_is_told_of_once_whatever_the_batches_and_however_many_settle(
        self, shared_scene: Scene, seed: int
    ) -> None:
        chance, scene = seeded(seed), shared_scene
        first = await scene.a_caller()
        callers = [first, await scene.a_key(first.organization_id, first.project_id)]
        given: dict[tuple[Caller, str], Limits] = {}
        for caller, scope in ((first, "organization"), (first, "project"), (first, "key"), (callers[1], "key")):
            amounts = {name: str(chance.randint(1, 12)) for name in USED if chance.random() < 0.7}
            percent = chance.choice((1, 50, 80, 99, 100))
            await scene.limit(caller, scope, alert_percent=percent, **amounts)
            caps: dict[str, Any] = {name: Decimal(amount) for name, amount in amounts.items()}
            given[caller, scope] = Limits(alert_percent=percent, **caps)
        calls = [a_call(scene, chance.choice(callers), f"0.{chance.randint(1, 9)}") for _ in range(30)]
        batches = []
        while calls:
            size = chance.randint(1, 8)
            batches += [calls[:size]] * chance.randint(1, 2)  # some are sent twice
            calls = calls[size:]
        chance.shuffle(batches)

        await asyncio.gather(*(scene.settle(*batch) for batch in batches))

        expected: Counter[tuple[str, str, str, int]] = Counter()
        for (caller, scope), limits in given.items():
            counter, percent = await scene.counter(caller, scope), limits.alert_percent or 0
            for name, column in USED.items():
                cap: Decimal | None = getattr(limits, name)
                if cap is not None and counter[column] * 100 >= cap * percent:
                    expected[scope, name, str(cap), percent] += 1
        assert Counter(await limits_told(scene, first)) == expected

    async def test_says_what_is_near_and_when_it_begins_anew(self, shared_scene: Scene) -> None:
        caller = await shared_scene.a_caller(timezone="Asia/Kolkata")
        await shared_scene.limit(caller, "project", daily="2", total="10", alert_percent=80)
        await spend(shared_scene, caller, "1.599999")
        assert await told(shared_scene, caller) == []
        await spend(shared_scene, caller, "0.000001")
        await spend(shared_scene, caller, "0.3", "6.5")

        daily, total = await told(shared_scene, caller)
        assert daily == {
            "scope": "project", "id": f"prj_{caller.project_id}", "limit": "daily", "amount": "2", "alert_percent": 80,
            "used": "1.6", "currency": "USD", "window_start": "2026-11-21T18:30:00Z",
            "resets_at": "2026-11-22T18:30:00Z",
        }  # fmt: skip
        del total["id"]
        assert total | {"used": ""} == {
            "scope": "project", "limit": "total", "amount": "10", "alert_percent": 80, "used": "", "currency": "USD",
            "window_start": None, "resets_at": None,
        }  # fmt: skip

    async def test_a_new_window_is_told_of_anew_and_a_call_of_an_old_one_is_of_neither(
        self, shared_scene: Scene
    ) -> None:
        scene, caller = shared_scene, await shared_scene.a_caller()
        await scene.limit(caller, "organization", daily="1", weekly="1", monthly="1", total="1", alert_percent=100)
        await spend(scene, caller, "1")
        for passed in (timedelta(days=1), timedelta(days=1), timedelta(days=7)):  # Sunday is over; a week; December
            scene.clock.at += passed
            await scene.settle(a_call(scene, caller, "5", at=NOON - timedelta(days=60)))
            await spend(scene, caller, "0.5")
            await spend(scene, caller, "0.5", "0.5")

        counted = Counter(limit for _, limit, *_ in await limits_told(scene, caller))
        assert counted == {"daily": 4, "weekly": 3, "monthly": 2, "total": 1}

    async def test_another_size_or_share_is_another_limit(self, shared_scene: Scene) -> None:
        scene, caller = shared_scene, await shared_scene.a_caller()
        for size, percent in (("10", 80), ("10", 80), ("10", 90), ("100", 90), ("9", 90), ("10", 80)):
            await scene.limit(caller, "key", total=size, alert_percent=percent)
            await spend(scene, caller, "9")
        assert [(amount, percent) for *_, amount, percent in await limits_told(scene, caller)] == [
            ("10", 80),
            ("10", 90),
            ("9", 90),  # 45 of 100 are not 90 percent; what is lowered below its share is told of with the next call
        ]

    async def test_what_was_told_is_remembered_longer_than_events_are_kept(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        await scene.limit(caller, "key", total="1", alert_percent=50)
        await spend(scene, caller, "1")
        await scene.pool.execute("DELETE FROM events")
        await spend(scene, caller, "1")
        assert await told(scene, caller) == []

    async def test_nobody_is_told_of_what_they_did_not_ask_for(self, shared_scene: Scene) -> None:
        caller = await shared_scene.a_caller()
        await shared_scene.limit(caller, "key", total="1")
        await shared_scene.limit(caller, "organization", alert_percent=50)
        await shared_scene.limit(caller, "project", total="0", alert_percent=50)
        await spend(shared_scene, caller, "1")
        assert await told(shared_scene, caller) == []


class TestCredits:
    async def warned(self, scene: Scene, caller: Caller, at: str | None) -> None:
        async with scene.database.write() as session:
            await accounts.change_limits(
                session,
                organization_id=caller.organization_id,
                scope_id=caller.organization_id,
                edit=lambda _: Limits(credits_alert=None if at is None else Decimal(at)),
            )

    async def seen(self, scene: Scene, caller: Caller) -> list[str]:
        return [each["credits"] for each in await told(scene, caller, "credits.low")]

    async def test_are_told_of_once_as_they_fall_and_again_once_they_were_up(self, shared_scene: Scene) -> None:
        scene, caller = shared_scene, await shared_scene.a_caller(credit="10")
        await self.warned(scene, caller, "5")
        await spend(scene, caller, "3", "2")
        assert await self.seen(scene, caller) == []
        await spend(scene, caller, "0.5")
        await spend(scene, caller, "2", "1")
        assert await told(scene, caller, "credits.low") == [{"credits_alert": "5", "credits": "4.5", "currency": "USD"}]
        await a_grant(scene.database, caller.organization_id, "3")  # 4.5 are not enough
        await spend(scene, caller, "0.1")
        assert await self.seen(scene, caller) == ["4.5"]
        await a_grant(scene.database, caller.organization_id, "100")
        await spend(scene, caller, "104")  # all at once
        assert await self.seen(scene, caller) == ["4.5", "0.4"]
        await a_grant(scene.database, caller.organization_id, "100")
        await self.warned(scene, caller, None)
        await spend(scene, caller, "200")
        assert await self.seen(scene, caller) == ["4.5", "0.4"]

    async def test_fall_by_charges_voids_and_ends_as_by_calls(self, shared_scene: Scene) -> None:
        scene, caller = shared_scene, await shared_scene.a_caller(credit="1")
        owner = caller.organization_id
        await self.warned(scene, caller, "5")

        await a_grant(scene.database, owner, "10")
        async with scene.database.write() as session:
            order = AdjustmentOrder(Decimal(-7), "USD", "a charge")
            await ledger.adjust(session, organization_id=owner, order=order, by=None, now=scene.clock.at)
        voided = await a_grant(scene.database, owner, "10")
        async with scene.database.write() as session:
            grant = (owner, voided.id)
            await ledger.void_grant(session, grant=grant, reason="a mistake", by=None, now=scene.clock.at)
        await a_grant(scene.database, owner, "10", expires_at=NOON + timedelta(days=1))
        scene.clock.at += timedelta(days=2)
        await end_grants(scene.database, scene.clock)

        assert await self.seen(scene, caller) == ["4", "4", "4"]

    async def test_are_told_of_once_however_many_spend_and_top_up_at_once(self, shared_scene: Scene) -> None:
        scene, caller = shared_scene, await shared_scene.a_caller(credit="10")
        await self.warned(scene, caller, "5")
        await asyncio.gather(*(spend(scene, caller, "0.3", "0.2") for _ in range(16)))
        assert await self.seen(scene, caller) == ["4.5"]

        await asyncio.gather(
            *(a_grant(scene.database, caller.organization_id, "1") for _ in range(8)),
            *(spend(scene, caller, "0.1") for _ in range(8)),
        )
        await spend(scene, caller, "0.1")  # 2 and 8, less 0.9, are left
        low = await scene.pool.fetchval(
            "SELECT low FROM credit_alerts WHERE organization_id = $1", caller.organization_id
        )
        assert low is False
        await spend(scene, caller, "5")
        assert await self.seen(scene, caller) == ["4.5", "4.1"]


class TestUnpriced:
    def unpriced(self, scene: Scene, caller: Caller, *kinds: Kind, **rest: Any) -> Settlement:
        call_id = CallId(new_id(scene.clock.at))
        settled = a_settlement(caller, call_id, scene.clock.at, prompt=1, status=CallStatus.UNPRICED, **rest)
        nothing = Decimal(0)
        charges = [ChargeRecord(call_id, kind, None, None, 5, nothing, nothing) for kind in kinds]
        record = settled.call._replace(amount=nothing, origin_amount=nothing)
        return settled._replace(call=record, charges=(*charges, *settled.charges))

    async def test_calls_are_told_of_once_a_day_for_each_set_of_kinds(self, shared_scene: Scene) -> None:
        scene, caller = shared_scene, await shared_scene.a_caller()
        storm = [self.unpriced(scene, caller, Kind.WEB_SEARCH) for _ in range(20)]
        both = self.unpriced(scene, caller, Kind.WEB_SEARCH, Kind.IMAGE)
        other = self.unpriced(scene, caller, Kind.WEB_SEARCH, endpoint_id=EndpointId(new_id(BORN)))
        await asyncio.gather(scene.settle(*storm[:10], both), scene.settle(*storm[10:]), scene.settle(other, storm[0]))
        scene.clock.at = datetime(2026, 11, 23, tzinfo=UTC)
        await scene.settle(self.unpriced(scene, caller, Kind.WEB_SEARCH), a_call(scene, caller, "1"))

        events = await told(scene, caller, "call.unpriced")
        assert sorted((each["kinds"], each["day"]) for each in events) == [
            (["image", "web_search"], "2026-11-22"),
            (["web_search"], "2026-11-22"),
            (["web_search"], "2026-11-22"),
            (["web_search"], "2026-11-23"),
        ]
        [first] = [each for each in events if each["kinds"] == ["image", "web_search"]]
        assert first == {
            "call": f"gen_{both.call.call_id}", "model": "openai/gpt-4.1-mini", "provider": "openai",
            "endpoint": f"ep_{both.call.endpoint_id}", "price_version": f"price_{both.call.price_version_id}",
            "kinds": ["image", "web_search"], "day": "2026-11-22",
        }  # fmt: skip


async def test_what_is_taken_back_is_not_told(scene: Scene) -> None:
    caller = await scene.a_caller()
    await scene.limit(caller, "key", total="1", alert_percent=50)
    async with scene.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        settled = a_call(scene, caller, "1")
        await connection.execute(
            "SELECT settle($1::call_record[], $2::charge_record[], $3::attempt_record[], $4)",
            [settled.call], list(settled.charges), list(settled.attempts), scene.clock.at,
        )  # fmt: skip
        assert await connection.fetchval("SELECT count(*) FROM events") == 1
        await transaction.rollback()
    assert await told(scene, caller) == []
    await spend(scene, caller, "1")
    assert len(await told(scene, caller)) == 1
