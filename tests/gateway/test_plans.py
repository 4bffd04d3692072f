"""Plans: what is remembered of one call is what would be planned for the next."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import MODEL, a_catalogue, a_price, a_provider, a_request, an_endpoint
from tests.pricing.builders import JANUARY

from tollgate.gateway import plans, routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import Plan
from tollgate.gateway.outlook import Outlook
from tollgate.gateway.routing import Situation
from tollgate.gateway.snapshot import Snapshot
from tollgate.health.model import Circuit, Condition, Fault
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import EndpointId, KeyId, OrganizationId
from tollgate.kit.principal import KeyKind, Principal, RoutingPolicy
from tollgate.pricing.model import PriceBook

OTHER = "acme/other"
LATER = JANUARY + timedelta(days=20)
ENDPOINTS = (
    an_endpoint("dear", supported_parameters=("seed", "tools"), max_output=5000),
    an_endpoint("cheap", max_output=1000),
    an_endpoint("claude", protocols=("anthropic",)),
    an_endpoint("cheap", model=OTHER),
)
CATALOGUE = a_catalogue(map(a_provider, ("dear", "cheap", "claude")), ENDPOINTS)
_DEAR, _CHEAP, *_REST = (a_price(each, "3" if each.provider == "dear" else "1", "4") for each in ENDPOINTS)
NEXT = replace(a_price(ENDPOINTS[0], "0.1", "0.1"), effective_from=LATER)
SNAPSHOTS = (
    Snapshot(CATALOGUE, PriceBook.of([replace(_DEAR, effective_to=LATER), NEXT, _CHEAP, *_REST])),
    Snapshot(replace(CATALOGUE, revision=2), PriceBook.of([_DEAR, replace(_CHEAP, effective_from=LATER), *_REST])),
)
CONDITIONS: tuple[Mapping[EndpointId, Condition], ...] = (
    {},
    {ENDPOINTS[0].id: Condition(circuit=Circuit(Fault.FAILING, JANUARY, JANUARY + timedelta(seconds=20), 1))},
    {ENDPOINTS[1].id: Condition(circuit=Circuit(Fault.UNREACHABLE, JANUARY, LATER, 1))},
)
FIELDS: tuple[dict[str, Any], ...] = (
    {},
    {"max_tokens": 2000},
    {"models": [OTHER]},
    {"model": f"{MODEL}:cheap"},
    {"provider": {"sort": "price"}},
    {"provider": {"ignore": ["cheap"]}},
    {"seed": 1, "provider": {"require_parameters": True}},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"service_tier": "flex"},
    {"modalities": ["text"]},
    {"messages": [{"role": "user", "content": "other words"}]},
)
WHO = Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OrganizationId(UUID(int=7)), None, None, None)
CALLERS = (WHO, replace(WHO, models=(OTHER,)), replace(WHO, policies=(RoutingPolicy(ignored_providers=("dear",)),)))

STEPS = st.tuples(
    st.sampled_from(FIELDS),
    st.sampled_from(CALLERS),
    st.sampled_from(SNAPSHOTS),
    st.sampled_from(CONDITIONS),
    st.sampled_from([None, ENDPOINTS[0].id]),
    st.sampled_from([JANUARY, JANUARY + timedelta(seconds=30), LATER - timedelta(microseconds=1), LATER]),
)


def outlook() -> Outlook:
    nobody: Any = None
    return Outlook(nobody, cast("Any", SimpleNamespace(conditions={})), nobody, {})


def planned(plan: Any) -> Plan | tuple[str, object]:
    try:
        made: Plan = plan()
    except TollgateError as error:
        return error.message, error.metadata
    return made


@given(st.lists(STEPS, max_size=12))
def test_a_plan_that_is_remembered_is_the_one_that_would_be_made(steps: list[Any]) -> None:
    remembering = outlook()
    for fields, caller, snapshot, conditions, sticky, at in steps:
        cast("Any", remembering.health).conditions = conditions
        situation = Situation(
            catalogue=snapshot.catalogue,
            book=snapshot.book,
            is_routable=lambda _: True,
            at=at,
            conditions=conditions,
            sticky=sticky,
        )
        fresh = planned(lambda: routing.plan(Crossing(a_request(**fields)), caller, situation))  # noqa: B023 - called at once
        asked = Crossing(a_request(**fields))
        kept = planned(lambda: remembering.plan(asked, caller, snapshot, sticky=sticky, at=at))  # noqa: B023 - likewise
        assert kept == fresh


def test_calls_that_differ_in_their_words_alone_share_a_plan() -> None:
    remembering = outlook()
    first, second = (
        remembering.plan(Crossing(a_request(**fields)), WHO, SNAPSHOTS[0], sticky=None, at=JANUARY)
        for fields in (FIELDS[0], FIELDS[-1])
    )
    assert first is second


def test_no_more_plans_are_kept_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "KEPT_MAX", 3)
    remembering = outlook()
    for limit in range(1, 9):
        remembering.plan(Crossing(a_request(max_tokens=limit)), WHO, SNAPSHOTS[0], sticky=None, at=JANUARY)
        assert 1 <= len(remembering.plans._kept) <= 3


def test_a_clock_that_steps_back_over_a_change_finds_what_was_so_before() -> None:
    remembering = outlook()
    before, after = LATER - timedelta(milliseconds=1), LATER
    asked = Crossing(a_request())
    first, second, third = (
        remembering.plan(asked, WHO, SNAPSHOTS[0], sticky=None, at=at) for at in (before, after, before)
    )
    assert first == third != second


def test_what_is_asked_with_names_of_any_length_is_not_kept() -> None:
    remembering = outlook()
    remembering.plan(Crossing(a_request(**{"x" * 3000: 1})), WHO, SNAPSHOTS[0], sticky=None, at=JANUARY)
    assert remembering.plans._kept == {}
