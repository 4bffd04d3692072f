"""Endings: from how a call went to what is recorded of it. Pure; every way a call can end comes through here once.

The customer pays for the attempt that served, at its own price; failed attempts are recorded and cost the customer
nothing (billing-rules §5).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from tollgate.catalog.model import Format, Model
from tollgate.gateway import routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import Answer, Attempt, Plan, PromptTokens, Request, Session, UsageReading
from tollgate.kit import money
from tollgate.kit.ids import CallId
from tollgate.kit.principal import Principal
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering import rules as metering
from tollgate.metering.model import (
    Admission,
    AttemptRecord,
    AttemptStatus,
    CallRecord,
    CallStatus,
    ChargeRecord,
    Settlement,
)
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import CURRENCY, STANDARD, Charge, PriceVersion

_TEXT_CHARACTERS_MAX = 200
_RAW_USAGE_CHARACTERS_MAX = 8_192
_METADATA_OF_LOST_MAX = 2_048
_FAST = "fast"
"""A tier of speed: an answer that says `standard`, and no more, tells nothing of it."""
_DISPUTED_TOKENS_MIN = 256
_GAUGED_PERCENT_OFF = 38
"""What lies within is not disputed unless samples of a prompt are off by a fifth."""
_EVENTS_BESIDE_OUTPUT = 64
"""Events of a stream that carry no output, at most: openings, closings, keep-alives."""
_CHARACTERS_PER_TOKEN_MAX = 32
_PAIR_OR_NUL = re.compile(r"(\\\\)|\\u0000")
_ANY_TIER = "auto"
_ERROR = "error"
"""The finish reason of an answer that is none."""
_FREE = Charge(items=(), amount=money.ZERO, unpriced=(), tier=0)


class _Rated(NamedTuple):
    """What the same quantities come to."""

    charge: Charge
    """At the price that charges the call."""
    origin: Charge
    """At that price as it was published, before any discount or markup."""


_NOTHING = _Rated(_FREE, _FREE)


class Ending(Enum):
    """How a call ended."""

    FINISHED = auto()
    CLIENT_LEFT = auto()
    BROKE_OFF = auto()
    """The provider failed after it had begun to answer."""
    REFUSED = auto()
    """No provider began to answer."""
    LOST = auto()
    """The process that served it died."""


_STATUS: Mapping[Ending, CallStatus] = {
    Ending.FINISHED: CallStatus.SETTLED,
    Ending.CLIENT_LEFT: CallStatus.CANCELLED,
    Ending.BROKE_OFF: CallStatus.FAILED,
    Ending.REFUSED: CallStatus.FAILED,
    Ending.LOST: CallStatus.RECOVERED,
}


@dataclass(slots=True)
class Call:
    """One call: who makes it, what was asked and held, what was tried, and how it ended."""

    id: CallId
    principal: Principal
    crossing: Crossing
    accepted_at: datetime
    plan: Plan
    vocabulary: str
    """The model's own encoding."""
    prompt: PromptTokens
    asked_for: Mapping[str, Model] = field(default_factory=dict)
    """By the slug of the model that serves, the one its caller asked for: another one if that is retired."""
    admission: Admission | None = None
    """What was held for it, and what its rates had left."""
    session: Session | None = None
    """The session it belongs to."""
    output_cap: int | None = None
    """The output tokens each answer may have, where the hold does not carry what was asked for."""
    attempts: list[Attempt] = field(default_factory=list)
    ending: Ending = Ending.REFUSED
    latency_ms: int | None = None
    generation_ms: int | None = None

    @property
    def request(self) -> Request:
        """What was asked."""
        return self.crossing.request

    @property
    def serving(self) -> Attempt | None:
        """The attempt that answered: the last one, unless all were refused."""
        return None if self.ending is Ending.REFUSED or not self.attempts else self.attempts[-1]

    @property
    def answer(self) -> Answer:
        """What the provider that answered said about its answer."""
        return Answer() if self.serving is None else self.serving.answer


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used, and whether we had to count it ourselves."""

    quantities: UsageQuantities
    estimated: bool
    disputed: Mapping[Kind, int] = field(default_factory=dict)
    """What we counted ourselves, where the provider's figure is far from it: that is billed, and both are kept."""


