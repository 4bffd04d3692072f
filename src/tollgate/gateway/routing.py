"""Routing: from a request, the catalogue, the prices and the caller's preferences to an ordered list of endpoints.

Pure. Every endpoint of the models asked for is either planned, with the reason it is where it is, or left out, with
the reason why.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from tollgate.catalog.model import Catalogue, Endpoint, Provider
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import Candidate, Plan, Preferences, Request
from tollgate.kit.errors import InvalidRequest, ModelNotAllowed, ModelNotFound, ModelNotPriced, NoEndpoint
from tollgate.kit.ids import OrganizationId
from tollgate.kit.principal import Principal
from tollgate.kit.tokens import Kind
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import STANDARD, PriceBook, PriceVersion

NOT_PRICED = "no price in force"
_UNPRICED = {NOT_PRICED} | {f"no {kind} price" for kind in (Kind.PROMPT, Kind.COMPLETION, Kind.WEB_SEARCH)}
"""Reasons that only a price can mend."""
_STANDARD_TIERS = frozenset({STANDARD, "auto", "default", "standard_only", "on_demand"})
"""Names of the standard service tier, asked for and served."""
_ZERO_RETENTION = "zero"


@dataclass(frozen=True, slots=True)
class _Offer:
    """One endpoint, with its prices in force and whether it was asked for and can be reached."""

    endpoint: Endpoint
    provider: Provider
    tiers: Mapping[str, PriceVersion]
    pinned: str
    routable: bool


@dataclass(frozen=True, slots=True)
class _Excluded:
    """An endpoint that cannot or may not serve the request."""

    reason: str
    unsayable: tuple[str, ...] = ()
    """The parameters that stand in its way, if nothing else does."""


def plan(
    crossing: Crossing,
    principal: Principal,
    *,
    catalogue: Catalogue,
    book: PriceBook,
    is_routable: Callable[[Provider], bool],
    at: datetime,
) -> Plan:
    """The endpoints to try, in order: by model as asked for, then by the caller's order, then by price.

    Raises:
        ModelNotFound: none of the models exists.
        ModelNotAllowed: the key's allowlist leaves all of them out.
        ModelNotPriced: endpoints could serve the call, but none of them has prices in force for all that a call uses.
        InvalidRequest: an endpoint could serve it, were it not for a parameter that its format cannot say.
        NoEndpoint: every endpoint is left out; `metadata.excluded` says why.
    """
    request = crossing.request
    planned: list[Candidate] = []
    excluded: dict[str, str] = {}
    unsayable: list[str] = []
    for wanted in models_of(request, principal, catalogue, at):
        slug, _, pinned = wanted.partition(":")
        candidates = []
        for endpoint in catalogue.endpoints_of(slug):
            if any(candidate.endpoint.id == endpoint.id for candidate in planned):
                continue
            provider = catalogue.providers[endpoint.provider]
            tiers = _prices(book, endpoint, principal.organization_id, at)
            offer = _Offer(endpoint, provider, tiers, pinned=pinned, routable=is_routable(provider))
            considered = _considered(crossing, offer)
            if isinstance(considered, Candidate):
                excluded.pop(_named(endpoint), None)
                candidates.append(considered)
            else:
                excluded[_named(endpoint)] = considered.reason
                unsayable += considered.unsayable
        planned += _ordered(candidates, request.preferences)
    if not planned:
        raise _unsayable(unsayable) if unsayable else _nothing_planned(excluded)
    tried = _tried(planned, request.preferences)
    excluded |= {_named(candidate.endpoint): "fallbacks are not allowed" for candidate in planned[len(tried) :]}
    return Plan(tried, tuple(excluded.items()))


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


def _allowed(models: Sequence[str], principal: Principal) -> list[str]:
    if principal.models is None:
        return list(models)
    allowed = [model for model in models if model.partition(":")[0] in principal.models]
    if not allowed:
        raise ModelNotAllowed(f"This key may not call {models[0]}.", field="model")
    return allowed


def _prices(
    book: PriceBook, endpoint: Endpoint, organization_id: OrganizationId, at: datetime
) -> Mapping[str, PriceVersion]:
    """The endpoint's prices in force, by service tier."""
    versions = book.versions(endpoint.id)
    prices = {}
    for tier in {version.service_tier for version in versions}:
        price = pricing.price_in_force(
            versions, endpoint_id=endpoint.id, organization_id=organization_id, service_tier=tier, at=at
        )
        if price is not None and price.service_tier == tier:
            prices[tier] = price
    return prices


def tier_of(name: str | None) -> str:
    """The service tier that a request asks for, or an answer says has served, as prices know it."""
    return STANDARD if name is None or name in _STANDARD_TIERS else name


def _considered(crossing: Crossing, offer: _Offer) -> Candidate | _Excluded:
    request = crossing.request
    price = offer.tiers.get(tier_of(request.service_tier))
    reason = _why_not(request, offer, price)
    if reason is not None or price is None:
        return _Excluded(reason or NOT_PRICED)
    way = crossing.way_to(offer.endpoint, offer.provider)
    if way.wire is None:
        return _Excluded(f"it does not speak {request.wire}")
    if way.unsayable:
        return _Excluded(f"its format cannot express {', '.join(way.unsayable)}", way.unsayable)
    return Candidate(offer.endpoint, offer.provider, price, "", way.wire, offer.tiers)


