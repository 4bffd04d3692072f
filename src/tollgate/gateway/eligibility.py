"""Eligibility: whether an endpoint can serve a request at all, and may. Pure.

Three things decide: what the endpoint is and can do, what the caller wishes, and the policies that bind the caller's
organization and key. The first reason found is the one that is told.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from tollgate.catalog.model import Endpoint, Format, Model, Provider
from tollgate.gateway.model import BlobKind, Preferences, PromptTokens, Request, Wire
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit.principal import RoutingPolicy
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceVersion

NOT_PRICED = "no price in force"
UNPRICED = {NOT_PRICED} | {f"no {kind} price" for kind in (Kind.PROMPT, Kind.COMPLETION, Kind.WEB_SEARCH)}
"""Reasons that only a price can mend."""

_ZERO_RETENTION = "zero"
_DECISIVE_PARAMETERS = frozenset({"tools", "response_format"})
"""What changes an answer's very form: an endpoint that lists what it supports, and not this, would serve another."""
_FOREIGN_PERCENT = 75
"""How much of our count the count of a vocabulary that is not ours may come to, at least: see docs/counting.md."""
_OUR_VOCABULARIES = frozenset({Format.OPENAI, Format.AZURE_OPENAI, Format.SANDBOX})
_MODALITY_OF: Mapping[BlobKind, frozenset[str]] = {
    BlobKind.AUDIO: frozenset({"audio", "video"}),
    BlobKind.IMAGE: frozenset({"image"}),
    # Providers read pages as pictures where they have nothing better.
    BlobKind.DOCUMENT: frozenset({"file", "image"}),
}
_MODALITIES = msgspec.json.Decoder(tuple[str, ...] | None)


@dataclass(frozen=True, slots=True)
class Offer:
    """One endpoint of a model that was asked for, with its prices in force."""

    endpoint: Endpoint
    provider: Provider
    model: Model
    price: PriceVersion | None
    """Of the service tier asked for."""
    has_prices: bool
    """Whether any of its service tiers has a price."""
    pinned: str
    """The provider that the caller named behind the model; empty if none."""
    routable: bool
    """Whether calls can be sent to its provider from here."""


def why_not(request: Request, offer: Offer, policies: tuple[RoutingPolicy, ...]) -> str | None:
    """Why the endpoint cannot or may not serve the request; `None` if it can, as far as its format can say it."""
    reasons = (_unwanted, _absent, _indiscreet, _forbidden, _incapable, _unpriced)
    return next((reason for why in reasons if (reason := why(request, offer, policies)) is not None), None)


def _unwanted(request: Request, offer: Offer, _policies: tuple[RoutingPolicy, ...]) -> str | None:
    """The providers that the caller leaves out."""
    wishes, slug = request.preferences, offer.provider.slug
    return _first(
        (bool(offer.pinned) and offer.pinned != slug, f"the model is pinned to {offer.pinned}"),
        (bool(wishes.only) and slug not in wishes.only, "not among provider.only"),
        (slug in wishes.ignore, "among provider.ignore"),
        (not wishes.allow_fallbacks and bool(wishes.order) and slug not in wishes.order, "not among provider.order"),
    )


def _absent(_request: Request, offer: Offer, _policies: tuple[RoutingPolicy, ...]) -> str | None:
    return _first(
        (not offer.endpoint.enabled, "the endpoint is disabled"),
        (not offer.routable, "the provider's credential or address is not set, or not permitted"),
    )


def _indiscreet(request: Request, offer: Offer, _policies: tuple[RoutingPolicy, ...]) -> str | None:
    """What the caller does not want to happen to its prompts."""
    wishes = request.preferences
    return _first(
        (wishes.zdr and not _retains_nothing(offer.endpoint), "it may retain prompts"),
        (wishes.data_collection == "deny" and _may_train(offer.endpoint), "it may train on prompts"),
    )


def _forbidden(_request: Request, offer: Offer, policies: tuple[RoutingPolicy, ...]) -> str | None:
    """What the organization or the key does not permit, whatever the caller wishes, of the models it permits."""
    endpoint, slug, price = offer.endpoint, offer.provider.slug, offer.price
    for policy in policies:
        reason = _first(
            (
                (policy.providers is not None and slug not in policy.providers) or slug in policy.ignored_providers,
                "the routing policy leaves its provider out",
            ),
            (policy.zdr and not _retains_nothing(endpoint), "the routing policy forbids it: it may retain prompts"),
            (
                policy.denies_training and _may_train(endpoint),
                "the routing policy forbids it: it may train on prompts",
            ),
            (
                price is not None and _is_dearer(price, policy),
                "the routing policy forbids it: dearer than its max_price",
            ),
        )
        if reason is not None:
            return reason
    return None


