"""Use cases of the catalogue: what operators add, change and delete, and the snapshot that routing reads.

Changes happen one at a time, and each is written down with what was before.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

from tollgate.catalog import record, rules, store
from tollgate.catalog.model import Alias, Catalogue, Endpoint, Model, Provider
from tollgate.infra import changes
from tollgate.infra.changes import Act, Change, Wanted
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.names import Reach
from tollgate.kit.errors import Conflict, InvalidRequest, NotFound
from tollgate.kit.ids import EndpointId

Found = TypeVar("Found")


async def current_revision(session: ReadSession) -> int:
    """The revision that is in force now: cheap to ask where the catalogue itself is not."""
    return await store.revision(session)


async def load_catalogue(session: ReadSession) -> Catalogue:
    """Everything that can be called, with the revision it is of."""
    revision = await store.revision(session)
    providers, models, endpoints, aliases = await store.everything(session)
    shelves: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        shelves.setdefault(endpoint.model, []).append(endpoint)
    return Catalogue(
        revision=revision,
        models={model.slug: model for model in models},
        providers={provider.slug: provider for provider in providers},
        endpoints={model: tuple(sorted(shelf, key=_provider_of)) for model, shelf in shelves.items()},
        aliases={alias.slug: alias.model for alias in aliases},
    )


def _provider_of(endpoint: Endpoint) -> str:
    return endpoint.provider


async def add_all(
    session: WriteSession,
    *,
    providers: Sequence[Provider],
    models: Sequence[Model],
    endpoints: Sequence[Endpoint],
    act: Act,
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
    await store.lock_catalogue(session)
    await store.add_all(session, providers=providers, models=models, endpoints=endpoints)
    await record.created(session, [*providers, *models, *endpoints], act=act)


async def check_whereabouts(base_url: str | None, *, reach: Reach) -> None:
    """Refuse an address that leads into a private network, before a transaction waits for an answer about its name.

    A name that leads nowhere passes: it may not be known here yet.

    Raises:
        InvalidRequest: it does, or is no address.
    """
    if base_url is None or reach.private:
        return
    rules.check_base_url(base_url, allow_private_upstreams=False)
    name = rules.name_of(base_url)
    if name is not None:
        rules.check_addresses(name, await reach.resolve(name))


async def create_provider(
    session: WriteSession, provider: Provider, *, allow_private_upstreams: bool, act: Act
) -> Provider:
    """Add a provider.

    Raises:
        InvalidRequest: a field is not usable.
        Conflict: the slug is taken.
    """
    rules.check_provider(provider, allow_private_upstreams=allow_private_upstreams)
    await store.lock_catalogue(session)
    await store.add_provider(session, provider)
    await record.created(session, [provider], act=act)
    return provider


async def change_provider(
    session: WriteSession, slug: str, *, edit: Callable[[Provider], Provider], allow_private_upstreams: bool, act: Act
) -> Provider:
    """Change a provider.

    Raises:
        NotFound: there is none of this slug.
        InvalidRequest: a new value is not usable.
    """
    await store.lock_catalogue(session)
    before = await get_provider(session, slug)
    changed = edit(before)
    rules.check_provider(changed, allow_private_upstreams=allow_private_upstreams)
    if changed != before:
        await store.save_provider(session, changed)
        await record.changed(session, before, changed, act=act)
    return changed


async def delete_provider(session: WriteSession, slug: str, *, act: Act) -> None:
    """Take a provider out of the catalogue that serves nothing.

    Raises:
        NotFound: there is none of this slug.
        Conflict: it has endpoints, or an adjustment of prices names it.
    """
    await store.lock_catalogue(session)
    provider = await get_provider(session, slug)
    if models := await store.models_at(session, slug):
        raise Conflict(
            f"{slug} has endpoints: {', '.join(models)}. Delete those that never had a price, and disable the others, "
            "to which calls and invoices refer.",
            metadata={"refers": {"endpoints": models}},
        )
    await store.delete_provider(session, slug)
    await record.deleted(session, provider, act=act)


async def get_provider(session: ReadSession, slug: str) -> Provider:
    """The provider of this slug.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.provider(session, slug), "provider")


async def list_providers(session: ReadSession, *, after: str | None, count: int) -> list[Provider]:
    """The providers in order of slug, from the one that follows `after`."""
    return await store.providers(session, after=after, count=count)


async def create_model(session: WriteSession, model: Model, *, act: Act) -> Model:
    """Add a model.

    Raises:
        InvalidRequest: a field is not usable.
        Conflict: the slug is taken, by a model or an alias.
    """
    rules.check_model(model)
    await store.lock_catalogue(session)
    if await store.alias(session, model.slug) is not None:
        raise Conflict(f"{model.slug} is an alias. Delete that first.")
    rules.check_replacement(model, await store.replacements(session))
    await store.add_model(session, model)
    await record.created(session, [model], act=act)
    return model


async def change_model(session: WriteSession, slug: str, *, edit: Callable[[Model], Model], act: Act) -> Model:
    """Change a model.

    Raises:
        NotFound: there is none of this slug.
        InvalidRequest: a new value is not usable.
    """
    await store.lock_catalogue(session)
    before = await get_model(session, slug)
    changed = edit(before)
    rules.check_model(changed)
    if changed.replaced_by != before.replaced_by:
        rules.check_replacement(changed, await store.replacements(session))
    if changed != before:
        await store.save_model(session, changed)
        await record.changed(session, before, changed, act=act)
    return changed


