"""A call holds on everything that bounds it, or is refused by the first bound that cannot carry it."""

import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.builders import a_grant
from tests.metering.scene import LEASE, Scene, counted, moved

from tollgate.accounts import service as accounts
from tollgate.accounts.model import BillingMode, OrganizationStatus
from tollgate.infra.identity import new_id
from tollgate.keys import service as keys
from tollgate.kit.ids import PLATFORM, KeyId, uuid7
from tollgate.metering.model import Admission

SCOPES = ("organization", "project", "key")


@pytest.fixture
def scene(shared_scene: Scene) -> Scene:
    return shared_scene


class TestHolding:
    async def test_what_is_held_counts_at_every_scope(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        answers = [await scene.hold(caller, "2.5", tokens=7), await scene.hold(caller, "0.000000000001", tokens=8)]
        assert [answer[1:6] for answer in answers] == [
            ("admitted", Decimal("2.5"), None, None, None),
            ("admitted", Decimal("0.000000000001"), None, None, None),
        ]
        for scope in SCOPES:
            counter = await scene.counter(caller, scope)
            held = [counter[f"{window}_held"] for window in ("total", "day", "week", "month")]
            assert held == [Decimal("2.500000000001")] * 4
            assert (counter["minute_requests"], counter["minute_tokens"], counter["concurrent"]) == (2, 15, 2)

    async def test_a_hold_is_remembered_with_its_lease(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        before = await scene.pool.fetchval("SELECT clock_timestamp()")
        answer = await scene.hold(caller, "2", tokens=7)
        [row] = await scene.holds(caller)
        assert (row["call_id"], row["key_id"], row["amount"], row["tokens"]) == (answer.call_id, caller.key_id, 2, 7)
        assert before + LEASE < row["lease_until"] < before + LEASE + timedelta(minutes=1)

    async def test_a_refused_call_holds_nothing_anywhere(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        await scene.limit(caller, "key", concurrency=0)
        assert (await scene.hold(caller, "2")).outcome == "concurrency"
        assert await scene.holds(caller) == []
        assert (await scene.counter(caller))["total_held"] == 0

    async def test_each_call_of_a_batch_sees_what_those_before_it_hold(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1")
        answers = await scene.admit(*(scene.request(caller, amount) for amount in ("0.6", "0.6", "0.3", "0.2", "0.1")))
        assert [answer.outcome for answer in answers] == ["admitted", "balance", "admitted", "balance", "admitted"]

    async def test_a_call_takes_what_is_left_if_that_is_worth_having(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="10")
        await scene.limit(caller, "project", daily="3")
        await scene.limit(caller, "key", total="2.5")
        answers = [await scene.hold(caller, most, least="0.5") for most in ("1", "100", "100")]
        assert [answer[1:5] for answer in answers] == [
            ("admitted", Decimal(1), None, None),
            ("admitted", Decimal("1.5"), None, None),
            ("total", Decimal(0), "key", Decimal("2.5")),
        ]

    async def test_a_call_is_refused_when_less_is_left_than_is_worth_having(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="0.49")
        assert (await scene.hold(caller, "100", least="0.5"))[1:4] == ("balance", Decimal("0.49"), "organization")
        await a_grant(scene.database, caller.organization_id, "0.01")
        assert (await scene.hold(caller, "100", least="0.5"))[1:3] == ("admitted", Decimal("0.5"))

    async def test_a_key_without_a_project_is_bounded_without_one(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1", project=False)
        assert (await scene.hold(caller)).outcome == "admitted"
        assert (await scene.counter(caller))["concurrent"] == (await scene.counter(caller, "key"))["concurrent"] == 1


class TestBatches:
    @pytest.mark.parametrize("seed", range(3))
    async def test_a_batch_is_answered_as_its_calls_would_be_one_by_one(self, scene: Scene, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - for a load, not for a secret
        together, apart = [await scene.a_caller(credit="6") for _ in range(2)]
        for scope in SCOPES:
            limits = {
                name: str(chance.randint(2, 6)) for name in chance.sample(("total", "daily", "weekly", "monthly"), 2)
            }
            rates = {name: chance.randint(4, 200) for name in chance.sample(("rpm", "tpm", "concurrency"), 2)}
            for caller in (together, apart):
                await scene.limit(caller, scope, **limits, **rates)
        asked: list[dict[str, Any]] = [
            {
                "most": str(chance.choice((0, 1, 2))),
                "least": str(chance.choice(("0", "0.5"))),
                "tokens": chance.randint(0, 30),
                "only_asks": chance.random() < 0.2,
            }
            for _ in range(16)
        ]
        answers = await scene.admit(*(scene.request(together, **each) for each in asked))
        one_by_one = [await scene.hold(apart, **each) for each in asked]
        assert [answer[1:] for answer in answers] == [answer[1:] for answer in one_by_one]
        for scope in SCOPES:
            batch, single = await scene.counter(together, scope), await scene.counter(apart, scope)
            assert [*batch.values()][2:] == [*single.values()][2:]


class TestBalance:
    async def test_a_free_call_needs_no_balance_and_no_money_limit(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        for scope in SCOPES:
            await scene.limit(caller, scope, total="0", daily="0")
        assert (await scene.hold(caller, "0"))[1:3] == ("admitted", Decimal(0))
        assert (await scene.hold(caller, "0.000000000001")).outcome == "balance"

    async def test_a_free_call_is_made_though_a_limit_is_overdrawn(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="2")
        await scene.hold(caller, "2")
        await scene.limit(caller, "key", total="1")
        assert (await scene.hold(caller, "0"))[1:3] == ("admitted", Decimal(0))

    async def test_a_free_call_counts_against_rates(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        await scene.limit(caller, "key", concurrency=1)
        assert [(await scene.hold(caller, "0")).outcome for _ in range(2)] == ["admitted", "concurrency"]

    async def test_the_credit_limit_is_room_below_zero(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="1", billing_mode=BillingMode.POSTPAID, credit_limit=Decimal(2))
        answers = [await scene.hold(caller, "1.5") for _ in range(3)]
        assert [answer.outcome for answer in answers] == ["admitted", "admitted", "balance"]

    async def test_without_a_credit_limit_there_is_no_end(self, scene: Scene) -> None:
        caller = await scene.a_caller(billing_mode=BillingMode.POSTPAID, credit_limit=None)
        assert (await scene.hold(caller, "9" * 25)).outcome == "admitted"

    async def test_what_was_used_and_not_paid_lessens_the_room(self, scene: Scene) -> None:
        caller = await scene.a_caller(billing_mode=BillingMode.POSTPAID, credit_limit=Decimal(5))
        for account in ("unbilled", "receivable"):
            await scene.pool.execute(
                "SELECT ledger_post($1, $2, $3, 'revenue', 2, 'USD', 'call', $2, NULL, $4, $4)",
                caller.organization_id,
                new_id(scene.clock.at),
                account,
                scene.clock.at,
            )
        assert (await scene.hold(caller, "1.1"))[1:3] == ("balance", Decimal(1))

    async def test_credit_ends_when_it_expires(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        end = scene.clock.at + timedelta(hours=1)
        await a_grant(scene.database, caller.organization_id, "5", expires_at=end)
        scene.clock.at = end - timedelta(microseconds=1)
        assert (await scene.hold(caller, "1")).outcome == "admitted"
        scene.clock.at = end
        assert (await scene.hold(caller, "1"))[1:3] == ("balance", Decimal(0))

    async def test_credit_of_another_currency_is_none(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        await a_grant(scene.database, caller.organization_id, "5", currency="EUR")
        assert (await scene.hold(caller)).outcome == "balance"


class TestLimits:
    @pytest.mark.parametrize("window", ["total", "daily", "weekly", "monthly"])
    async def test_a_money_limit_binds_at_every_scope(self, scene: Scene, window: str) -> None:
        for scope in SCOPES:
            caller = await scene.a_caller(credit="100")
            await scene.limit(caller, scope, **{window: "2.5"})
            answers = [await scene.hold(caller) for _ in range(4)]
            assert counted(answers) == {"admitted": 2, window: 2}
            assert answers[-1][2:5] == (Decimal("0.5"), scope, Decimal("2.5"))

    @pytest.mark.parametrize(("rate", "limit", "left"), [("rpm", 2, 0), ("tpm", 25, 5), ("concurrency", 2, 0)])
    async def test_a_rate_binds_at_every_scope(self, scene: Scene, rate: str, limit: int, left: int) -> None:
        for scope in SCOPES:
            caller = await scene.a_caller(credit="100")
            await scene.limit(caller, scope, **{rate: limit})
            answers = [await scene.hold(caller, tokens=10) for _ in range(4)]
            assert counted(answers) == {"admitted": 2, rate: 2}
            assert answers[-1][2:5] == (Decimal(left), scope, Decimal(limit))

    @pytest.mark.parametrize("name", ["total", "daily", "weekly", "monthly", "rpm", "tpm", "concurrency"])
    async def test_a_limit_of_zero_allows_nothing(self, scene: Scene, name: str) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.limit(caller, "key", **{name: "0" if name in {"total", "daily", "weekly", "monthly"} else 0})
        assert (await scene.hold(caller))[1:5] == (name, Decimal(0), "key", Decimal(0))

    async def test_a_limit_lowered_below_what_is_used_shows_nothing_left(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        await scene.hold(caller, "5")
        await scene.limit(caller, "key", daily="3", tpm=5)
        assert (await scene.hold(caller))[1:3] == ("daily", Decimal(0))
        await scene.limit(caller, "key", tpm=5)
        assert (await scene.hold(caller))[1:3] == ("tpm", Decimal(0))

    async def test_one_key_does_not_use_up_the_limit_of_another(self, scene: Scene) -> None:
        caller = await scene.a_caller(credit="100")
        other = await scene.a_key(caller.organization_id, caller.project_id)
        for each in (caller, other):
            await scene.limit(each, "key", total="1")
            assert [(await scene.hold(each)).outcome for _ in range(2)] == ["admitted", "total"]


class TestOrderOfBounds:
    async def test_the_first_bound_that_cannot_carry_a_call_is_named(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        order: list[tuple[str, str]] = [("balance", "organization")]
        for scope in SCOPES:
            order += [(name, scope) for name in ("total", "daily", "weekly", "monthly", "rpm", "tpm", "concurrency")]
            await scene.limit(caller, scope, total="0", daily="0", weekly="0", monthly="0", rpm=0, tpm=0, concurrency=0)
        named: list[tuple[str, str | None]] = []
        for name, scope in order:
            answer = await scene.hold(caller)
            named.append((answer.outcome, answer.scope))
            await self._lift(scene, caller, name, scope)
        assert named == order
        assert (await scene.hold(caller)).outcome == "admitted"

    @staticmethod
    async def _lift(scene: Scene, caller: Any, name: str, scope: str) -> None:
        if name == "balance":
            await a_grant(scene.database, caller.organization_id, "1")
        else:
            await scene.pool.execute(f"UPDATE limits SET {name} = NULL WHERE scope_id = $1", caller.scopes[scope])


class TestStanding:
    async def refused(self, scene: Scene, caller: Any, **rest: Any) -> str:
        answer: Admission = await scene.hold(caller, "0", **rest)
        assert await scene.holds(caller) == []
        return answer.outcome

    async def test_a_key_that_is_not_valid_any_more_is_refused(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        async with scene.database.write() as session:
            await keys.revoke(session, organization_id=caller.organization_id, key_id=caller.key_id, now=scene.clock.at)
        assert await self.refused(scene, caller) == "key"

    async def test_a_disabled_key_is_refused(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        await scene.pool.execute("UPDATE api_keys SET disabled = true WHERE id = $1", caller.key_id)
        assert await self.refused(scene, caller) == "key"

    async def test_a_key_works_until_it_expires_and_not_then(self, scene: Scene) -> None:
        owner = (await scene.a_caller()).organization_id
        caller = await scene.a_key(owner, expires_at=scene.clock.at + timedelta(hours=1))
        scene.clock.at += timedelta(hours=1)
        assert await self.refused(scene, caller) == "key"
        scene.clock.at -= timedelta(microseconds=1)
        assert (await scene.hold(caller, "0")).outcome == "admitted"

    async def test_a_key_no_one_knows_is_refused(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        assert await self.refused(scene, moved(caller, key_id=KeyId(uuid7(scene.clock.at, 1)))) == "key"
        other = await scene.a_caller()
        assert await self.refused(scene, moved(caller, organization_id=other.organization_id)) == "key"

    async def test_a_key_without_an_organization_is_refused(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        await scene.pool.execute(
            "UPDATE api_keys SET organization_id = $2, project_id = NULL, kind = 'operator' WHERE id = $1",
            caller.key_id,
            PLATFORM,
        )
        operator = moved(caller, organization_id=PLATFORM, project_id=None)
        assert await self.refused(scene, operator) == "organization"

    @pytest.mark.parametrize("status", [OrganizationStatus.SUSPENDED, OrganizationStatus.CLOSED])
    async def test_an_organization_that_is_not_active_is_refused(
        self, scene: Scene, status: OrganizationStatus
    ) -> None:
        caller = await scene.a_caller()
        await scene.pool.execute("UPDATE organizations SET status = $1 WHERE id = $2", status, caller.organization_id)
        assert await self.refused(scene, caller) == "organization"

    async def test_an_archived_project_is_refused(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        assert caller.project_id is not None
        async with scene.database.write() as session:
            await accounts.archive_project(
                session, organization_id=caller.organization_id, project_id=caller.project_id, now=scene.clock.at
            )
        assert await self.refused(scene, caller) == "project"

    async def test_a_call_planned_with_another_catalogue_is_planned_again(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        assert await self.refused(scene, caller, revision=scene.revision - 1) == "stale"
        assert await self.refused(scene, caller, revision=scene.revision + 1) == "stale"

    async def test_prices_in_another_currency_are_refused(self, scene: Scene) -> None:
        caller = await scene.a_caller()
        assert await self.refused(scene, caller, currency="EUR") == "currency"
