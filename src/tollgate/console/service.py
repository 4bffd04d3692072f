"""What there is to see, fetched for one page: listings with their statistics, and the days they were used on.

Pages take milliseconds to make, and whoever likes may ask for them: they are made beside the loop that serves calls.
"""

import asyncio
from datetime import datetime

from tollgate.console.model import CataloguePage, CatalogueQuestion, ModelPage
from tollgate.console.rules import catalogue_page, model_page
from tollgate.infra.database import ReadSession
from tollgate.reports.service.catalogue import PublicCatalogue

DAYS = 30
"""So many days of use are shown, today included."""


async def find_models(
    session: ReadSession, catalogue: PublicCatalogue, *, asked: CatalogueQuestion, now: datetime
) -> CataloguePage:
    """The catalogue's page for this question."""
    listings = await catalogue.listings(session, now=now)
    models = await asyncio.to_thread(catalogue_page.found, listings, asked)
    days = {
        slug: await catalogue.activity(session, slug, days=DAYS, now=now)
        for slug in (listing.model.slug for listing in catalogue_page.on_page(models, asked.page))
    }
    return await asyncio.to_thread(catalogue_page.catalogue_page, listings, models, asked, days)


async def show_model(
    session: ReadSession, catalogue: PublicCatalogue, *, slug: str, base_url: str, now: datetime
) -> ModelPage:
    """The page of one model; its samples call this address.

    Raises:
        ModelMoved: the slug is an alias.
        ModelNotFound: there is none of this slug.
    """
    listing = await catalogue.listing(session, slug, now=now)
    days = await catalogue.activity(session, slug, days=DAYS, now=now)
    return await asyncio.to_thread(model_page.model_page, listing, days, base_url=base_url, now=now)