async def delete_model(session: WriteSession, slug: str, *, act: Act) -> None:
    """Take a model out of the catalogue that nothing refers to.

    Raises:
        NotFound: there is none of this slug.
        Conflict: it has endpoints or aliases, replaces another model, or an adjustment of prices names it.
    """
    await store.lock_catalogue(session)
    model = await get_model(session, slug)
    if refers := await store.referrers(session, slug):
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in refers.items())
        raise Conflict(
            f"Something refers to {slug}: {told}. Retire it instead: PATCH retires_at, and replaced_by if something "
            "replaces it. An endpoint that had a price is disabled, not deleted.",
            metadata={"refers": refers},
        )
    await store.delete_model(session, slug)
    await record.deleted(session, model, act=act)


async def get_model(session: ReadSession, slug: str) -> Model:
    """The model of this slug.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.model(session, slug), "model")


async def list_models(session: ReadSession, *, after: str | None, count: int) -> list[Model]:
    """The models in order of slug, from the one that follows `after`."""
    return await store.models(session, after=after, count=count)


async def create_alias(session: WriteSession, alias: Alias, *, act: Act) -> Alias:
    """Give a model another slug.

    Raises:
        InvalidRequest: the slug cannot be one, or there is no such model.
        Conflict: the slug is taken, by a model or an alias.
    """
    rules.check_alias(alias)
    await store.lock_catalogue(session)
    if await store.model(session, alias.slug) is not None:
        raise Conflict(f"There is a model {alias.slug}. Retire it with replaced_by instead.")
    if await store.model(session, alias.model) is None:
        raise InvalidRequest(f"There is no model {alias.model[:200]!r}.", field="model")
    await store.add_alias(session, alias)
    await record.created(session, [alias], act=act)
    return alias


async def delete_alias(session: WriteSession, slug: str, *, act: Act) -> None:
    """Let a slug lead nowhere again.

    Raises:
        NotFound: there is no such alias.
    """
    await store.lock_catalogue(session)
    alias = await get_alias(session, slug)
    await store.delete_alias(session, slug)
    await record.deleted(session, alias, act=act)


async def get_alias(session: ReadSession, slug: str) -> Alias:
    """The alias of this slug.

    Raises:
        NotFound: there is none.
    """
    return _found(await store.alias(session, slug), "alias")


async def list_aliases(session: ReadSession, *, after: str | None, count: int) -> list[Alias]:
    """The aliases in order of slug, from the one that follows `after`."""
    return await store.aliases(session, after=after, count=count)


async def create_endpoint(session: WriteSession, endpoint: Endpoint, *, act: Act) -> Endpoint:
    """Offer a model at a provider.

    Raises:
        InvalidRequest: a field is not usable, or there is no such model or provider.
        Conflict: the provider has the model already.
    """
    rules.check_endpoint(endpoint)
    await store.lock_catalogue(session)
    if await store.model(session, endpoint.model) is None:
        raise InvalidRequest(f"There is no model {endpoint.model[:200]!r}.", field="model")
    if await store.provider(session, endpoint.provider) is None:
        raise InvalidRequest(f"There is no provider {endpoint.provider[:80]!r}.", field="provider")
    await store.add_endpoint(session, endpoint)
    await record.created(session, [endpoint], act=act)
    return endpoint


async def change_endpoint(
    session: WriteSession, endpoint_id: EndpointId, *, edit: Callable[[Endpoint], Endpoint], act: Act
) -> Endpoint:
    """Change an endpoint; its model and provider stay.

    Raises:
        NotFound: there is none of this id.
        InvalidRequest: a new value is not usable.
    """
    await store.lock_catalogue(session)
    before = await get_endpoint(session, endpoint_id)
    changed = edit(before)
    rules.check_endpoint(changed)
    if changed != before:
        await store.save_endpoint(session, changed)
        await record.changed(session, before, changed, act=act)
    return changed


async def delete_endpoint(session: WriteSession, endpoint_id: EndpointId, *, act: Act) -> None:
    """Take an endpoint out of the catalogue that never had a price, so that no call was ever made to it.

    Raises:
        NotFound: there is none of this id.
        Conflict: it has prices, which are kept for good, as are the calls that were charged by them.
    """
    await store.lock_catalogue(session)
    endpoint = await get_endpoint(session, endpoint_id)
    await store.delete_endpoint(session, endpoint_id)
    await record.deleted(session, endpoint, act=act)


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


async def find_endpoint(session: ReadSession, *, model: str, provider: str) -> Endpoint:
    """The endpoint of this model at this provider.

    Raises:
        InvalidRequest: there is none; `field` is the name that leads nowhere.
    """
    found = await store.endpoint_of(session, model=model, provider=provider)
    if found is not None:
        return found
    if await store.model(session, model) is None:
        raise InvalidRequest(f"There is no model {model[:200]!r}.", field="model")
    raise InvalidRequest(f"{model} is not offered by {provider[:80]!r}.", field="provider")


async def list_changes(session: ReadSession, wanted: Wanted, *, before: UUID | None, count: int) -> list[Change]:
    """What was done to catalogue and prices, newest first."""
    return await changes.read(session, wanted, before=before, count=count)


def _found(value: Found | None, name: str) -> Found:
    if value is None:
        raise NotFound(f"There is no such {name}.")
    return value
