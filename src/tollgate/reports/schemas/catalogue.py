"""The API shapes of the public catalogue. Of a provider's credential there is nothing in them, not even its name."""

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

from tollgate.catalog.model import DataPolicy, Model, Provider
from tollgate.infra.web import Amount, Body
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import CURRENCY, PriceItem, PriceVersion, Unit
from tollgate.pricing.schemas import Tier
from tollgate.reports.model import DayOfTokens, Listing, ListingFilter, ListingOrder, Offer
from tollgate.reports.rules import ACTIVITY_DAYS_MAX, cheapest_price
from tollgate.statistics import model as statistics
from tollgate.statistics.model import EndpointStatistics, HourOfUptime

_SHOWN_KINDS = (
    Kind.PROMPT,
    Kind.COMPLETION,
    Kind.INPUT_CACHE_READ,
    Kind.INPUT_CACHE_WRITE_5M,
    Kind.INPUT_CACHE_WRITE_1H,
    Kind.INPUT_CACHE_WRITE,
    Kind.WEB_SEARCH,
)
"""The kinds whose absence a model page shows."""


Protocol = Literal["openai", "responses", "embeddings", "anthropic"]
Modality = Literal["text", "image", "audio", "video", "file", "embedding"]


class ModelsParameters(Body, kw_only=True, frozen=True):
    """Which models to list, and in which order."""

    q: str | None = None
    author: str | None = None
    provider: tuple[str, ...] = ()
    protocol: tuple[Protocol, ...] = ()
    supported_parameters: tuple[str, ...] = ()
    input_modalities: tuple[Modality, ...] = ()
    output_modalities: tuple[Modality, ...] = ()
    context_length: Annotated[int, Meta(ge=1)] | None = None
    """At least so many tokens."""
    max_price: Amount | None = None
    """The dearest a million tokens of prompt may be."""
    sort: ListingOrder = ListingOrder.ID

    def wanted(self) -> ListingFilter:
        return ListingFilter(
            text=self.q,
            author=self.author,
            providers=self.provider,
            protocols=self.protocol,
            supported_parameters=self.supported_parameters,
            input_modalities=self.input_modalities,
            output_modalities=self.output_modalities,
            context_length=self.context_length,
            max_price=self.max_price,
        )


class ActivityParameters(Body, kw_only=True, frozen=True):
    """How many days to show, today included."""

    days: Annotated[int, Meta(ge=1, le=ACTIVITY_DAYS_MAX)] = 30


class PriceEntry(Struct, kw_only=True, frozen=True):
    """One price of one kind; `prompt_tokens` is `null` where it is the price of calls of every length."""

    price: str
    unit: Unit
    currency: str
    prompt_tokens: Tier | None

    @classmethod
    def of(cls, item: PriceItem) -> "PriceEntry":
        return cls(
            price=amount_text(item.unit_price),
            unit=item.unit,
            currency=CURRENCY,
            prompt_tokens=Tier.of(item),
        )


Pricing = dict[Kind, list[PriceEntry] | None]
"""`null` for a kind that is not offered; a price of "0" for one that is free."""


def _pricing(price: PriceVersion | None) -> Pricing | None:
    """`None` where no price is in force, which is not the same as offering nothing."""
    if price is None:
        return None
    shown: Pricing = dict.fromkeys(_SHOWN_KINDS)
    for kind in Kind:
        items = [item for item in price.items if item.kind is kind]
        if items:
            items.sort(key=lambda item: item.prompt_tokens_from)
            shown[kind] = [PriceEntry.of(item) for item in items]
    return shown


class ModelEntry(Struct, kw_only=True, frozen=True):
    """One model: its most at any endpoint, and the prices of its cheapest. It is also what OpenAI's clients list."""

    id: str
    object: Literal["model"] = "model"
    name: str
    author: str
    owned_by: str
    description: str
    created: int
    """Seconds since 1970."""
    input_modalities: tuple[str, ...]
    """Empty if it is not known what the model reads, as of one that only a price list tells of."""
    output_modalities: tuple[str, ...]
    context_length: int | None
    max_output: int | None
    tokenizer: str
    protocols: list[str]
    supported_parameters: list[str]
    pricing: Pricing | None
    deprecated_at: datetime | None
    """From when on callers should move on; it serves as before."""
    retires_at: datetime | None
    """From when on it serves no more, and what replaces it serves in its place."""
    replaced_by: str | None
    aliases: tuple[str, ...]

    @classmethod
    def of(cls, listing: Listing) -> "ModelEntry":
        model, endpoints = listing.model, [offer.endpoint for offer in listing.offers]
        return cls(
            id=model.slug,
            name=model.name,
            author=model.author,
            owned_by=model.author,
            description=model.description,
            created=int(model.created_at.timestamp()),
            input_modalities=model.input_modalities,
            output_modalities=model.output_modalities,
            context_length=listing.context_length,
            max_output=listing.max_output,
            tokenizer=model.tokenizer,
            protocols=_united([endpoint.protocols for endpoint in endpoints]),
            supported_parameters=_united([endpoint.supported_parameters for endpoint in endpoints]),
            pricing=_pricing(cheapest_price(listing.offers)),
            deprecated_at=model.deprecated_at,
            retires_at=model.retires_at,
            replaced_by=model.replaced_by,
            aliases=listing.aliases,
        )


def _united(lists: Sequence[tuple[str, ...]]) -> list[str]:
    return list(dict.fromkeys(name for names in lists for name in names))


