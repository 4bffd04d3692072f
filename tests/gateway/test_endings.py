"""Endings: each way a call can end becomes one record, and who pays what is written in one place."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.gateway.builders import a_candidate, a_request
from tests.pricing.builders import JANUARY, an_adjustment

from tollgate.gateway import beginnings, endings
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.endings import Call, Ending
from tollgate.gateway.model import Answer, Attempt, Plan, PromptTokens
from tollgate.gateway.providers.openai_chat.answers import read_usage
from tollgate.kit.ids import AttemptId, CallId, KeyId, OrganizationId, PriceVersionId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.kit.tokens import Kind
from tollgate.metering import letters
from tollgate.metering.model import AttemptStatus, CallStatus, Settlement
from tollgate.pricing.model import PriceItem, Unit
from tollgate.pricing.rules import adjusted

USAGE = {"prompt_tokens": 100, "completion_tokens": 10}
SAID = Answer(usage=read_usage(USAGE), finish_reason="stop", native_finish_reason="end_turn", upstream_id="chatcmpl-1")
AMOUNT = Decimal("0.00012")
_PRICE = a_candidate("1", "2").price
_ORGANIZATION = OrganizationId(UUID(int=2))
_BY_REQUEST = PriceItem(Kind.REQUEST, Decimal("0.01"), Unit.PER_COUNT)
PRICES = {
    "general": _PRICE,
    "of the caller's own": replace(
        _PRICE, id=PriceVersionId(UUID(int=11)), organization_id=OrganizationId(UUID(int=2))
    ),
    "adjusted": adjusted(_PRICE, an_adjustment("-10")),
    "by the request": replace(_PRICE, id=PriceVersionId(UUID(int=12)), items=(*_PRICE.items, _BY_REQUEST)),
    "without prompt": replace(_PRICE, id=PriceVersionId(UUID(int=13)), items=_PRICE.items[1:]),
}


def a_call(ending: Ending, answer: Answer = SAID, *, failed: int = 0, **request: Any) -> Call:
    """A call that some endpoints failed before one served it, unless none did."""
    candidate = a_candidate("1", "2")
    attempts = [
        Attempt(
            AttemptId(UUID(int=number)), candidate, JANUARY, AttemptStatus.FAILED, 503, "provider_error", latency_ms=5
        )
        for number in range(failed)
    ]
    if ending is not Ending.REFUSED:
        attempts.append(
            Attempt(AttemptId(UUID(int=9)), candidate, JANUARY, AttemptStatus.SERVED, 200, latency_ms=7, answer=answer)
        )
    return Call(
        id=CallId(UUID(int=5)),
        principal=Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OrganizationId(UUID(int=2)), None, None, None),
        crossing=Crossing(a_request(**request)),
        accepted_at=JANUARY,
        plan=Plan((candidate,), ()),
        vocabulary="o200k_base",
        prompt=PromptTokens(likely=50, most=80),
        attempts=attempts,
        ending=ending,
    )


def settled(call: Call, counted: int | None = None) -> Settlement:
    return endings.settlement(call, endings.usage_of(call, counted))[0]


@pytest.mark.parametrize(("ending", "answer", "counted", "status", "amount", "estimated"), [
    (Ending.FINISHED, SAID, None, CallStatus.SETTLED, AMOUNT, False),
    (Ending.FINISHED, replace(SAID, usage=None), 10, CallStatus.SETTLED, Decimal("0.00007"), True),
    (Ending.FINISHED, replace(SAID, finish_reason=None), None, CallStatus.SETTLED, AMOUNT, False),
    (Ending.FINISHED, replace(SAID, finish_reason="error"), None, CallStatus.INSURED, Decimal(0), False),
    (Ending.FINISHED, Answer(), 0, CallStatus.INSURED, Decimal(0), True),
    (Ending.FINISHED, Answer(finish_reason="stop"), 0, CallStatus.SETTLED, Decimal("0.00005"), True),
    (Ending.CLIENT_LEFT, SAID, None, CallStatus.CANCELLED, AMOUNT, False),
    (Ending.CLIENT_LEFT, Answer(), 4, CallStatus.CANCELLED, Decimal("0.000058"), True),
    (Ending.CLIENT_LEFT, Answer(), 0, CallStatus.CANCELLED, Decimal("0.00005"), True),
    (Ending.BROKE_OFF, Answer(), 4, CallStatus.FAILED, Decimal("0.000058"), True),
    (Ending.BROKE_OFF, SAID, None, CallStatus.FAILED, AMOUNT, False),
    (Ending.BROKE_OFF, Answer(), 0, CallStatus.FAILED, Decimal(0), True),
    (Ending.REFUSED, Answer(), None, CallStatus.FAILED, Decimal(0), False),
    (Ending.LOST, Answer(), 0, CallStatus.RECOVERED, Decimal("0.00005"), True),
    (Ending.LOST, Answer(), 4, CallStatus.RECOVERED, Decimal("0.000058"), True),
    (Ending.LOST, SAID, None, CallStatus.RECOVERED, AMOUNT, False),
])  # fmt: skip
def test_each_ending_has_its_status_and_its_charge(
    ending: Ending, answer: Answer, counted: int | None, status: CallStatus, amount: Decimal, estimated: Any
) -> None:
    call = settled(a_call(ending, answer), counted).call
    assert (call.status, call.amount, call.origin_amount, call.estimated) == (status, amount, amount, estimated)


def test_a_call_that_broke_off_in_vain_is_charged_by_no_price() -> None:
    record = settled(a_call(Ending.BROKE_OFF, Answer()), 0).call
    assert (record.provider, record.price_version_id) == ("acme", None)


def test_an_attempt_that_was_cut_by_the_end_of_its_process_was_cancelled() -> None:
    call = a_call(Ending.LOST, Answer())
    call.attempts[-1].status = AttemptStatus.FAILED
    assert [attempt.status for attempt in settled(call, 0).attempts] == [AttemptStatus.CANCELLED]


@given(
    st.integers(0, 10_000),
    st.sampled_from([None, {"a": "b"}, {str(at): "x" * 400 for at in range(8)}]),
    st.sampled_from(["general", "of the caller's own", "adjusted", "by the request", "without prompt"]),
)
def test_what_a_call_leaves_if_it_is_lost_follows_from_how_it_began(
    tokens: int, metadata: dict[str, str] | None, priced: str
) -> None:
    call = a_call(Ending.REFUSED, Answer(), user="u", session_id="s", metadata=metadata, stream=True)
    candidate = replace(call.plan.candidates[0], price=PRICES[priced])
    begun = replace(
        call,
        prompt=PromptTokens(likely=tokens, most=tokens),
        attempts=[Attempt(AttemptId(UUID(int=9)), candidate, JANUARY)],
    )
    left = letters.read(letters.begun(beginnings.begun(begun)))
    assert left == endings.settlement_if_lost(begun, 0)


def test_a_served_call_names_who_served_it_and_at_what_price() -> None:
    record = settled(a_call(Ending.FINISHED, failed=1, user="u", metadata={"a": "b"}, stream=True)).call
    price = a_candidate().price
    assert (record.provider, record.model, record.price_version_id) == ("acme", "acme/model", price.id)
    assert (record.provider_cost, record.tokens, json.loads(record.quantities)) == (
        AMOUNT, 110, {"prompt": 100, "completion": 10},
    )  # fmt: skip
    assert (record.user_id, record.metadata, record.streamed) == ("u", '{"a":"b"}', True)
    assert (record.finish_reason, record.native_finish_reason) == ("stop", "end_turn")


def test_a_refused_call_names_nobody_and_charges_nobody() -> None:
    settlement = settled(a_call(Ending.REFUSED, Answer(), failed=2))
    record = settlement.call
    assert (record.provider, record.endpoint_id, record.price_version_id) == (None, None, None)
    assert (record.provider_cost, record.tokens, record.quantities) == (None, 0, "{}")
    assert settlement.charges == ()
    assert [attempt.status for attempt in settlement.attempts] == [AttemptStatus.FAILED] * 2


def test_attempts_keep_their_order_and_only_the_last_has_usage() -> None:
    first, second, served = settled(a_call(Ending.FINISHED, failed=2)).attempts
    assert [attempt.ordinal for attempt in (first, second, served)] == [1, 2, 3]
    assert (first.usage, first.provider_cost, first.upstream_id, first.error) == (None, None, None, "provider_error")
    assert (served.usage, served.provider_cost) == ('{"prompt_tokens":100,"completion_tokens":10}', AMOUNT)
    assert (served.upstream_id, served.status) == ("chatcmpl-1", AttemptStatus.SERVED)


def test_an_insured_call_costs_the_platform_not_the_customer() -> None:
    settlement = settled(a_call(Ending.FINISHED, replace(SAID, finish_reason="error")))
    assert (settlement.call.amount, settlement.call.provider_cost) == (Decimal(0), AMOUNT)
    assert [(charge.kind, charge.quantity, charge.amount) for charge in settlement.charges] == [
        (Kind.PROMPT, 100, Decimal(0)), (Kind.COMPLETION, 10, Decimal(0)), (Kind.REQUEST, 1, Decimal(0)),
    ]  # fmt: skip
    assert json.loads(settlement.call.quantities) == {"prompt": 100, "completion": 10}


def test_a_kind_without_a_price_is_recorded_at_no_amount() -> None:
    call = a_call(Ending.FINISHED)
    unpriced = replace(call.plan.candidates[0].price, items=call.plan.candidates[0].price.items[:1])
    candidate = replace(call.plan.candidates[0], price=unpriced)
    call.attempts[-1].candidate = candidate
    settlement = settled(call)
    assert (settlement.call.status, settlement.call.amount) == (CallStatus.UNPRICED, Decimal("0.0001"))
    assert [(charge.kind, charge.unit_price) for charge in settlement.charges] == [
        (Kind.PROMPT, Decimal(1)), (Kind.COMPLETION, None), (Kind.REQUEST, None),
    ]  # fmt: skip


@pytest.mark.parametrize(("answer", "counted"), [(SAID, None), (Answer(finish_reason="stop"), 10)])
def test_a_request_that_has_a_price_is_charged_once(answer: Answer, counted: int | None) -> None:
    call = a_call(Ending.FINISHED, answer)
    call.attempts[-1].candidate = a_candidate("1", "2", PriceItem(Kind.REQUEST, Decimal("0.01"), Unit.PER_COUNT))
    settlement = settled(call, counted)
    requests = [charge for charge in settlement.charges if charge.kind is Kind.REQUEST]
    assert [(charge.quantity, charge.unit_price, charge.amount) for charge in requests] == [
        (1, Decimal("0.01"), Decimal("0.01"))
    ]
    assert settlement.call.amount == sum(charge.amount for charge in settlement.charges)
    assert json.loads(settlement.call.quantities)["request"] == 1


def test_an_organizations_own_price_hides_what_the_provider_charges() -> None:
    call = a_call(Ending.FINISHED)
    own = replace(call.plan.candidates[0].price, organization_id=call.principal.organization_id)
    call.attempts[-1].candidate = replace(call.plan.candidates[0], price=own)
    assert settled(call).call.provider_cost is None


@pytest.mark.parametrize(("percent", "amount"), [("-10", "0.000108"), ("25", "0.00015"), ("-100", "0")])
def test_an_adjusted_price_decides_what_is_paid_and_the_general_one_what_it_is_compared_with(
    percent: str, amount: str
) -> None:
    call = a_call(Ending.FINISHED, failed=1)
    general = call.plan.candidates[0]
    given = replace(
        general, price=adjusted(general.price, an_adjustment(percent, organization_id=OrganizationId(UUID(int=2))))
    )
    for attempt in call.attempts:
        attempt.candidate, attempt.answer = given, SAID
    settlement = settled(call)
    record = settlement.call
    assert (record.origin_amount, record.amount, record.price_version_id) == (AMOUNT, Decimal(amount), given.price.id)
    assert [attempt.provider_cost for attempt in settlement.attempts] == [AMOUNT, AMOUNT]
    assert record.provider_cost == AMOUNT
    assert [(charge.kind, charge.origin_amount) for charge in settlement.charges] == [
        (Kind.PROMPT, Decimal("0.0001")), (Kind.COMPLETION, Decimal("0.00002")), (Kind.REQUEST, Decimal(0)),
    ]  # fmt: skip
    assert sum(charge.amount for charge in settlement.charges) == record.amount


@pytest.mark.parametrize(("ending", "answer", "counted"), [
    (Ending.FINISHED, replace(SAID, finish_reason="error"), None), (Ending.BROKE_OFF, Answer(), 0),
    (Ending.REFUSED, Answer(), None),
])  # fmt: skip
def test_a_spared_call_has_neither_amount_nor_origin_whatever_the_discount(
    ending: Ending, answer: Answer, counted: int | None
) -> None:
    call = a_call(ending, answer)
    general = call.plan.candidates[0]
    for attempt in call.attempts:
        attempt.candidate = replace(general, price=adjusted(general.price, an_adjustment("-10")))
    settlement = settled(call, counted)
    assert settlement.call.origin_amount == settlement.call.amount == 0
    assert {(charge.origin_amount, charge.amount) for charge in settlement.charges} <= {(Decimal(0), Decimal(0))}


@pytest.mark.parametrize(("usage", "quantities"), [
    ({"prompt_tokens": -5, "completion_tokens": 10}, {"prompt": 50, "completion": 10}),
    ({"prompt_tokens": 100}, {"prompt": 100, "completion": 7}),
])  # fmt: skip
def test_a_half_that_a_provider_does_not_tell_is_estimated_and_never_free(usage: Any, quantities: Any) -> None:
    record = settled(a_call(Ending.FINISHED, replace(SAID, usage=read_usage(usage))), 7).call
    assert json.loads(record.quantities) == quantities
    assert (record.estimated, record.anomalous, record.status) == (True, True, CallStatus.SETTLED)


def test_an_anomaly_is_marked() -> None:
    odd = read_usage({"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}})
    assert settled(a_call(Ending.FINISHED, replace(SAID, usage=odd))).call.anomalous is True


WORDS = st.lists(st.sampled_from(["\\", "u0000", "\x00", '"', "a", "é"]), max_size=8).map("".join)


@given(WORDS, WORDS, st.dictionaries(WORDS, WORDS))
def test_whatever_is_written_is_kept_without_its_nuls(reason: str, identifier: str, more: dict[str, str]) -> None:
    usage = read_usage({**more, **USAGE})
    call = a_call(Ending.FINISHED, Answer(usage, reason, identifier))
    asked = structs.replace(call.request, attribution=structs.replace(call.request.attribution, metadata=more))
    call = replace(call, crossing=Crossing(asked))
    settlement = settled(call)
    bare = {key.replace("\x00", ""): value.replace("\x00", "") for key, value in more.items()}
    assert json.loads(settlement.call.metadata or "") == bare
    assert json.loads(settlement.attempts[-1].usage or "") == {**bare, **USAGE}
    for text in (settlement.call.finish_reason, settlement.attempts[-1].upstream_id):
        assert "\x00" not in (text or "")


def test_usage_out_of_proportion_is_kept_as_its_counts() -> None:
    usage = read_usage({**USAGE, "notes": "x" * 100_000})
    kept = settled(a_call(Ending.FINISHED, replace(SAID, usage=usage))).attempts[-1].usage
    assert json.loads(kept or "") == {"prompt": 100, "completion": 10}


@pytest.mark.parametrize("text", ["half \ud83d", "nul \x00", "x" * 10_000])
def test_a_text_that_the_database_cannot_keep_is_cleaned(text: str) -> None:
    record = settled(a_call(Ending.FINISHED, replace(SAID, finish_reason=text))).call
    assert record.finish_reason is not None
    assert len(record.finish_reason.encode()) <= 200


@given(st.sampled_from(list(Ending)), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_records_of_a_charge_sum_to_its_amount(ending: Ending, prompt: int, completion: int) -> None:
    answer = replace(SAID, usage=read_usage({"prompt_tokens": prompt, "completion_tokens": completion}))
    settlement = settled(a_call(ending, Answer() if ending is Ending.REFUSED else answer))
    assert sum(charge.amount for charge in settlement.charges) == settlement.call.amount
    assert len([charge for charge in settlement.charges if charge.kind is Kind.REQUEST]) == (
        ending is not Ending.REFUSED
    )


@pytest.mark.parametrize(("told", "most", "disputed"), [
    (100, 80, {}), (5_000, 80, {Kind.PROMPT: 50}), (5_000, 6_000, {}), (9_000, 6_000, {}),
    (13_000, 6_000, {Kind.PROMPT: 50}),
])  # fmt: skip
def test_a_prompt_is_disputed_that_is_far_beyond_the_most_it_can_be(told: int, most: int, disputed: Any) -> None:
    answer = replace(SAID, usage=read_usage({"prompt_tokens": told, "completion_tokens": 10}))
    call = replace(a_call(Ending.FINISHED, answer), prompt=PromptTokens(likely=50, most=most))
    usage = endings.usage_of(call, None)
    assert (usage.disputed, usage.estimated, usage.quantities.prompt_tokens) == (disputed, False, told)


@pytest.mark.parametrize(("asked", "told", "billed"), [
    ("fast", "standard", "fast"), ("fast", "standard_only", "standard"), ("fast", "fast", "fast"),
    ("fast", None, "fast"), ("priority", "standard", "standard"), ("priority", None, "priority"),
    ("standard", "priority", "priority"), ("standard", "fast", "fast"),
])  # fmt: skip
def test_the_tier_that_served_is_billed_and_standard_tells_nothing_of_speed(
    asked: str, told: str | None, billed: str
) -> None:
    candidate = a_candidate()
    tiers = {name: replace(candidate.price, service_tier=name) for name in ("standard", "fast", "priority")}
    given = replace(candidate, price=tiers[asked], tiers=tiers)
    attempt = Attempt(AttemptId(UUID(int=9)), given, JANUARY, answer=Answer(service_tier=told))
    assert endings.price_of(attempt).service_tier == billed
