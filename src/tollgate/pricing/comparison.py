"""A price list against what is published here: what an import has to publish so that the list holds from now on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tollgate.kit.money import amount_text
from tollgate.pricing import rules
from tollgate.pricing.model import DatedItems, PriceDraft, PriceItem, PriceVersion, Publication, Source


class Action(StrEnum):
    """What importing one price would do."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    INPUT_ONLY = "input only"
    """Published as it is listed, and no call that writes can be made at it."""
    SKIPPED = "skipped"
    LEFT_OUT = "left out"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to do about one price, and why."""

    action: Action
    to_publish: Sequence[DatedItems] = ()
    """The whole history if added; if changed, what succeeds the versions that are here."""
    detail: str = ""


def compare(listed: Sequence[DatedItems], published: Sequence[Publication], now: datetime) -> Comparison:
    """Compare the list's history of one price with the versions here, both oldest first.

    Only versions that an import published are superseded, and only from now on.
    """
    if not published:
        return Comparison(Action.ADDED, listed, describe(listed[-1].items))
    wanted = _from_now(listed, now)
    here = [publication for publication in published if _lasts(publication.version, now)]
    present = _from_now([DatedItems(each.version.effective_from, each.version.items) for each in here], now)
    if wanted == present:
        return Comparison(Action.UNCHANGED)
    detail = f"{describe(present[-1].items)} → {describe(wanted[-1].items)}" if present else describe(wanted[-1].items)
    if any(publication.source is not Source.IMPORT for publication in here):
        return Comparison(Action.CONFLICT, detail=f"published by hand: {detail}")
    if wanted[: len(present)] == present:
        return Comparison(Action.CHANGED, wanted[len(present) :], detail)
    if len(present) > 1:
        return Comparison(Action.CONFLICT, detail=f"a later price is published already: {detail}")
    return Comparison(Action.CHANGED, wanted, detail)


def succeed(draft: PriceDraft, timeline: Sequence[PriceVersion]) -> Comparison:
    """What publishing a version would change: against what is in force, or will be, when it takes effect."""
    wanted = rules.in_order(draft.items)
    present = next((version for version in timeline if version.in_force(draft.effective_from)), None)
    if present is None:
        return Comparison(Action.ADDED, detail=describe(wanted))
    if present.items == wanted:
        return Comparison(Action.UNCHANGED, detail=describe(wanted))
    return Comparison(Action.CHANGED, detail=f"{describe(present.items)} → {describe(wanted)}")


def _lasts(version: PriceVersion, now: datetime) -> bool:
    return version.effective_to is None or version.effective_to > now


def _from_now(history: Sequence[DatedItems], now: datetime) -> list[DatedItems]:
    """The price in force, as if it began now, and those to come."""
    begun = [dated for dated in history if dated.effective_from <= now]
    to_come = [dated for dated in history if dated.effective_from > now]
    return [*(DatedItems(now, dated.items) for dated in begun[-1:]), *to_come]


def describe(items: Sequence[PriceItem]) -> str:
    """The prices in short, as in `prompt 0.4, completion 1.6`; a tier's beginning in brackets."""
    return ", ".join(_described(item) for item in items)


def _described(item: PriceItem) -> str:
    tier = f" [from {item.prompt_tokens_from:,}]" if item.prompt_tokens_from else ""
    return f"{item.kind} {amount_text(item.unit_price)}{tier}"
