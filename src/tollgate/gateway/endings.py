"""Endings: from how a call went to what is recorded of it. Pure; every way a call can end comes through here once.

The customer pays for the attempt that served, at its own price; failed attempts are recorded and cost the customer
nothing (billing-rules §5).
"""

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto

import msgspec

from tollgate.catalog.model import Format
from tollgate.gateway.model import Answer, Attempt, Candidate, ChatRequest, Plan, UsageReading
from tollgate.kit import money
from tollgate.kit.ids import CallId
from tollgate.kit.principal import Principal
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering import rules as metering
from tollgate.metering.model import AttemptRecord, CallRecord, CallStatus, Settlement
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import CURRENCY, Charge

_TEXT_CHARACTERS_MAX = 200
_RAW_USAGE_CHARACTERS_MAX = 8_192
_PAIR_OR_NUL = re.compile(r"(\\\\)|\\u0000")
_NOTHING = Charge(items=(), amount=money.ZERO, unpriced=(), tier=0)


class Ending(Enum):
    """How a call ended."""

    FINISHED = auto()
    CLIENT_LEFT = auto()
    BROKE_OFF = auto()
    """The provider failed after it had begun to answer."""
    REFUSED = auto()
    """No provider began to answer."""


@dataclass(slots=True)
class Call:
    """One call: who makes it, what was asked and held, what was tried, and how it ended."""

    id: CallId
    principal: Principal
    request: ChatRequest
    api: str
    accepted_at: datetime
    plan: Plan
    vocabulary: str
    """The model's own encoding."""
    prompt_tokens_estimate: int
    held: Decimal = money.ZERO
    output_cap: int | None = None
    """The output tokens each answer may have, where the hold does not carry what was asked for."""
    attempts: list[Attempt] = field(default_factory=list)
    ending: Ending = Ending.REFUSED
    answer: Answer = field(default_factory=Answer)
    latency_ms: int | None = None
    generation_ms: int | None = None

    @property
    def serving(self) -> Attempt | None:
        """The attempt that answered: the last one, unless all were refused."""
        return None if self.ending is Ending.REFUSED or not self.attempts else self.attempts[-1]


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used, and whether we had to count it ourselves."""

    quantities: UsageQuantities
    estimated: bool


def usage_of(call: Call, counted_output_tokens: int | None) -> Usage:
    """The provider's usage; what it lacks, the prompt as estimated and the output as counted; nothing if refused.

    Where the request itself has a price, it is counted as well.
    """
    serving = call.serving
    if serving is None:
        return Usage(UsageQuantities(), estimated=False)
    has_price = any(item.kind is Kind.REQUEST for item in serving.candidate.price.items)
    request = UsageQuantities({Kind.REQUEST: 1} if has_price else {})
    told = call.answer.usage
    known = UsageQuantities() if told is None else told.quantities
    counts: dict[Kind, int] = {}
    if told is None or not told.prompt_known:
        counts[Kind.PROMPT] = call.prompt_tokens_estimate
    if told is None or not told.completion_known:
        counts[Kind.COMPLETION] = counted_output_tokens or 0
    return Usage(known + UsageQuantities(counts) + request, estimated=bool(counts))


def settlement(call: Call, usage: Usage) -> tuple[Settlement, Charge]:
    """Everything the call leaves behind, and what its customer pays."""
    serving = call.serving
    rated = _NOTHING if serving is None else pricing.rate(usage.quantities, serving.candidate.price)
    status = _status(call, usage.quantities, rated)
    charge = _NOTHING if _is_spared(call, status, usage.quantities) else rated
    charges = () if serving is None else metering.charge_records(call.id, charge, usage.quantities)
    return Settlement(_record(call, status, charge, usage, rated), charges, _attempt_records(call, rated)), charge


def _status(call: Call, quantities: UsageQuantities, rated: Charge) -> CallStatus:
    """The record's status: a call that broke off is `failed` though what was delivered is charged."""
    match call.ending:
        case Ending.REFUSED | Ending.BROKE_OFF:
            return CallStatus.FAILED
        case Ending.FINISHED if _is_insured(call.answer, quantities):
            return CallStatus.INSURED
        case _ if not rated.priced:
            return CallStatus.UNPRICED
        case Ending.CLIENT_LEFT:
            return CallStatus.CANCELLED
        case _:
            return CallStatus.SETTLED


