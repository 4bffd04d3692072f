"""GET /credits, what moved them, and GET /key."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.reports.scene import Scene, Used

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Limits
from tollgate.invoices.model import Month
from tollgate.invoices.service import invoices
from tollgate.keys import service as keys
from tollgate.keys.model import ApiKey, NewKey
from tollgate.kit.ids import PLATFORM, typed
from tollgate.kit.principal import KeyKind, RoutingPolicy
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import GrantCategory

A_DOLLAR = {Kind.PROMPT: 2_500_000}
"""What costs exactly one dollar at 0.4 a million."""


async def spend_a_dollar(scene: Scene, key: ApiKey) -> None:
    call_id = await scene.hold(key, "1")
    await scene.record([Used(at=scene.clock.now(), key=key, call_id=call_id, counts=A_DOLLAR)])


async def limit(scene: Scene, key: ApiKey, limits: Limits) -> None:
    async with scene.database.write() as session:
        await accounts.change_limits(
            session, organization_id=scene.organization.id, scope_id=key.id, edit=lambda _: limits
        )


class TestCredits:
    async def test_are_what_grants_left_less_what_is_owed_and_held(self, scene: Scene) -> None:
        scene = await scene.another_organization(credit_limit=Decimal(10))
        key = await scene.a_key()
        grant = await scene.grant("1.5", category=GrantCategory.PROMOTIONAL)
        await scene.record(Used(at=scene.clock.now(), key=key, counts=A_DOLLAR) for _ in range(2))
        await scene.hold(key, "3")
        later = await scene.grant("7", expires_at=datetime(2027, 1, 1, tzinfo=UTC))

        assert await scene.data("/credits") == {
            "currency": "USD",
            "total": "7",
            "held": "3",
            "available": "13.5",  # 7 and 10, less 0.5 and 3
            "credit_limit": "10",
            "unbilled": "0.5",
            "receivable": "0",
            "grants": [
                {
                    "id": typed("grt", later.id),
                    "organization": typed("org", scene.organization.id),
                    "category": "paid",
                    "priority": 50,
                    "amount": "7",
                    "burned": "0",
                    "expired": "0",
                    "voided": "0",
                    "remaining": "7",
                    "currency": "USD",
                    "reason": "a reason",
                    "reference": None,
                    "expires_at": "2027-01-01T00:00:00Z",
                    "voided_at": None,
                    "void_reason": None,
                    "ends_at": "2027-01-01T00:00:00Z",
                    "created_at": "2026-11-22T12:00:00Z",
                }
            ],
        }
        assert [each["id"] for each in await scene.data("/credits/grants")] == [
            typed("grt", each.id) for each in sorted((grant, later), key=lambda each: each.id, reverse=True)
        ]

    async def test_that_expired_are_not_in_the_total(self, scene: Scene) -> None:
        await scene.grant("7", expires_at=scene.clock.now() + timedelta(hours=1))
        assert (await scene.data("/credits"))["total"] == "7"

        scene.clock.at += timedelta(hours=1)

        assert (await scene.data("/credits"))["total"] == "0"
        assert len(await scene.data("/credits/grants")) == 1

    async def test_that_were_voided_while_held_are_not_in_the_total_but_told(self, scene: Scene) -> None:
        key, grant = await scene.a_key(), await scene.grant("5")
        call_id, accepted = await scene.hold(key, "2"), scene.clock.at
        scene.clock.at += timedelta(minutes=1)
        async with scene.database.write() as session:
            await ledger.void_grant(
                session, grant=(grant.organization_id, grant.id), reason="a mistake", by=None, now=scene.clock.at
            )

        assert (await scene.data("/credits"))["total"] == "0"
        assert await self._parts(scene) == ("0", "0", "5", "a mistake")

        await scene.record([Used(at=accepted, key=key, call_id=call_id, counts=A_DOLLAR)])
        async with scene.database.write() as session:
            await ledger.end_grants(session, now=scene.clock.at)

        assert await self._parts(scene) == ("1", "4", "0", "a mistake")
        assert (await scene.data("/credits"))["available"] == "0"
        transactions = await scene.data("/credits/transactions", cause="void")
        assert [(each["amount"], each["cause_id"]) for each in transactions] == [("4", typed("grt", grant.id))]

    @staticmethod
    async def _parts(scene: Scene) -> tuple[str, ...]:
        (grant,) = await scene.data("/credits/grants")
        return tuple(grant[name] for name in ("burned", "voided", "remaining", "void_reason"))

    async def test_without_a_bound_have_no_available(self, scene: Scene) -> None:
        scene = await scene.another_organization(credit_limit=None)

        credit = await scene.data("/credits")

        assert (credit["available"], credit["credit_limit"]) == (None, None)

    async def test_are_the_managers_business(self, scene: Scene) -> None:
        key = await scene.a_key()
        for path in ("/credits", "/credits/grants", "/credits/transactions"):
            assert (await scene.get(path, by=key)).status_code == 403


class TestTransactions:
    async def test_tell_what_moved_the_credits_newest_first(self, scene: Scene) -> None:
        grant = await scene.grant("0.5")
        scene.clock.at += timedelta(minutes=1)
        used = Used(at=scene.clock.now(), key=await scene.a_key(), counts=A_DOLLAR)
        (settled,) = await scene.record([used])
        other = await scene.another_organization()
        await other.grant("3")

        moved = await scene.data("/credits/transactions")

        assert {(each["debit_account"], each["credit_account"], each["amount"]) for each in moved} == {
            (f"credits:{grant.id}", "revenue", "0.5"),
            ("unbilled", "revenue", "0.5"),
            ("cash", f"credits:{grant.id}", "0.5"),
        }
        assert [each["cause"] for each in moved] == ["call", "call", "grant"]
        assert [each["cause_id"] for each in moved] == [
            *[typed("gen", settled.call.call_id)] * 2,
            typed("grt", grant.id),
        ]

    async def test_are_in_order_of_posting_though_an_invoices_ids_are_as_old_as_its_organization(
        self, scene: Scene
    ) -> None:
        scene = await scene.another_organization(credit_limit=None)
        scene.clock.at += timedelta(days=1)
        key = await scene.a_key()
        await scene.record([Used(at=scene.clock.now(), key=key, counts={Kind.PROMPT: 2_512_500})])  # 1.005
        scene.clock.at += timedelta(minutes=1)
        async with scene.database.write() as session:
            await invoices.close(
                session, organization_id=scene.organization.id, month=Month(2026, 11), now=scene.clock.now()
            )
        scene.clock.at += timedelta(minutes=1)
        await scene.grant("2")

        pages: list[tuple[str, str]] = []
        cursor: dict[str, Any] = {}
        while True:
            page = (await scene.get("/credits/transactions", limit=1, **cursor)).json()
            pages += [(each["cause"], each["amount"]) for each in page["data"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}

        assert [cause for cause, _ in pages] == ["grant", "invoice", "invoice", "call"]
        assert set(pages[1:3]) == {("invoice", "1.005"), ("invoice", "0.005")}
        whole = await scene.data("/credits/transactions")
        assert [(each["cause"], each["amount"]) for each in whole] == pages

    async def test_are_filtered_by_cause_and_paged(self, scene: Scene) -> None:
        await scene.grant("0.5")
        scene.clock.at += timedelta(minutes=1)
        await scene.record([Used(at=scene.clock.now(), key=await scene.a_key(), counts=A_DOLLAR)])

        assert [each["cause"] for each in await scene.data("/credits/transactions", cause="grant")] == ["grant"]
        assert len(await scene.data("/credits/transactions", cause="grant,call")) == 3
        first = (await scene.get("/credits/transactions", limit=2)).json()
        second = (await scene.get("/credits/transactions", limit=2, cursor=first["next"])).json()
        assert [len(first["data"]), len(second["data"]), second["next"]] == [2, 1, None]
        assert {each["id"] for each in first["data"]}.isdisjoint(each["id"] for each in second["data"])


class TestKey:
    async def test_tells_what_it_may_what_it_used_and_what_remains(self, scene: Scene) -> None:
        scene = await scene.another_organization(credit_limit=None, routing=RoutingPolicy(denies_training=True))
        project = await scene.a_project()
        anywhere: dict[str, object] = {
            "providers": None,
            "ignore": [],
            "data_collection": "allow",
            "zdr": False,
            "max_price": None,
        }
        key = await scene.a_key(
            project_id=project.id,
            models=("sandbox/echo",),
            routing=RoutingPolicy(zdr=True, max_prompt_price=Decimal(2)),
        )
        await limit(scene, key, Limits(total=Decimal(100), monthly=Decimal("1.5"), rpm=60))
        await spend_a_dollar(scene, key)
        await scene.hold(key, "0.25")

        assert await scene.data("/key", by=key) == {
            "id": typed("key", key.id),
            "name": "a inference key",
            "label": key.label,
            "kind": "inference",
            "project": typed("prj", project.id),
            "models": ["sandbox/echo"],
            "routing": anywhere | {"zdr": True, "max_price": {"prompt": "2", "completion": None}},
            "organization_routing": anywhere | {"models": None, "data_collection": "deny"},
            "limits": {
                "total": "100",
                "daily": None,
                "weekly": None,
                "monthly": "1.5",
                "rpm": 60,
                "tpm": None,
                "concurrency": None,
                "alert_percent": None,
            },
            "usage": {"total": "1", "daily": "1", "weekly": "1", "monthly": "1"},
            "remaining": {"total": "98.75", "daily": None, "weekly": None, "monthly": "0.25"},
            "currency": "USD",
            "expires_at": None,
        }

    async def test_has_used_nothing_of_a_window_that_just_began(self, scene: Scene) -> None:
        scene = await scene.another_organization(timezone="America/New_York", credit_limit=None)
        key = await scene.a_key()
        five = Decimal(5)
        await limit(scene, key, Limits(total=five, daily=five, weekly=five, monthly=five))
        await spend_a_dollar(scene, key)

        async def used(at: datetime) -> Any:
            scene.clock.at = at
            standing = await scene.data("/key", by=key)
            assert all(
                Decimal(standing["remaining"][name]) + Decimal(standing["usage"][name]) == 5
                for name in standing["usage"]
            )
            return standing["usage"]

        # Sunday noon in UTC; the local Monday begins at 05:00 UTC, the local December too.
        week_over = datetime(2026, 11, 23, 5, tzinfo=UTC)
        month_over = datetime(2026, 12, 1, 5, tzinfo=UTC)
        moment = timedelta(microseconds=1)
        assert await used(week_over - moment) == {"total": "1", "daily": "1", "weekly": "1", "monthly": "1"}
        assert await used(week_over) == {"total": "1", "daily": "0", "weekly": "0", "monthly": "1"}
        assert await used(month_over - moment) == {"total": "1", "daily": "0", "weekly": "0", "monthly": "1"}
        assert await used(month_over) == {"total": "1", "daily": "0", "weekly": "0", "monthly": "0"}

    async def test_of_the_operator_spends_nothing(self, scene: Scene) -> None:
        order = NewKey(PLATFORM, KeyKind.OPERATOR, "operator")
        async with scene.database.write() as session:
            operator = (await keys.create(session, order=order, now=scene.clock.now())).key

        standing = await scene.data("/key", by=operator)

        assert (standing["kind"], standing["currency"]) == ("operator", None)
        assert set(standing["usage"].values()) == {"0"}
        assert set(standing["remaining"].values()) == {None}
        assert (await scene.get("/generation", by=operator, id="gen_7")).status_code == 403
