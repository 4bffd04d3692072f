"""The public routes of the catalogue: no key is asked for."""

from collections.abc import Mapping
from typing import Any

from litestar import Controller, Request, get
from litestar.di import Provide
from litestar.params import FromPath

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, Page
from tollgate.kit.clock import Clock
from tollgate.reports import rules
from tollgate.reports.schemas.catalogue import (
    ActivityParameters,
    DayEntry,
    EndpointEntry,
    EndpointsParameters,
    ModelEntry,
    ModelList,
    ModelsParameters,
    OneModel,
    ProviderEntry,
)
from tollgate.reports.service.catalogue import PublicCatalogue, shared_in

AnyRequest = Request[Any, Any, Any]


def catalogue_of_this_application(request: AnyRequest, environment: Injected[Mapping[str, str]]) -> PublicCatalogue:
    """The one that the application's requests share."""
    return shared_in(request.app.state, environment)


class CatalogueController(Controller):
    """What can be called, where, at what price."""

    tags = ("Models",)
    dependencies = {  # noqa: RUF012 - Litestar copies what it is given, and a mapping proxy cannot be copied
        "catalogue": Provide(catalogue_of_this_application, sync_to_thread=False)
    }

    @get("/models", summary="All models, as OpenAI's clients list them")
    async def list_models(
        self,
        request: AnyRequest,
        database: Injected[Database],
        clock: Injected[Clock],
        catalogue: Injected[PublicCatalogue],
    ) -> ModelList:
        asked = web.query(request, ModelsParameters)
        async with database.read() as session:
            listings = await catalogue.listings(session, now=clock.now())
        wanted = [listing for listing in listings if rules.matches(listing, asked.wanted())]
        return ModelList(data=[ModelEntry.of(listing) for listing in rules.sorted_listings(wanted, asked.sort)])

    @get("/models/{author:str}/{name:str}", summary="One model")
    async def show_model(
        self,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        catalogue: Injected[PublicCatalogue],
    ) -> OneModel:
        async with database.read() as session:
            listing = await catalogue.listing(session, f"{author}/{name}", now=clock.now())
        return OneModel.of(ModelEntry.of(listing))

    @get(
        "/models/{author:str}/{name:str}/endpoints",
        summary="Where a model is offered, on what terms, and how it has been doing there",
    )
    async def list_endpoints(
        self,
        request: AnyRequest,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        catalogue: Injected[PublicCatalogue],
    ) -> Page[EndpointEntry]:
        asked = web.query(request, EndpointsParameters)
        async with database.read() as session:
            listing = await catalogue.listing(session, f"{author}/{name}", now=clock.now())
        return Page(data=[EndpointEntry.of(offer, listing.model, asked.window) for offer in listing.offers])

    @get("/models/{author:str}/{name:str}/activity", summary="Tokens a day of UTC, of everyone together")
    async def show_activity(
        self,
        request: AnyRequest,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        catalogue: Injected[PublicCatalogue],
    ) -> Page[DayEntry]:
        asked = web.query(request, ActivityParameters)
        async with database.read() as session:
            days = await catalogue.activity(session, f"{author}/{name}", days=asked.days, now=clock.now())
        return Page(data=[DayEntry.of(day) for day in days])

    @get("/providers", summary="Who serves models")
    async def list_providers(
        self, database: Injected[Database], clock: Injected[Clock], catalogue: Injected[PublicCatalogue]
    ) -> Page[ProviderEntry]:
        now = clock.now()
        async with database.read() as session:
            providers = await catalogue.providers(session, now=now)
            counted = rules.models_by_provider(await catalogue.listings(session, now=now))
        return Page(data=[ProviderEntry.of(provider, counted[provider.slug]) for provider in providers])
