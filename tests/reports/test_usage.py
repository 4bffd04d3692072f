"""GET /usage: what it answers, and what it refuses."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.plans import statements_of
from tests.pricing.builders import per_million
from tests.reports.scene import MODEL, Scene, Used

from tollgate.infra.changes import Act
from tollgate.kit.ids import typed
from tollgate.kit.principal import KeyKind
from tollgate.kit.tokens import Kind
from tollgate.metering.model import CallStatus
from tollgate.pricing import service as pricing
from tollgate.pricing.model import STANDARD, PriceDraft, PriceItem, Unit
from tollgate.reports import rules

FREE_AND_PAID = (CallStatus.INSURED, CallStatus.SETTLED)


class TestUsage:
    async def test_of_the_current_month_is_the_sum_of_its_calls(self, scene: Scene) -> None:
        key = await scene.a_key()
        await scene.record([Used(at=scene.clock.now(), key=key), Used(at=scene.clock.now(), key=key)])

        answer = await scene.get("/usage")

        total = {
            "calls": 2,
            "quantities": {"prompt": 1600, "input_cache_read": 400, "completion": 600},
            "prompt_tokens": 2000,
            "completion_tokens": 600,
            "amount": "0.00164",
            "currency": "USD",
        }
        window = {"start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z"}
        assert answer.json() == {
            "data": [total | window],
            "total": total,
            **window,
            "timezone": "UTC",
            "granularity": "total",
        }

    async def test_tells_requests_as_a_kind_where_they_have_a_price_and_calls_always(self, scene: Scene) -> None:
        key, now = await scene.a_key(), scene.clock.now()
        items = (per_million(Kind.PROMPT, "1"), PriceItem(Kind.REQUEST, Decimal("0.5"), Unit.PER_COUNT))
        draft = PriceDraft(scene.endpoint_id, scene.organization.id, STANDARD, now, items)
        async with scene.database.write() as session:
            by_request = (await pricing.publish(session, draft, act=Act(now))).version
        charged = {Kind.PROMPT: 1_000_000, Kind.REQUEST: 1}
        await scene.record([Used(at=now, key=key), Used(at=now, key=key, price=by_request, counts=charged)])

        for grouping in ("model", "model,user"):
            (row,) = await scene.data("/usage", group_by=grouping)
            assert (row["calls"], row["quantities"]["request"], row["amount"]) == (2, 1, "1.50082")
            rows = await scene.data("/usage", group_by=f"{grouping},kind", kind="request")
            assert [(row["calls"], row["quantity"], row["amount"]) for row in rows] == [(1, 1, "0.5")]
        counted = (await scene.get("/usage", kind="request")).json()["total"]
        assert (counted["calls"], counted["quantities"]) == (2, {"request": 1})

    async def test_counts_what_insured_calls_used_as_the_list_of_calls_does(self, scene: Scene) -> None:
        key, now = await scene.a_key(), scene.clock.now()
        await scene.record(Used(at=now, key=key, status=status, user="ann") for status in FREE_AND_PAID)

        either: list[dict[str, Any]] = [{}, {"user": "ann"}]
        for parameters in either:
            total = (await scene.get("/usage", **parameters)).json()["total"]
            calls = await scene.data("/calls", **parameters)
            assert total["amount"] == "0.00082"
            assert total["prompt_tokens"] == sum(call["prompt_tokens"] for call in calls) == 2000
            assert total["completion_tokens"] == sum(call["completion_tokens"] for call in calls) == 600
            assert total["calls"] == len(calls) == 2

    async def test_of_nothing_has_no_rows_and_a_total_of_zero(self, scene: Scene) -> None:
        answer = (await scene.get("/usage", month="2026-10")).json()

        assert answer["data"] == []
        assert answer["total"] == {
            "calls": 0,
            "quantities": {},
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "amount": "0",
            "currency": "USD",
        }

    async def test_is_grouped_by_any_mix_in_order_of_time(self, scene: Scene) -> None:
        project = await scene.a_project()
        key, filed = await scene.a_key(), await scene.a_key(project_id=project.id)
        noon = scene.clock.now()
        await scene.record(Used(at=noon - timedelta(days=days), key=each) for days in (0, 1) for each in (key, filed))

        rows = await scene.data("/usage", granularity="day", group_by="project,key,model,provider")

        seen = [(row["start"], row["project"], row["key"], row["model"], row["provider"]) for row in rows]
        groups = [
            (typed("prj", project.id), typed("key", filed.id), MODEL, "openai"),
            (None, typed("key", key.id), MODEL, "openai"),
        ]
        assert seen == [(f"2026-11-{day}T00:00:00Z", *group) for day in (21, 22) for group in groups]

    async def test_by_kind_has_one_quantity_a_row_and_counts_no_calls(self, scene: Scene) -> None:
        await scene.record([Used(at=scene.clock.now(), key=await scene.a_key(), user="ann")])
        expected = [
            ("completion", None, 300, "0.00048"),
            ("input_cache_read", None, 200, "0.00002"),
            ("prompt", None, 800, "0.00032"),
        ]

        for grouping in ("kind", "kind,user"):
            rows = await scene.data("/usage", group_by=grouping)
            assert [(row["kind"], row["calls"], row["quantity"], row["amount"]) for row in rows] == expected
            assert all("quantities" not in row for row in rows)

    async def test_leaves_out_other_organizations(self, scene: Scene) -> None:
        other = await scene.another_organization()
        await other.record([Used(at=scene.clock.now(), key=await other.a_key(), user="ann")])

        assert await scene.data("/usage") == []
        assert await scene.data("/usage", group_by="user") == []

    async def test_takes_its_month_from_the_organizations_zone_unless_told_otherwise(self, scene: Scene) -> None:
        lord_howe = await scene.another_organization(timezone="Australia/Lord_Howe")

        own = (await lord_howe.get("/usage")).json()
        told = (await lord_howe.get("/usage", timezone="Asia/Kathmandu", month="2026-11")).json()

        assert (own["start"], own["timezone"]) == ("2026-10-31T13:00:00Z", "Australia/Lord_Howe")
        assert (told["start"], told["timezone"]) == ("2026-10-31T18:15:00Z", "Asia/Kathmandu")

    async def test_reads_lists_repeated_or_with_commas(self, scene: Scene) -> None:
        key = await scene.a_key()
        await scene.record(Used(at=scene.clock.now(), key=key, user=user) for user in ("ann", "bob", "cay"))

        for users in ("ann,bob", ["ann", "bob"]):
            assert [row["user"] for row in await scene.data("/usage", group_by="user", user=users)] == ["ann", "bob"]

    @pytest.mark.parametrize(
        ("parameters", "field"),
        [
            ({"groupby": "model"}, "groupby"),
            ({"group_by": "colour"}, "group_by[0]"),
            ({"granularity": "week"}, "granularity"),
            ({"kind": "tokens"}, "kind[0]"),
            ({"start": "2026-11-01T00:07:00Z", "end": "2026-11-02T00:00:00Z"}, "start"),
            ({"start": "2026-11-01T00:00:00Z", "end": "2026-11-02T00:00:01Z"}, "end"),
            ({"start": "2026-11-01T00:00:00", "end": "2026-11-02T00:00:00Z"}, "start"),
            ({"start": "0001-01-01T00:00:00+14:00", "end": "9999-12-31T23:45:00Z"}, "start"),
            ({"start": "2000-01-01T00:00:00Z", "end": "2026-11-02T00:00:00Z", "granularity": "15m"}, "granularity"),
            ({"month": "November"}, "month"),
            ({"timezone": "Mars/Olympus"}, "timezone"),
            ({"project": "search"}, "project"),
            ({"format": "parquet"}, "format"),
            ({"format": "xml"}, "format"),
        ],
    )
    async def test_refuses_what_it_cannot_answer_by_name(
        self, scene: Scene, parameters: dict[str, Any], field: str
    ) -> None:
        answer = await scene.get("/usage", **parameters)

        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["metadata"]["field"] == field

    async def test_takes_an_offset_that_falls_on_a_quarter_hour(self, scene: Scene) -> None:
        answer = await scene.get("/usage", start="2026-11-01T00:00:00+05:45", end="2026-11-02T00:00:00+05:45")

        assert answer.json()["start"] == "2026-10-31T18:15:00Z"

    async def test_does_not_know_the_projects_and_keys_of_others(self, scene: Scene) -> None:
        other = await scene.another_organization()
        project, key = await other.a_project(), await other.a_key()

        assert (await scene.get("/usage", project=typed("prj", project.id))).status_code == 404
        assert (await scene.get("/usage", key=typed("key", key.id))).status_code == 404
        assert (await other.get("/usage", key=typed("key", key.id))).status_code == 200

    async def test_asks_once_whose_the_projects_and_keys_are(self, scene: Scene) -> None:
        projects = [typed("prj", (await scene.a_project(name)).id) for name in ("a", "b", "c")]
        keys = [typed("key", (await scene.a_key()).id) for _ in range(3)]

        with statements_of("projects") as of_projects, statements_of("api_keys WHERE") as of_keys:
            await scene.data("/usage", project=projects, key=keys)

        assert (len(of_projects), len(of_keys)) == (1, 1)

    async def test_needs_a_management_key(self, scene: Scene) -> None:
        assert (await scene.get("/usage", by=await scene.a_key(KeyKind.INFERENCE))).status_code == 403

    async def test_of_too_many_rows_is_refused(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        key = await scene.a_key()
        await scene.record(Used(at=scene.clock.now(), key=key, user=user) for user in ("ann", "bob", "cay"))

        monkeypatch.setattr(rules, "ROWS_MAX", 2)
        answer = await scene.get("/usage", group_by="user")

        assert answer.status_code == 400
        assert "coarser" in answer.json()["error"]["message"]


class TestCsv:
    async def test_has_a_row_for_each_row_of_the_report(self, scene: Scene) -> None:
        await scene.record([Used(at=scene.clock.now(), key=await scene.a_key())])

        answer = await scene.get("/usage", format="csv", group_by="project,model")

        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        (row,) = csv.DictReader(io.StringIO(answer.text))
        kinds = dict.fromkeys(Kind, "") | {
            "prompt": "800",
            "input_cache_read": "200",
            "completion": "300",
        }
        assert row == {
            "start": "2026-11-01T00:00:00Z",
            "end": "2026-12-01T00:00:00Z",
            "project": "",
            "model": MODEL,
            "calls": "1",
            **kinds,
            "prompt_tokens": "1000",
            "completion_tokens": "300",
            "amount": "0.00082",
            "currency": "USD",
        }

    async def test_defuses_formulas_and_quotes_what_needs_it(self, scene: Scene) -> None:
        key = await scene.a_key()
        users = ['=HYPERLINK("http://evil")', "a,b\nc"]
        await scene.record(Used(at=scene.clock.now(), key=key, user=user) for user in users)

        answer = await scene.get("/usage", format="csv", group_by="user,kind", kind="prompt")

        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert [(row["user"], row["kind"], row["quantity"], row["calls"]) for row in rows] == [
            (f"'{users[0]}", "prompt", "800", ""),
            (users[1], "prompt", "800", ""),
        ]
