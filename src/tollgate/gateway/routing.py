"""Routing: from a request, the catalogue, the prices, health and preferences to an ordered list of endpoints.

Pure. Every endpoint of the models asked for is either planned, with the reason it is where it is, or left out, with
the reason why: `eligibility` says whether it can serve the call, `health` whether it is in a condition to, `ranking`
when it is tried. What the prompt's length leaves out is known once it is counted: `fitting`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tollgate.catalog.model import Catalogue, Endpoint, Model, Provider
from tollgate.gateway import eligibility, ranking
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.eligibility import NOT_PRICED, UNPRICED, Offer
from tollgate.gateway.model import Candidate, Plan, Preferences, PromptTokens, Request
from tollgate.gateway.ranking import Contender
from tollgate.health import rules as health
from tollgate.health.model import HEALTHY, Circuit, Condition, Fault, Fitness
from tollgate.kit.errors import (
    InvalidRequest,
    ModelNotAllowed,
    ModelNotFound,
    ModelNotPriced,
    NoEndpoint,
    ProviderUnavailable,
    RateLimited,
    TollgateError,
)
from tollgate.kit.ids import EndpointId, OrganizationId
from tollgate.kit.principal import Principal
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import STANDARD, PriceBook, PriceVersion

_STANDARD_TIERS = frozenset({STANDARD, "auto", "default", "standard_only", "on_demand"})
"""Names of the standard service tier, asked for and served."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything around a request that its plan depends on, at one instant."""

    catalogue: Catalogue
    book: PriceBook
    is_routable: Callable[[Provider], bool]
    """Whether calls can be sent to a provider from here."""
    at: datetime
    conditions: Mapping[EndpointId, Condition] = field(default_factory=dict)
    """Of the endpoints whose condition is known; the others are taken to be healthy."""
    sticky: EndpointId | None = None
    """Where the request's session was served last."""


@dataclass(frozen=True, slots=True)
class _Excluded:
    """An endpoint that cannot or may not serve the request."""

    reason: str
    unsayable: tuple[str, ...] = ()
    """The parameters that stand in its way, if nothing else does."""
    circuit: Circuit | None = None
    """Its open circuit, if nothing else does."""


def plan(crossing: Crossing, principal: Principal, situation: Situation) -> Plan:
    """The endpoints to try, in the order of `ranking`, and the ones left out.

    Raises:
        ModelNotFound: none of the models exists.
        ModelNotAllowed: the key's allowlist or its organization's leaves all of them out.
        ModelNotPriced: endpoints could serve the call, but none of them has prices in force for all that a call uses.
        InvalidRequest: an endpoint could serve it, were it not for a parameter that its format cannot say; or the
            caller's preferences contradict each other.
        ProviderUnavailable, RateLimited: endpoints could serve it, but none is in a condition to.
        NoEndpoint: every endpoint is left out; `metadata.excluded` says why.
    """
    request = crossing.request
    check_preferences(request)
    contenders: dict[EndpointId, Contender] = {}
    excluded: dict[str, _Excluded] = {}
    for place, wanted in enumerate(models_of(request, principal, situation.catalogue, situation.at)):
        slug, _, pinned = wanted.partition(":")
        for endpoint in situation.catalogue.endpoints_of(slug):
            if endpoint.id in contenders:
                continue
            considered = _considered(crossing, principal, situation, endpoint, (place, pinned))
            if isinstance(considered, Contender):
                excluded.pop(_named(endpoint), None)
                contenders[endpoint.id] = considered
            else:
                excluded[_named(endpoint)] = considered
    if not contenders:
        raise _nothing_planned(excluded, situation.at)
    planned = ranking.ranked(tuple(contenders.values()), request.preferences, situation.sticky)
    tried = _tried(planned, request.preferences)
    left_out = {_named(candidate.endpoint): "fallbacks are not allowed" for candidate in planned[len(tried) :]}
    reasons = {name: each.reason for name, each in excluded.items()} | left_out
    return Plan(tried, tuple(reasons.items()), _asked_for(request.models, situation.catalogue, situation.at))


