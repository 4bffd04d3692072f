"""Bounds: what a call may cost at most and must be able to cost at least, before it is made. Pure."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from tollgate.catalog.model import Endpoint, Format
from tollgate.gateway.model import Candidate, PromptTokens, Request, Wire
from tollgate.kit import money
from tollgate.kit.tokens import Kind
from tollgate.pricing import rules as pricing

USEFUL_OUTPUT_TOKENS = 256
"""The least output worth having: a call that can afford this is made, its output capped at what it can afford."""

UNKNOWN_OUTPUT_TOKENS = 131_072
"""What a call without max_tokens may write where neither the endpoint's maximum nor its context is known.

Nothing but our asking holds the provider to it: see `asked_output`.
"""

_CLAUDE_PERCENT_MOST = 160
"""How many tokens Claude's vocabulary, which is not published, makes of a hundred of ours: see docs/counting.md."""


class Bounds(NamedTuple):
    """Of one call, over all the endpoints it may be served by."""

    least: Decimal
    """The prompt and the least output worth having."""
    most: Decimal
    """The worst case."""
    tokens: int
    """What counts against tokens per minute until the true count is known."""


def of(request: Request, candidates: Sequence[Candidate], prompt: PromptTokens) -> Bounds:
    """The call's bounds: each endpoint at its own maximum, the dearest of them deciding; `n` answers count n times."""
    least = most = money.ZERO
    least_output = 0
    for candidate in candidates:
        longest, output = longest_prompt(request, candidate, prompt), _output_tokens(request, candidate)
        useful = min(output, USEFUL_OUTPUT_TOKENS * request.choices)
        costs = _worst_case(request, candidate, longest, output)
        most = max(most, costs)
        least = max(least, costs if useful == output else _worst_case(request, candidate, longest, useful))
        least_output = max(least_output, useful)
    # What was not counted may be anything up to its most.
    longest = prompt.likely if prompt.counted else prompt.most
    return Bounds(least=least, most=most, tokens=longest + least_output)


def _worst_case(request: Request, candidate: Candidate, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """What the call costs at most at one endpoint: so many tokens, and its searches."""
    tokens = pricing.worst_case(prompt_tokens, completion_tokens, candidate.price)
    return money.EXACT.add(tokens, _searches(request, candidate)) if request.searches else tokens


def longest_prompt(request: Request, candidate: Candidate, prompt: PromptTokens) -> int:
    """The most tokens an endpoint can count in the prompt: no more than its context holds, where that is known.

    What is likely counts in any case: a context may have grown since the catalogue was told. That of embeddings
    holds one input of many.
    """
    context = candidate.endpoint.context_length
    most = prompt.most * _CLAUDE_PERCENT_MOST // 100 if candidate.provider.format is Format.ANTHROPIC else prompt.most
    if context is None or most <= context or request.wire is Wire.EMBEDDINGS:
        return most
    return min(most, max(prompt.likely, context))


def _output_tokens(request: Request, candidate: Candidate) -> int:
    """The most the request can produce: what it asks for, what the endpoint gives, or what its context can hold."""
    endpoint = candidate.endpoint
    for limit in (request.max_tokens, endpoint.max_output, endpoint.context_length):
        if limit is not None:
            return limit * request.choices
    return UNKNOWN_OUTPUT_TOKENS * request.choices


def _searches(request: Request, candidate: Candidate) -> Decimal:
    """What all the searches cost that the provider may run."""
    if not request.searches:
        return money.ZERO
    prices = [item.unit_price for item in candidate.price.items if item.kind is Kind.WEB_SEARCH]
    return money.EXACT.multiply(max(prices, default=money.ZERO), request.searches)


def output_cap(
    request: Request, candidates: Sequence[Candidate], prompt: PromptTokens, *, held: Decimal, most: Decimal
) -> int | None:
    """The output tokens each answer may have so that the call stays within its hold.

    `None` where the hold is the worst case and nothing needs to be capped.
    """
    if held >= most:
        return None
    affordable = (
        pricing.affordable_completion_tokens(
            money.EXACT.subtract(held, _searches(request, candidate)),
            longest_prompt(request, candidate, prompt),
            candidate.price,
        )
        for candidate in candidates
    )
    least = min((tokens for tokens in affordable if tokens is not None), default=None)
    return None if least is None else max(least // request.choices, 1)


def asked_output(request: Request, endpoint: Endpoint, cap: int | None) -> int | None:
    """The most output tokens to ask the endpoint for in each answer, so that the call's bounds hold.

    `None` where nothing need be asked for: the provider itself enforces the endpoint's maximum, or its context.
    """
    if request.max_tokens is None and cap is None:
        return UNKNOWN_OUTPUT_TOKENS if endpoint.max_output is None and endpoint.context_length is None else None
    return min(limit for limit in (request.max_tokens, cap, endpoint.max_output) if limit is not None)