def _incapable(request: Request, offer: Offer, _policies: tuple[RoutingPolicy, ...]) -> str | None:
    """What the endpoint is not able to do."""
    endpoint, supported = offer.endpoint, set(offer.endpoint.supported_parameters)
    return _first(
        *(
            (request.preferences.require_parameters and name not in supported, f"it does not support {name}")
            for name in sorted(request.parameters)
        ),
        *(
            (bool(supported) and name not in supported, f"it does not support {name}")
            for name in sorted(request.parameters & _DECISIVE_PARAMETERS)
        ),
        *((True, f"the model does not read {name}") for name in _unread(request, offer.model)),
        *((True, f"the model does not write {name}") for name in _unwritten(request, offer.model)),
        (_exceeds_output(request, endpoint), "more output is asked for than it gives"),
    )


def _unpriced(request: Request, offer: Offer, _policies: tuple[RoutingPolicy, ...]) -> str | None:
    price = offer.price
    if price is None:
        return "no price for the service tier" if offer.has_prices else NOT_PRICED
    return _first(
        *((not any(item.kind is kind for item in price.items), f"no {kind} price") for kind in _kinds_used(request)),
        (_is_dearer(price, request.preferences), "dearer than provider.max_price"),
    )


def _first(*reasons: tuple[bool, str]) -> str | None:
    return next((reason for applies, reason in reasons if applies), None)


def _retains_nothing(endpoint: Endpoint) -> bool:
    return endpoint.data_policy.logging == _ZERO_RETENTION and endpoint.data_policy.training is False


def _may_train(endpoint: Endpoint) -> bool:
    return endpoint.data_policy.training is not False


def _is_dearer(price: PriceVersion, ceilings: Preferences | RoutingPolicy) -> bool:
    """Whether any tier of the price is above what is to be paid at most."""
    each = ((Kind.PROMPT, ceilings.max_prompt_price), (Kind.COMPLETION, ceilings.max_completion_price))
    return any(
        ceiling is not None and any(item.unit_price > ceiling for item in price.items if item.kind is kind)
        for kind, ceiling in each
    )


def _unread(request: Request, model: Model) -> Iterator[str]:
    """What the prompt has that the model is known not to read."""
    known = set(model.input_modalities)
    if not known:
        return
    if request.prompt.images and "image" not in known:
        yield "images"
    for kind in sorted({blob.kind for blob in request.prompt.blobs}, key=lambda kind: kind.name):
        if kind in _MODALITY_OF and known.isdisjoint(_MODALITY_OF[kind]):
            yield f"{kind.name.lower()}s" if kind is not BlobKind.AUDIO else "audio"


def _unwritten(request: Request, model: Model) -> Iterator[str]:
    """What the caller wants besides text that the model is known not to write."""
    known = set(model.output_modalities)
    if known and request.wire is Wire.CHAT and "modalities" in request.fields:
        try:
            wanted = _MODALITIES.decode(request.fields["modalities"]) or ()
        except UNREADABLE:
            # What is no list of words is for the provider to refuse.
            return
        yield from (name for name in wanted if name != "text" and name not in known)


def _exceeds_output(request: Request, endpoint: Endpoint) -> bool:
    return (
        request.max_tokens is not None and endpoint.max_output is not None and request.max_tokens > endpoint.max_output
    )


def _kinds_used(request: Request) -> Iterator[Kind]:
    """What the call cannot do without using."""
    yield Kind.PROMPT
    if request.choices:
        yield Kind.COMPLETION
    if request.searches:
        yield Kind.WEB_SEARCH


def too_long(request: Request, endpoint: Endpoint, provider: Provider, prompt: PromptTokens) -> str | None:
    """Why the endpoint's context cannot hold the prompt and the output asked for; `None` if it can, or may.

    Nobody is refused for what only our count says: where the endpoint's vocabulary may be another than ours, the prompt
    has to be longer by what that can make of it. Of embeddings the context holds one input of many.
    """
    context = endpoint.context_length
    if context is None or request.wire is Wire.EMBEDDINGS:
        return None
    least = prompt.likely
    if provider.format not in _OUR_VOCABULARIES:
        least = least * _FOREIGN_PERCENT // 100
    output = request.max_tokens or 1
    if least + output <= context:
        return None
    return f"its context of {context} tokens cannot hold the prompt of about {prompt.likely} and {output} of output"