def usage_of(call: Call, counted_output_tokens: int | None) -> Usage:
    """The provider's usage; what it lacks, the prompt as estimated and the output as counted; nothing if refused.

    Where the request itself has a price, it is counted as well.
    """
    serving = call.serving
    if serving is None:
        return Usage(UsageQuantities(), estimated=False)
    has_price = any(item.kind is Kind.REQUEST for item in price_of(serving).items)
    request = UsageQuantities({Kind.REQUEST: 1} if has_price else {})
    told = call.answer.usage
    known = UsageQuantities() if told is None else told.quantities
    counts: dict[Kind, int] = {}
    disputed: dict[Kind, int] = {}
    if told is None or not told.prompt_known:
        counts[Kind.PROMPT] = call.prompt.likely
    elif _differ(known.prompt_tokens, call.prompt.nearest(known.prompt_tokens)):
        disputed[Kind.PROMPT] = call.prompt.likely
    if told is None or not told.completion_known:
        # What was told so far of a stream that went on is the least of it.
        counts[Kind.COMPLETION] = max((counted_output_tokens or 0) - known.completion_tokens, 0)
    elif counted_output_tokens is not None and _differ(known.completion_tokens, counted_output_tokens):
        disputed[Kind.COMPLETION] = counted_output_tokens
    return Usage(known + UsageQuantities(counts) + request, estimated=bool(counts), disputed=disputed)


