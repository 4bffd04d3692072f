"""Ids are ours: what a caller sends in their place decides nothing."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from tests.gateway.clocked import MODEL, PATHS, Clocked, Tenant, clocked

from tollgate.kit.ids import typed

CHOSEN = UUID("01a19543-58c2-7242-a701-25aebaddec7b")
HEADERS = {
    "x-request-id": str(CHOSEN),
    "x-generation-id": typed("gen", CHOSEN),
    "request-id": typed("gen", CHOSEN),
    "idempotency-key": "once",
    "x-tollgate-call-id": str(CHOSEN),
}
CHOSEN_IN_BODY: dict[str, Any] = {
    "id": typed("gen", CHOSEN),
    "call_id": str(CHOSEN),
    "generation_id": str(CHOSEN),
}


@pytest.fixture(scope="module")
async def gateway(server_url: str, template: str) -> AsyncIterator[Clocked]:
    async with clocked(server_url, template) as running:
        yield running


@pytest.fixture(scope="module")
async def tenant(gateway: Clocked) -> Tenant:
    return await gateway.tenant()


@pytest.mark.parametrize("speaking", PATHS)
async def test_a_call_gets_an_id_of_ours_whatever_its_caller_sends(
    gateway: Clocked, tenant: Tenant, speaking: str
) -> None:
    """Two calls with the same ids and the same Idempotency-Key are two calls, each with its record and its charge."""
    before = await records(gateway, tenant)
    # In the body of a call that needs no translation, what nobody knows is left for the provider to judge.
    body = CHOSEN_IN_BODY if speaking == "chat" else {}
    answers = [await gateway.call(tenant, speaking=speaking, headers=HEADERS, **body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    given = [answer.headers["x-generation-id"] for answer in answers]
    assert len({*given, typed("gen", CHOSEN)}) == 3
    made = await records(gateway, tenant) - before
    assert {typed("gen", each) for each in made} == set(given)
    if speaking == "messages":
        assert [answer.headers["request-id"] for answer in answers] == given


@pytest.mark.parametrize("speaking", ["responses", "messages"])
@pytest.mark.parametrize("field", CHOSEN_IN_BODY)
async def test_an_id_in_the_body_of_a_call_that_is_translated_is_refused(
    gateway: Clocked, tenant: Tenant, speaking: str, field: str
) -> None:
    before = await records(gateway, tenant)
    answer = await gateway.call(tenant, speaking=speaking, **{field: CHOSEN_IN_BODY[field]})
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert await records(gateway, tenant) == before


async def records(gateway: Clocked, tenant: Tenant) -> set[UUID]:
    rows = await gateway.pool.fetch("SELECT id FROM calls WHERE organization_id = $1", tenant.id_of("organization"))
    return {row["id"] for row in rows}


@pytest.mark.parametrize("field", ["id", "organization_id", "created_at"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/admin/organizations", {"name": "b"}),
        ("/admin/organizations/{organization}/grants", {"amount": "1"}),
        ("/admin/organizations/{organization}/keys", {"name": "b"}),
        ("/admin/models", {"slug": "acme/b", "name": "B"}),
        ("/admin/providers", {"slug": "b", "name": "B", "format": "sandbox"}),
        ("/admin/endpoints", {"model": MODEL, "provider": "b"}),
        ("/admin/prices", {"model": MODEL, "provider": "sand", "items": []}),
        ("/projects", {"name": "b"}),
        ("/keys", {"name": "b"}),
    ],
)
async def test_nothing_is_made_under_an_id_that_its_maker_chose(
    gateway: Clocked, tenant: Tenant, path: str, body: dict[str, Any], field: str
) -> None:
    asked = path.format(organization=tenant.organization)
    key = None if path.startswith("/admin") else tenant.manager
    answer = await gateway.plane.call("POST", asked, key=key, json={**body, field: str(CHOSEN)})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request")
    assert answer.json()["error"]["metadata"]["field"] == field