def _is_spared(call: Call, status: CallStatus, quantities: UsageQuantities) -> bool:
    """Whether the customer pays nothing: insured calls, and calls whose provider broke off before any output."""
    return status is CallStatus.INSURED or (call.ending is Ending.BROKE_OFF and quantities.completion_tokens == 0)


def _is_insured(answer: Answer, quantities: UsageQuantities) -> bool:
    """Whether the customer is spared: no output and no finish reason, or the finish reason `error`."""
    return answer.finish_reason == "error" or (quantities.completion_tokens == 0 and answer.finish_reason is None)


def _record(call: Call, status: CallStatus, charge: Charge, usage: Usage, rated: Charge) -> CallRecord:
    request, principal, serving, answer = call.request, call.principal, call.serving, call.answer
    candidate = call.plan.candidates[0] if serving is None else serving.candidate
    metadata = request.attribution.metadata
    return CallRecord(
        organization_id=principal.organization_id,
        call_id=call.id,
        project_id=principal.project_id,
        key_id=principal.key_id,
        accepted_at=call.accepted_at,
        requested_model=request.models[0],
        model=candidate.endpoint.model,
        provider=None if serving is None else candidate.provider.slug,
        endpoint_id=None if serving is None else candidate.endpoint.id,
        api=call.api,
        streamed=request.stream,
        status=status,
        estimated=usage.estimated,
        anomalous=answer.usage is not None and answer.usage.anomalous,
        finish_reason=_clean(answer.finish_reason),
        native_finish_reason=_clean(answer.finish_reason),
        latency_ms=call.latency_ms,
        generation_ms=call.generation_ms,
        quantities=msgspec.json.encode({kind.value: count for kind, count in usage.quantities}).decode(),
        tokens=usage.quantities.prompt_tokens + usage.quantities.completion_tokens,
        price_version_id=None if serving is None else candidate.price.id,
        tier=charge.tier,
        currency=CURRENCY,
        origin_amount=charge.amount,
        amount=charge.amount,
        provider_cost=None if serving is None else _provider_cost(candidate, rated),
        user_id=request.attribution.user,
        session_id=request.attribution.session_id,
        metadata=None if metadata is None else _json(metadata),
    )


def _clean(text: str | None) -> str | None:
    """A provider's text in a form the database can keep."""
    return None if text is None else text.replace("\x00", "")[:_TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def _json(value: object) -> str:
    """JSON that the database can keep: it knows no NUL, not even an escaped one.

    A pair of backslashes is one escaped backslash, and what follows it is text of its own.
    """
    return _PAIR_OR_NUL.sub(lambda found: found[1] or "", msgspec.json.encode(value).decode())


def _raw_usage(usage: UsageReading) -> str:
    """The provider's usage object as it came, or its counts alone if it is out of proportion."""
    whole = _json(usage.raw)
    if len(whole) <= _RAW_USAGE_CHARACTERS_MAX:
        return whole
    return _json({kind.value: count for kind, count in usage.quantities})


def _provider_cost(candidate: Candidate, rated: Charge) -> Decimal | None:
    """What the provider charges us: its list price; unknown where the customer has a price of its own."""
    if candidate.provider.format is Format.SANDBOX:
        return money.ZERO
    return rated.amount if candidate.price.organization_id is None else None


def _attempt_records(call: Call, rated: Charge) -> tuple[AttemptRecord, ...]:
    answer, serving = call.answer, call.serving
    raw_usage = None if answer.usage is None else _raw_usage(answer.usage)
    return tuple(
        AttemptRecord(
            organization_id=call.principal.organization_id,
            id=attempt.id,
            call_id=call.id,
            ordinal=ordinal,
            endpoint_id=attempt.candidate.endpoint.id,
            provider=attempt.candidate.provider.slug,
            status=attempt.status,
            http_status=attempt.http_status,
            error=attempt.error,
            latency_ms=attempt.latency_ms,
            provider_cost=_provider_cost(attempt.candidate, rated) if attempt is serving else None,
            upstream_id=_clean(answer.upstream_id) if attempt is serving else None,
            usage=raw_usage if attempt is serving else None,
        )
        for ordinal, attempt in enumerate(call.attempts, start=1)
    )
