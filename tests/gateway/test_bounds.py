"""Bounds: no call costs more than its worst case, and a cap keeps it within what is held."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.gateway.builders import a_candidate, a_request
from tests.pricing.builders import per_million

from tollgate.catalog.model import Format
from tollgate.gateway import bounds
from tollgate.gateway.model import Access, Candidate, PromptTokens
from tollgate.gateway.protocols import openai_embeddings
from tollgate.gateway.providers import openai_chat
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind, UsageQuantities
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import PriceItem, Unit

PRICE = st.integers(0, 10**6).map(lambda thousandths: str(Decimal(thousandths) / 1000))


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    def one() -> Candidate:
        more = [
            per_million(kind, draw(PRICE))
            for kind in (Kind.INPUT_CACHE_READ, Kind.INTERNAL_REASONING)
            if draw(st.booleans())
        ]
        limit, context = draw(st.none() | st.integers(1, 50_000)), draw(st.none() | st.integers(1, 200_000))
        return a_candidate(draw(PRICE), draw(PRICE), *more, max_output=limit, context_length=context)

    return [one() for _ in range(draw(st.integers(1, 3)))]


PROMPTS = st.builds(
    lambda likely, more: PromptTokens(likely, likely + more), st.integers(0, 10**5), st.just(0) | st.integers(0, 10**6)
)
REQUESTS = st.builds(
    lambda limit, choices: a_request(max_tokens=limit, n=choices), st.none() | st.integers(1, 50_000), st.integers(1, 4)
)


def read(data: st.DataObject, candidate: Candidate, prompt: PromptTokens) -> int:
    """What a provider may count in a prompt: up to the most it can be, but no more than its context holds."""
    context = candidate.endpoint.context_length
    longest = prompt.most if context is None else min(prompt.most, max(context, prompt.likely))
    return data.draw(st.integers(0, longest))


def most_written(request: Any, candidate: Candidate) -> int:
    endpoint = candidate.endpoint
    each = request.max_tokens or endpoint.max_output or endpoint.context_length or bounds.UNKNOWN_OUTPUT_TOKENS
    return int(each)


def usages(prompt: int, completion: int) -> st.SearchStrategy[UsageQuantities]:
    """Every way to part these totals among kinds."""

    def parted(read: Kind, cached: int, written: Kind, reasoned: int) -> UsageQuantities:
        cached, reasoned = min(cached, prompt), min(reasoned, completion)
        counts = {Kind.PROMPT: prompt - cached, Kind.COMPLETION: completion - reasoned}
        counts[read] = counts.get(read, 0) + cached
        counts[written] = counts.get(written, 0) + reasoned
        return UsageQuantities(counts)

    kinds = [st.sampled_from(sorted(group)) for group in (PROMPT_KINDS, COMPLETION_KINDS)]
    return st.builds(parted, kinds[0], st.integers(0, 10**5), kinds[1], st.integers(0, 10**5))


@given(st.data(), REQUESTS, candidates(), PROMPTS)
def test_no_call_within_its_limits_costs_more_than_its_worst_case(
    data: st.DataObject, request: Any, planned: list[Candidate], prompt: PromptTokens
) -> None:
    bound = bounds.of(request, planned, prompt)
    assert Decimal(0) <= bound.least <= bound.most
    for candidate in planned:
        output = most_written(request, candidate) * request.choices
        usage = data.draw(usages(read(data, candidate, prompt), data.draw(st.integers(0, output))))
        assert pricing.rate(usage, candidate.price).amount <= bound.most


@given(st.data(), REQUESTS, candidates(), PROMPTS)
def test_a_capped_call_stays_within_what_is_held(
    data: st.DataObject, request: Any, planned: list[Candidate], prompt: PromptTokens
) -> None:
    bound = bounds.of(request, planned, prompt)
    share = Decimal(data.draw(st.integers(0, 100))) / 100
    held = bound.least + (bound.most - bound.least) * share
    cap = bounds.output_cap(request, planned, prompt, held=held, most=bound.most)
    if cap is None:
        assert held == bound.most
        return
    assert cap >= 1
    for candidate in planned:
        output = min(cap, most_written(request, candidate)) * request.choices
        assert pricing.worst_case(read(data, candidate, prompt), output, candidate.price) <= held


LIMITS = st.none() | st.integers(1, 200_000)
PARAMETERS = st.lists(st.sampled_from(["max_tokens", "max_completion_tokens"]), unique=True).map(tuple)


@st.composite
def offers(draw: st.DrawFn) -> Candidate:
    """An endpoint of which anything may be unknown."""
    return a_candidate(
        draw(PRICE), draw(PRICE), speaks=draw(st.sampled_from([Format.OPENAI, Format.OPENAI_COMPATIBLE])),
        max_output=draw(LIMITS), context_length=draw(LIMITS), supported_parameters=draw(PARAMETERS),
    )  # fmt: skip


def written(candidate: Candidate, sent: dict[str, Any]) -> int:
    """The most that a provider writes which heeds whichever limit it was sent, and its own."""
    asked: list[int] = [sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent]
    assert len(asked) <= 1
    known = [*asked, candidate.endpoint.max_output, candidate.endpoint.context_length]
    return min(limit for limit in known if limit is not None) * int(sent.get("n", 1))


@given(
    st.lists(offers(), min_size=1, max_size=3),
    st.fixed_dictionaries({}, optional={"max_tokens": LIMITS, "max_completion_tokens": LIMITS, "n": st.integers(1, 4)}),
    PROMPTS,
    st.integers(0, 100),
)
def test_who_heeds_what_it_was_sent_never_costs_more_than_is_held(
    planned: list[Candidate], fields: dict[str, Any], prompt: PromptTokens, percent: int
) -> None:
    request = a_request(**fields)
    bound = bounds.of(request, planned, prompt)
    held = bound.least + (bound.most - bound.least) * Decimal(percent) / 100
    cap = bounds.output_cap(request, planned, prompt, held=held, most=bound.most)
    for candidate in planned:
        sent = openai_chat.passed_request(request, candidate, access=Access("https://x.test", None), output_cap=cap)
        output = written(candidate, json.loads(sent.body))
        longest = bounds.longest_prompt(request, candidate, prompt)
        assert pricing.worst_case(longest, output, candidate.price) <= held


NOTHING = PromptTokens(0, 0)


def test_the_worst_case_is_that_of_the_dearest_endpoint() -> None:
    cheap, dear = a_candidate("1", "2", max_output=1000), a_candidate("3", "15", max_output=500)
    bound = bounds.of(a_request(), [cheap, dear], PromptTokens(100, 100))
    assert bound.most == Decimal(100 * 3 + 500 * 15) / 1_000_000
    assert bound.least == Decimal(100 * 3 + 256 * 15) / 1_000_000
    assert bound.tokens == 100 + 256


def test_several_answers_count_several_times() -> None:
    candidate = a_candidate("0", "1", max_output=1000)
    assert bounds.of(a_request(n=3), [candidate], NOTHING).most == Decimal(3000) / 1_000_000
    assert bounds.of(a_request(n=3, max_tokens=10), [candidate], NOTHING).most == Decimal(30) / 1_000_000
    assert bounds.output_cap(a_request(n=3), [candidate], NOTHING, held=Decimal("0.0015"), most=Decimal("0.003")) == 500


def test_a_short_answer_needs_no_more_than_itself() -> None:
    bound = bounds.of(a_request(max_tokens=10), [a_candidate("0", "1")], NOTHING)
    assert bound.least == bound.most == Decimal(10) / 1_000_000


def test_an_answer_that_may_have_no_tokens_needs_none() -> None:
    nothing_written = structs.replace(a_request(), max_tokens=0)
    bound = bounds.of(nothing_written, [a_candidate("1", "1", max_output=1000)], PromptTokens(10, 10))
    assert bound.least == bound.most == Decimal(10) / 1_000_000


@pytest.mark.parametrize(("known", "tokens"), [(700, 700), (None, bounds.UNKNOWN_OUTPUT_TOKENS)])
def test_without_a_limit_the_endpoints_own_counts(known: int | None, tokens: int) -> None:
    assert (
        bounds.of(a_request(), [a_candidate("0", "1", max_output=known)], NOTHING).most == Decimal(tokens) / 1_000_000
    )


def test_free_output_needs_no_cap() -> None:
    candidate = a_candidate("1", "0")
    prompt = PromptTokens(10, 10)
    assert bounds.output_cap(a_request(), [candidate], prompt, held=Decimal("0.00001"), most=Decimal("0.00002")) is None


@pytest.mark.parametrize(("context", "longest"), [
    (None, 3_000_000), (128_000, 128_000), (5_000_000, 3_000_000), (10_000, 75_000),
])  # fmt: skip
def test_a_prompt_is_no_longer_than_the_context_unless_it_likely_is(context: int | None, longest: int) -> None:
    candidate = a_candidate("1", "0", context_length=context, max_output=1)
    bound = bounds.of(a_request(), [candidate], PromptTokens(75_000, 3_000_000))
    assert bound.most == Decimal(longest) / 1_000_000
    assert bound.tokens == 75_000 + 1


def test_each_endpoint_holds_for_its_own_context() -> None:
    small, large = (
        a_candidate("2", "0", context_length=1_000, max_output=1),
        a_candidate("1", "0", context_length=9_000, max_output=1),
    )
    prompt = PromptTokens(100, 50_000)
    assert bounds.of(a_request(), [small], prompt).most == Decimal(2_000) / 1_000_000
    assert bounds.of(a_request(), [small, large], prompt).most == Decimal(9_000) / 1_000_000


def test_the_tier_is_that_of_the_longest_prompt_there_can_be() -> None:
    dear = PriceItem(Kind.PROMPT, Decimal(10), Unit.PER_MILLION_TOKENS, prompt_tokens_from=5_000)
    within, beyond = (a_candidate("1", "0", dear, context_length=context, max_output=1) for context in (4_999, 5_000))
    prompt = PromptTokens(100, 50_000)
    assert bounds.of(a_request(), [within], prompt).most == Decimal(4_999) / 1_000_000
    assert bounds.of(a_request(), [beyond], prompt).most == Decimal(50_000) / 1_000_000


def test_many_inputs_to_embed_are_longer_together_than_the_context_of_each() -> None:
    body = json.dumps({"model": "m", "input": ["x"] * 100}).encode()
    bound = bounds.of(
        openai_embeddings.decode(body), [a_candidate("1", "0", context_length=50)], PromptTokens(200, 300)
    )
    assert bound.most == Decimal(300) / 1_000_000


@pytest.mark.parametrize(("speaks", "context", "longest"), [
    (Format.OPENAI, None, 200), (Format.ANTHROPIC, None, 320), (Format.ANTHROPIC, 250, 250), (Format.OPENAI, 250, 200),
])  # fmt: skip
def test_a_vocabulary_that_nobody_published_is_held_more_for(speaks: Format, context: int | None, longest: int) -> None:
    candidate = a_candidate(speaks=speaks, context_length=context)
    assert bounds.longest_prompt(a_request(), candidate, PromptTokens(100, 200)) == longest
