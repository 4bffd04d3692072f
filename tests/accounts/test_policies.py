"""Policies of where calls may go: what one may say, how a change applies, and that each tenant has its own alone."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from tests.accounts.test_routes import ANYWHERE
from tests.control_plane import ControlPlane, shared_control_plane

from tollgate.accounts import rules
from tollgate.accounts.schemas import (
    MaxPriceChange,
    OrganizationRoutingChange,
    OrganizationRoutingView,
    RoutingChange,
    changed_policy,
)
from tollgate.infra import web
from tollgate.infra.web import Amount
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.principal import NO_POLICY, RoutingPolicy

MODELS = st.sampled_from(["openai/gpt-4.1-mini", "acme/a", "acme/b.c-d_e"])
PROVIDERS = st.sampled_from(["openai", "azure", "acme-2", "x"])
PRICES = st.decimals(0, 10**9, places=6)


def some(slugs: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(slugs, unique=True, max_size=3).map(tuple)


policies = st.builds(
    RoutingPolicy,
    models=st.none() | some(MODELS),
    providers=st.none() | some(PROVIDERS),
    denies_training=st.booleans(),
    zdr=st.booleans(),
    max_prompt_price=st.none() | PRICES,
    max_completion_price=st.none() | PRICES,
)
ceilings = st.just(UNSET) | st.none() | PRICES.map(Amount)
changes = st.builds(
    OrganizationRoutingChange,
    models=st.just(UNSET) | st.none() | some(MODELS),
    providers=st.just(UNSET) | st.none() | some(PROVIDERS),
    ignore=st.just(UNSET) | st.none() | some(PROVIDERS),
    data_collection=st.just(UNSET) | st.none() | st.sampled_from(["allow", "deny"]),
    zdr=st.just(UNSET) | st.none() | st.booleans(),
    max_price=st.just(UNSET) | st.none() | st.builds(MaxPriceChange, prompt=ceilings, completion=ceilings),
)


@given(policies)
def test_a_policy_is_read_back_as_it_was_stored(policy: RoutingPolicy) -> None:
    assert rules.read_policy(rules.stored_policy(policy)) == policy
    rules.check_policy(policy)


@given(policies, changes)
def test_a_change_once_made_changes_nothing_more(policy: RoutingPolicy, change: OrganizationRoutingChange) -> None:
    changed = change.applied_to(policy)

    assert change.applied_to(changed) == changed


@given(policies)
def test_a_change_of_nothing_keeps_the_policy_and_null_lifts_it(policy: RoutingPolicy) -> None:
    assert OrganizationRoutingChange().applied_to(policy) == changed_policy(policy, UNSET) == policy
    assert changed_policy(policy, None) == NO_POLICY
    lifting = OrganizationRoutingChange(
        models=None, providers=None, ignore=None, data_collection=None, zdr=None, max_price=None
    )
    assert lifting.applied_to(policy) == NO_POLICY


@given(policies)
def test_what_is_shown_says_the_policy_again(policy: RoutingPolicy) -> None:
    view = msgspec.to_builtins(OrganizationRoutingView.of(policy))
    said = web.decode(msgspec.json.encode(view), OrganizationRoutingChange)

    assert said.applied_to(NO_POLICY) == policy


def test_a_keys_change_leaves_models_to_its_allowlist() -> None:
    with_models = RoutingPolicy(models=("acme/a",))

    assert RoutingChange(zdr=True).applied_to(with_models) == RoutingPolicy(models=("acme/a",), zdr=True)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (RoutingPolicy(models=("gpt-4.1",)), "routing.models"),
        (RoutingPolicy(models=("acme/a:acme",)), "routing.models"),
        (RoutingPolicy(models=("acme/a", "acme/a")), "routing.models"),
        (RoutingPolicy(models=tuple(f"acme/{number}" for number in range(501))), "routing.models"),
        (RoutingPolicy(providers=("Open AI",)), "routing.providers"),
        (RoutingPolicy(ignored_providers=("",)), "routing.ignore"),
        (RoutingPolicy(providers=("acme", "x"), ignored_providers=("x",)), "routing.ignore"),
        (RoutingPolicy(max_prompt_price=Decimal(-1)), "routing.max_price.prompt"),
        (RoutingPolicy(max_completion_price=Decimal("-0.1")), "routing.max_price.completion"),
    ],
)
def test_what_cannot_be_is_refused_by_field(policy: RoutingPolicy, field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        rules.check_policy(policy)
    assert refusal.value.field == field


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "policies") as opened:
        yield opened


STRICT: dict[str, Any] = {
    "models": ["openai/gpt-4.1-mini"], "providers": ["openai", "nobody-yet"], "ignore": ["azure"],
    "data_collection": "deny", "zdr": True, "max_price": {"prompt": "2.50", "completion": None},
}  # fmt: skip
SHOWN = STRICT | {"max_price": {"prompt": "2.5", "completion": None}}


async def data(plane: ControlPlane, method: str, path: str, **rest: Any) -> Any:
    answer = await plane.call(method, path, **rest)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()["data"]


class TestOrganizations:
    async def test_policy_is_set_by_the_operator_and_by_its_own_manager(self, plane: ControlPlane) -> None:
        created = await data(plane, "POST", "/admin/organizations", json={"name": "Acme", "routing": STRICT})
        path, manager = f"/admin/organizations/{created['id']}", await plane.a_key(created["id"])
        assert created["routing"] == await data(plane, "GET", "/routing", key=manager) == SHOWN

        change: dict[str, Any] = {"zdr": None, "models": [], "max_price": {"completion": "8"}}
        changed = await data(plane, "PATCH", "/routing", key=manager, json=change)
        expected = SHOWN | {"zdr": False, "models": [], "max_price": {"prompt": "2.5", "completion": "8"}}
        assert changed == expected == (await data(plane, "GET", path))["routing"]

        await data(plane, "PATCH", path, json={"name": "Acme 2"})
        assert await data(plane, "GET", "/routing", key=manager) == expected
        assert (await data(plane, "PATCH", path, json={"routing": {"max_price": None}}))["routing"]["max_price"] is None
        assert (await data(plane, "PATCH", path, json={"routing": None}))["routing"] == ANYWHERE

    async def test_policy_is_for_managers_and_operators_alone(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        caller = await plane.a_key(organization, "inference")

        for key in (caller, plane.operator_key):
            assert (await plane.call("GET", "/routing", key=key)).status_code == 403
            assert (await plane.call("PATCH", "/routing", key=key, json={"zdr": False})).status_code == 403

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"models": ["nothing"]}, "models"),
            ({"models": "acme/a"}, "models"),
            ({"providers": ["openai"], "ignore": ["openai"]}, "ignore"),
            ({"data_collection": "maybe"}, "data_collection"),
            ({"zdr": "yes"}, "zdr"),
            ({"max_price": {"prompt": 1}}, "max_price.prompt"),
            ({"max_price": {"prompt": "-1"}}, "max_price.prompt"),
            ({"max_price": {"completion": "1e3"}}, "max_price.completion"),
            ({"max_price": {"image": "1"}}, "max_price.image"),
            ({"only": ["openai"]}, "only"),
        ],
    )
    async def test_policy_that_cannot_be_is_refused_by_field(
        self, plane: ControlPlane, body: dict[str, Any], field: str
    ) -> None:
        organization = await plane.an_organization()
        manager = await plane.a_key(organization)

        answers = [
            await plane.call("PATCH", "/routing", key=manager, json=body),
            await plane.call("PATCH", f"/admin/organizations/{organization}", json={"routing": body}),
            await plane.call("POST", "/admin/organizations", json={"name": "Acme", "routing": body}),
        ]

        assert [answer.status_code for answer in answers] == [400] * 3
        told = [answer.json()["error"]["metadata"]["field"].removeprefix("routing.") for answer in answers]
        assert told == [field] * 3
        assert await data(plane, "GET", "/routing", key=manager) == ANYWHERE


class TestKeys:
    async def test_policy_is_set_when_they_are_made_and_changed_where_it_is_named(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        manager = await plane.a_key(organization)
        policy = {name: value for name, value in STRICT.items() if name != "models"}
        shown = {name: value for name, value in SHOWN.items() if name != "models"}
        path = f"/admin/organizations/{organization}/keys"
        made = [
            await data(plane, "POST", "/keys", key=manager, json={"name": "mine", "routing": policy}),
            await data(plane, "POST", path, json={"kind": "inference", "name": "theirs", "routing": policy}),
        ]
        assert [key["routing"] for key in made] == [shown] * 2

        mine = f"/keys/{made[0]['id']}"
        await data(plane, "PATCH", mine, key=manager, json={"name": "still mine"})
        changed = await data(plane, "PATCH", mine, key=manager, json={"routing": {"ignore": []}})
        assert changed["routing"] == shown | {"ignore": []}
        text = (await plane.call("POST", f"{mine}/rotate", key=manager)).json()["key"]
        own = (await plane.call("GET", "/key", key=text)).json()["data"]
        assert (own["routing"], own["organization_routing"]) == (shown | {"ignore": []}, ANYWHERE)
        lifted = await data(plane, "PATCH", mine, key=manager, json={"routing": None})
        assert lifted["routing"] == {name: value for name, value in ANYWHERE.items() if name != "models"}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"models": ["acme/a"]}, "routing.models"),
            ({"providers": ["A B"]}, "routing.providers"),
            ({"max_price": {"prompt": "-1"}}, "routing.max_price.prompt"),
        ],
    )
    async def test_policy_that_cannot_be_is_refused_by_field(
        self, plane: ControlPlane, body: dict[str, Any], field: str
    ) -> None:
        manager = await plane.a_manager()
        key = await data(plane, "POST", "/keys", key=manager, json={"name": "mine"})

        answers = [
            await plane.call("POST", "/keys", key=manager, json={"name": "mine", "routing": body}),
            await plane.call("PATCH", f"/keys/{key['id']}", key=manager, json={"routing": body}),
        ]

        assert [(each.status_code, each.json()["error"]["metadata"]["field"]) for each in answers] == [(400, field)] * 2


async def test_two_tenants_neither_see_nor_set_each_others_policies(plane: ControlPlane) -> None:
    """Whatever one does to its own, and tries on the other's, the other's stays as it was."""
    tenants = []
    for policy in (STRICT, {"zdr": True}):
        organization = await plane.an_organization(routing=policy)
        manager = await plane.a_key(organization)
        key = await data(plane, "POST", "/keys", key=manager, json={"name": "mine", "routing": {"ignore": ["x"]}})
        tenants.append((organization, manager, key))

    async def seen(tenant: tuple[str, str, Any]) -> Any:
        _, manager, key = tenant
        return [
            await data(plane, "GET", "/routing", key=manager),
            await data(plane, "GET", f"/keys/{key['id']}", key=manager),
        ]

    for one, other in (tenants, tenants[::-1]):
        before = await seen(other)
        loose: dict[str, Any] = {"json": {"routing": None}, "key": one[1]}
        refused = [
            await plane.call("GET", f"/keys/{other[2]['id']}", key=one[1]),
            await plane.call("PATCH", f"/keys/{other[2]['id']}", **loose),
            await plane.call("PATCH", f"/admin/organizations/{other[0]}", **loose),
            await plane.call("POST", f"/admin/organizations/{other[0]}/keys", json={"name": "x"}, key=one[1]),
        ]
        assert [answer.status_code for answer in refused] == [404, 404, 403, 403]
        await data(plane, "PATCH", "/routing", key=one[1], json={"providers": [f"only-{one[0][-6:]}"], "ignore": None})
        assert await seen(other) == before
