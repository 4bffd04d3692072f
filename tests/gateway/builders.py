"""Endpoints, candidates and requests for tests: valid by default, every part by name."""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.pricing.builders import JANUARY, per_million

from tollgate.catalog.model import Catalogue, DataPolicy, Endpoint, Format, Model, Provider
from tollgate.gateway.model import Candidate, Receipt, Request
from tollgate.gateway.protocols import openai_chat
from tollgate.kit.ids import EndpointId, OrganizationId, PriceVersionId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import STANDARD, Charge, ChargeItem, PriceItem, PriceVersion, Unit

MODEL = "acme/model"


def a_provider(slug: str = "acme", **parts: Any) -> Provider:
    given: dict[str, Any] = {"name": slug, "format": Format.OPENAI_COMPATIBLE, "base_url": "https://x.test", **parts}
    return Provider(slug=slug, **given)


def an_endpoint(provider: str = "acme", model: str = MODEL, **parts: Any) -> Endpoint:
    given: dict[str, Any] = {
        "upstream_model": "upstream-name", "context_length": None, "max_output": None, "protocols": ("openai",),
        "supported_parameters": (), "data_policy": DataPolicy(), "supports_cancel": True, "enabled": True, **parts,
    }  # fmt: skip
    number = UUID(bytes=f"{provider}/{model}".encode()[:16].ljust(16))
    return Endpoint(id=EndpointId(number), model=model, provider=provider, **given)


def a_price(
    endpoint: Endpoint, prompt: str = "1", completion: str = "2", *more: PriceItem,
    organization_id: OrganizationId | None = None, service_tier: str = STANDARD,
) -> PriceVersion:  # fmt: skip
    items = (per_million(Kind.PROMPT, prompt), per_million(Kind.COMPLETION, completion), *more)
    version = PriceVersionId(UUID(int=1))
    return PriceVersion(version, endpoint.id, organization_id, service_tier, JANUARY, None, items)


def a_candidate(
    prompt: str = "1", completion: str = "2", *more: PriceItem, speaks: Format = Format.OPENAI, **endpoint: Any
) -> Candidate:
    place = an_endpoint(**endpoint)
    return Candidate(place, a_provider(format=speaks), a_price(place, prompt, completion, *more), "a test")


def a_request(**fields: Any) -> Request:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **fields}
    return openai_chat.decode(json.dumps(body).encode())


def a_receipt(quantities: Mapping[Kind, int], **parts: Any) -> Receipt:
    """What a call used; its charge is 0.0000007 dollars, whatever that was."""
    read = quantities[Kind.PROMPT]
    item = ChargeItem(Kind.PROMPT, read, Unit.PER_MILLION_TOKENS, Decimal("0.1"), Decimal("0.1") * read / 1_000_000)
    charge = Charge(items=(item,), amount=Decimal("0.0000007"), unpriced=(), tier=0)
    given: dict[str, Any] = {"generation_id": "gen_1", "model": MODEL, "provider": "acme", "estimated": False, **parts}
    return Receipt(quantities=UsageQuantities(quantities), charge=charge, **given)


def a_catalogue(providers: Iterable[Provider], endpoints: Iterable[Endpoint]) -> Catalogue:
    shelves: dict[str, tuple[Endpoint, ...]] = {}
    for endpoint in sorted(endpoints, key=lambda each: each.provider):
        shelves[endpoint.model] = (*shelves.get(endpoint.model, ()), endpoint)
    models = {slug: Model(slug, slug, "", ("text",), ("text",), "o200k_base", JANUARY) for slug in shelves}
    return Catalogue(1, models, {provider.slug: provider for provider in providers}, shelves)
