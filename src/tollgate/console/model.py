"""What pages show, as values: every text as it is read, every place in a picture as it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ABSENT = "-"
"""What is not offered, has no price, or has no samples: never zero, and never left out."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number as it is read, and as it exactly is where that says more."""

    text: str
    exact: str | None = None
    value: str | None = None
    """For machines; `None` where there is no number."""


NO_FIGURE = Figure(ABSENT)


class CatalogueOrder(StrEnum):
    """How the catalogue is sorted: by slug, newest first, cheapest first, or by how much a model reads at once."""

    NAME = "name"
    NEWEST = "newest"
    PRICE = "price"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class CatalogueQuestion:
    """What somebody looks for in the catalogue; what is `None` restricts nothing."""

    text: str | None = None
    provider: str | None = None
    modality: str | None = None
    """What the model takes."""
    parameter: str | None = None
    sort: CatalogueOrder = CatalogueOrder.NAME
    page: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle in a picture, its sides in per cent of the picture, and what it says when pointed at."""

    x: str
    y: str
    width: str
    height: str
    tone: str
    says: str


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day of a model's use."""

    day: str
    prompt: Figure
    completion: Figure
    total: Figure


@dataclass(frozen=True, slots=True)
class DaysChart:
    """Tokens per day: the bars, what the tallest stands for, and the same as rows."""

    says: str
    """The picture in one sentence."""
    marks: tuple[Mark, ...]
    ceiling: str
    middle: str
    first_day: str
    last_day: str
    total: Figure
    rows: tuple[DayRow, ...]
    empty: bool
    """Whether nothing was used on any of the days."""


@dataclass(frozen=True, slots=True)
class Range:
    """Where a measure begins, how far it reaches and where its mean lies, in per cent of the widest of the chart."""

    start: str
    extent: str
    mean: str


@dataclass(frozen=True, slots=True)
class SpreadRow:
    """One provider's least, most and mean; each `-` without samples."""

    provider: str
    least: str
    most: str
    mean: str
    drawn: Range | None
    says: str


@dataclass(frozen=True, slots=True)
class SpreadTable:
    """One measure of all providers of a model."""

    id: str
    title: str
    unit: str
    hint: str
    rows: tuple[SpreadRow, ...]
    scale_end: str
    """What the far end of the pictures stands for; empty without any samples."""


@dataclass(frozen=True, slots=True)
class UptimeHour:
    """One hour in the words of its text alternative."""

    hour: str
    uptime: str


@dataclass(frozen=True, slots=True)
class UptimeStrip:
    """The last hours of an endpoint as a strip of bars."""

    says: str
    marks: tuple[Mark, ...]
    hours: tuple[UptimeHour, ...]
    first_hour: str
    last_hour: str


class PriceState(StrEnum):
    """A price is one of three: an amount, nothing to pay, or not offered at all."""

    PRICED = "priced"
    FREE = "free"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Price:
    """One price of one kind: `$0.4` and `/M tokens`; `Free`; or `-`."""

    state: PriceState
    amount: str
    unit: str = ""
    value: str | None = None
    prompts: str = ""
    """Of prompts of which length it is the price; empty where it is that of all."""


@dataclass(frozen=True, slots=True)
class PriceRow:
    """What one kind costs: one price, or one for each tier."""

    label: str
    prices: tuple[Price, ...]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One line of a data policy."""

    label: str
    text: str
    known: bool = True


@dataclass(frozen=True, slots=True)
class Badge:
    """Whether an endpoint can be called from here, in a word and a sentence."""

    text: str
    says: str
    tone: str


@dataclass(frozen=True, slots=True)
class ProviderCard:
    """Everything about one model at one provider."""

    id: str
    provider: str
    upstream_model: str
    badge: Badge
    latency: Figure
    throughput: Figure
    uptime: Figure
    recent: UptimeStrip
    prices: tuple[PriceRow, ...] | None
    """`None` where no price is in force, which is not the same as offering nothing."""
    context: Figure
    max_output: Figure
    parameters: tuple[str, ...]
    protocols: tuple[str, ...]
    policy: tuple[PolicyRow, ...]
    status_page: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """A program that calls the model, in one language."""

    id: str
    title: str
    code: str


@dataclass(frozen=True, slots=True)
class Notice:
    """Something whoever uses the model should know first, such as that it cannot be called."""

    title: str
    text: str
    model: str | None = None
    """The slug of the model to use instead."""


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """Who the model is."""

    slug: str
    name: str
    author: str
    created: str
    created_iso: str
    aliases: tuple[str, ...]
    description: str
    input_types: str
    """`-` if it is not known what it reads."""
    output_types: str
    context: Figure
    providers: int


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A model's page, from top to bottom."""

    header: ModelHeader
    notices: tuple[Notice, ...]
    days: DaysChart
    throughput: SpreadTable
    latency: SpreadTable
    cards: tuple[ProviderCard, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of a list to choose from."""

    value: str
    text: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One model among others, at the price of its cheapest endpoint."""

    slug: str
    name: str
    author: str
    description: str
    input_types: str
    output_types: str
    providers: tuple[str, ...]
    context: Figure
    input_price: Price | None
    output_price: Price | None
    """Both `None` where no endpoint has a price."""
    days: tuple[Mark, ...]
    """The bars of a small chart; none if the model was not used."""
    tokens: Figure
    """Of all the days together."""


@dataclass(frozen=True, slots=True)
class CataloguePage:
    """The models found, a page of them at a time, with what was asked for."""

    text: str
    providers: tuple[Choice, ...]
    modalities: tuple[Choice, ...]
    parameters: tuple[Choice, ...]
    orders: tuple[Choice, ...]
    rows: tuple[CatalogueRow, ...]
    summary: str
    narrowed: bool
    """Whether anything but the order was asked for."""
    previous: str | None
    next: str | None
    """Where the neighbouring pages are, as query strings."""


@dataclass(frozen=True, slots=True)
class FailurePage:
    """Why there is no page: what to read, and what to look for instead."""

    status: int
    title: str
    message: str
    text: str = ""


def united(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Everything in any of the lists, once, in order of first mention."""
    return tuple(dict.fromkeys(name for names in lists for name in names))