def fitting(planned: Plan, request: Request, prompt: PromptTokens) -> Plan:
    """The plan without the endpoints whose context cannot hold the prompt, now that it is counted.

    Raises:
        InvalidRequest: that leaves none; `metadata` has the count and the longest context there is.
    """
    reasons = [
        (candidate, eligibility.too_long(request, candidate.endpoint, candidate.provider, prompt))
        for candidate in planned.candidates
    ]
    kept = tuple([candidate for candidate, reason in reasons if reason is None])
    if len(kept) == len(reasons):
        return planned
    if not kept:
        longest = max(candidate.endpoint.context_length or 0 for candidate in planned.candidates)
        raise InvalidRequest(
            f"The prompt has about {prompt.likely} tokens and asks for {request.max_tokens or 1} of output; the longest"
            f" context of the endpoints that could serve it holds {longest}.",
            field="max_tokens" if prompt.likely < longest and request.max_tokens else "messages",
            metadata={"prompt_tokens": prompt.likely, "context_length": longest},
        )
    left_out = tuple((_named(candidate.endpoint), reason) for candidate, reason in reasons if reason is not None)
    return Plan(kept, (*planned.excluded, *left_out), planned.asked_for)


def check_preferences(request: Request) -> None:
    """Refuse preferences that contradict each other, so that nothing could be planned whatever there is.

    Raises:
        InvalidRequest: naming the field at fault.
    """
    wishes = request.preferences
    for name in wishes.order:
        if name in wishes.ignore:
            raise InvalidRequest(f"{name} is in provider.order and in provider.ignore.", field="provider.ignore")
    if wishes.only and set(wishes.only) <= set(wishes.ignore):
        raise InvalidRequest("provider.ignore has all that provider.only has.", field="provider.ignore")
    if wishes.only and wishes.order and not wishes.allow_fallbacks and set(wishes.only).isdisjoint(wishes.order):
        raise InvalidRequest(
            "Without fallbacks only provider.order is tried, and provider.only has none of it.", field="provider.only"
        )
    pins = [model.partition(":")[2] for model in request.models]
    if all(pins) and wishes.only and set(pins).isdisjoint(wishes.only):
        raise InvalidRequest(f"The model is pinned to {pins[0]}, not among provider.only.", field="provider.only")
    if all(pins) and set(pins) <= set(wishes.ignore):
        raise InvalidRequest(f"The model is pinned to {pins[0]}, which is in provider.ignore.", field="provider.ignore")


def models_of(request: Request, principal: Principal, catalogue: Catalogue, at: datetime) -> Sequence[str]:
    """The models that serve those asked for and that the key may call, each with the provider it is pinned to.

    Raises:
        ModelNotFound, ModelNotAllowed: there is none.
    """
    return _allowed(_known(request.models, catalogue, at), principal)


def _named(endpoint: Endpoint) -> str:
    return f"{endpoint.model}:{endpoint.provider}"


def _known(models: Sequence[str], catalogue: Catalogue, at: datetime) -> list[str]:
    named = [(slug, f"{colon}{pinned}") for slug, colon, pinned in (model.partition(":") for model in models)]
    known = [f"{model.slug}{pin}" for slug, pin in named if (model := catalogue.resolve(slug, at)) is not None]
    if not known:
        raise ModelNotFound(catalogue.why_not(models[0], at), field="model")
    return known


def _asked_for(models: Sequence[str], catalogue: Catalogue, at: datetime) -> dict[str, Model]:
    """By the slug of each model that may serve, the first model asked for that leads to it."""
    found: dict[str, Model] = {}
    for wanted in models:
        slug = wanted.partition(":")[0]
        serving, named = catalogue.resolve(slug, at), catalogue.named(slug)
        if serving is not None and named is not None:
            found.setdefault(serving.slug, named)
    return found


def _allowed(models: Sequence[str], principal: Principal) -> list[str]:
    permitted = (principal.models, *(policy.models for policy in principal.policies))
    allowlists = [each for each in permitted if each is not None]
    allowed = [model for model in models if all(model.partition(":")[0] in each for each in allowlists)]
    if not allowed:
        raise ModelNotAllowed(f"This key may not call {models[0]}.", field="model")
    return allowed


