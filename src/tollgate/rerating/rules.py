"""The decisions of re-rating: which price holds for which records, and what they come to. Pure and exact."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from tollgate.invoices.model import Month
from tollgate.kit import ids, instants, money
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import PriceVersionId
from tollgate.kit.period import QUARTER_HOUR, Period, quarter_hour
from tollgate.kit.tokens import Kind
from tollgate.ledger.model import AdjustmentOrder
from tollgate.pricing import effects
from tollgate.pricing.effects import NO_EFFECT, Effect
from tollgate.pricing.model import CURRENCY, PriceItem, PriceVersion
from tollgate.pricing.rules import adjusted
from tollgate.rerating.model import (
    Answer,
    Key,
    Layer,
    MonthResult,
    Question,
    Rerate,
    RerateState,
    Result,
    Stretch,
    Sum,
    Tally,
    Terms,
)
from tollgate.webhooks.model import Event, EventType
from tollgate.webhooks.rules import event

_MONTHS_NAMED_MAX = 3


def check_window(window: Period, now: datetime) -> None:
    """A re-rate is of calls that were made.

    Raises:
        InvalidRequest: it ends before it begins, or has not ended; `field` is "to".
    """
    if window.end <= window.start:
        raise InvalidRequest("A re-rate ends after it begins.", field="to")
    if window.end > now:
        raise InvalidRequest(
            "A re-rate is of the past: what calls cost from now on is said by publishing a price.", field="to"
        )


def check_may_apply(rerate: Rerate, tally: Tally) -> None:
    """Only what was looked at as a whole can be applied, and only if nothing that was used is left without a price.

    Raises:
        Conflict: it is still being measured, or the corrected prices lack some kinds.
    """
    if rerate.state is RerateState.MEASURING:
        raise Conflict(
            f"The re-rate is still being measured: {tally.measured} of {tally.organizations} organizations are.",
            metadata={"measured": tally.measured, "organizations": tally.organizations},
        )
    if tally.unpriced:
        kinds = [kind.value for kind in Kind if kind in tally.unpriced]
        raise Conflict(
            f"These calls used {', '.join(kinds)}, which the corrected prices do not price: make another re-rate that "
            "does; say 0 if it is free.",
            field="items",
            metadata={"unpriced": kinds},
        )


def check_up_to_date(newer: Rerate | None) -> None:
    """What was measured is applied as it was looked at, or not at all.

    Raises:
        Conflict: this re-rate of the same calls was applied since.
    """
    if newer is not None:
        name = ids.typed("rerate", newer.id)
        raise Conflict(
            f"{name} was applied to some of these calls after this one was measured: make another dry run.",
            metadata={"rerate": name},
        )


def edges_of(window: Period, layers: Sequence[Layer], zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants at which a layer or a month begins or ends, and both ends of the window."""
    found = {window.start, window.end}
    for layer in layers:
        found |= {layer.window.start, layer.window.end}
    month = Month.at(window.start, zone)
    while (end := month.instants(zone).end) < window.end:
        found.add(end)
        month = month.following
    return tuple(sorted(edge for edge in found if window.start <= edge <= window.end))


def stretches(window: Period, edges: Sequence[datetime], size: timedelta) -> Iterator[Stretch]:
    """Cut the window into parts that tile it: quarter-hours that an edge cuts through apart, the others together.

    Whole ones are of `size` at most, which is at least a quarter-hour.
    """
    cut_through = {quarter_hour(edge) for edge in (*edges, window.start, window.end) if edge != quarter_hour(edge)}
    at = window.start
    for bucket in sorted(cut_through):
        yield from _whole(at, min(bucket, window.end), size)
        part = Period(max(bucket, window.start), min(bucket + QUARTER_HOUR, window.end))
        if part.start < part.end:
            yield Stretch(part, whole=False)
        at = max(at, part.end)
    yield from _whole(at, window.end, size)


def _whole(start: datetime, end: datetime, size: timedelta) -> Iterator[Stretch]:
    while start < end:
        yield Stretch(Period(start, min(start + size, end)), whole=True)
        start += size


def steps_of(items: Sequence[PriceItem], layers: Sequence[Layer]) -> tuple[int, ...]:
    """The prompt tokens at which any of these prices changes, from 0 on."""
    return tuple(sorted({*effects.steps(items), *(step for layer in layers for step in effects.steps(layer.items))}))


def fits(tier: int, version: PriceVersion, steps: Sequence[int]) -> bool:
    """Whether all calls of the version's tier are in one step, so that their sums can be rated."""
    above = next((step for step in effects.steps(version.items) if step > tier), None)
    return not any(tier < step and (above is None or step < above) for step in steps)


