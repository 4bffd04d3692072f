"""Routing: which endpoints are tried, in which order, and why the others are not."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import MODEL, a_catalogue, a_price, a_provider, a_request, an_endpoint
from tests.pricing.builders import JANUARY, per_million

from tollgate.catalog.model import DataPolicy, Endpoint
from tollgate.gateway import routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.eligibility import NOT_PRICED
from tollgate.gateway.model import Plan
from tollgate.gateway.routing import Situation
from tollgate.kit.errors import (
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotPriced,
    NoEndpoint,
    TollgateError,
)
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceBook, PriceVersion

OURS = OrganizationId(UUID(int=7))
OTHER = "acme/other"
UNREACHABLE = "keyless"
ZERO = DataPolicy(training=False, logging="zero")
ENDPOINTS = (
    an_endpoint("dear", data_policy=ZERO, supported_parameters=("seed", "tools")),
    an_endpoint("cheap", data_policy=DataPolicy(training=True, logging="30 days"), max_output=1000),
    an_endpoint("middle", data_policy=DataPolicy(training=False, logging="30 days"), supported_parameters=("seed",)),
    an_endpoint("off", enabled=False),
    an_endpoint("strange", protocols=("embeddings",)),
    an_endpoint(UNREACHABLE),
    an_endpoint("unpriced"),
    an_endpoint("cheap", model=OTHER),
)
PROVIDERS = [
    *map(a_provider, ("dear", "cheap", "middle", "off", "strange", UNREACHABLE, "unpriced")),
]
PRICES = {"dear": ("3", "15"), "cheap": ("0.1", "0.2"), "middle": ("1", "2")}
CATALOGUE = a_catalogue(PROVIDERS, ENDPOINTS)
BOOK = PriceBook.of(
    a_price(each, *PRICES.get(each.provider, ("1", "1"))) for each in ENDPOINTS if each.provider != "unpriced"
)
NEVER = {"off", "strange", UNREACHABLE, "unpriced"}


def plan(allowed: Sequence[str] | None = None, endpoints: Sequence[Endpoint] = ENDPOINTS, **fields: Any) -> Plan:
    return routing.plan(
        Crossing(a_request(**fields)),
        Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OURS, None, None if allowed is None else tuple(allowed), None),
        Situation(
            catalogue=a_catalogue(PROVIDERS, endpoints),
            book=BOOK,
            is_routable=lambda provider: provider.slug != UNREACHABLE,
            at=JANUARY,
        ),
    )


def plan_of(prices: Sequence[PriceVersion], *endpoints: Endpoint, **fields: Any) -> Plan:
    """A plan among these endpoints at these prices alone."""
    return routing.plan(
        Crossing(a_request(**fields)),
        Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OURS, None, None, None),
        Situation(
            catalogue=a_catalogue([a_provider(each.provider) for each in endpoints], endpoints),
            book=PriceBook.of(prices),
            is_routable=lambda _: True,
            at=JANUARY,
        ),
    )


def names(planned: Plan) -> list[str]:
    return [candidate.endpoint.provider for candidate in planned.candidates]


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, ["cheap", "middle", "dear"]),
    ({"model": f"{MODEL}:dear"}, ["dear"]),
    ({"model": f"{MODEL}:"}, ["cheap", "middle", "dear"]),
    ({"provider": {"order": ["dear"]}}, ["dear", "cheap", "middle"]),
    ({"provider": {"order": ["dear", "nobody", "cheap"]}}, ["dear", "cheap", "middle"]),
    ({"provider": {"order": ["dear", "middle"], "allow_fallbacks": False}}, ["dear", "middle"]),
    ({"provider": {"allow_fallbacks": False}}, ["cheap"]),
    ({"provider": {"only": ["middle", "dear"]}}, ["middle", "dear"]),
    ({"provider": {"only": ["middle"], "order": ["dear"]}}, ["middle"]),
    ({"provider": {"ignore": ["cheap"]}}, ["middle", "dear"]),
    ({"provider": {"only": ["cheap", "dear"], "ignore": ["cheap"]}}, ["dear"]),
    ({"provider": {"max_price": {"prompt": 1}}}, ["cheap", "middle"]),
    ({"provider": {"max_price": {"completion": "1.99"}}}, ["cheap"]),
    ({"provider": {"max_price": {"prompt": 100, "completion": 15}}}, ["cheap", "middle", "dear"]),
    ({"provider": {"zdr": True}}, ["dear"]),
    ({"provider": {"data_collection": "deny"}}, ["middle", "dear"]),
    ({"provider": {"require_parameters": True}, "seed": 1}, ["middle", "dear"]),
    ({"provider": {"require_parameters": True}, "seed": 1, "tools": []}, ["dear"]),
    ({"provider": {"require_parameters": True}, "max_tokens": 5, "n": 2}, ["cheap", "middle", "dear"]),
    ({"seed": 1, "tools": []}, ["cheap", "dear"]),
    ({"max_tokens": 1000}, ["cheap", "middle", "dear"]),
    ({"max_tokens": 1001}, ["middle", "dear"]),
    ({"provider": {"sort": "price"}}, ["cheap", "middle", "dear"]),
    ({"models": [OTHER]}, ["cheap", "middle", "dear", "cheap"]),
    ({"model": OTHER, "models": [MODEL]}, ["cheap", "cheap", "middle", "dear"]),
    ({"model": f"{MODEL}:dear", "models": [MODEL, f"{MODEL}:middle"]}, ["dear", "cheap", "middle"]),
    ({"model": "nobody/knows", "models": [OTHER]}, ["cheap"]),
    ({"models": [MODEL, MODEL]}, ["cheap", "middle", "dear"]),
])  # fmt: skip
def test_endpoints_are_tried_in_order(fields: dict[str, Any], expected: list[str]) -> None:
    assert names(plan(**fields)) == expected


def test_what_is_left_out_is_told_why() -> None:
    assert dict(plan().excluded)[f"{MODEL}:unpriced"] == NOT_PRICED
    assert dict(plan().excluded)[f"{MODEL}:strange"] == "it does not speak chat.completions"
    assert dict(plan(provider={"ignore": ["cheap"], "zdr": True}).excluded) == {
        f"{MODEL}:cheap": "among provider.ignore",
        f"{MODEL}:middle": "it may retain prompts",
        f"{MODEL}:off": "the endpoint is disabled",
        f"{MODEL}:strange": "it may retain prompts",
        f"{MODEL}:{UNREACHABLE}": "the provider's credential or address is not set, or not permitted",
        f"{MODEL}:unpriced": "it may retain prompts",
    }


def test_reasons_stand_beside_the_candidates() -> None:
    reasons = [candidate.reason for candidate in plan(provider={"order": ["dear"]}).candidates]
    assert reasons == ["number 1 of provider.order", *["by price, uptime and latency"] * 2]


@pytest.mark.parametrize("sort", ["latency", "throughput"])
def test_an_order_without_its_statistics_says_so(sort: str) -> None:
    planned = plan(provider={"sort": sort, "order": ["dear"]})
    assert names(planned) == ["dear", "cheap", "middle"]
    reasons = [candidate.reason for candidate in planned.candidates]
    assert reasons == ["number 1 of provider.order", *[f"by {sort}: no samples yet"] * 2]


@pytest.mark.parametrize(("asked", "expected"), [
    (None, {"cheap": "1", "flexible": "2"}),
    ("auto", {"cheap": "1", "flexible": "2"}),
    ("default", {"cheap": "1", "flexible": "2"}),
    ("standard", {"cheap": "1", "flexible": "2"}),
    ("flex", {"flexible": "0.5"}),
])  # fmt: skip
def test_a_service_tier_is_served_at_its_own_price_alone(asked: str | None, expected: dict[str, str]) -> None:
    cheap, flexible = an_endpoint("cheap"), an_endpoint("flexible")
    prices = [a_price(cheap, "1"), a_price(flexible, "2"), a_price(flexible, "0.5", service_tier="flex")]
    planned = plan_of(prices, cheap, flexible, service_tier=asked)
    assert {one.endpoint.provider: str(one.price.items[0].unit_price) for one in planned.candidates} == expected
    assert asked != "flex" or dict(planned.excluded) == {f"{MODEL}:cheap": "no price for the service tier"}


def test_a_service_tier_that_nobody_has_a_price_for_is_not_served() -> None:
    cheap = an_endpoint("cheap")
    with pytest.raises(NoEndpoint, match="no price for the service tier"):
        plan_of([a_price(cheap)], cheap, service_tier="priority")


@pytest.mark.parametrize(("kept", "reason"), [(0, "no completion price"), (1, "no prompt price")])
def test_an_endpoint_that_would_leave_calls_unpriced_serves_none(kept: int, reason: str) -> None:
    half, whole = an_endpoint("cheap"), an_endpoint("dear")
    priced = a_price(half, "0", "0")
    prices = [replace(priced, items=(priced.items[kept],)), a_price(whole)]
    planned = plan_of(prices, half, whole)
    assert (names(planned), dict(planned.excluded)) == (["dear"], {f"{MODEL}:cheap": reason})
    with pytest.raises(ModelNotPriced):
        plan_of(prices, half)


@pytest.mark.parametrize(("allowed", "fields", "refusal"), [
    (None, {"model": "nobody/knows"}, ModelNotFound),
    ([OTHER], {}, ModelNotAllowed),
    ([], {}, ModelNotAllowed),
    (None, {"model": f"{MODEL}:unpriced"}, NoEndpoint),
    (None, {"model": f"{MODEL}:off"}, NoEndpoint),
    (None, {"model": f"{MODEL}:{UNREACHABLE}"}, NoEndpoint),
    (None, {"provider": {"only": ["nobody"]}}, NoEndpoint),
    (None, {"max_tokens": 1001, "provider": {"only": ["cheap"]}}, NoEndpoint),
])  # fmt: skip
def test_nothing_to_try_is_refused(allowed: list[str] | None, fields: Any, refusal: type[TollgateError]) -> None:
    with pytest.raises(refusal):
        plan(allowed, **fields)


def test_a_model_that_only_lacks_its_price_says_so() -> None:
    with pytest.raises(ModelNotPriced):
        plan(endpoints=[each for each in ENDPOINTS if each.provider == "unpriced"])


def test_the_allowlist_leaves_the_allowed_fallbacks() -> None:
    assert names(plan([OTHER], models=[OTHER])) == ["cheap"]
    assert names(plan([MODEL], model=f"{MODEL}:dear")) == ["dear"]


def test_an_organizations_own_price_decides_what_is_cheap() -> None:
    dear = ENDPOINTS[0]
    own = a_price(dear, "0", "0", organization_id=OURS)
    book = PriceBook.of([*(version for shelf in BOOK.by_endpoint.values() for version in shelf), own])
    principal = Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OURS, None, None, None)
    situation = Situation(catalogue=CATALOGUE, book=book, is_routable=lambda _: True, at=JANUARY)
    planned = routing.plan(Crossing(a_request()), principal, situation)
    assert names(planned)[0] == "dear"


def test_a_ceiling_looks_at_every_tier() -> None:
    tiered = an_endpoint("dear")
    price = a_price(tiered, "1", "1", per_million(Kind.PROMPT, "9", 200_000))
    with pytest.raises(NoEndpoint):
        plan_of([price], tiered, provider={"max_price": {"prompt": 5}})


SLUGS = st.lists(st.sampled_from(["dear", "cheap", "middle", "off", "nobody"]), max_size=3)
WISHES = st.fixed_dictionaries({}, optional={
    "order": SLUGS, "only": SLUGS, "ignore": SLUGS, "allow_fallbacks": st.booleans(), "zdr": st.booleans(),
    "data_collection": st.sampled_from(["allow", "deny"]), "require_parameters": st.booleans(),
})  # fmt: skip
ASKED = st.lists(st.sampled_from([MODEL, OTHER, f"{MODEL}:dear", f"{MODEL}:cheap", "nobody/knows"]), max_size=3)


@given(WISHES, st.sampled_from([MODEL, OTHER, f"{MODEL}:cheap"]), ASKED, st.permutations(ENDPOINTS))
def test_every_endpoint_is_planned_or_left_out_and_the_order_is_stable(
    wishes: dict[str, Any], model: str, fallbacks: list[str], shuffled: list[Endpoint]
) -> None:
    try:
        planned = plan(provider=wishes, model=model, models=fallbacks)
    except (NoEndpoint, InvalidRequest):
        return
    tried = [f"{candidate.endpoint.model}:{candidate.endpoint.provider}" for candidate in planned.candidates]
    asked = {each.partition(":")[0] for each in (model, *fallbacks)}
    everything = sorted(f"{each.model}:{each.provider}" for each in ENDPOINTS if each.model in asked)
    assert sorted([*tried, *dict(planned.excluded)]) == everything
    assert not NEVER & set(names(planned))
    assert plan(endpoints=shuffled, provider=wishes, model=model, models=fallbacks) == planned
