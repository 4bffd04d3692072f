"""Ranking: which of the endpoints that can serve a call is tried first. Pure; see docs/routing.md for the formula.

Fit endpoints come before doubtful ones, and those of the model asked for first before those of its fallbacks. Then the
caller's own order decides, then where the session was served before, then price weighted by how an endpoint has been
doing lately.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from tollgate.gateway.model import Candidate, Preferences
from tollgate.health.model import Condition, Fitness
from tollgate.kit import money
from tollgate.kit.ids import EndpointId
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceVersion
from tollgate.statistics.model import Standing

NEUTRAL_ATTEMPTS = 20
"""Attempts that every endpoint is taken to have served besides those that are known: few failures prove little."""
NEUTRAL_LATENCY_MS = 1000
"""What an endpoint without samples is taken to need for its first token."""
LATENCY_MS_MAX = 10_000
"""The latency that doubles a price, and the highest that counts."""
_MILLIONTHS = 1_000_000
_UNKNOWN = {"latency": 2**63, "throughput": 0}
"""What those without samples are sorted by: after all others."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A candidate, with all that its place depends on."""

    candidate: Candidate
    fitness: Fitness
    condition: Condition
    model_place: int
    """The place of its model among those asked for."""


def ranked(contenders: Sequence[Contender], wishes: Preferences, sticky: EndpointId | None) -> list[Candidate]:
    """The candidates in the order to try them, each with the reason why it is where it is.

    The order is the same however they come in, and does not change among those that were there when one is added.
    """

    def rank(one: Contender) -> tuple[bool, int, int, bool, int | Decimal, Decimal, int, str]:
        weight = weight_of(one.condition.standing)
        cost = money.EXACT.multiply(dearness(one.candidate.price), weight)
        return (
            one.fitness is Fitness.DOUBTFUL,
            one.model_place,
            _place(one, wishes),
            not _is_sticky(one, wishes, sticky),
            _by(one, wishes),
            cost,
            weight,
            one.candidate.provider.slug,
        )

    return [replace(one.candidate, reason=_why(one, wishes, sticky)) for one in sorted(contenders, key=rank)]


def _place(one: Contender, wishes: Preferences) -> int:
    slug = one.candidate.provider.slug
    return wishes.order.index(slug) if slug in wishes.order else len(wishes.order)


def _is_sticky(one: Contender, wishes: Preferences, sticky: EndpointId | None) -> bool:
    """Whether its provider may have the session's prompt in its cache; a caller who sorts wants something else."""
    return wishes.sort is None and one.candidate.endpoint.id == sticky


def _by(one: Contender, wishes: Preferences) -> int | Decimal:
    """What the caller sorts by, smaller is better; those without samples come last."""
    standing = one.condition.standing
    if wishes.sort == "price":
        return dearness(one.candidate.price)
    if wishes.sort == "latency":
        return _UNKNOWN[wishes.sort] if standing is None or standing.latency_ms is None else standing.latency_ms
    if wishes.sort == "throughput":
        return _UNKNOWN[wishes.sort] if standing is None or standing.throughput is None else -standing.throughput
    return 0


def dearness(price: PriceVersion) -> Decimal:
    """What a million tokens read and a million written cost at the base tier, in US dollars."""
    return sum(
        (item.unit_price for item in price.items
         if item.kind in {Kind.PROMPT, Kind.COMPLETION} and item.prompt_tokens_from == 0),
        Decimal(0),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def weight_of(standing: Standing | None) -> int:
    """By how much an endpoint's price counts more, in millionths: (1 + latency / 10 s) / uptime².

    Uptime and latency are of the last hour: see `NEUTRAL_ATTEMPTS` and `NEUTRAL_LATENCY_MS` for what is not known.
    An endpoint that fails every tenth call counts as dear as one that costs a quarter more.
    """
    known = None if standing is None else standing.latency_ms
    latency = min(NEUTRAL_LATENCY_MS if known is None else known, LATENCY_MS_MAX)
    ok, failed = (0, 0) if standing is None else (standing.tally.ok, standing.tally.failed)
    served, tried = ok + NEUTRAL_ATTEMPTS, ok + failed + NEUTRAL_ATTEMPTS
    return _MILLIONTHS * tried * tried * (LATENCY_MS_MAX + latency) // (served * served * LATENCY_MS_MAX)


def _why(one: Contender, wishes: Preferences, sticky: EndpointId | None) -> str:
    slug = one.candidate.provider.slug
    if one.fitness is Fitness.DOUBTFUL and one.condition.circuit is not None:
        return f"last, because it has been {one.condition.circuit.fault}"
    if slug in wishes.order:
        reason = f"number {wishes.order.index(slug) + 1} of provider.order"
    elif _is_sticky(one, wishes, sticky):
        reason = "it served this session before"
    elif wishes.sort is not None:
        reason = f"by {wishes.sort}{_without(one, wishes)}"
    else:
        reason = "by price, uptime and latency"
    return f"{reason}, on trial" if one.fitness is Fitness.ON_TRIAL else reason


def _without(one: Contender, wishes: Preferences) -> str:
    return ": no samples yet" if _by(one, wishes) == _UNKNOWN.get(wishes.sort or "") else ""
