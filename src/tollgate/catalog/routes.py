"""The operator's routes of the catalogue.

Providers, models and aliases are listed by slug, endpoints and changes newest first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from litestar import Controller, Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from tollgate.catalog import service
from tollgate.catalog.model import Alias, Model, Provider
from tollgate.catalog.schemas import (
    AliasView,
    ChangeEndpoint,
    ChangeModel,
    ChangeProvider,
    ChangeView,
    CreateAlias,
    CreateEndpoint,
    CreateModel,
    CreateProvider,
    EndpointView,
    ListChanges,
    ListEndpoints,
    ModelView,
    ProviderView,
)
from tollgate.infra import web
from tollgate.infra.changes import Act, Wanted
from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.infra.names import Reach
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.ids import EndpointId, typed
from tollgate.kit.principal import Principal

AnyRequest = Request[Any, Any, Any]
Slugged = TypeVar("Slugged", Model, Provider, Alias)
View = TypeVar("View")


class ProvidersController(Controller):
    """Who serves models."""

    path = "/admin/providers"
    tags = ("Catalogue",)

    @get(summary="All providers, by slug")
    async def list_providers(
        self,
        request: AnyRequest,
        database: Injected[Database],
        environment: Injected[Mapping[str, str]],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ProviderView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await service.list_providers(session, after=asked.cursor, count=asked.limit + 1)
        return _page(rows, asked.limit, lambda row: ProviderView.of(row, environment))

    @post(summary="Enter a provider: where it is, and what format it speaks")
    async def create_provider(
        self,
        data: JSONBody[CreateProvider],
        database: Injected[Database],
        environment: Injected[Mapping[str, str]],
        reach: Injected[Reach],
        act: Injected[Act],
    ) -> One[ProviderView]:
        await service.check_whereabouts(data.base_url, reach=reach)
        async with database.write() as session:
            provider = await service.create_provider(
                session, data.provider(), allow_private_upstreams=reach.private, act=act
            )
        return One(data=ProviderView.of(provider, environment))

    @get("/{slug:str}", summary="One provider")
    async def get_provider(
        self,
        slug: FromPath[str],
        database: Injected[Database],
        environment: Injected[Mapping[str, str]],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[ProviderView]:
        async with database.read() as session:
            return One(data=ProviderView.of(await service.get_provider(session, slug), environment))

    @patch("/{slug:str}", summary="Change a provider; what is left out stays")
    async def change_provider(
        self,
        slug: FromPath[str],
        data: JSONBody[ChangeProvider],
        database: Injected[Database],
        environment: Injected[Mapping[str, str]],
        reach: Injected[Reach],
        act: Injected[Act],
    ) -> One[ProviderView]:
        if data.base_url is not UNSET:
            await service.check_whereabouts(data.base_url, reach=reach)
        async with database.write() as session:
            provider = await service.change_provider(
                session, slug, edit=data.applied_to, allow_private_upstreams=reach.private, act=act
            )
        return One(data=ProviderView.of(provider, environment))

    @delete("/{slug:str}", summary="Take out a provider that serves nothing")
    async def delete_provider(self, slug: FromPath[str], database: Injected[Database], act: Injected[Act]) -> None:
        async with database.write() as session:
            await service.delete_provider(session, slug, act=act)

    @get("/{slug:str}/history", summary="What became of a provider, newest first")
    async def show_history(
        self,
        request: AnyRequest,
        slug: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ChangeView]:
        asked = web.query(request, Paging)
        return await _changes(database, Wanted(kind="provider", subject=slug), asked)


class ModelsController(Controller):
    """What callers ask for."""

    path = "/admin/models"
    tags = ("Catalogue",)

    @get(summary="All models, by slug")
    async def list_models(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ModelView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await service.list_models(session, after=asked.cursor, count=asked.limit + 1)
        return _page(rows, asked.limit, ModelView.of)

    @post(summary="Enter a model that callers may ask for")
    async def create_model(
        self,
        data: JSONBody[CreateModel],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[ModelView]:
        async with database.write() as session:
            return One(data=ModelView.of(await service.create_model(session, data.model(act.at), act=act)))

    @get("/{author:str}/{name:str}", summary="One model as it was entered")
    async def get_model(
        self,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[ModelView]:
        async with database.read() as session:
            return One(data=ModelView.of(await service.get_model(session, f"{author}/{name}")))

    @patch("/{author:str}/{name:str}", summary="Change a model; what is left out stays")
    async def change_model(
        self,
        author: FromPath[str],
        name: FromPath[str],
        data: JSONBody[ChangeModel],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[ModelView]:
        async with database.write() as session:
            model = await service.change_model(session, f"{author}/{name}", edit=data.applied_to, act=act)
        return One(data=ModelView.of(model))

    @delete("/{author:str}/{name:str}", summary="Take out a model that nothing refers to")
    async def delete_model(
        self, author: FromPath[str], name: FromPath[str], database: Injected[Database], act: Injected[Act]
    ) -> None:
        async with database.write() as session:
            await service.delete_model(session, f"{author}/{name}", act=act)

    @get("/{author:str}/{name:str}/history", summary="What became of a model, newest first")
    async def show_history(
        self,
        request: AnyRequest,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ChangeView]:
        asked = web.query(request, Paging)
        return await _changes(database, Wanted(kind="model", subject=f"{author}/{name}"), asked)


class EndpointsController(Controller):
    """Which models are offered where."""

    path = "/admin/endpoints"
    tags = ("Catalogue",)

    @get(summary="Where models are offered, newest first")
    async def list_endpoints(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[EndpointView]:
        asked = web.query(request, ListEndpoints)
        async with database.read() as session:
            rows = await service.list_endpoints(
                session, model=asked.model, provider=asked.provider, before=asked.before, count=asked.limit + 1
            )
        return web.page(rows, limit=asked.limit, show=EndpointView.of, key=lambda row: row.id)

    @post(summary="Offer a model at a provider")
    async def create_endpoint(
        self,
        data: JSONBody[CreateEndpoint],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[EndpointView]:
        endpoint = data.endpoint(EndpointId(new_id(act.at)))
        async with database.write() as session:
            return One(data=EndpointView.of(await service.create_endpoint(session, endpoint, act=act)))

    @get("/{endpoint_id:str}", summary="One endpoint: a model at a provider")
    async def get_endpoint(
        self,
        endpoint_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[EndpointView]:
        wanted = EndpointId(web.parse_id("ep", endpoint_id))
        async with database.read() as session:
            return One(data=EndpointView.of(await service.get_endpoint(session, wanted)))

    @patch("/{endpoint_id:str}", summary="Change an endpoint; what is left out stays")
    async def change_endpoint(
        self,
        endpoint_id: FromPath[str],
        data: JSONBody[ChangeEndpoint],
        database: Injected[Database],
        act: Injected[Act],
    ) -> One[EndpointView]:
        wanted = EndpointId(web.parse_id("ep", endpoint_id))
        async with database.write() as session:
            endpoint = await service.change_endpoint(session, wanted, edit=data.applied_to, act=act)
        return One(data=EndpointView.of(endpoint))

    @delete("/{endpoint_id:str}", summary="Take out an endpoint that never had a price")
    async def delete_endpoint(
        self, endpoint_id: FromPath[str], database: Injected[Database], act: Injected[Act]
    ) -> None:
        wanted = EndpointId(web.parse_id("ep", endpoint_id))
        async with database.write() as session:
            await service.delete_endpoint(session, wanted, act=act)

    @get("/{endpoint_id:str}/history", summary="What became of an endpoint, newest first")
    async def show_history(
        self,
        request: AnyRequest,
        endpoint_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ChangeView]:
        asked = web.query(request, Paging)
        return await _changes(
            database, Wanted(kind="endpoint", subject=typed("ep", web.parse_id("ep", endpoint_id))), asked
        )


class AliasesController(Controller):
    """Other slugs of models."""

    path = "/admin/aliases"
    tags = ("Catalogue",)

    @get(summary="All aliases, by slug")
    async def list_aliases(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[AliasView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            rows = await service.list_aliases(session, after=asked.cursor, count=asked.limit + 1)
        return _page(rows, asked.limit, AliasView.of)

    @post(summary="Have another slug lead to a model")
    async def create_alias(
        self, data: JSONBody[CreateAlias], database: Injected[Database], act: Injected[Act]
    ) -> One[AliasView]:
        async with database.write() as session:
            return One(data=AliasView.of(await service.create_alias(session, data.alias(act.at), act=act)))

    @get("/{author:str}/{name:str}", summary="One alias, and where it leads")
    async def get_alias(
        self,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> One[AliasView]:
        async with database.read() as session:
            return One(data=AliasView.of(await service.get_alias(session, f"{author}/{name}")))

    @delete("/{author:str}/{name:str}", summary="Let a slug lead nowhere again")
    async def delete_alias(
        self, author: FromPath[str], name: FromPath[str], database: Injected[Database], act: Injected[Act]
    ) -> None:
        async with database.write() as session:
            await service.delete_alias(session, f"{author}/{name}", act=act)


class ChangesController(Controller):
    """What was done to the catalogue."""

    path = "/admin/catalogue/changes"
    tags = ("Catalogue",)

    @get(summary="Every change to catalogue and prices, newest first")
    async def list_changes(
        self,
        request: AnyRequest,
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[ChangeView]:
        asked = web.query(request, ListChanges)
        return await _changes(database, asked.wanted(), asked)


HANDLERS = (ProvidersController, ModelsController, EndpointsController, AliasesController, ChangesController)


async def _changes(database: Database, wanted: Wanted, asked: Paging) -> Page[ChangeView]:
    async with database.read() as session:
        rows = await service.list_changes(session, wanted, before=asked.before, count=asked.limit + 1)
    return web.page(rows, limit=asked.limit, show=ChangeView.of, key=lambda row: row.id)


def _page(rows: Sequence[Slugged], limit: int, show: Callable[[Slugged], View]) -> Page[View]:
    """A page in order of slug, whose cursor is the last slug on it."""
    shown = rows[:limit]
    return Page(data=[show(row) for row in shown], next=shown[-1].slug if len(rows) > limit else None)
