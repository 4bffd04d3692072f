"""Plans: what is remembered of one call is what would be planned for the next."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import product
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields
from msgspec.structs import replace as changed
from tests.gateway.builders import MODEL, a_catalogue, a_price, a_provider, a_request, an_endpoint
from tests.pricing.builders import JANUARY, an_adjustment, per_million

from tollgate.catalog.model import Endpoint, Format
from tollgate.gateway import formats, plans, routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import Attribution, Blob, BlobKind, Plan, Preferences, Prompt, Request, Wire
from tollgate.gateway.outlook import Outlook
from tollgate.gateway.routing import Situation
from tollgate.gateway.snapshot import Snapshot
from tollgate.health.model import Circuit, Condition, Fault
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import EndpointId, KeyId, OrganizationId, PriceVersionId
from tollgate.kit.principal import KeyKind, Principal, RoutingPolicy
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceBook, PriceVersion
from tollgate.statistics.model import Standing, Tally

OTHER, FOREIGN = "acme/other", "acme/foreign"
LATER = JANUARY + timedelta(days=20)
ENDPOINTS = (
    an_endpoint("dear", supported_parameters=("seed", "tools"), max_output=5000),
    an_endpoint("cheap", max_output=1000),
    an_endpoint("mute", protocols=("anthropic",)),
    an_endpoint("cheap", model=OTHER, protocols=("openai", "responses")),
    an_endpoint("claude", model=FOREIGN),
)
PROVIDERS = (
    a_provider("dear"),
    a_provider("cheap"),
    a_provider("mute"),
    a_provider("claude", format=Format.ANTHROPIC, credential="env:CLAUDE_KEY"),
)
_ALL = a_catalogue(PROVIDERS, ENDPOINTS)
_SEEING = replace(_ALL.models[OTHER], input_modalities=("text", "image"))
CATALOGUE = replace(_ALL, models={**_ALL.models, OTHER: _SEEING})
US, THEM = OrganizationId(UUID(int=7)), OrganizationId(UUID(int=8))


SEARCHES = per_million(Kind.WEB_SEARCH, "1")


def priced(number: int, endpoint: Endpoint, prompt: str, completion: str, **parts: Any) -> PriceVersion:
    """A price with an id of its own, as each has."""
    price = a_price(endpoint, prompt, completion, *([SEARCHES] if endpoint.provider == "cheap" else []))
    return replace(price, id=PriceVersionId(UUID(int=number)), **parts)


_DEAR, _CHEAP, *_REST = (
    priced(number, each, "3" if each.provider == "dear" else "1", "4") for number, each in enumerate(ENDPOINTS, 1)
)
NEXT = priced(11, ENDPOINTS[0], "0.1", "0.1", effective_from=LATER)
THEIRS = priced(12, ENDPOINTS[0], "0.2", "0.2", organization_id=THEM)
OURS_CHEAPER = an_adjustment("-90", organization_id=US, provider="dear", since=JANUARY + timedelta(seconds=15))
SNAPSHOTS = (
    Snapshot(CATALOGUE, PriceBook.of([replace(_DEAR, effective_to=LATER), NEXT, THEIRS, _CHEAP, *_REST])),
    Snapshot(replace(CATALOGUE, revision=2), PriceBook.of([_DEAR, replace(_CHEAP, effective_from=LATER), *_REST])),
    Snapshot(replace(CATALOGUE, revision=3), PriceBook.of([_DEAR, _CHEAP, *_REST], [OURS_CHEAPER])),
)
SLOW = Standing(Tally(ok=10, failed=90), latency_ms=9_000, throughput=1_000)
FAILING = Circuit(Fault.FAILING, JANUARY, JANUARY + timedelta(seconds=20), 1)
CONDITIONS: tuple[Mapping[EndpointId, Condition], ...] = (
    {},
    {ENDPOINTS[0].id: Condition(circuit=FAILING)},
    {ENDPOINTS[1].id: Condition(circuit=Circuit(Fault.UNREACHABLE, JANUARY, LATER, 1))},
    {ENDPOINTS[1].id: Condition(circuit=FAILING, tried_since=JANUARY + timedelta(seconds=25))},
    {ENDPOINTS[1].id: Condition(standing=SLOW)},
    {ENDPOINTS[1].id: Condition(standing=replace(SLOW, latency_ms=10))},
    {ENDPOINTS[1].id: Condition(standing=SLOW), ENDPOINTS[3].id: Condition(circuit=FAILING, standing=SLOW)},
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
SEEN = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]}]
HEARD = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]}]


def on(wire: Wire, **body: Any) -> Request:
    """A request in another format than Chat Completions."""
    whole = {"model": FOREIGN if wire is Wire.MESSAGES else OTHER, **body}
    return formats.CLIENTS[wire].decode(json.dumps(whole).encode(), {})


REQUESTS = (
    *(a_request(**each) for each in FIELDS),
    a_request(n=3),
    *(a_request(model=model, messages=words) for model in (MODEL, OTHER) for words in (SEEN, HEARD)),
    changed(a_request(), searches=2),
    on(Wire.RESPONSES, input="hi"),
    on(Wire.MESSAGES, max_tokens=50, messages=[{"role": "user", "content": "hi"}]),
    on(Wire.MESSAGES, max_tokens=50, messages=[{"role": "user", "content": "hi"}], models=[MODEL]),
    on(Wire.EMBEDDINGS, input="hi"),
    a_request(models=[FOREIGN]),
)
WHO = Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), US, None, None, None)
CALLERS = (
    WHO,
    replace(WHO, organization_id=THEM),
    replace(WHO, models=(OTHER,)),
    replace(WHO, policies=(RoutingPolicy(ignored_providers=("dear",)),)),
)

STICKY = (None, ENDPOINTS[0].id)
STEPS = st.tuples(
    st.sampled_from(REQUESTS),
    st.sampled_from(CALLERS),
    st.sampled_from(SNAPSHOTS),
    st.sampled_from(CONDITIONS),
    st.sampled_from(STICKY),
    st.sampled_from([JANUARY, JANUARY + timedelta(seconds=30), LATER - timedelta(microseconds=1), LATER]),
)


def outlook() -> Outlook:
    nobody: Any = None
    return Outlook(nobody, cast("Any", SimpleNamespace(conditions={})), nobody, {"CLAUDE_KEY": "secret"})


def planned(plan: Any) -> Plan | tuple[str, object]:
    try:
        made: Plan = plan()
    except TollgateError as error:
        return error.message, error.metadata
    return made


def agrees(remembering: Outlook, step: Any) -> bool:
    """Whether a plan, remembered or not, is what is planned by whoever remembers nothing."""
    request, caller, snapshot, conditions, sticky, at = step
    cast("Any", remembering.health).conditions = conditions
    situation = Situation(
        catalogue=snapshot.catalogue,
        book=snapshot.book,
        is_routable=lambda _: True,
        at=at,
        conditions=conditions,
        sticky=sticky,
    )
    fresh = planned(lambda: routing.plan(Crossing(request), caller, situation))
    kept = planned(lambda: remembering.plan(Crossing(request), caller, snapshot, sticky=sticky, at=at))
    return kept == fresh


@given(st.lists(STEPS, max_size=12))
def test_a_plan_that_is_remembered_is_the_one_that_would_be_made(steps: list[Any]) -> None:
    remembering = outlook()
    assert all(agrees(remembering, step) for step in steps)


@pytest.mark.parametrize("snapshot", SNAPSHOTS, ids=lambda snapshot: f"revision {snapshot.revision}")
def test_nobody_gets_a_plan_that_was_made_for_another_question(snapshot: Snapshot) -> None:
    remembering, at = outlook(), JANUARY + timedelta(seconds=30)
    for conditions, sticky, caller, request in product(CONDITIONS[:1] + CONDITIONS[4:5], STICKY, CALLERS, REQUESTS):
        assert agrees(remembering, (request, caller, snapshot, conditions, sticky, at))


def test_calls_that_differ_in_their_words_alone_share_a_plan() -> None:
    remembering = outlook()
    first, second = (
        remembering.plan(Crossing(a_request(**each)), WHO, SNAPSHOTS[0], sticky=None, at=JANUARY)
        for each in (FIELDS[0], FIELDS[-1])
    )
    assert first is second


ANOTHER: Mapping[str, Any] = {
    "wire": Wire.RESPONSES, "models": (OTHER,), "parameters": frozenset({"seed"}), "max_tokens": 7, "choices": 2,
    "service_tier": "flex", "preferences": Preferences(sort="price"), "searches": 1,
    "prompt": Prompt((), 1, images=1),
}  # fmt: skip
"""Fields of a request that decide where it can go, each with another value than it has."""
INDIFFERENT: Mapping[str, Any] = {
    "fields": {}, "stream": True, "include_usage": True, "attribution": Attribution(user="u", session_id="s"),
    "headers": {"anthropic-version": "2023-06-01"}, "hides": True,
}  # fmt: skip
"""Fields that decide nothing of it: a session does by where it was served, and `modalities` by not being kept."""
OF_PROMPTS: Mapping[str, Any] = {"images": 1, "blobs": (Blob(BlobKind.AUDIO, 5),)}
OF_PROMPTS_INDIFFERENT: Mapping[str, Any] = {
    "texts": ("other words",), "messages": 9, "tokens": 9, "elsewhere": True
}  # fmt: skip


def asked(request: Request) -> plans.Question | None:
    return plans.question(Crossing(request), WHO, None)


def test_every_field_of_a_request_is_asked_about_or_decides_nothing() -> None:
    request = a_request()
    assert {each.name for each in fields(Request)} == ANOTHER.keys() | INDIFFERENT.keys()
    assert all(asked(changed(request, **{name: value})) != asked(request) for name, value in ANOTHER.items())
    assert all(asked(changed(request, **{name: value})) == asked(request) for name, value in INDIFFERENT.items())


def test_every_part_of_a_prompt_is_asked_about_or_decides_nothing() -> None:
    request = a_request()
    assert {each.name for each in fields(Prompt)} == OF_PROMPTS.keys() | OF_PROMPTS_INDIFFERENT.keys()
    for parts, is_asked_about in ((OF_PROMPTS, True), (OF_PROMPTS_INDIFFERENT, False)):
        for name, value in parts.items():
            other = changed(request, prompt=changed(request.prompt, **{name: value}))
            assert (asked(other) != asked(request)) is is_asked_about


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
