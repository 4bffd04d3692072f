"""Limits as they are given: lowered below what is used, raised again, nothing, everything, and what is no limit."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
from tests.gateway.clocked import NEEDED, TOKENS, Clocked, Tenant, clocked

from tollgate.kit.money import amount_text as text

SCOPES = ("organization", "project", "key")
MONEY = ("total", "daily", "weekly", "monthly")
RATES = ("rpm", "tpm", "concurrency")
USED = {"total": "total_used", "daily": "day_used", "weekly": "week_used", "monthly": "month_used",
        "rpm": "minute_requests", "tpm": "minute_tokens", "concurrency": "concurrent"}  # fmt: skip
LARGEST = "9" * 26 + "." + "9" * 12
RATE_MOST = 10**12
NO_MONEY = ['"-0.01"', '"NaN"', '"Infinity"', '"1e3"', '"0.0000000000001"', f'"{"1" * 27}"', '""', '" 1"',
            '"\uff11"', '"1,5"', "20", "0.1", "NaN", "true", "[]", "{}"]  # fmt: skip
NO_RATE = ["-1", "1.5", "NaN", '"60"', "true", "[]", str(RATE_MOST + 1), str(2**63), str(10**30), "1e400"]


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as running:
        yield running


class TestLowering:
    @pytest.mark.parametrize("scope", SCOPES)
    async def test_below_what_is_used_refuses_from_now_on_and_keeps_what_was_used(
        self, gateway: Clocked, scope: str
    ) -> None:
        tenant = await gateway.tenant()
        assert (await gateway.call(tenant)).status_code == 200
        for name, column in USED.items():
            if name == "concurrency":
                await gateway.pool.execute(
                    "UPDATE counters SET concurrent = 1 WHERE scope_id = $1", tenant.id_of(scope)
                )
            before = await gateway.counter(tenant, scope)
            used = before[column]
            await gateway.limit(tenant, scope, **{name: text(used / 2) if name in MONEY else used // 2})
            for _ in range(2):
                told = metadata(await gateway.call(tenant))
                assert (told["limit"], told["scope"], Decimal(told["available"])) == (name, scope, Decimal(0))
            assert await gateway.counter(tenant, scope) == before
            room = {"rpm": 1, "tpm": TOKENS, "concurrency": 1}.get(name, Decimal(NEEDED))
            await gateway.limit(tenant, scope, **{name: text(used + room) if name in MONEY else used + room})
            assert (await gateway.call(tenant)).status_code == 200
            if name != "concurrency":
                assert metadata(await gateway.call(tenant))["limit"] == name
            await gateway.limit(tenant, scope, **{name: None})

    async def test_the_credit_limit_below_what_is_owed_leaves_nothing_and_raising_it_helps(
        self, gateway: Clocked
    ) -> None:
        tenant = await gateway.tenant(grant="0", billing_mode="postpaid", credit_limit="1")
        assert (await gateway.call(tenant)).status_code == 200
        path = f"/admin/organizations/{tenant.organization}"
        for limit, status in (("0.001", 402), ("0", 402), ("0.308", 402), ("0.309", 200), (None, 200)):
            await gateway.manage("PATCH", path, {"credit_limit": limit})
            answer = await gateway.call(tenant)
            assert answer.status_code == status
            if limit in {"0.001", "0"}:
                assert metadata(answer)["available"] == "0"
            if status == 200:
                break

    async def test_of_two_limits_the_tighter_one_binds_whichever_scope_it_is_of(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant(limits={scope: {"monthly": "1"} for scope in SCOPES})
        for scope in SCOPES:
            await gateway.limit(tenant, scope, monthly="0.2")
            assert metadata(await gateway.call(tenant))["scope"] == scope
            await gateway.limit(tenant, scope, monthly="1")
        assert (await gateway.call(tenant)).status_code == 200


class TestExtremes:
    @pytest.mark.parametrize("scope", SCOPES)
    async def test_zero_allows_nothing_and_null_everything(self, gateway: Clocked, scope: str) -> None:
        tenant = await gateway.tenant()
        for name in (*MONEY, *RATES):
            await gateway.limit(tenant, scope, **{name: "0" if name in MONEY else 0})
            refused = await gateway.call(tenant)
            assert metadata(refused)["limit"] == name
            assert Decimal(metadata(refused)["available"]) == 0
            await gateway.limit(tenant, scope, **{name: None})
            assert (await gateway.call(tenant)).status_code == 200

    async def test_the_largest_limits_there_are_bound_and_overflow_nothing(self, gateway: Clocked) -> None:
        everything = {**dict.fromkeys(MONEY, LARGEST), **dict.fromkeys(RATES, RATE_MOST)}
        tenant = await gateway.tenant(limits=dict.fromkeys(SCOPES, everything), credit_limit=LARGEST)
        shown = (await gateway.manage("GET", "/limits", None, key=tenant.manager))["data"]
        assert {name: shown[name] for name in everything} == everything
        assert (await gateway.call(tenant)).status_code == 200

    async def test_the_smallest_limit_there_is_refuses_all_but_free_calls(self, gateway: Clocked) -> None:
        tenant = await gateway.tenant(limits={"key": {"daily": "0.000000000001"}})
        assert metadata(await gateway.call(tenant))["available"] == "0.000000000001"


@pytest.fixture(scope="module")
async def limited(gateway: Clocked) -> Tenant:
    return await gateway.tenant(limits={scope: {"daily": "5", "rpm": 7} for scope in SCOPES})


class TestNoLimits:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("PATCH", "/limits"),
            ("POST", "/projects"),
            ("PATCH", "/projects/{project}"),
            ("POST", "/keys"),
            ("PATCH", "/keys/{key_id}"),
            ("POST", "/admin/organizations"),
            ("PATCH", "/admin/organizations/{organization}"),
        ],
    )
    async def test_are_refused_wherever_limits_are_given_and_change_none(
        self, gateway: Clocked, limited: Tenant, method: str, path: str
    ) -> None:
        asked = path.format(project=limited.project, key_id=limited.key_id, organization=limited.organization)
        key = None if path.startswith("/admin") else limited.manager
        headers = {"content-type": "application/json"}
        before = await written(gateway)
        for name, value in [*((name, value) for name in MONEY for value in NO_MONEY),
                            *((name, value) for name in RATES for value in NO_RATE)]:  # fmt: skip
            limits = f'{{"{name}": {value}}}'
            whole = f'{{"name": "b", "limits": {limits}}}' if method == "POST" else f'{{"limits": {limits}}}'
            body = (limits if path == "/limits" else whole).encode()
            answer = await gateway.plane.call(method, asked, key=key, content=body, headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["type"]) == (400, "invalid_request"), body
            assert error["metadata"].get("field", name).rpartition(".")[2] == name
        assert await written(gateway) == before


async def written(gateway: Clocked) -> list[Any]:
    """All that the routes of limits could have written."""
    return [
        await gateway.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in ("limits", "organizations", "projects", "api_keys")
    ]


def metadata(answer: httpx.Response) -> Any:
    assert answer.status_code in {402, 429}, answer.text
    return answer.json()["error"]["metadata"]
