"""Models with figures to show: the seed's page to the last figure, and others that pages must cope with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from tests.pricing.builders import a_price, free, per_million, tiers

from tollgate.catalog.model import DataPolicy, Endpoint, Format, Model, Provider
from tollgate.catalog.seed import AZURE, GPT_4_1_MINI, OPENAI, SANDBOX, SANDBOX_ECHO
from tollgate.infra.database import ReadSession
from tollgate.kit.errors import ModelNotFound
from tollgate.kit.ids import EndpointId
from tollgate.kit.tokens import Kind
from tollgate.pricing import seed as prices
from tollgate.pricing.model import PriceItem, PriceVersion, Unit
from tollgate.reports.model import DayOfTokens, Listing, ModelMoved, Offer
from tollgate.reports.service.catalogue import PublicCatalogue
from tollgate.statistics.model import EndpointStatistics, Figures, HourOfUptime, Spread, Tally

LAST_HOUR = datetime(2025, 10, 10, 15, tzinfo=UTC)
PARAMETERS = (
    "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "logit_bias",
    "logprobs", "top_logprobs", "response_format", "stop", "tools", "tool_choice", "parallel_tool_calls",
)  # fmt: skip
HOSTILE = '<script>alert("1")</script> & \'"><img src=x onerror=alert(2)>'
"""What must arrive as this text wherever somebody could have written it."""


def a_spread(least: float, most: float, mean: float) -> Spread:
    """A spread of which only these are shown."""
    return Spread(100, least, most, mean, mean, mean, most)


def hours(*failures: int | None) -> tuple[HourOfUptime, ...]:
    """The last 24 hours of a thousand attempts each, so many of them failed; `None` for an hour without any."""
    padded = (*([0] * (24 - len(failures))), *failures)
    return tuple(
        HourOfUptime(
            LAST_HOUR - timedelta(hours=23 - number),
            Tally() if failed is None else Tally(1000 - failed, failed),
        )
        for number, failed in enumerate(padded)
    )


AZURE_STATISTICS = EndpointStatistics(
    live=Figures(a_spread(1100, 1300, 1170), a_spread(40, 60, 53.2), Tally(1000)),
    long=Figures(a_spread(1154, 2052, 1342.69), a_spread(5.89, 103.03, 29.66), Tally(24_000)),
    last_day=Tally(24_000),
    hourly=hours(),
)
OPENAI_STATISTICS = EndpointStatistics(
    long=Figures(a_spread(584, 1158, 718.90), a_spread(8.52, 81.41, 21.22), Tally(21_000, 300)),
    last_day=Tally(22_738, 262),
    hourly=hours(2, 0, 260, 0, 0, None, 0),
)


def an_endpoint(model: Model, provider: Provider, **facts: object) -> Endpoint:
    """An endpoint with the seed's limits unless said otherwise."""
    plain = Endpoint(
        id=EndpointId(UUID(int=1)),
        model=model.slug,
        provider=provider.slug,
        upstream_model=model.slug.partition("/")[2],
        context_length=1_047_576,
        max_output=32_768,
        protocols=("openai", "anthropic"),
        supported_parameters=PARAMETERS,
        data_policy=DataPolicy(training=False, logging="zero", moderation="developer"),
        supports_cancel=True,
        enabled=True,
    )
    return replace(plain, **facts)  # type: ignore[arg-type]  # each fact is a field's own


def an_offer(
    model: Model,
    provider: Provider,
    price: PriceVersion | None,
    statistics: EndpointStatistics | None = None,
    **facts: object,
) -> Offer:
    """An endpoint as the public sees it."""
    return Offer(an_endpoint(model, provider, **facts), provider, price, True, statistics or EndpointStatistics())  # noqa: FBT003 - it can be called


def a_model(slug: str, name: str, **facts: object) -> Model:
    """A model of text."""
    plain = Model(slug, name, "", ("text",), ("text",), "o200k_base", datetime(2026, 3, 1, tzinfo=UTC))
    return replace(plain, **facts)  # type: ignore[arg-type]  # as above


_SEED_PRICE = a_price(*prices.ITEMS["openai/gpt-4.1-mini", "openai"])
_KEPT = DataPolicy(training=False, logging="30 days", moderation="developer")
SEED = Listing(
    GPT_4_1_MINI,
    (
        an_offer(GPT_4_1_MINI, AZURE, _SEED_PRICE, AZURE_STATISTICS),
        an_offer(GPT_4_1_MINI, OPENAI, _SEED_PRICE, OPENAI_STATISTICS, data_policy=_KEPT),
    ),
)

