"""GET /calls and GET /generation."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from tests.reports.scene import MODEL, Scene, Used

from tollgate.infra.changes import Act
from tollgate.kit.ids import typed
from tollgate.kit.principal import KeyKind
from tollgate.kit.tokens import Kind
from tollgate.metering.model import CallStatus
from tollgate.pricing import service as pricing
from tollgate.pricing.model import PriceDraft, PriceVersion


async def a_flex_price(scene: Scene) -> PriceVersion:
    """Half the scene's price, for the service tier `flex`."""
    items = tuple(replace(item, unit_price=item.unit_price / 2) for item in scene.price.items)
    draft = PriceDraft(scene.endpoint_id, None, "flex", scene.clock.now(), items)
    async with scene.database.write() as session:
        return (await pricing.publish(session, draft, act=Act(scene.clock.now()))).version


class TestGeneration:
    async def test_tells_what_was_asked_and_what_came_of_it(self, scene: Scene) -> None:
        project = await scene.a_project()
        key = await scene.a_key(project_id=project.id)
        used = Used(at=scene.clock.now(), key=key, user="ann", metadata={"team": "search"})
        (settled,) = await scene.record([used])

        found = await scene.data("/generation", by=key, id=typed("gen", settled.call.call_id))

        del found["charge"], found["attempts"]
        assert found == {
            "id": typed("gen", settled.call.call_id),
            "created_at": "2026-11-22T12:00:00Z",
            "model": MODEL,
            "requested_model": MODEL,
            "provider": "openai",
            "endpoint": typed("ep", scene.endpoint_id),
            "api": "chat.completions",
            "streamed": False,
            "status": "settled",
            "estimated": False,
            "anomalous": False,
            "finish_reason": "stop",
            "native_finish_reason": "stop",
            "latency_ms": 120,
            "generation_ms": 2000,
            "throughput": 150.0,
            "usage": {"prompt_tokens": 1000, "completion_tokens": 300},
            "quantities": {"prompt": 800, "input_cache_read": 200, "completion": 300},
            "prompt_tokens": 1000,
            "completion_tokens": 300,
            "estimate": None,
            "price_version": typed("price", scene.price.id),
            "service_tier": "standard",
            "resolved_by": None,
            "provider_cost": None,
            "key": typed("key", key.id),
            "project": typed("prj", project.id),
            "user": "ann",
            "session_id": None,
            "metadata": {"team": "search"},
        }

    async def test_shows_our_own_count_beside_the_providers_where_they_disagree(self, scene: Scene) -> None:
        estimate = {Kind.PROMPT: 12, Kind.COMPLETION: 0}
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=await scene.a_key(), estimate=estimate)])

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert found["estimate"] == {"prompt": 12, "completion": 0}
        assert found["usage"] == {"prompt_tokens": 1000, "completion_tokens": 300}

    async def test_names_the_service_tier_it_was_charged_for(self, scene: Scene) -> None:
        price = await a_flex_price(scene)
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=await scene.a_key(), price=price)])

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert (found["service_tier"], found["price_version"]) == ("flex", typed("price", price.id))
        assert found["charge"]["amount"] == "0.00041"

    async def test_explains_its_charge_kind_by_kind(self, scene: Scene) -> None:
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=await scene.a_key())])

        charge = (await scene.data("/generation", id=typed("gen", settled.call.call_id)))["charge"]

        items = [
            {"kind": "prompt", "quantity": 800, "unit_price": "0.4", "amount": "0.00032"},
            {"kind": "input_cache_read", "quantity": 200, "unit_price": "0.1", "amount": "0.00002"},
            {"kind": "completion", "quantity": 300, "unit_price": "1.6", "amount": "0.00048"},
        ]
        assert charge == {
            "origin": "0.00082",
            "discount": "0",
            "amount": "0.00082",
            "currency": "USD",
            "adjustment": None,
            "items": [item | {"unit": "per_million_tokens"} for item in items],
        }

    async def test_names_every_attempt_in_order(self, scene: Scene) -> None:
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=await scene.a_key(), failed_first=True)])

        attempts = (await scene.data("/generation", id=typed("gen", settled.call.call_id)))["attempts"]

        both = {"endpoint": typed("ep", scene.endpoint_id), "latency_ms": 120}
        failed = {"provider": "azure", "status": "failed", "http_status": 503, "error": "overloaded"}
        served = {"provider": "openai", "status": "served", "http_status": 200, "error": None}
        assert attempts == [both | failed | {"provider_cost": None}, both | served | {"provider_cost": "0.0005"}]

    @pytest.mark.parametrize(("status", "provider"), [(CallStatus.INSURED, "openai"), (CallStatus.FAILED, None)])
    async def test_that_cost_nothing_has_nothing_to_explain(
        self, scene: Scene, status: CallStatus, provider: str | None
    ) -> None:
        used = Used(at=scene.clock.now(), key=await scene.a_key(), status=status, provider=provider)
        (settled,) = await scene.record([used])

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert (found["status"], found["provider"]) == (status, provider)
        assert (found["charge"]["amount"], found["charge"]["items"]) == ("0", [])

    async def test_that_broke_off_before_any_output_has_nothing_to_explain_and_alarms_nobody(
        self, scene: Scene
    ) -> None:
        counts = {Kind.PROMPT: 800}
        used = Used(at=scene.clock.now(), key=await scene.a_key(), counts=counts, status=CallStatus.FAILED)
        (settled,) = await scene.record([used])
        await scene.pool.execute("UPDATE calls SET origin_amount = 0, amount = 0, generation_ms = NULL")
        before = REGISTRY.get_sample_value("tollgate_inconsistent_charges_total")

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert (found["charge"]["amount"], found["charge"]["items"]) == ("0", [])
        assert (found["quantities"], found["throughput"]) == ({"prompt": 800}, None)
        assert REGISTRY.get_sample_value("tollgate_inconsistent_charges_total") == before

    async def test_that_broke_off_later_explains_what_was_delivered(self, scene: Scene) -> None:
        used = Used(at=scene.clock.now(), key=await scene.a_key(), status=CallStatus.FAILED)
        (settled,) = await scene.record([used])

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert (found["charge"]["amount"], len(found["charge"]["items"])) == ("0.00082", 3)

    async def test_that_nobody_served_has_no_price_and_no_tier(self, scene: Scene) -> None:
        used = Used(at=scene.clock.now(), key=await scene.a_key(), status=CallStatus.FAILED, provider=None)
        (settled,) = await scene.record([used])

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert (found["price_version"], found["service_tier"], found["throughput"]) == (None, None, None)

    async def test_is_seen_by_its_own_key_and_its_organization_alone(self, scene: Scene) -> None:
        key, neighbour = await scene.a_key(), await scene.a_key()
        stranger = (await scene.another_organization()).manager
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=key)])
        wanted = typed("gen", settled.call.call_id)

        statuses = [
            (await scene.get("/generation", by=each, id=wanted)).status_code
            for each in (key, scene.manager, neighbour, stranger)
        ]

        assert statuses == [200, 200, 404, 404]

    @pytest.mark.parametrize(
        ("percent", "discount", "amount"), [("-25", "0.000205", "0.000615"), ("50", "-0.00041", "0.00123")]
    )
    async def test_shows_the_discount_and_what_gave_it(
        self, scene: Scene, percent: str, discount: str, amount: str
    ) -> None:
        adjustment = await scene.an_adjustment(percent)
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=await scene.a_key(), adjustment=adjustment)])
        before = REGISTRY.get_sample_value("tollgate_inconsistent_charges_total") or 0

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        charge = found["charge"]
        assert (charge["origin"], charge["discount"], charge["amount"]) == ("0.00082", discount, amount)
        assert charge["adjustment"] == {"id": typed("padj", adjustment.id), "percent": percent}
        assert sum(Decimal(item["amount"]) for item in charge["items"]) == Decimal(amount)
        assert found["service_tier"] == "standard"
        assert (REGISTRY.get_sample_value("tollgate_inconsistent_charges_total") or 0) == before

    async def test_alarms_when_the_recorded_charge_is_not_what_its_price_makes_it(self, scene: Scene) -> None:
        (settled,) = await scene.record([Used(at=scene.clock.now(), key=await scene.a_key())])
        await scene.pool.execute("UPDATE calls SET origin_amount = origin_amount + 0.000000000001")
        before = REGISTRY.get_sample_value("tollgate_inconsistent_charges_total") or 0

        found = await scene.data("/generation", id=typed("gen", settled.call.call_id))

        assert found["charge"]["origin"] == "0.000820000001"
        assert REGISTRY.get_sample_value("tollgate_inconsistent_charges_total") == before + 1

    @pytest.mark.parametrize(
        ("wanted", "status"), [(typed("gen", UUID(int=7)), 404), ("gen_7", 400), (typed("key", UUID(int=7)), 400)]
    )
    async def test_that_is_none_is_refused(self, scene: Scene, wanted: str, status: int) -> None:
        assert (await scene.get("/generation", id=wanted)).status_code == status
        assert (await scene.get("/generation")).status_code == 400


