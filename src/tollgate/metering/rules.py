"""The decisions of metering that need no database: what a refusal says, and what a charge records.

So are what a call leaves that had only begun, and over which stretches of time usage is added up.
"""

import json
import math
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from tollgate.kit import money, period
from tollgate.kit.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    LimitExceeded,
    ModelNotPriced,
    PermissionDenied,
    RateLimited,
    TollgateError,
)
from tollgate.kit.ids import CallId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import (
    Admission,
    AdmissionRequest,
    AttemptRecord,
    AttemptStatus,
    Begun,
    CallRecord,
    CallStatus,
    ChargeRecord,
    Settlement,
)
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import CURRENCY, Charge
from tollgate.pricing.rules import unit_of

_CLOSED = {"organization": "not active", "project": "archived"}
_RATES = {"rpm": "requests per minute", "tpm": "tokens per minute", "concurrency": "concurrent calls"}
_CONCURRENCY_RETRY_SECONDS = 1


def refusal(request: AdmissionRequest, answer: Admission, *, now: datetime) -> TollgateError:
    """The error that tells a caller why nothing was held: the bound, what it has, and when it resets."""
    match answer.outcome:
        case "key":
            return AuthenticationFailed("This API key is revoked, disabled or expired.")
        case "organization" | "project":
            return PermissionDenied(f"The {answer.outcome} of this API key is {_CLOSED[answer.outcome]}.")
        case "currency":
            return ModelNotPriced(
                f"Prices are in {request.currency}; the organization is billed in another currency.", field="model"
            )
        case "balance":
            return _insufficient_credit(request, answer)
        case "rpm" | "tpm" | "concurrency":
            return _rate_limited(request, answer, now=now)
        case _:
            return _limit_exceeded(request, answer)


def _insufficient_credit(request: AdmissionRequest, answer: Admission) -> TollgateError:
    available = money.amount_text(max(answer.amount or money.ZERO, money.ZERO))
    needed = money.amount_text(request.hold_least)
    return InsufficientCredit(
        f"The balance is too low for this call: it needs at least {needed} {request.currency}, "
        f"{available} {request.currency} is available.",
        metadata={
            "limit": "balance",
            "scope": "organization",
            "needed": needed,
            "available": available,
            "currency": request.currency,
            "resets_at": None,
        },
    )


def _limit_exceeded(request: AdmissionRequest, answer: Admission) -> TollgateError:
    scope = (answer.scope or "").capitalize()
    limit = money.amount_text(answer.limit_amount or money.ZERO)
    available = money.amount_text(answer.amount or money.ZERO)
    resets = None if answer.resets_at is None else _instant(answer.resets_at)
    ending = "." if resets is None else f"; it resets {resets}."
    needed = money.amount_text(request.hold_least)
    state = "is used up" if answer.amount == 0 else f"has {available} {request.currency} left, this call needs {needed}"
    return LimitExceeded(
        f"{scope} {answer.outcome} limit of {limit} {request.currency} {state}{ending}",
        metadata={
            "limit": answer.outcome,
            "scope": answer.scope,
            "amount": limit,
            "available": available,
            "needed": needed,
            "resets_at": resets,
        },
    )


def _rate_limited(request: AdmissionRequest, answer: Admission, *, now: datetime) -> TollgateError:
    seconds = _CONCURRENCY_RETRY_SECONDS
    if answer.resets_at is not None:
        seconds = max(1, math.ceil((answer.resets_at - now).total_seconds()))
    scope = (answer.scope or "").capitalize()
    limit, left = int(answer.limit_amount or 0), int(answer.amount or 0)
    needed = request.tokens if answer.outcome == "tpm" else 1
    state = "is reached" if left == 0 else f"has {left} left, this call needs {needed}"
    ending = f"{state}; try again in {seconds} s."
    if needed > limit:
        ending = f"is less than the {needed} that this call alone needs."
    return RateLimited(
        f"{scope} limit of {limit} {_RATES[answer.outcome]} {ending}",
        metadata={
            "limit": answer.outcome,
            "scope": answer.scope,
            "amount": limit,
            "available": left,
            "needed": needed,
            "resets_at": None if answer.resets_at is None else _instant(answer.resets_at),
            "retry_after_seconds": seconds,
        },
    )


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def charge_records(
    call_id: CallId, charge: Charge, quantities: UsageQuantities, *, origin: Charge | None = None
) -> tuple[ChargeRecord, ...]:
    """What a call adds to the rollups: each kind's part of the charge, and at no amount whatever else it used.

    `origin` is the same charge before any discount or markup, item by item; without it there was none.

    That is what has no price yet, and of an insured call, whose charge is of nothing, everything. There is always one
    `request` among them, which is how calls are counted.
    """
    records = [
        ChargeRecord(call_id, kind, unit, unit_price, quantity, listed.amount, amount)
        for (kind, quantity, unit, unit_price, amount), listed in zip(
            charge.items, (origin or charge).items, strict=True
        )
    ]
    charged = [item.kind for item in charge.items]
    if len(charged) < len(quantities.counts):
        records += [
            ChargeRecord(call_id, kind, unit_of(kind), None, quantity, money.ZERO, money.ZERO)
            for kind, quantity in quantities
            if kind not in charged and kind is not Kind.REQUEST
        ]
    if Kind.REQUEST not in charged:
        records.append(ChargeRecord(call_id, Kind.REQUEST, None, None, 1, money.ZERO, money.ZERO))
    return tuple(records)


