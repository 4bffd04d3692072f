"""Use cases of the catalogue: what operators add and change, and the snapshot that routing reads."""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from tollgate.catalog import rules, store
from tollgate.catalog.model import Catalogue, Endpoint, Model, Provider
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import EndpointId

Found = TypeVar("Found")


async def current_revision(session: ReadSession) -> int:
    """The revision that is in force now: cheap to ask where the catalogue itself is not."""
    return await store.revision(session)


async def load_catalogue(session: ReadSession) -> Catalogue:
    """Everything that can be called, with the revision it is of."""
    revision = await store.revision(session)
    providers, models, endpoints = await store.everything(session)
    shelves: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        shelves.setdefault(endpoint.model, []).append(endpoint)
    return Catalogue(
        revision=revision,
        models={model.slug: model for model in models},
        providers={provider.slug: provider for provider in providers},
        endpoints={model: tuple(sorted(shelf, key=_provider_of)) for model, shelf in shelves.items()},
    )


def _provider_of(endpoint: Endpoint) -> str:
    return endpoint.provider


async def add_all(
    session: WriteSession, *, providers: Sequence[Provider], models: Sequence[Model], endpoints: Sequence[Endpoint]
) -> None:
    """Add many at once, as an import does.

    Raises:
        InvalidRequest: a field of one is not usable.
        Conflict: one is there already.
    """
    for provider in providers:
        rules.check_provider(provider, allow_private_upstreams=False)
    for model in models:
        rules.check_model(model)
    for endpoint in endpoints:
        rules.check_endpoint(endpoint)
    await store.add_all(session, providers=providers, models=models, endpoints=endpoints)


async def create_provider(session: WriteSession, provider: Provider, *, allow_private_upstreams: bool) -> Provider:
    """Add a provider.

    Raises:
        InvalidRequest: a field is not usable.
        Conflict: the slug is taken.
    """
    rules.check_provider(provider, allow_private_upstreams=allow_private_upstreams)
    await store.add_provider(session, provider)
    return provider


async def change_provider(
    session: WriteSession, slug: str, *, edit: Callable[[Provider], Provider], allow_private_upstreams: bool
) -> Provider:
    """Change a provider.

    Raises:
        NotFound: there is none of this slug.
        InvalidRequest: a new value is not usable.
    """
    changed = edit(_found(await store.provider(session, slug, lock=True), "provider"))
    rules.check_provider(changed, allow_private_upstreams=allow_private_upstreams)
    await store.save_provider(session, changed)
    return changed


async def get_provider(session: ReadSession, slug: str) -> Provider:
    """The provider of this slug.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.provider(session, slug), "provider")


async def list_providers(session: ReadSession, *, after: str | None, count: int) -> list[Provider]:
    """The providers in order of slug, from the one that follows `after`."""
    return await store.providers(session, after=after, count=count)


async def create_model(session: WriteSession, model: Model) -> Model:
    """Add a model.

    Raises:
        InvalidRequest: a field is not usable.
        Conflict: the slug is taken.
    """
    rules.check_model(model)
    await store.add_model(session, model)
    return model


async def change_model(session: WriteSession, slug: str, *, edit: Callable[[Model], Model]) -> Model:
    """Change a model.

    Raises:
        NotFound: there is none of this slug.
        InvalidRequest: a new value is not usable.
    """
    changed = edit(_found(await store.model(session, slug, lock=True), "model"))
    rules.check_model(changed)
    await store.save_model(session, changed)
    return changed


async def get_model(session: ReadSession, slug: str) -> Model:
    """The model of this slug.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.model(session, slug), "model")


async def list_models(session: ReadSession, *, after: str | None, count: int) -> list[Model]:
    """The models in order of slug, from the one that follows `after`."""
    return await store.models(session, after=after, count=count)


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


async def change_endpoint(
    session: WriteSession, endpoint_id: EndpointId, *, edit: Callable[[Endpoint], Endpoint]
) -> Endpoint:
    """Change an endpoint; its model and provider stay.

    Raises:
        NotFound: there is none of this id.
        InvalidRequest: a new value is not usable.
    """
    changed = edit(_found(await store.endpoint(session, endpoint_id, lock=True), "endpoint"))
    rules.check_endpoint(changed)
    await store.save_endpoint(session, changed)
    return changed


async def get_endpoint(session: ReadSession, endpoint_id: EndpointId) -> Endpoint:
    """The endpoint of this id.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.endpoint(session, endpoint_id), "endpoint")


async def list_endpoints(
    session: ReadSession, *, model: str | None, provider: str | None, before: UUID | None, count: int
) -> list[Endpoint]:
    """The endpoints of a model, of a provider, or all; newest first."""
    return await store.endpoints(session, model=model, provider=provider, before=before, count=count)


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


def _found(value: Found | None, name: str) -> Found:
    if value is None:
        raise NotFound(f"There is no such {name}.")
    return value
