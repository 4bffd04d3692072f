"""A model's page, from its listing, its days and this installation's address."""

import re
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from tollgate.catalog.model import DataPolicy, Model
from tollgate.console.model import (
    Badge,
    ModelHeader,
    ModelPage,
    Notice,
    PolicyRow,
    ProviderCard,
    SpreadTable,
)
from tollgate.console.rules import charts, figures
from tollgate.console.rules.prices import price_rows
from tollgate.console.rules.samples import samples
from tollgate.reports.model import DayOfTokens, Listing, Offer

_NOT_KNOWN = "not known"
_DAYS = re.compile(r"([0-9]+) days?")
_READY = Badge("Available", "Calls can be sent here.", "good")
_OFF = Badge("Switched off", "The operator has switched this endpoint off.", "none")
_UNPRICED = Badge("Not priced", "Calls are refused until a price is in force.", "poor")
_UNREACHABLE = Badge("Not connected", "This installation has no address or no key for this provider.", "fair")


def model_page(listing: Listing, days: Sequence[DayOfTokens], *, base_url: str, now: datetime) -> ModelPage:
    """Everything the page shows; `days` is not empty."""
    throughput, fastest = charts.spread_rows(
        [(offer.provider.name, offer.statistics.long.throughput) for offer in listing.offers],
        unit="tokens per second",
        decimals=2,
    )
    latency, slowest = charts.spread_rows(
        [(offer.provider.name, offer.statistics.long.latency_ms) for offer in listing.offers],
        unit="milliseconds",
        decimals=0,
    )
    return ModelPage(
        header=_header(listing),
        notices=_notices(listing, now),
        days=charts.days_chart(days),
        throughput=SpreadTable(
            "throughput", "Throughput", "tokens/s", "Output tokens per second, more is better", throughput, fastest
        ),
        latency=SpreadTable(
            "latency", "First-token latency", "ms", "Time to the first token, less is better", latency, slowest
        ),
        cards=tuple(_card(offer) for offer in listing.offers),
        samples=samples(listing, base_url=base_url),
    )


def _header(listing: Listing) -> ModelHeader:
    model = listing.model
    return ModelHeader(
        slug=model.slug,
        name=model.name,
        author=model.author,
        created=figures.day(model.created_at),
        created_iso=model.created_at.date().isoformat(),
        aliases=listing.aliases,
        description=model.description,
        input_types=figures.types(model.input_modalities),
        output_types=figures.types(model.output_modalities),
        context=figures.tokens(listing.context_length),
        providers=len(listing.offers),
    )


def _notices(listing: Listing, now: datetime) -> tuple[Notice, ...]:
    """What to know before anything else on the page."""
    ending = _ending(listing.model, now)
    if listing.model.is_retired(now):
        return ending
    if not listing.offers:
        return *ending, Notice(
            "Nobody offers this model here yet", "It can be called once the operator adds an endpoint."
        )
    if not any(_badge(offer) is _READY for offer in listing.offers):
        return *ending, Notice(
            "This model cannot be called here", "None of its providers is ready; see their cards below."
        )
    return ending


def _ending(model: Model, now: datetime) -> tuple[Notice, ...]:
    """When the model ends or has ended, and what comes after it, as far as that is known."""
    if model.retires_at is not None:
        day, is_over = figures.day(model.retires_at), model.is_retired(now)
        served = "what replaces it serves in its place" if model.replaced_by else "nothing replaces it"
        text = f"It serves no more, and {served}." if is_over else f"From then on it serves no more, and {served}."
        return (Notice(f"{'Retired' if is_over else 'Retires'} on {day}", text, model.replaced_by),)
    if model.deprecated_at is not None:
        since = "since" if model.is_deprecated(now) else "from"
        title = f"Deprecated {since} {figures.day(model.deprecated_at)}"
        return (Notice(title, "It serves as before, but nothing new should rely on it.", model.replaced_by),)
    return ()


def _card(offer: Offer) -> ProviderCard:
    endpoint, statistics = offer.endpoint, offer.statistics
    return ProviderCard(
        id=offer.provider.slug,
        provider=offer.provider.name,
        upstream_model=endpoint.upstream_model,
        badge=_badge(offer),
        latency=figures.seconds(None if statistics.live.latency_ms is None else statistics.live.latency_ms.avg),
        throughput=figures.tokens_per_second(
            None if statistics.live.throughput is None else statistics.live.throughput.avg
        ),
        uptime=figures.uptime(statistics.last_day),
        recent=charts.uptime_strip(offer.provider.name, statistics),
        prices=None if offer.price is None else price_rows(offer.price),
        context=figures.tokens(endpoint.context_length),
        max_output=figures.tokens(endpoint.max_output),
        parameters=endpoint.supported_parameters,
        protocols=endpoint.protocols,
        policy=policy_rows(endpoint.data_policy),
        status_page=safe_link(offer.provider.status_page),
    )


def _badge(offer: Offer) -> Badge:
    if not offer.endpoint.enabled:
        return _OFF
    if offer.price is None:
        return _UNPRICED
    return _READY if offer.routable else _UNREACHABLE


def policy_rows(policy: DataPolicy) -> tuple[PolicyRow, ...]:
    """What happens to prompts; what is not known is said to be so."""
    training = None if policy.training is None else str(policy.training).lower()
    moderation = None if policy.moderation is None else f"Responsibility of {policy.moderation}"
    logging = None if policy.logging is None else _logging(policy.logging)
    told = (("Prompt training", training), ("Prompt logging", logging), ("Moderation", moderation))
    return tuple(PolicyRow(label, text or _NOT_KNOWN, known=text is not None) for label, text in told)


def _logging(kept: str) -> str:
    if kept == "zero":
        return "Zero retention"
    days = _DAYS.fullmatch(kept)
    return f"{days[1]} day retention" if days else kept


def safe_link(url: str | None) -> str | None:
    """The URL if a browser only goes to a web page by it; otherwise `None`."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None