def settlement_of(begun: Begun) -> Settlement:
    """What a call leaves behind whose process died as it began: the prompt, taken to have reached the provider."""
    price, request = begun.price, {Kind.REQUEST: 1} if begun.price.has(Kind.REQUEST) else {}
    quantities = UsageQuantities({Kind.PROMPT: begun.prompt_tokens, Kind.COMPLETION: 0, **request})
    charge = pricing.rate(quantities, price)
    origin = charge if price.base is None else pricing.rate(quantities, price.base)
    listed_cost = origin.amount if price.listed.organization_id is None else None
    provider_cost = listed_cost if begun.costs_us else money.ZERO
    call = CallRecord(
        organization_id=begun.organization_id,
        call_id=begun.call_id,
        project_id=begun.project_id,
        key_id=begun.key_id,
        accepted_at=begun.accepted_at,
        requested_model=begun.requested_model,
        model=begun.model,
        provider=begun.provider,
        endpoint_id=begun.endpoint_id,
        api=begun.api,
        streamed=begun.streamed,
        status=CallStatus.UNPRICED if charge.unpriced else CallStatus.RECOVERED,
        estimated=True,
        anomalous=False,
        finish_reason=None,
        native_finish_reason=None,
        latency_ms=None,
        generation_ms=None,
        quantities=json.dumps(dict(quantities), separators=(",", ":")),
        tokens=begun.prompt_tokens,
        price_version_id=price.id,
        tier=charge.tier,
        currency=CURRENCY,
        origin_amount=origin.amount,
        amount=charge.amount,
        provider_cost=provider_cost,
        user_id=begun.user_id,
        session_id=begun.session_id,
        metadata=begun.metadata,
    )
    charges = charge_records(begun.call_id, charge, quantities, origin=origin)
    return Settlement(call, charges, (_cut_attempt(begun, provider_cost),))


def _cut_attempt(begun: Begun, provider_cost: Decimal | None) -> AttemptRecord:
    """The attempt of which nobody knows what became of it."""
    return AttemptRecord(
        organization_id=begun.organization_id,
        id=begun.attempt_id,
        call_id=begun.call_id,
        ordinal=1,
        endpoint_id=begun.endpoint_id,
        provider=begun.provider,
        status=AttemptStatus.CANCELLED,
        http_status=None,
        error=None,
        latency_ms=None,
        provider_cost=provider_cost,
        upstream_id=None,
        usage=None,
    )


def bare(settlement: Settlement) -> Settlement:
    """The settlement without anything that a caller or a provider wrote in their own words: who, what and how much."""
    call = settlement.call._replace(
        finish_reason=None, native_finish_reason=None, user_id=None, session_id=None, metadata=None
    )
    attempts = tuple(attempt._replace(error=None, upstream_id=None, usage=None) for attempt in settlement.attempts)
    return Settlement(call, settlement.charges, attempts)


def stretches(extent: Period, zone: ZoneInfo) -> tuple[list[Period], list[Period]]:
    """The days of the months that touch the extent, and these months, as far as they begin and end on quarter-hours.

    Clocks that were not set by quarter-hours leave stretches out, not usage: sums are of whole quarter-hours alone.
    """
    first, last = period.month_of(extent.start, zone), period.month_of(extent.end - period.QUARTER_HOUR, zone)
    whole = Period(first.start, last.end)
    return _on_quarter_hours(whole, "day", zone), _on_quarter_hours(whole, "month", zone)


def _on_quarter_hours(whole: Period, unit: str, zone: ZoneInfo) -> list[Period]:
    return [
        each
        for each in period.split(whole, unit, zone)
        if period.quarter_hour(each.start) == each.start and period.quarter_hour(each.end) == each.end
    ]