ECHO = Listing(
    SANDBOX_ECHO,
    (an_offer(SANDBOX_ECHO, SANDBOX, a_price(*prices.ITEMS["sandbox/echo", "sandbox"]), context_length=128_000),),
)
_TIERED = a_model(
    "northwind/aurora-2",
    "Aurora 2",
    description="Reads pictures, sound and long documents, and thinks before it answers.",
    input_modalities=("text", "image", "audio"),
    created_at=datetime(2026, 9, 9, tzinfo=UTC),
)
TIERED = Listing(
    _TIERED,
    (
        an_offer(
            _TIERED,
            Provider("northwind", "Northwind", Format.OPENAI_COMPATIBLE, "https://north.test/v1", regions=("eu",)),
            a_price(
                *tiers(Kind.PROMPT, "1.25", "2.5"),
                *tiers(Kind.COMPLETION, "10", "15"),
                free(Kind.INPUT_CACHE_READ),
                per_million(Kind.INPUT_CACHE_WRITE_5M, "1.5625"),
                per_million(Kind.INPUT_AUDIO, "3"),
                PriceItem(Kind.WEB_SEARCH, Decimal("0.01"), Unit.PER_COUNT),
            ),
            context_length=2_000_000,
            data_policy=DataPolicy(),
        ),
    ),
    aliases=("northwind/aurora",),
)
EMPTY = Listing(a_model("quiet/empty", "Empty"), ())
UNPRICED = Listing(
    a_model("quiet/unpriced", "Unpriced"),
    (
        an_offer(
            a_model("quiet/unpriced", "Unpriced"),
            Provider("quiet", "Quiet", Format.OPENAI_COMPATIBLE, "https://quiet.test/v1"),
            None,
            context_length=None,
            max_output=None,
            supported_parameters=(),
        ),
    ),
)
_HOSTILE = a_model("quiet/hostile", HOSTILE, description=HOSTILE)
HOSTILE_LISTING = Listing(
    _HOSTILE,
    (
        an_offer(
            _HOSTILE,
            Provider("hostile", HOSTILE, Format.OPENAI_COMPATIBLE, "https://x.test", status_page="javascript:alert(3)"),
            _SEED_PRICE,
            AZURE_STATISTICS,
            upstream_model=HOSTILE,
            data_policy=DataPolicy(training=True, logging=HOSTILE, moderation=HOSTILE),
        ),
    ),
)
LISTINGS = (TIERED, SEED, EMPTY, HOSTILE_LISTING, UNPRICED, ECHO)


def busy_days(until: date, *, count: int) -> list[DayOfTokens]:
    """Days of use that rise and fall with the week, ending on this one."""
    told = []
    for number in range(count):
        day = until - timedelta(days=count - 1 - number)
        busy = (5 if day.weekday() < 5 else 2) * (40 + 3 * number + number * number % 23)
        told.append(DayOfTokens(day, busy * 3_100_000, busy * 700_000))
    return told


class ShownCatalogue(PublicCatalogue):
    """The public catalogue with these listings in it, whatever is in the database."""

    def __init__(self, listings: Sequence[Listing], used: Mapping[str, int] | None = None) -> None:
        super().__init__({})
        self.shown = {listing.model.slug: listing for listing in listings}
        self.used = {GPT_4_1_MINI.slug: 1, _TIERED.slug: 40} if used is None else used
        """By how much less than the seed's a model is used."""

    async def listings(self, session: ReadSession, *, now: datetime) -> list[Listing]:
        del session, now
        return list(self.shown.values())

    async def listing(self, session: ReadSession, slug: str, *, now: datetime) -> Listing:
        del session, now
        for listing in self.shown.values():
            if slug in listing.aliases:
                raise ModelMoved(slug, listing.model.slug)
        if slug not in self.shown:
            raise ModelNotFound(f"There is no model {slug!r}.")
        return self.shown[slug]

    async def activity(self, session: ReadSession, slug: str, *, days: int, now: datetime) -> list[DayOfTokens]:
        del session
        divided = self.used.get(slug)
        return [
            DayOfTokens(day.day, 0, 0)
            if divided is None
            else DayOfTokens(day.day, day.prompt_tokens // divided, day.completion_tokens // divided)
            for day in busy_days(now.date(), count=days)
        ]