class TestCalls:
    async def test_are_listed_newest_first_a_page_at_a_time(self, scene: Scene) -> None:
        key = await scene.a_key()
        times = [scene.clock.now() - timedelta(minutes=minutes) for minutes in range(5)]
        settled = await scene.record(Used(at=at, key=key) for at in reversed(times))
        expected = [typed("gen", each.call.call_id) for each in reversed(settled)]

        seen: list[str] = []
        page: dict[str, Any] = {"next": ""}
        while page["next"] is not None:
            page = (await scene.get("/calls", limit=2, **({"cursor": page["next"]} if seen else {}))).json()
            seen += [call["id"] for call in page["data"]]

        assert seen == expected

    async def test_are_each_told_as_they_are_told_one_by_one(self, scene: Scene) -> None:
        key, flex = await scene.a_key(), await a_flex_price(scene)
        now = scene.clock.now()
        settled = await scene.record([
            Used(at=now, key=key, user="ann", failed_first=True),
            Used(at=now - timedelta(days=40), key=key, price=flex, estimate={Kind.COMPLETION: 9}),
            Used(at=now, key=key, status=CallStatus.INSURED),
            Used(at=now, key=key, status=CallStatus.FAILED, provider=None),
        ])  # fmt: skip

        listed = {call["id"]: call for call in await scene.data("/calls")}

        assert len(listed) == len(settled)
        for each in settled:
            wanted = typed("gen", each.call.call_id)
            assert listed[wanted] == await scene.data("/generation", id=wanted)

    async def test_are_filtered_by_what_they_were_and_how_they_ended(self, scene: Scene) -> None:
        project = await scene.a_project()
        key, other = await scene.a_key(project_id=project.id, tags=("web", "beta")), await scene.a_key(tags=("web",))
        now = scene.clock.now()
        dear = {Kind.PROMPT: 1_000_000, Kind.INPUT_IMAGE: 5}
        wanted = Used(
            at=now, key=key, counts=dear, user="ann", model="sandbox/echo", provider="azure", finish_reason="length",
            status=CallStatus.CANCELLED,
        )  # fmt: skip
        first, _, _ = await scene.record([wanted, Used(at=now, key=other), Used(at=now - timedelta(days=2), key=other)])

        narrow: list[dict[str, Any]] = [
            {"project": typed("prj", project.id)},
            {"key": typed("key", key.id)},
            {"model": "sandbox/echo"},
            {"provider": "azure"},
            {"kind": "web_search,input_image"},
            {"user": "ann"},
            {"tag": "beta"},
            {"tag": "beta,none", "kind": "input_image"},
            {"status": "cancelled,failed"},
            {"finish_reason": "length"},
            {"min_cost": "0.4"},
            {"month": "2026-11", "status": "cancelled", "min_cost": "0.4", "user": "ann"},
        ]
        for parameters in narrow:
            calls = await scene.data("/calls", **parameters)
            assert [call["id"] for call in calls] == [typed("gen", first.call.call_id)], parameters
        yesterday, tomorrow = now - timedelta(days=1), now + timedelta(days=1)
        assert len(await scene.data("/calls", start=yesterday.isoformat(), end=tomorrow.isoformat())) == 2
        assert await scene.data("/calls", month="2026-10") == []

    async def test_of_others_are_not_among_them(self, scene: Scene) -> None:
        other = await scene.another_organization()
        await other.record([Used(at=scene.clock.now(), key=await other.a_key())])

        assert await scene.data("/calls") == []

    async def test_refuse_what_cannot_be(self, scene: Scene) -> None:
        for parameters in ({"status": "happy"}, {"min_cost": "much"}, {"limit": 1001}, {"cursor": "x"}, {"kind": "x"}):
            assert (await scene.get("/calls", **parameters)).status_code == 400, parameters
        assert (await scene.get("/calls", by=await scene.a_key(KeyKind.INFERENCE))).status_code == 403