def _differ(told: int, counted: int) -> bool:
    """Whether two counts of the same are too far apart for vocabularies to explain it: by half, and by hundreds."""
    return abs(told - counted) > max(_DISPUTED_TOKENS_MIN, max(told, counted) // 2)


def is_prompt_to_be_counted(call: Call) -> bool:
    """Whether a prompt that was only gauged has to be counted after all, so that its record says what it should.

    It has where the provider does not tell it, or tells what samples are too far from to say that it is not disputed.
    """
    if call.prompt.counted or call.serving is None:
        return False
    told = call.answer.usage
    if told is None or not told.prompt_known:
        return True
    tokens, likely = told.quantities.prompt_tokens, call.prompt.likely
    return tokens > call.prompt.most or abs(tokens - likely) > max(tokens, likely) * _GAUGED_PERCENT_OFF // 100


def is_doubtful(answer: Answer, *, events: int) -> bool:
    """Whether output was delivered that the provider's count can hardly hold, so that it is worth counting again."""
    usage = answer.usage
    if usage is None or not usage.completion_known:
        return True
    tokens = usage.quantities.completion_tokens
    return events > 2 * tokens + _EVENTS_BESIDE_OUTPUT or len(answer.text) > _CHARACTERS_PER_TOKEN_MAX * (tokens + 16)


def price_of(attempt: Attempt) -> PriceVersion:
    """The price of the service tier that served, if the answer says which and it has one; else of the one asked for."""
    candidate, tier = attempt.candidate, served_tier(attempt.answer)
    if tier is None or (attempt.answer.service_tier == STANDARD and candidate.price.service_tier == _FAST):
        return candidate.price
    return candidate.tiers.get(tier, candidate.price)


def served_tier(answer: Answer) -> str | None:
    """The service tier that the answer says has served, as prices know it; `auto` repeats a question."""
    tier = answer.service_tier
    return None if tier is None or tier == _ANY_TIER else routing.tier_of(tier)


def settlement(call: Call, usage: Usage) -> tuple[Settlement, Charge]:
    """Everything the call leaves behind, and what its customer pays."""
    serving = call.serving
    rated = _NOTHING if serving is None else _rated(usage.quantities, price_of(serving))
    status = _status(call, usage.quantities, rated.charge)
    billed = _NOTHING if _is_spared(call, status, usage.quantities) else rated
    charges: tuple[ChargeRecord, ...] = ()
    if serving is not None:
        charges = metering.charge_records(call.id, billed.charge, usage.quantities, origin=billed.origin)
    record = _record(call, status, billed, usage, rated)
    return Settlement(record, charges, _attempt_records(call, rated)), billed.charge


def _rated(quantities: UsageQuantities, price: PriceVersion) -> _Rated:
    charge = pricing.rate(quantities, price)
    return _Rated(charge, charge if price.base is None else pricing.rate(quantities, price.base))


def settlement_if_lost(call: Call, counted_output_tokens: int) -> Settlement:
    """What the call leaves behind if its process dies now: the prompt, and the output delivered so far.

    The last attempt is taken to have reached its provider.
    """
    lost = replace(call, ending=Ending.LOST)
    return settlement(lost, usage_of(lost, counted_output_tokens))[0]


def _status(call: Call, quantities: UsageQuantities, rated: Charge) -> CallStatus:
    """The record's status: a call that broke off is `failed` though what was delivered is charged."""
    if _is_insured(call, quantities):
        return CallStatus.INSURED
    if not rated.priced and not _is_in_vain(call, quantities):
        return CallStatus.UNPRICED
    return _STATUS[call.ending]


def _is_spared(call: Call, status: CallStatus, quantities: UsageQuantities) -> bool:
    """Whether the customer pays nothing: insured calls, and calls whose provider broke off before any output."""
    return status is CallStatus.INSURED or _is_in_vain(call, quantities)


def _is_in_vain(call: Call, quantities: UsageQuantities) -> bool:
    return call.ending is Ending.BROKE_OFF and quantities.completion_tokens == 0


def _is_insured(call: Call, quantities: UsageQuantities) -> bool:
    """Whether the answer came to an end but is none: no output and no finish reason, or the finish reason `error`."""
    reason = call.answer.finish_reason
    is_empty = quantities.completion_tokens == 0 and reason is None and call.request.choices > 0
    return (call.ending is Ending.FINISHED and is_empty) or (
        call.ending in {Ending.FINISHED, Ending.CLIENT_LEFT} and reason == _ERROR
    )


def _record(call: Call, status: CallStatus, billed: _Rated, usage: Usage, rated: _Rated) -> CallRecord:
    request, principal, serving, answer = call.request, call.principal, call.serving, call.answer
    candidate = call.plan.candidates[0] if serving is None else serving.candidate
    metadata = None if request.attribution.metadata is None else _json(request.attribution.metadata)
    if call.ending is Ending.LOST and metadata is not None and len(metadata) > _METADATA_OF_LOST_MAX:
        # It would be written down again every second, and a caller may give pages of it.
        metadata = None
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
        api=request.wire,
        streamed=request.stream,
        status=status,
        estimated=usage.estimated,
        anomalous=answer.usage is not None and answer.usage.anomalous,
        finish_reason=_clean(answer.finish_reason),
        native_finish_reason=_clean(answer.native_finish_reason),
        latency_ms=call.latency_ms,
        generation_ms=call.generation_ms,
        quantities=msgspec.json.encode({kind.value: count for kind, count in usage.quantities}).decode(),
        tokens=usage.quantities.prompt_tokens + usage.quantities.completion_tokens,
        price_version_id=None if serving is None or _is_in_vain(call, usage.quantities) else price_of(serving).id,
        tier=billed.charge.tier,
        currency=CURRENCY,
        origin_amount=billed.origin.amount,
        amount=billed.charge.amount,
        provider_cost=None if serving is None else _provider_cost(serving, rated),
        user_id=request.attribution.user,
        session_id=request.attribution.session_id,
        metadata=metadata,
        estimate=_json(usage.disputed) if usage.disputed else None,
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


def _provider_cost(attempt: Attempt, rated: _Rated) -> Decimal | None:
    """What the provider charges us: its list price; unknown where the customer has a price of its own."""
    if attempt.candidate.provider.format is Format.SANDBOX:
        return money.ZERO
    return rated.origin.amount if price_of(attempt).listed.organization_id is None else None


def _attempt_records(call: Call, rated: _Rated) -> tuple[AttemptRecord, ...]:
    return tuple(
        _attempt_record(call, attempt, ordinal, rated if attempt is call.serving else _failed(attempt))
        for ordinal, attempt in enumerate(call.attempts, start=1)
    )


def _failed(attempt: Attempt) -> _Rated | None:
    """What an attempt in vain cost us, if the provider told its usage all the same."""
    usage = attempt.answer.usage
    return None if usage is None else _rated(usage.quantities, price_of(attempt))


def _attempt_record(call: Call, attempt: Attempt, ordinal: int, rated: _Rated | None) -> AttemptRecord:
    answer = attempt.answer
    # A process that dies leaves its last attempt before anyone knows what becomes of it.
    is_cut = call.ending is Ending.LOST and attempt is call.serving and attempt.status is AttemptStatus.FAILED
    return AttemptRecord(
        organization_id=call.principal.organization_id,
        id=attempt.id,
        call_id=call.id,
        ordinal=ordinal,
        endpoint_id=attempt.candidate.endpoint.id,
        provider=attempt.candidate.provider.slug,
        status=AttemptStatus.CANCELLED if is_cut else attempt.status,
        http_status=attempt.http_status,
        error=attempt.error,
        latency_ms=attempt.latency_ms,
        provider_cost=None if rated is None else _provider_cost(attempt, rated),
        upstream_id=_clean(answer.upstream_id),
        usage=None if answer.usage is None else _raw_usage(answer.usage),
    )
