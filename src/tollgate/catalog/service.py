"""Use cases of the catalogue: what operators add and change, and the snapshot that routing reads."""

from uuid import UUID

from tollgate.catalog import rules, store
from tollgate.catalog.model import Catalogue, Endpoint, Model, Provider
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import EndpointId


async def load_catalogue(session: ReadSession) -> Catalogue:
    """Everything that can be called, with the revision it is of."""
    revision = await store.revision(session)
    shelves: dict[str, list[Endpoint]] = {}
    for endpoint in await store.endpoints(session):
        shelves.setdefault(endpoint.model, []).append(endpoint)
    return Catalogue(
        revision=revision,
        models={model.slug: model for model in await store.models(session)},
        providers={provider.slug: provider for provider in await store.providers(session)},
        endpoints={model: tuple(sorted(shelf, key=_provider_of)) for model, shelf in shelves.items()},
    )


def _provider_of(endpoint: Endpoint) -> str:
    return endpoint.provider


async def create_provider(session: WriteSession, provider: Provider, *, allow_private_upstreams: bool) -> Provider:
    """Add a provider.

    Raises:
        InvalidRequest: a field is not usable.
        Conflict: the slug is taken.
    """
    rules.check_provider(provider, allow_private_upstreams=allow_private_upstreams)
    await store.add_provider(session, provider)
    return provider


async def update_provider(session: WriteSession, provider: Provider, *, allow_private_upstreams: bool) -> Provider:
    """Give a provider these fields.

    Raises:
        InvalidRequest: a field is not usable.
    """
    rules.check_provider(provider, allow_private_upstreams=allow_private_upstreams)
    await store.save_provider(session, provider)
    return provider


async def provider(session: ReadSession, slug: str) -> Provider:
    """The provider of this slug.

    Raises:
        NotFound: there is none.
    """
    found = await store.provider(session, slug)
    if found is None:
        raise NotFound(f"There is no provider {slug[:80]!r}.")
    return found


async def list_providers(session: ReadSession, *, after: str | None, limit: int) -> list[Provider]:
    """The providers in order of slug, from the one that follows `after`."""
    return await store.providers(session, after=after, limit=limit)


async def create_model(session: WriteSession, model: Model) -> Model:
    """Add a model.

    Raises:
        InvalidRequest: a field is not usable.
        Conflict: the slug is taken.
    """
    rules.check_model(model)
    await store.add_model(session, model)
    return model


async def update_model(session: WriteSession, model: Model) -> Model:
    """Give a model these fields.

    Raises:
        InvalidRequest: a field is not usable.
    """
    rules.check_model(model)
    await store.save_model(session, model)
    return model


async def model(session: ReadSession, slug: str) -> Model:
    """The model of this slug.

    Raises:
        NotFound: there is none.
    """
    found = await store.model(session, slug)
    if found is None:
        raise NotFound(f"There is no model {slug[:200]!r}.")
    return found


async def list_models(session: ReadSession, *, after: str | None, limit: int) -> list[Model]:
    """The models in order of slug, from the one that follows `after`."""
    return await store.models(session, after=after, limit=limit)


async def create_endpoint(session: WriteSession, endpoint: Endpoint) -> Endpoint:
    """Offer a model at a provider.

    Raises:
        InvalidRequest: a field is not usable, or there is no such model or provider.
        Conflict: the provider has the model already.
    """
    rules.check_endpoint(endpoint)
    if await store.model(session, endpoint.model) is None:
        raise InvalidRequest(f"There is no model {endpoint.model[:200]!r}.", field="model")
    if await store.provider(session, endpoint.provider) is None:
        raise InvalidRequest(f"There is no provider {endpoint.provider[:80]!r}.", field="provider")
    await store.add_endpoint(session, endpoint)
    return endpoint


async def update_endpoint(session: WriteSession, endpoint: Endpoint) -> Endpoint:
    """Give an endpoint these fields; its model and provider stay.

    Raises:
        InvalidRequest: a field is not usable.
    """
    rules.check_endpoint(endpoint)
    await store.save_endpoint(session, endpoint)
    return endpoint


async def endpoint(session: ReadSession, endpoint_id: EndpointId) -> Endpoint:
    """The endpoint of this id.

    Raises:
        NotFound: there is none.
    """
    found = await store.endpoint(session, endpoint_id)
    if found is None:
        raise NotFound("There is no such endpoint.")
    return found


async def list_endpoints(
    session: ReadSession, *, model: str | None, provider: str | None, before: UUID | None, limit: int
) -> list[Endpoint]:
    """The endpoints of a model, of a provider, or all; newest first."""
    return await store.endpoints(session, model=model, provider=provider, before=before, limit=limit)


async def find_endpoint(session: ReadSession, *, model: str, provider: str) -> EndpointId:
    """The endpoint of this model at this provider.

    Raises:
        InvalidRequest: there is none; `field` is the name that leads nowhere.
    """
    found = await store.endpoint_of(session, model=model, provider=provider)
    if found is not None:
        return found.id
    if await store.model(session, model) is None:
        raise InvalidRequest(f"There is no model {model[:200]!r}.", field="model")
    raise InvalidRequest(f"{model} is not offered by {provider[:80]!r}.", field="provider")
