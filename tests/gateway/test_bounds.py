"""Bounds: no call costs more than its worst case, and a cap keeps it within what is held."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import a_candidate, a_request
from tests.pricing.builders import per_million

from tollgate.catalog.model import Format
from tollgate.gateway import bounds
from tollgate.gateway.model import Access, Candidate
from tollgate.gateway.providers import openai_chat
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind, UsageQuantities
from tollgate.pricing import rules as pricing

PRICE = st.integers(0, 10**6).map(lambda thousandths: str(Decimal(thousandths) / 1000))


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    def one() -> Candidate:
        more = [
            per_million(kind, draw(PRICE))
            for kind in (Kind.INPUT_CACHE_READ, Kind.INTERNAL_REASONING)
            if draw(st.booleans())
        ]
        return a_candidate(draw(PRICE), draw(PRICE), *more, max_output=draw(st.none() | st.integers(1, 50_000)))

    return [one() for _ in range(draw(st.integers(1, 3)))]


REQUESTS = st.builds(
    lambda limit, choices: a_request(max_tokens=limit, n=choices), st.none() | st.integers(1, 50_000), st.integers(1, 4)
)


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


@given(st.data(), REQUESTS, candidates(), st.integers(0, 10**5))
def test_no_call_within_its_limits_costs_more_than_its_worst_case(
    data: st.DataObject, request: Any, planned: list[Candidate], prompt: int
) -> None:
    bound = bounds.of(request, planned, prompt)
    assert Decimal(0) <= bound.least <= bound.most
    for candidate in planned:
        output = (request.max_tokens or candidate.endpoint.max_output or bounds.UNKNOWN_OUTPUT_TOKENS) * request.choices
        usage = data.draw(usages(prompt, data.draw(st.integers(0, output))))
        assert pricing.rate(usage, candidate.price).amount <= bound.most


@given(st.data(), REQUESTS, candidates(), st.integers(0, 10**5))
def test_a_capped_call_stays_within_what_is_held(
    data: st.DataObject, request: Any, planned: list[Candidate], prompt: int
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
        asked = request.max_tokens or candidate.endpoint.max_output or bounds.UNKNOWN_OUTPUT_TOKENS
        output = min(cap, asked) * request.choices
        assert pricing.worst_case(prompt, output, candidate.price) <= held


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
    st.integers(0, 10**5),
    st.integers(0, 100),
)
def test_who_heeds_what_it_was_sent_never_costs_more_than_is_held(
    planned: list[Candidate], fields: dict[str, Any], prompt: int, percent: int
) -> None:
    request = a_request(**fields)
    bound = bounds.of(request, planned, prompt)
    held = bound.least + (bound.most - bound.least) * Decimal(percent) / 100
    cap = bounds.output_cap(request, planned, prompt, held=held, most=bound.most)
    for candidate in planned:
        sent = openai_chat.passed_request(request, candidate, access=Access("https://x.test", None), output_cap=cap)
        output = written(candidate, json.loads(sent.body))
        assert pricing.worst_case(prompt, output, candidate.price) <= held


def test_the_worst_case_is_that_of_the_dearest_endpoint() -> None:
    cheap, dear = a_candidate("1", "2", max_output=1000), a_candidate("3", "15", max_output=500)
    bound = bounds.of(a_request(), [cheap, dear], 100)
    assert bound.most == Decimal(100 * 3 + 500 * 15) / 1_000_000
    assert bound.least == Decimal(100 * 3 + 256 * 15) / 1_000_000
    assert bound.tokens == 100 + 256


def test_several_answers_count_several_times() -> None:
    candidate = a_candidate("0", "1", max_output=1000)
    assert bounds.of(a_request(n=3), [candidate], 0).most == Decimal(3000) / 1_000_000
    assert bounds.of(a_request(n=3, max_tokens=10), [candidate], 0).most == Decimal(30) / 1_000_000
    assert bounds.output_cap(a_request(n=3), [candidate], 0, held=Decimal("0.0015"), most=Decimal("0.003")) == 500


def test_a_short_answer_needs_no_more_than_itself() -> None:
    bound = bounds.of(a_request(max_tokens=10), [a_candidate("0", "1")], 0)
    assert bound.least == bound.most == Decimal(10) / 1_000_000


@pytest.mark.parametrize(("known", "tokens"), [(700, 700), (None, bounds.UNKNOWN_OUTPUT_TOKENS)])
def test_without_a_limit_the_endpoints_own_counts(known: int | None, tokens: int) -> None:
    assert bounds.of(a_request(), [a_candidate("0", "1", max_output=known)], 0).most == Decimal(tokens) / 1_000_000


def test_free_output_needs_no_cap() -> None:
    candidate = a_candidate("1", "0")
    assert bounds.output_cap(a_request(), [candidate], 10, held=Decimal("0.00001"), most=Decimal("0.00002")) is None