def _why_not(request: Request, offer: _Offer, price: PriceVersion | None) -> str | None:
    """Why the endpoint cannot or may not serve the request; `None` if it can."""
    endpoint, provider, pinned = offer.endpoint, offer.provider, offer.pinned
    wishes = request.preferences
    refusals = (
        (bool(pinned) and pinned != provider.slug, f"the model is pinned to {pinned}"),
        (bool(wishes.only) and provider.slug not in wishes.only, "not among provider.only"),
        (provider.slug in wishes.ignore, "among provider.ignore"),
        (
            not wishes.allow_fallbacks and bool(wishes.order) and provider.slug not in wishes.order,
            "not among provider.order",
        ),
        (not endpoint.enabled, "the endpoint is disabled"),
        (not offer.routable, "the provider's credential or address is not set, or not permitted"),
        (wishes.zdr and not _retains_nothing(endpoint), "it may retain prompts"),
        (wishes.data_collection == "deny" and endpoint.data_policy.training is not False, "it may train on prompts"),
        (
            wishes.require_parameters and not request.parameters <= set(endpoint.supported_parameters),
            "a parameter is not supported",
        ),
        (_exceeds_output(request, endpoint), "more output is asked for than it gives"),
        (price is None, "no price for the service tier" if offer.tiers else NOT_PRICED),
        *(
            (price is not None and not any(item.kind is kind for item in price.items), f"no {kind} price")
            for kind in _kinds_used(request)
        ),
        (price is not None and _too_dear(price, wishes), "dearer than provider.max_price"),
    )
    return next((reason for applies, reason in refusals if applies), None)


def _kinds_used(request: Request) -> Iterator[Kind]:
    """What the call cannot do without using."""
    yield Kind.PROMPT
    if request.choices:
        yield Kind.COMPLETION
    if request.searches:
        yield Kind.WEB_SEARCH


def _retains_nothing(endpoint: Endpoint) -> bool:
    return endpoint.data_policy.logging == _ZERO_RETENTION and endpoint.data_policy.training is False


def _exceeds_output(request: Request, endpoint: Endpoint) -> bool:
    return (
        request.max_tokens is not None and endpoint.max_output is not None and request.max_tokens > endpoint.max_output
    )


def _too_dear(price: PriceVersion, wishes: Preferences) -> bool:
    ceilings = ((Kind.PROMPT, wishes.max_prompt_price), (Kind.COMPLETION, wishes.max_completion_price))
    return any(
        ceiling is not None and any(item.unit_price > ceiling for item in price.items if item.kind is kind)
        for kind, ceiling in ceilings
    )


def _ordered(candidates: Iterable[Candidate], wishes: Preferences) -> list[Candidate]:
    """The caller's order first, then the cheapest first; ties by provider, so that the order is stable."""

    def rank(candidate: Candidate) -> tuple[int, Decimal, str]:
        slug = candidate.provider.slug
        place = wishes.order.index(slug) if slug in wishes.order else len(wishes.order)
        return place, _dearness(candidate.price), slug

    return [replace(one, reason=_why(one.provider.slug, wishes)) for one in sorted(candidates, key=rank)]


def _dearness(price: PriceVersion) -> Decimal:
    """What a million tokens read and a million written cost at the base tier: the yardstick for "cheapest"."""
    return sum(
        (item.unit_price for item in price.items
         if item.kind in {Kind.PROMPT, Kind.COMPLETION} and item.prompt_tokens_from == 0),
        Decimal(0),
    )  # fmt: skip


def _why(provider: str, wishes: Preferences) -> str:
    if provider in wishes.order:
        return f"number {wishes.order.index(provider) + 1} of provider.order"
    return "by price" if wishes.sort in {None, "price"} else "by price: no statistics yet"


def _tried(planned: Sequence[Candidate], wishes: Preferences) -> tuple[Candidate, ...]:
    return tuple(planned) if wishes.allow_fallbacks or wishes.order else tuple(planned[:1])


def _unsayable(names: Sequence[str]) -> InvalidRequest:
    """The caller has to leave something out, or to name it ignorable is the operator's decision."""
    told = ", ".join(dict.fromkeys(names))
    return InvalidRequest(
        f"No endpoint of this model has a format that can express {told}; leave it out, or call another model.",
        field=names[0],
    )


def _nothing_planned(reasons: Mapping[str, str]) -> NoEndpoint | ModelNotPriced:
    told = "; ".join(f"{endpoint}: {reason}" for endpoint, reason in reasons.items()) or "the model has no endpoints"
    if reasons and _UNPRICED.issuperset(reasons.values()):
        return ModelNotPriced("No endpoint of this model has prices of prompt and completion in force.", field="model")
    return NoEndpoint(f"No endpoint can serve this call: {told}.", metadata={"excluded": dict(reasons)})