def answer(question: Question, sums: Mapping[Key, Sum], *, spared: int, zone: ZoneInfo) -> Answer:
    """What re-rating changes, month by month.

    Records that an earlier re-rate gave the organization's own price are left alone by a general one.
    """
    months: dict[Month, Effect] = {}
    percents: set[Decimal] = set()
    lacking: set[PriceVersionId] = set()
    for key, records in sums.items():
        version = question.versions[key.price_version_id]
        is_own, before = _as_things_stand(question, key, version)
        if is_own and question.terms.organization_id is None:
            continue
        if question.terms.organization_id is None and version.adjustment is not None:
            percents.add(version.adjustment.percent)
        if records.lacks_price:
            lacking.add(key.price_version_id)
        after = _corrected(question.terms.items, version, own=question.terms.organization_id is not None)
        month = Month.at(question.edges[key.piece - 1], zone)
        months[month] = months.get(month, NO_EFFECT) + _effect(records, before, after, key.prompt_tokens)
    shown = [money.amount_text(percent) for percent in sorted(percents)]
    return Answer(dict(sorted(months.items())), spared, shown, frozenset(lacking))


def _as_things_stand(question: Question, key: Key, version: PriceVersion) -> tuple[bool, tuple[PriceItem, ...] | None]:
    """Whether the records cost the organization's own price, and the prices they cost by; `None`: as charged."""
    is_own, items = version.organization_id is not None and version.base is None, None
    at = question.edges[key.piece - 1]
    for layer in question.layers[key.generation :]:
        if at in layer.window and (layer.own or not is_own):
            is_own, items = layer.own, _corrected(layer.items, version, own=layer.own)
    return is_own, items


def _corrected(items: tuple[PriceItem, ...], version: PriceVersion, *, own: bool) -> tuple[PriceItem, ...]:
    """Corrected prices as they charge what the version charged: an own price as it is, a general one adjusted alike."""
    if own or version.adjustment is None:
        return items
    return adjusted(replace(version.listed, items=items), version.adjustment).items


def _effect(
    records: Sum, before: tuple[PriceItem, ...] | None, after: tuple[PriceItem, ...], prompt_tokens: int
) -> Effect:
    amount = records.charged
    if before is not None:
        amount = effects.cost(records.quantities, before, prompt_tokens=prompt_tokens).amount
    charge = effects.cost(records.quantities, after, prompt_tokens=prompt_tokens)
    return Effect(records.quantities[Kind.REQUEST], amount, charge.amount, frozenset(charge.unpriced))


def order(terms: Terms, result: Result, months: Sequence[MonthResult]) -> AdjustmentOrder | None:
    """The adjustment that makes the difference: a favour for what was too dear, a charge for what was too cheap.

    `None` where there is none.
    """
    if result.difference == 0:
        return None
    changed = [each.month.name for each in months if each.new_amount != each.amount]
    named = ", ".join(changed) if len(changed) <= _MONTHS_NAMED_MAX else f"{changed[0]} to {changed[-1]}"
    # Parts that cancel out to the last digit leave no month to name, and no difference either.
    reason = f"{terms.reason} ({terms.model} at {terms.provider}, {named})"
    return AdjustmentOrder(result.difference.copy_negate(), CURRENCY, reason)


def told(rerate: Rerate, result: Result, months: Sequence[MonthResult], *, now: datetime) -> Event:
    """What the organization is told when its adjustment is posted."""
    terms = rerate.terms
    data = {
        "rerate": ids.typed("rerate", rerate.id),
        "model": terms.model,
        "provider": terms.provider,
        "from": instants.text(terms.window.start),
        "to": instants.text(terms.window.end),
        "reason": terms.reason,
        "currency": CURRENCY,
        "calls": result.calls,
        "amount": money.amount_text(result.amount),
        "new_amount": money.amount_text(result.new_amount),
        "difference": money.amount_text(result.difference),
        "months": [each.month.name for each in months],
        "adjustment": ids.typed_or_none("adj", result.adjustment_id),
    }
    cause = ids.derived_id(rerate.id, f"organization:{result.organization_id}")
    return event(result.organization_id, cause, EventType.RERATE_APPLIED, data, now=now)


def warnings(terms: Terms, live: PriceVersion | None) -> list[str]:
    """What whoever corrects the past should know of the present: the price in force may still be the wrong one."""
    if live is None:
        return [f"No such price of {terms.model} at {terms.provider} is in force now."]
    if live.items == terms.items:
        return []
    name = ids.typed("price", live.id)
    told = f"The price in force now, {name}, is not the corrected one: publish what calls are to cost from now on."
    return [told]
