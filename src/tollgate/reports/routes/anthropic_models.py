"""The models as Anthropic's clients list them; no key is asked for."""

from litestar import Controller, get
from litestar.di import Provide
from litestar.params import FromPath

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected
from tollgate.kit.clock import Clock
from tollgate.reports.routes.catalogue import AnyRequest, catalogue_of_this_application
from tollgate.reports.schemas.anthropic_models import AnthropicModel, AnthropicModels, PageParameters
from tollgate.reports.service.catalogue import PublicCatalogue


class AnthropicModelsController(Controller):
    """What can be called."""

    path = "/v1/models"
    tags = ("Models",)
    dependencies = {  # noqa: RUF012 - Litestar copies what it is given, and a mapping proxy cannot be copied
        "catalogue": Provide(catalogue_of_this_application, sync_to_thread=False)
    }

    @get("/", summary="All models, as Anthropic's clients list them")
    async def list_models(
        self,
        request: AnyRequest,
        database: Injected[Database],
        clock: Injected[Clock],
        catalogue: Injected[PublicCatalogue],
    ) -> AnthropicModels:
        asked = web.query(request, PageParameters)
        now = clock.now()
        async with database.read() as session:
            listings = await catalogue.listings(session, now=now)
        return AnthropicModels.of(listings, asked, now)

    @get("/{author:str}/{name:str}", summary="One model, as Anthropic's clients show it")
    async def show_model(
        self,
        author: FromPath[str],
        name: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        catalogue: Injected[PublicCatalogue],
    ) -> AnthropicModel:
        now = clock.now()
        async with database.read() as session:
            listing = await catalogue.listing(session, f"{author}/{name}", now=now)
        return AnthropicModel.of(listing, now)
