"""Endings: from how a call went to what is recorded of it. Pure; every way a call can end comes through here once.

The customer pays for the attempt that served, at its own price; failed attempts are recorded and cost the customer
nothing (billing-rules §5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum, auto
from typing import NamedTuple

from tollgate.catalog.model import Format
from tollgate.gateway import recordable, routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import NO_ANSWER, Answer, Attempt, Plan, PromptTokens, Request, Session
from tollgate.kit import ids, money
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
    Settlement,
)
from tollgate.pricing import rules as pricing
from tollgate.pricing.model import CURRENCY, STANDARD, Charge, PriceVersion

_FAST = "fast"
"""A tier of speed: an answer that says `standard`, and no more, tells nothing of it."""
_DISPUTED_TOKENS_MIN = 256
_GAUGED_PERCENT_OFF = 38
"""What lies within is not disputed unless samples of a prompt are off by a fifth."""
_EVENTS_BESIDE_OUTPUT = 64
"""Events of a stream that carry no output, at most: openings, closings, keep-alives."""
_CHARACTERS_PER_TOKEN_MAX = 32
_ANY_TIER = "auto"
_ERROR = "error"
"""The finish reason of an answer that is none."""
_FREE = Charge(items=(), amount=money.ZERO, unpriced=(), tier=0)


_NO_QUANTITIES = UsageQuantities()


class Ending(StrEnum):
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
_ANSWERED = frozenset({Ending.FINISHED, Ending.CLIENT_LEFT})


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
    request: Request = field(init=False)
    """What was asked."""
    generation_id: str = field(init=False)
    """Its id as clients are told it."""

    def __post_init__(self) -> None:
        self.request = self.crossing.request
        self.generation_id = ids.typed("gen", self.id)

    @property
    def serving(self) -> Attempt | None:
        """The attempt that answered: the last one, unless all were refused."""
        return None if self.ending is Ending.REFUSED or not self.attempts else self.attempts[-1]

    @property
    def answer(self) -> Answer:
        """What the provider that answered said about its answer."""
        serving = self.serving
        return NO_ANSWER if serving is None else serving.answer


class _End(NamedTuple):
    """A call as it ended, or as it would have ended."""

    call: Call
    ending: Ending
    serving: Attempt | None


_NOTHING_DISPUTED: Mapping[Kind, int] = {}


class Usage(NamedTuple):
    """What a call used, and whether we had to count it ourselves."""

    quantities: UsageQuantities
    estimated: bool
    disputed: Mapping[Kind, int] = _NOTHING_DISPUTED
    """What we counted ourselves, where the provider's figure is far from it: that is billed, and both are kept."""


_UNUSED = Usage(_NO_QUANTITIES, estimated=False)


def usage_of(call: Call, counted_output_tokens: int | None) -> Usage:
    """The provider's usage; what it lacks, the prompt as estimated and the output as counted; nothing if refused.

    Where the request itself has a price, it is counted as well.
    """
    return _usage(call, call.serving, counted_output_tokens)


def _usage(call: Call, serving: Attempt | None, counted_output_tokens: int | None) -> Usage:
    if serving is None:
        return _UNUSED
    told = serving.answer.usage
    known = _NO_QUANTITIES if told is None else told.quantities
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
    estimated = bool(counts)
    if price_of(serving).has(Kind.REQUEST):
        counts[Kind.REQUEST] = 1
    return Usage(known + UsageQuantities(counts) if counts else known, estimated, disputed)


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
    candidate = attempt.candidate
    if attempt.answer.service_tier is None:
        return candidate.price
    tier = served_tier(attempt.answer)
    if tier is None or (attempt.answer.service_tier == STANDARD and candidate.price.service_tier == _FAST):
        return candidate.price
    return candidate.tiers.get(tier, candidate.price)


def served_tier(answer: Answer) -> str | None:
    """The service tier that the answer says has served, as prices know it; `auto` repeats a question."""
    tier = answer.service_tier
    return None if tier is None or tier == _ANY_TIER else routing.tier_of(tier)


def settlement(call: Call, usage: Usage) -> tuple[Settlement, Charge]:
    """Everything the call leaves behind, and what its customer pays."""
    return _settlement(_End(call, call.ending, call.serving), usage)


def settlement_if_lost(call: Call, counted_output_tokens: int) -> Settlement:
    """What the call leaves behind if its process dies now: the prompt, and the output delivered so far.

    The last attempt is taken to have reached its provider.
    """
    serving = call.attempts[-1] if call.attempts else None
    return _settlement(_End(call, Ending.LOST, serving), _usage(call, serving, counted_output_tokens))[0]


def _settlement(end: _End, usage: Usage) -> tuple[Settlement, Charge]:
    serving, quantities = end.serving, usage.quantities
    if serving is None:
        bill = _Bill(_STATUS[end.ending], None, _FREE, _FREE, None)
        return Settlement(_record(end, usage, bill), (), _attempt_records(end, None)), _FREE
    bill = _bill(end, serving, quantities)
    charges = metering.charge_records(end.call.id, bill.charge, quantities, origin=bill.origin)
    return Settlement(_record(end, usage, bill), charges, _attempt_records(end, bill.provider_cost)), bill.charge


class _Bill(NamedTuple):
    """How a call is to be taken, and what it comes to."""

    status: CallStatus
    price: PriceVersion | None
    """What charges it."""
    charge: Charge
    """What its customer pays."""
    origin: Charge
    """The same at that price as it was published, before any discount or markup."""
    provider_cost: Decimal | None


