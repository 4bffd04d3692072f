"""Prices as they are read: each kind a row, with one price or a tier of them, and three states told apart."""

from tollgate.console.model import ABSENT, Price, PriceRow, PriceState
from tollgate.console.rules.figures import exact_count
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceItem, PriceVersion, Unit

_LABELS = {
    Kind.PROMPT: "Input",
    Kind.COMPLETION: "Output",
    Kind.INPUT_CACHE_READ: "Cache read",
    Kind.INPUT_CACHE_WRITE_5M: "Cache write 5m",
    Kind.INPUT_CACHE_WRITE_1H: "Cache write 1h",
    Kind.INPUT_CACHE_WRITE: "Cache write",
    Kind.WEB_SEARCH: "Web search",
    Kind.INPUT_AUDIO: "Audio input",
    Kind.INPUT_IMAGE: "Image input",
    Kind.INTERNAL_REASONING: "Reasoning",
    Kind.OUTPUT_AUDIO: "Audio output",
    Kind.OUTPUT_IMAGE: "Image output",
    Kind.REQUEST: "Request",
    Kind.IMAGE: "Image",
    Kind.AUDIO_SECONDS: "Audio",
    Kind.VIDEO_SECONDS: "Video",
}
"""In the order of the page."""
_ALWAYS_SHOWN = 7
"""So many of them are shown when they are not offered, too."""
_COUNTED = {Kind.WEB_SEARCH: "/search", Kind.REQUEST: "/request", Kind.IMAGE: "/image"}

NOT_OFFERED = Price(PriceState.ABSENT, ABSENT)


def price_rows(version: PriceVersion) -> tuple[PriceRow, ...]:
    """What everything costs: the kinds whose absence is told as well, then the others that are priced."""
    rows = []
    for place, (kind, label) in enumerate(_LABELS.items()):
        prices = prices_of(version, kind)
        if prices or place < _ALWAYS_SHOWN:
            rows.append(PriceRow(label, prices or (NOT_OFFERED,)))
    return tuple(rows)


def prices_of(version: PriceVersion, kind: Kind) -> tuple[Price, ...]:
    """The prices of one kind, shortest prompts first; none if it is not offered."""
    items = sorted((item for item in version.items if item.kind is kind), key=lambda item: item.prompt_tokens_from)
    return tuple(_price(item) for item in items)


def first_price(version: PriceVersion, kind: Kind) -> Price:
    """What a short prompt pays for the kind."""
    return next(iter(prices_of(version, kind)), NOT_OFFERED)


def _price(item: PriceItem) -> Price:
    prompts = _prompts(item)
    if not item.unit_price:
        return Price(PriceState.FREE, "Free", value="0", prompts=prompts)
    amount = amount_text(item.unit_price)
    return Price(PriceState.PRICED, f"${amount}", _unit(item), amount, prompts)


def _unit(item: PriceItem) -> str:
    match item.unit:
        case Unit.PER_MILLION_TOKENS:
            return "/M tokens"
        case Unit.PER_SECOND:
            return "/second"
        case Unit.PER_COUNT:
            return _COUNTED.get(item.kind, "each")


def _prompts(item: PriceItem) -> str:
    """The prompts an item is for, in the words of its bounds, of which the lower is part of it."""
    start, end = item.prompt_tokens_from, item.prompt_tokens_below
    if end is None:
        return f"prompts of {exact_count(start)} and more" if start else ""
    if not start:
        return f"prompts below {exact_count(end)}"
    return f"prompts of {exact_count(start)} to below {exact_count(end)}"
