"""A model's page, from its listing, its days and this installation's address."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from tollgate.catalog.model import DataPolicy
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


def model_page(listing: Listing, days: Sequence[DayOfTokens], *, base_url: str) -> ModelPage:
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
        notices=_notices(listing),
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
        description=model.description,
        input_types=model.input_modalities,
        output_types=model.output_modalities,
        context=figures.tokens(listing.context_length),
        providers=len(listing.offers),
    )


def _notices(listing: Listing) -> tuple[Notice, ...]:
    """What to know before anything else on the page."""
    if not listing.offers:
        return (Notice("Nobody offers this model here yet", "It can be called once the operator adds an endpoint."),)
    if not any(_badge(offer) is _READY for offer in listing.offers):
        return (Notice("This model cannot be called here", "None of its providers is ready; see their cards below."),)
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