class OneModel(Struct, kw_only=True, frozen=True):
    """One model; beside it stands what OpenAI's clients look for in the answer itself."""

    data: ModelEntry
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str

    @classmethod
    def of(cls, entry: ModelEntry) -> "OneModel":
        return cls(data=entry, id=entry.id, created=entry.created, owned_by=entry.owned_by)


class ModelList(Struct, kw_only=True, frozen=True):
    """All models that were asked for, in the shape of OpenAI's list."""

    data: list[ModelEntry]
    object: Literal["list"] = "list"


class DataPolicyView(Struct, kw_only=True, frozen=True):
    """What an endpoint does with prompts; `null` is not known."""

    training: bool | None
    logging: str | None
    moderation: str | None

    @classmethod
    def of(cls, policy: DataPolicy) -> "DataPolicyView":
        return cls(training=policy.training, logging=policy.logging, moderation=policy.moderation)


class Spread(Struct, kw_only=True, frozen=True):
    """How a measure is spread over the samples; `null` without any."""

    min: float | None = None
    max: float | None = None
    avg: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None

    @classmethod
    def of(cls, spread: statistics.Spread | None) -> "Spread":
        if spread is None:
            return cls()
        return cls(min=spread.min, max=spread.max, avg=spread.avg, p50=spread.p50, p90=spread.p90, p99=spread.p99)


class UptimeHour(Struct, kw_only=True, frozen=True):
    """One hour of UTC: how many attempts were served, and how many failed for the provider's fault."""

    start: datetime
    uptime: float | None
    ok: int
    failed: int

    @classmethod
    def of(cls, hour: HourOfUptime) -> "UptimeHour":
        tally = hour.tally
        return cls(start=hour.starts_at, uptime=tally.uptime, ok=tally.ok, failed=tally.failed)


class Uptime(Struct, kw_only=True, frozen=True):
    """The share of calls that did not fail for the provider's fault, from 0 to 1; `null` without calls."""

    last_hour: float | None
    last_day: float | None
    hourly: list[UptimeHour]
    """The last twenty-four hours, oldest first, this one included."""


class StatsWindow(StrEnum):
    """What latency and throughput are told of: the last hour, or the last thirty days."""

    LIVE = "live"
    LONG = "long"


class EndpointsParameters(Body, kw_only=True, frozen=True):
    """Which statistics to tell."""

    window: StatsWindow = StatsWindow.LIVE


class Stats(Struct, kw_only=True, frozen=True):
    """How an endpoint has been doing: milliseconds to the first token of streams, and tokens per second.

    Least, most and average are exact, the others within one percent of a sample.
    """

    latency_ms: Spread
    throughput: Spread
    uptime: Uptime
    window: Literal["1h", "30d"]
    """Of latency and throughput."""

    @classmethod
    def of(cls, known: EndpointStatistics, window: StatsWindow) -> "Stats":
        figures = known.live if window is StatsWindow.LIVE else known.long
        return cls(
            latency_ms=Spread.of(figures.latency_ms),
            throughput=Spread.of(figures.throughput),
            uptime=Uptime(
                last_hour=known.live.tally.uptime,
                last_day=known.last_day.uptime,
                hourly=[UptimeHour.of(hour) for hour in known.hourly],
            ),
            window="1h" if window is StatsWindow.LIVE else "30d",
        )


class EndpointEntry(Struct, kw_only=True, frozen=True):
    """One model at one provider. It is not `routable` if it is switched off or lacks what it takes to call it."""

    id: str
    model: str
    name: str
    provider: str
    provider_name: str
    context_length: int | None
    max_output: int | None
    protocols: tuple[str, ...]
    supported_parameters: tuple[str, ...]
    ignorable_parameters: tuple[str, ...]
    """What is left out of a call in another wire format where the endpoint cannot express it."""
    pricing: Pricing | None
    data_policy: DataPolicyView
    status_page: str | None
    routable: bool
    stats: Stats

    @classmethod
    def of(cls, offer: Offer, model: Model, window: StatsWindow) -> "EndpointEntry":
        endpoint, provider = offer.endpoint, offer.provider
        return cls(
            id=typed("ep", endpoint.id),
            model=model.slug,
            name=model.name,
            provider=provider.slug,
            provider_name=provider.name,
            context_length=endpoint.context_length,
            max_output=endpoint.max_output,
            protocols=endpoint.protocols,
            supported_parameters=endpoint.supported_parameters,
            ignorable_parameters=endpoint.ignorable_parameters,
            pricing=_pricing(offer.price),
            data_policy=DataPolicyView.of(endpoint.data_policy),
            status_page=provider.status_page,
            routable=offer.routable,
            stats=Stats.of(offer.statistics, window),
        )


class ProviderEntry(Struct, kw_only=True, frozen=True):
    """Who serves models."""

    slug: str
    name: str
    status_page: str | None
    regions: tuple[str, ...]
    models: int
    """How many models it offers."""

    @classmethod
    def of(cls, provider: Provider, models: int) -> "ProviderEntry":
        return cls(
            slug=provider.slug,
            name=provider.name,
            status_page=provider.status_page,
            regions=provider.regions,
            models=models,
        )


class DayEntry(Struct, kw_only=True, frozen=True):
    """What a model read and wrote on one day of UTC, for everyone together."""

    date: date
    prompt_tokens: int
    completion_tokens: int
    tokens: int

    @classmethod
    def of(cls, day: DayOfTokens) -> "DayEntry":
        return cls(
            date=day.day,
            prompt_tokens=day.prompt_tokens,
            completion_tokens=day.completion_tokens,
            tokens=day.prompt_tokens + day.completion_tokens,
        )