def _prices(
    book: PriceBook, endpoint: Endpoint, organization_id: OrganizationId, at: datetime
) -> Mapping[str, PriceVersion]:
    """The endpoint's prices in force, by service tier, as this organization is charged by them."""
    return pricing.prices_in_force(
        book,
        endpoint_id=endpoint.id,
        model=endpoint.model,
        provider=endpoint.provider,
        organization_id=organization_id,
        at=at,
    )


def tier_of(name: str | None) -> str:
    """The service tier that a request asks for, or an answer says has served, as prices know it."""
    return STANDARD if name is None or name in _STANDARD_TIERS else name


def _considered(
    crossing: Crossing, principal: Principal, situation: Situation, endpoint: Endpoint, wanted: tuple[int, str]
) -> Contender | _Excluded:
    """The endpoint in the running, or why it is not; `wanted` is the place of its model, and the provider pinned."""
    request, (place, pinned) = crossing.request, wanted
    provider = situation.catalogue.providers[endpoint.provider]
    tiers = _prices(situation.book, endpoint, principal.organization_id, situation.at)
    price = tiers.get(tier_of(request.service_tier))
    offer = Offer(
        endpoint=endpoint,
        provider=provider,
        model=situation.catalogue.models[endpoint.model],
        price=price,
        has_prices=bool(tiers),
        pinned=pinned,
        routable=situation.is_routable(provider),
    )
    reason = eligibility.why_not(request, offer, principal.policies)
    if reason is not None or price is None:
        return _Excluded(reason or NOT_PRICED)
    way = crossing.way_to(endpoint, provider)
    if way.wire is None:
        return _Excluded(f"it does not speak {request.wire}")
    if way.unsayable:
        return _Excluded(f"its format cannot express {', '.join(way.unsayable)}", way.unsayable)
    condition = situation.conditions.get(endpoint.id, HEALTHY)
    fitness = health.fitness(condition, at=situation.at)
    if fitness is Fitness.UNFIT and condition.circuit is not None:
        return _Excluded(f"it is {condition.circuit.fault}", circuit=condition.circuit)
    return Contender(Candidate(endpoint, provider, price, "", way.wire, tiers), fitness, condition, place)


def _tried(planned: Sequence[Candidate], wishes: Preferences) -> tuple[Candidate, ...]:
    return tuple(planned) if wishes.allow_fallbacks or wishes.order else tuple(planned[:1])


def _nothing_planned(excluded: Mapping[str, _Excluded], at: datetime) -> TollgateError:
    """Why there is nothing to try. What passes by itself comes before what somebody would have to change."""
    reasons = {name: each.reason for name, each in excluded.items()}
    open_circuits = [each.circuit for each in excluded.values() if each.circuit is not None]
    if open_circuits:
        return _nobody_fit(open_circuits, reasons, at)
    unsayable = [name for each in excluded.values() for name in each.unsayable]
    if unsayable:
        # The caller has to leave something out; to name it ignorable is the operator's decision.
        told = ", ".join(dict.fromkeys(unsayable))
        return InvalidRequest(
            f"No endpoint of this model has a format that can express {told}; leave it out, or call another model.",
            field=unsayable[0],
        )
    if reasons and UNPRICED.issuperset(reasons.values()):
        return ModelNotPriced("No endpoint of this model has prices of prompt and completion in force.", field="model")
    told = "; ".join(f"{endpoint}: {reason}" for endpoint, reason in reasons.items()) or "the model has no endpoints"
    return NoEndpoint(f"No endpoint can serve this call: {told}.", metadata={"excluded": reasons})


def _nobody_fit(open_circuits: Sequence[Circuit], reasons: Mapping[str, str], at: datetime) -> TollgateError:
    soonest = min(open_circuits, key=lambda circuit: circuit.until)
    seconds = max(math.ceil((soonest.until - at).total_seconds()), 1)
    metadata = {"retry_after_seconds": seconds, "excluded": dict(reasons)}
    if all(circuit.fault is Fault.LIMITED for circuit in open_circuits):
        return RateLimited("Every provider of this model is limiting our rate.", metadata=metadata)
    return ProviderUnavailable("No provider of this model can be reached right now.", metadata=metadata)
