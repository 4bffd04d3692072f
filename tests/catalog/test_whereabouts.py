"""A provider's name that leads into a private network is refused when the provider is created or changed."""

from collections.abc import AsyncIterator

import pytest
from httpx import AsyncClient
from hypothesis import given
from hypothesis import strategies as st
from tests.catalog import app
from tests.catalog.app import operator_client
from tests.catalog.test_routes import GROQ, create

from tollgate.catalog import rules, service
from tollgate.infra.database import Database
from tollgate.infra.names import Reach
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import InvalidRequest

PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "169.254.169.254",
    "192.168.0.1",
    "::1",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
)
PUBLIC = ("8.8.8.8", "2606:4700::6812:203")


@given(public=st.lists(st.sampled_from(PUBLIC)), private=st.sampled_from(PRIVATE), place=st.integers(0, 5))
def test_one_private_address_among_any_others_is_enough(public: list[str], private: str, place: int) -> None:
    rules.check_addresses("a.test", public)
    with pytest.raises(InvalidRequest) as refused:
        rules.check_addresses("a.test", [*public[:place], private, *public[place:]])
    assert refused.value.field == "base_url"
    assert f"a.test leads to {private}" in refused.value.message


@pytest.fixture
async def client(database: Database, clock: FixedClock) -> AsyncIterator[AsyncClient]:
    async with operator_client(database, clock) as opened:
        yield opened


@pytest.mark.parametrize("address", PRIVATE)
async def test_such_a_provider_is_refused(client: AsyncClient, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setitem(app.NAMES, "inside.example.com", ("8.8.8.8", address))
    inside = {"base_url": "https://inside.example.com/v1"}
    await create(client, "/admin/providers", GROQ)

    created = await client.post("/admin/providers", json=GROQ | {"slug": "inside"} | inside)
    changed = await client.patch("/admin/providers/groq", json=inside)
    renamed = await client.patch("/admin/providers/groq", json={"name": "Groq, Inc."})

    for refused in (created, changed):
        assert (refused.status_code, refused.json()["error"]["metadata"]) == (400, {"field": "base_url"})
        assert "TOLLGATE_ALLOW_PRIVATE_UPSTREAMS" in refused.json()["error"]["message"]
    assert renamed.json()["data"]["base_url"] == GROQ["base_url"]


async def test_a_name_that_leads_nowhere_passes(client: AsyncClient) -> None:
    await create(client, "/admin/providers", GROQ | {"base_url": "https://soon.example.com/v1"})


async def test_a_variable_is_not_looked_up_and_nothing_is_where_that_is_permitted() -> None:
    async def resolve(name: str) -> tuple[str, ...]:
        raise AssertionError(name)

    await service.check_whereabouts("env:GROQ_BASE_URL", reach=Reach(resolve, private=False))
    await service.check_whereabouts("http://localhost:1/v1", reach=Reach(resolve, private=True))
    await service.check_whereabouts(None, reach=Reach(resolve, private=False))
    with pytest.raises(InvalidRequest):
        await service.check_whereabouts("http://localhost:1/v1", reach=Reach(resolve, private=False))