def _bill(end: _End, serving: Attempt, quantities: UsageQuantities) -> _Bill:
    """Who pays nothing: insured calls, and calls whose provider broke off before any output.

    A call that broke off later is `failed` though what was delivered is charged.
    """
    price = price_of(serving)
    charge, origin = _rated(quantities, price)
    provider_cost = _provider_cost(serving, price, origin)
    if _is_insured(end, serving, quantities):
        return _Bill(CallStatus.INSURED, price, _FREE, _FREE, provider_cost)
    if end.ending is Ending.BROKE_OFF and quantities.completion_tokens == 0:
        return _Bill(CallStatus.FAILED, None, _FREE, _FREE, provider_cost)
    status = CallStatus.UNPRICED if charge.unpriced else _STATUS[end.ending]
    return _Bill(status, price, charge, origin, provider_cost)


def _rated(quantities: UsageQuantities, price: PriceVersion) -> tuple[Charge, Charge]:
    """What the quantities come to at a price, and at that price as it was published."""
    charge = pricing.rate(quantities, price)
    return charge, charge if price.base is None else pricing.rate(quantities, price.base)


def _is_insured(end: _End, serving: Attempt, quantities: UsageQuantities) -> bool:
    """Whether the answer came to an end but is none: no output and no finish reason, or the finish reason `error`."""
    if end.ending not in _ANSWERED:
        return False
    reason = serving.answer.finish_reason
    if reason is None:
        return end.ending is Ending.FINISHED and not quantities.completion_tokens and end.call.request.choices > 0
    return reason == _ERROR


def _record(end: _End, usage: Usage, bill: _Bill) -> CallRecord:
    call, serving = end.call, end.serving
    request, principal = call.request, call.principal
    endpoint = (call.plan.candidates[0] if serving is None else serving.candidate).endpoint
    answer = NO_ANSWER if serving is None else serving.answer
    attribution, quantities = request.attribution, usage.quantities
    return CallRecord(
        organization_id=principal.organization_id,
        call_id=call.id,
        project_id=principal.project_id,
        key_id=principal.key_id,
        accepted_at=call.accepted_at,
        requested_model=request.models[0],
        model=endpoint.model,
        provider=None if serving is None else endpoint.provider,
        endpoint_id=None if serving is None else endpoint.id,
        api=request.wire,
        streamed=request.stream,
        status=bill.status,
        estimated=usage.estimated,
        anomalous=answer.usage is not None and answer.usage.anomalous,
        finish_reason=recordable.text(answer.finish_reason),
        native_finish_reason=recordable.text(answer.native_finish_reason),
        latency_ms=call.latency_ms,
        generation_ms=call.generation_ms,
        quantities=recordable.json(dict(quantities)),
        tokens=quantities.prompt_tokens + quantities.completion_tokens,
        price_version_id=None if bill.price is None else bill.price.id,
        tier=bill.charge.tier,
        currency=CURRENCY,
        origin_amount=bill.origin.amount,
        amount=bill.charge.amount,
        provider_cost=bill.provider_cost,
        user_id=attribution.user,
        session_id=attribution.session_id,
        metadata=recordable.metadata(attribution.metadata, is_lost=end.ending is Ending.LOST),
        estimate=recordable.json(usage.disputed) if usage.disputed else None,
    )


def _provider_cost(attempt: Attempt, price: PriceVersion, origin: Charge) -> Decimal | None:
    """What the provider charges us: its list price; unknown where the customer has a price of its own."""
    if attempt.candidate.provider.format is Format.SANDBOX:
        return money.ZERO
    return origin.amount if (price.base or price).organization_id is None else None


def _attempt_records(end: _End, provider_cost: Decimal | None) -> tuple[AttemptRecord, ...]:
    """A record of each attempt; that of the one that served costs what the call does."""
    return tuple(
        [
            _attempt_record(end, attempt, ordinal, provider_cost if attempt is end.serving else _cost_in_vain(attempt))
            for ordinal, attempt in enumerate(end.call.attempts, start=1)
        ]
    )


def _cost_in_vain(attempt: Attempt) -> Decimal | None:
    """What a failed attempt cost us, if the provider told its usage all the same."""
    usage, price = attempt.answer.usage, price_of(attempt)
    return None if usage is None else _provider_cost(attempt, price, _rated(usage.quantities, price)[1])


def _attempt_record(end: _End, attempt: Attempt, ordinal: int, provider_cost: Decimal | None) -> AttemptRecord:
    answer, endpoint = attempt.answer, attempt.candidate.endpoint
    # A process that dies leaves its last attempt before anyone knows what becomes of it.
    is_cut = end.ending is Ending.LOST and attempt is end.serving and attempt.status is AttemptStatus.FAILED
    return AttemptRecord(
        organization_id=end.call.principal.organization_id,
        id=attempt.id,
        call_id=end.call.id,
        ordinal=ordinal,
        endpoint_id=endpoint.id,
        provider=endpoint.provider,
        status=AttemptStatus.CANCELLED if is_cut else attempt.status,
        http_status=attempt.http_status,
        error=attempt.error,
        latency_ms=attempt.latency_ms,
        provider_cost=provider_cost,
        upstream_id=recordable.text(answer.upstream_id),
        usage=None if answer.usage is None else recordable.usage(answer.usage),
    )
