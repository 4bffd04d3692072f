"""Routing in every situation: what is tried in which order, and what is left out and why."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway.builders import MODEL
from tests.gateway.situations import (
    KEEPS,
    OTHER,
    PICTURE,
    SOUND,
    ZERO,
    Place,
    a,
    b,
    c,
    circuit,
    doing,
    order_of,
    plan,
    saying,
)
from tests.pricing.builders import JANUARY

from tollgate.catalog.model import DataPolicy, Format
from tollgate.gateway.model import PromptTokens
from tollgate.health.model import Fault
from tollgate.kit.errors import (
    InvalidRequest,
    ModelNotAllowed,
    ModelNotPriced,
    NoEndpoint,
    ProviderUnavailable,
    RateLimited,
    TollgateError,
)
from tollgate.kit.principal import RoutingPolicy

ALL = (a(), b(), c())
LONG = PromptTokens(likely=900, most=900)

SITUATIONS: Mapping[str, tuple[Sequence[Place], Mapping[str, Any], Mapping[str, Any], str, Mapping[str, str]]] = {
    # name: endpoints, the request's fields, what else there is, the order, and some reasons of those left out
    "by price": (ALL, {}, {}, "abc", {}),
    "by slug at one price": ((c(price="1"), a(), b(price="1")), {}, {}, "abc", {}),
    "one alone": ((b(),), {}, {}, "b", {}),
    "pinned": (ALL, {"model": f"{MODEL}:c"}, {}, "c", {"a": "the model is pinned to c"}),
    "pinned, then all": (ALL, {"model": f"{MODEL}:c", "models": [MODEL]}, {}, "cab", {}),
    "order": (ALL, {"provider": {"order": ["c", "b"]}}, {}, "cba", {}),
    "order without fallbacks": (
        ALL, {"provider": {"order": ["c"], "allow_fallbacks": False}}, {}, "c", {"a": "not among provider.order"},
    ),
    "no fallbacks": (ALL, {"provider": {"allow_fallbacks": False}}, {}, "a", {"b": "fallbacks are not allowed"}),
    "no fallbacks, the cheapest ill": (
        (a(condition=circuit(Fault.FAILING)), b()), {"provider": {"allow_fallbacks": False}}, {}, "b", {},
    ),
    "only": (ALL, {"provider": {"only": ["b", "c"]}}, {}, "bc", {"a": "not among provider.only"}),
    "ignore": (ALL, {"provider": {"ignore": ["a"]}}, {}, "bc", {"a": "among provider.ignore"}),
    "a ceiling": (ALL, {"provider": {"max_price": {"prompt": 2}}}, {}, "ab", {"c": "dearer than provider.max_price"}),
    "a ceiling on output": (ALL, {"provider": {"max_price": {"completion": "1.5"}}}, {}, "a", {}),
    "disabled": ((a(enabled=False), b()), {}, {}, "b", {"a": "the endpoint is disabled"}),
    "without a credential": (
        (a(routable=False), b()), {}, {}, "b",
        {"a": "the provider's credential or address is not set, or not permitted"},
    ),
    "without a price": ((a(price=None), b()), {}, {}, "b", {"a": "no price in force"}),
    "another format": ((a(protocols=("embeddings",)), b()), {}, {}, "b", {"a": "it does not speak chat.completions"}),
    "zero retention": (
        (a(data_policy=KEEPS), b(data_policy=ZERO)), {"provider": {"zdr": True}}, {}, "b",
        {"a": "it may retain prompts"},
    ),
    "retention that is not known": (
        (a(), b(data_policy=ZERO)), {"provider": {"zdr": True}}, {}, "b", {"a": "it may retain prompts"},
    ),
    "no training": (
        (a(data_policy=DataPolicy(training=True)), b(data_policy=KEEPS)), {"provider": {"data_collection": "deny"}}, {},
        "b", {"a": "it may train on prompts"},
    ),
    "training that is not known": (
        (a(), b(data_policy=KEEPS)), {"provider": {"data_collection": "deny"}}, {}, "b",
        {"a": "it may train on prompts"},
    ),
    "parameters required": (
        (a(), b(supported_parameters=("seed",))), {"seed": 1, "provider": {"require_parameters": True}}, {}, "b",
        {"a": "it does not support seed"},
    ),
    "parameters wished for": ((a(supported_parameters=("stop",)), b()), {"seed": 1}, {}, "ab", {}),
    "tools where some have none": (
        (a(supported_parameters=("seed",)), b(supported_parameters=("tools",)), c()), {"tools": []}, {}, "bc",
        {"a": "it does not support tools"},
    ),
    "a form of answer that some have not": (
        (a(supported_parameters=("tools",)), b()), {"response_format": {"type": "json_object"}}, {}, "b",
        {"a": "it does not support response_format"},
    ),
    "more output than it gives": (
        (a(max_output=100), b(max_output=200)), {"max_tokens": 101}, {}, "b",
        {"a": "more output is asked for than it gives"},
    ),
    "just the output it gives": ((a(max_output=100), b()), {"max_tokens": 100}, {}, "ab", {}),
    "a prompt that is too long for one": (
        (a(context_length=500), b(context_length=1000)), {}, {"prompt": LONG}, "b",
        {"a": "its context of 500 tokens cannot hold the prompt of about 900 and 1 of output"},
    ),
    "a prompt that just fits": ((a(context_length=901), b()), {}, {"prompt": LONG}, "ab", {}),
    "a prompt that just does not": ((a(context_length=900), b()), {}, {"prompt": LONG}, "b", {}),
    "prompt and output together": (
        (a(context_length=1000), b(context_length=1100)), {"max_tokens": 200}, {"prompt": LONG}, "b", {},
    ),
    "another vocabulary may count less": (
        (a(context_length=700, format=Format.OPENAI_COMPATIBLE), b()), {}, {"prompt": LONG}, "ab", {},
    ),
    "another vocabulary cannot count that little": (
        (a(context_length=600, format=Format.OPENAI_COMPATIBLE), b()), {}, {"prompt": LONG}, "b", {},
    ),
    "a context that is not known": ((a(), b()), {}, {"prompt": LONG}, "ab", {}),
    "pictures": (ALL, {"messages": saying(PICTURE)}, {"modalities": (("text", "image"), ())}, "abc", {}),
    "pictures to who knows": (ALL, {"messages": saying(PICTURE)}, {}, "abc", {}),
    "sound": (ALL, {"messages": saying(SOUND)}, {"modalities": (("text", "audio"), ())}, "abc", {}),
    "spoken answers": (
        ALL, {"modalities": ["text", "audio"], "audio": {"voice": "x", "format": "wav"}},
        {"modalities": ((), ("text", "audio"))}, "abc", {},
    ),
    "a policy of providers": (
        ALL, {}, {"policies": [RoutingPolicy(providers=("b", "c"))]}, "bc",
        {"a": "the routing policy leaves its provider out"},
    ),
    "a policy against a provider": (
        ALL, {}, {"policies": [RoutingPolicy(ignored_providers=("a",))]}, "bc",
        {"a": "the routing policy leaves its provider out"},
    ),
    "a policy of zero retention": (
        (a(data_policy=KEEPS), b(data_policy=ZERO)), {}, {"policies": [RoutingPolicy(zdr=True)]}, "b",
        {"a": "the routing policy forbids it: it may retain prompts"},
    ),
    "a policy against training": (
        (a(data_policy=DataPolicy(training=True)), b(data_policy=KEEPS)), {},
        {"policies": [RoutingPolicy(denies_training=True)]}, "b",
        {"a": "the routing policy forbids it: it may train on prompts"},
    ),
    "a policy on price": (
        ALL, {}, {"policies": [RoutingPolicy(max_prompt_price=Decimal(2))]}, "ab",
        {"c": "the routing policy forbids it: dearer than its max_price"},
    ),
    "a policy of models": (
        (a(), b(model=OTHER)), {"models": [OTHER]}, {"policies": [RoutingPolicy(models=(OTHER,))]}, "b", {},
    ),
    "two policies bind together": (
        ALL, {}, {"policies": [RoutingPolicy(providers=("a", "b")), RoutingPolicy(providers=("b", "c"))]}, "b", {},
    ),
    "no wish loosens a policy": (
        (a(data_policy=KEEPS), b(data_policy=ZERO)), {"provider": {"order": ["a"], "data_collection": "allow"}},
        {"policies": [RoutingPolicy(zdr=True)]}, "b", {},
    ),
    "unreachable": ((a(condition=circuit(Fault.UNREACHABLE)), b()), {}, {}, "b", {"a": "it is unreachable"}),
    "unreachable, though first of the order": (
        (a(condition=circuit(Fault.UNREACHABLE)), b()), {"provider": {"order": ["a"]}}, {}, "b", {},
    ),
    "asked to be spared": (
        (a(condition=circuit(Fault.LIMITED, told=True)), b()), {}, {}, "b", {"a": "it is limited"},
    ),
    "limited, and nobody knows how long": ((a(condition=circuit(Fault.LIMITED)), b()), {}, {}, "ba", {}),
    "failing": ((a(condition=circuit(Fault.FAILING)), b(), c()), {}, {}, "bca", {}),
    "silent": ((a(condition=circuit(Fault.SILENT)), b(), c()), {}, {}, "bca", {}),
    "our credential refused": ((a(condition=circuit(Fault.DENIED)), b()), {}, {}, "ba", {}),
    "its model gone": ((a(condition=circuit(Fault.GONE)), b()), {}, {}, "ba", {}),
    "all of them failing": (
        (a(condition=circuit(Fault.FAILING)), b(condition=circuit(Fault.GONE))), {}, {}, "ab", {},
    ),
    "failing, though first of the order": (
        (a(condition=circuit(Fault.FAILING)), b()), {"provider": {"order": ["a"]}}, {}, "ba", {},
    ),
    "on trial": ((a(condition=circuit(Fault.FAILING, seconds=-1)), b()), {}, {}, "ab", {}),
    "spared long enough": ((a(condition=circuit(Fault.LIMITED, seconds=0, told=True)), b()), {}, {}, "ab", {}),
    "another call has its trial": (
        (a(condition=replace(circuit(Fault.FAILING, seconds=-1), tried_since=JANUARY)), b()), {}, {}, "ba", {},
    ),
    "often failing costs more than a tenth saved": (
        (a(price="1.8", condition=doing(ok=900, failed=100)), b(price="2", condition=doing())), {}, {}, "ba", {},
    ),
    "often failing costs less than half saved": (
        (a(price="1", condition=doing(ok=900, failed=100)), b(price="2", condition=doing())), {}, {}, "ab", {},
    ),
    "one failure proves little": (
        (a(price="1", condition=doing(ok=0, failed=1)), b(price="1.2", condition=doing())), {}, {}, "ab", {},
    ),
    "slow beside a little dearer": (
        (a(price="1", condition=doing(latency=9000)), b(price="1.5", condition=doing(latency=500))), {}, {}, "ba", {},
    ),
    "slow beside much dearer": (
        (a(price="1", condition=doing(latency=9000)), b(price="3", condition=doing(latency=500))), {}, {}, "ab", {},
    ),
    "free, and faster first": (
        (a(price="0", condition=doing(latency=900)), b(price="0", condition=doing(latency=100))), {}, {}, "ba", {},
    ),
    "sorted by price alone": (
        (a(price="1", condition=doing(latency=9000)), b(price="1.5", condition=doing(latency=500))),
        {"provider": {"sort": "price"}}, {}, "ab", {},
    ),
    "sorted by latency": (
        (a(condition=doing(latency=300)), b(condition=doing(latency=100)), c()), {"provider": {"sort": "latency"}}, {},
        "bac", {},
    ),
    "sorted by throughput": (
        (a(condition=doing(throughput=9)), b(), c(condition=doing(throughput=70))),
        {"provider": {"sort": "throughput"}}, {}, "cab", {},
    ),
    "where the session was": (ALL, {}, {"sticky": "c"}, "cab", {}),
    "where the session was, now failing": (
        (a(), b(), c(condition=circuit(Fault.FAILING))), {}, {"sticky": "c"}, "abc", {},
    ),
    "where the session was, now unreachable": (
        (a(), b(), c(condition=circuit(Fault.UNREACHABLE))), {}, {"sticky": "c"}, "ab", {},
    ),
    "where the session was, against the order": (ALL, {"provider": {"order": ["b"]}}, {"sticky": "c"}, "bca", {}),
    "where the session was, against a sort": (ALL, {"provider": {"sort": "price"}}, {"sticky": "c"}, "abc", {}),
    "where the session was, now ignored": (ALL, {"provider": {"ignore": ["c"]}}, {"sticky": "c"}, "ab", {}),
    "a fallback model after the first": ((a(model=OTHER), b(), c()), {"models": [OTHER]}, {}, "bca", {}),
    "a fallback model before what fails": (
        (a(model=OTHER), b(condition=circuit(Fault.FAILING))), {"models": [OTHER]}, {}, "ab", {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_tried_and_what_is_left_out(name: str) -> None:
    places, fields, rest, expected, reasons = SITUATIONS[name]
    planned = plan(places, fields, **rest)
    assert order_of(planned) == expected
    told = {name.rpartition(":")[2]: reason for name, reason in planned.excluded}
    assert reasons.items() <= told.items()
    assert all(candidate.reason for candidate in planned.candidates)


def test_there_are_sixty_situations_at_least() -> None:
    assert len(SITUATIONS) >= 60


REFUSALS: Mapping[str, tuple[Sequence[Place], Mapping[str, Any], Mapping[str, Any], type[TollgateError], str]] = {
    "pictures to who reads text": (
        ALL, {"messages": saying(PICTURE)}, {"modalities": (("text",), ())}, NoEndpoint, "does not read images",
    ),
    "sound to who reads text": (
        ALL, {"messages": saying(SOUND)}, {"modalities": (("text", "image"), ())}, NoEndpoint, "does not read audio",
    ),
    "spoken answers of who writes": (
        ALL, {"modalities": ["text", "audio"]}, {"modalities": ((), ("text",))}, NoEndpoint, "does not write audio",
    ),
    "no price anywhere": ((a(price=None),), {}, {}, ModelNotPriced, "No endpoint of this model has prices"),
    "too long for all": (
        (a(context_length=100), b(context_length=200)), {}, {"prompt": LONG}, InvalidRequest, "context .* holds 200",
    ),
    "nobody can be reached": (
        (a(condition=circuit(Fault.UNREACHABLE)), b(condition=circuit(Fault.LIMITED, told=True))), {}, {},
        ProviderUnavailable, "No provider of this model can be reached",
    ),
    "everybody asked to be spared": (
        (a(condition=circuit(Fault.LIMITED, told=True)),), {}, {}, RateLimited, "limiting our rate",
    ),
    "order and ignore": (
        ALL, {"provider": {"order": ["a"], "ignore": ["a"]}}, {}, InvalidRequest, "and in provider.ignore",
    ),
    "only what is ignored": (
        ALL, {"provider": {"only": ["a"], "ignore": ["a", "b"]}}, {}, InvalidRequest, "provider.ignore has all",
    ),
    "only beside the order": (
        ALL, {"provider": {"only": ["a"], "order": ["b"], "allow_fallbacks": False}}, {}, InvalidRequest,
        "provider.only has none of it",
    ),
    "pinned beside only": (
        ALL, {"model": f"{MODEL}:a", "provider": {"only": ["b"]}}, {}, InvalidRequest, "pinned to a",
    ),
    "a policy of other models": (
        ALL, {}, {"policies": [RoutingPolicy(), RoutingPolicy(models=(OTHER,))]}, ModelNotAllowed, "may not call",
    ),
    "pinned to what is ignored": (
        ALL, {"model": f"{MODEL}:a", "provider": {"ignore": ["a"]}}, {}, InvalidRequest, "pinned to a",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_where_nothing_can_be_tried_the_refusal_says_why(name: str) -> None:
    places, fields, rest, refusal, words = REFUSALS[name]
    with pytest.raises(refusal, match=words):
        plan(places, fields, **rest)


@pytest.mark.parametrize(("seconds", "told"), [(60, 60), (1, 1), (3600, 3600)])
def test_who_finds_nobody_fit_is_told_when_to_come_back(seconds: int, told: int) -> None:
    with pytest.raises(ProviderUnavailable) as refused:
        plan(
            (
                a(condition=circuit(Fault.UNREACHABLE, seconds=seconds)),
                b(condition=circuit(Fault.UNREACHABLE, seconds=9000)),
            ),
            {},
        )
    assert refused.value.retry_after_seconds == told
    assert refused.value.metadata["excluded"] == {f"{MODEL}:a": "it is unreachable", f"{MODEL}:b": "it is unreachable"}
