"""The catalogue's page: which models are on it, in which order, and what there is to choose from."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from tollgate.console.model import (
    NO_FIGURE,
    CatalogueOrder,
    CataloguePage,
    CatalogueQuestion,
    CatalogueRow,
    Choice,
    united,
)
from tollgate.console.rules import charts, figures
from tollgate.console.rules.prices import first_price
from tollgate.kit.tokens import Kind
from tollgate.reports import rules as reports
from tollgate.reports.model import DayOfTokens, Listing, ListingFilter, ListingOrder

PAGE_MODELS = 48
"""So many models are on a page."""
_ORDERS = {
    CatalogueOrder.NAME: ("Name", ListingOrder.ID),
    CatalogueOrder.NEWEST: ("Newest first", ListingOrder.CREATED),
    CatalogueOrder.PRICE: ("Cheapest first", ListingOrder.PRICE),
    CatalogueOrder.CONTEXT: ("Longest context", ListingOrder.CONTEXT_LENGTH),
}


def found(listings: Sequence[Listing], asked: CatalogueQuestion) -> list[Listing]:
    """The models that were asked for, in the order that was asked for."""
    wanted = ListingFilter(
        text=asked.text,
        providers=() if asked.provider is None else (asked.provider,),
        supported_parameters=() if asked.parameter is None else (asked.parameter,),
        input_modalities=() if asked.modality is None else (asked.modality,),
    )
    _, order = _ORDERS[asked.sort]
    return reports.sorted_listings([listing for listing in listings if reports.matches(listing, wanted)], order)


def on_page(models: Sequence[Listing], page: int) -> Sequence[Listing]:
    """Those of one page, the first being 1; none past the last."""
    return models[(page - 1) * PAGE_MODELS : page * PAGE_MODELS]


def catalogue_page(
    listings: Sequence[Listing],
    models: Sequence[Listing],
    asked: CatalogueQuestion,
    days: Mapping[str, Sequence[DayOfTokens]],
) -> CataloguePage:
    """The page of the models that were found among all listings; `days` holds the use of those on it."""
    shown = on_page(models, asked.page)
    everything = [offer for listing in listings for offer in listing.offers]
    providers = {offer.provider.slug: offer.provider.name for offer in everything}
    parameters = sorted(united([offer.endpoint.supported_parameters for offer in everything]))
    modalities = sorted(united([listing.model.input_modalities for listing in listings]))
    return CataloguePage(
        text=asked.text or "",
        providers=_choices(sorted(providers.items()), asked.provider, "Any provider"),
        modalities=_choices([(name, name.capitalize()) for name in modalities], asked.modality, "Any input"),
        parameters=_choices([(name, name) for name in parameters], asked.parameter, "Any parameter"),
        orders=tuple(Choice(order, title, order is asked.sort) for order, (title, _) in _ORDERS.items()),
        rows=tuple(_row(listing, days.get(listing.model.slug, ())) for listing in shown),
        summary=_summary(len(models), len(shown), asked.page),
        narrowed=any((asked.text, asked.provider, asked.modality, asked.parameter)),
        previous=_query(asked, asked.page - 1) if asked.page > 1 else None,
        next=_query(asked, asked.page + 1) if len(models) > asked.page * PAGE_MODELS else None,
    )


def _choices(known: Sequence[tuple[str, str]], chosen: str | None, whatever: str) -> tuple[Choice, ...]:
    """The known values to choose from, and the chosen one even if it is not known."""
    listed = [Choice(value, text, value == chosen) for value, text in known]
    if chosen is not None and not any(choice.chosen for choice in listed):
        listed.append(Choice(chosen, chosen, chosen=True))
    return (Choice("", whatever, chosen is None), *listed)


def _row(listing: Listing, days: Sequence[DayOfTokens]) -> CatalogueRow:
    model, price = listing.model, reports.cheapest_price(listing.offers)
    total = sum(day.prompt_tokens + day.completion_tokens for day in days)
    return CatalogueRow(
        slug=model.slug,
        name=model.name,
        author=model.author,
        description=model.description,
        input_types=figures.types(model.input_modalities),
        output_types=figures.types(model.output_modalities),
        providers=tuple(offer.provider.name for offer in listing.offers),
        context=figures.tokens(listing.context_length),
        input_price=None if price is None else first_price(price, Kind.PROMPT),
        output_price=None if price is None else first_price(price, Kind.COMPLETION),
        days=charts.small_days(days),
        tokens=figures.tokens(total) if total else NO_FIGURE,
    )


def _summary(models: int, shown: int, page: int) -> str:
    if not models:
        return "No model matches."
    counted = "1 model" if models == 1 else f"{models:,} models"
    if shown == models:
        return counted
    first = (page - 1) * PAGE_MODELS
    return f"{first + 1:,} to {first + shown:,} of {counted}" if shown else f"Nothing more of {counted}"


def _query(asked: CatalogueQuestion, page: int) -> str:
    """The query string of another page of the same question."""
    given = {
        "q": asked.text,
        "provider": asked.provider,
        "modality": asked.modality,
        "parameter": asked.parameter,
        "sort": asked.sort,
        "page": page,
    }
    return "?" + urlencode({name: value for name, value in given.items() if value is not None})
