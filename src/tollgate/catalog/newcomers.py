"""What enters the catalogue from a price list: the model and the endpoint as far as a list knows them, or why not."""

from datetime import datetime

from tollgate.catalog import known_providers, rules
from tollgate.catalog.encodings import encoding_of
from tollgate.catalog.model import DataPolicy, Endpoint, Model, Provider
from tollgate.catalog.seed import GPT_4_1_MINI, SANDBOX_ECHO
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import EndpointId

_KEPT_BY_HAND = frozenset({GPT_4_1_MINI.slug, SANDBOX_ECHO.slug})


def model(slug: str, *, name: str, description: str, now: datetime) -> Model:
    """The model as a list knows it, which is to say not what it reads and writes.

    A list prices images or sounds where they cost something of their own; a model that reads them at the price of text
    looks as if it did not. Only of a model that embeds we know by its name that it writes no text.
    """
    return Model(
        slug=slug,
        name=name,
        description=description,
        input_modalities=(),
        output_modalities=("embedding",) if known_providers.is_embedding(slug) else (),
        tokenizer=encoding_of(slug),
        created_at=now,
    )


def endpoint(
    endpoint_id: EndpointId, *, model: str, provider: Provider, upstream_model: str, context_length: int | None
) -> Endpoint:
    """The model at the provider, enabled if we know how to reach it."""
    return Endpoint(
        id=endpoint_id,
        model=model,
        provider=provider.slug,
        upstream_model=upstream_model,
        context_length=context_length,
        max_output=None,
        protocols=known_providers.protocols_of(provider, upstream_model),
        supported_parameters=(),
        data_policy=DataPolicy(),
        supports_cancel=provider.slug in known_providers.STOP_WHEN_CLOSED
        and not known_providers.thinks_unseen(upstream_model),
        enabled=provider.slug in known_providers.KNOWN,
    )


def why_not(model: Model, endpoint: Endpoint, *, listed_as: str) -> str | None:
    """Why a model cannot be brought in that the provider's list calls `listed_as`; `None` if it can."""
    if model.slug in _KEPT_BY_HAND:
        return "its page is kept by hand"
    if not known_providers.serves(endpoint.provider, listed_as):
        return "another API of the provider serves it"
    try:
        rules.check_model(model)
        rules.check_endpoint(endpoint)
    except InvalidRequest as refusal:
        return refusal.message
    return None
