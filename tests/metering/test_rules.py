"""What a refused caller is told, and what a call adds to the rollups."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.builders import a_price, per_million

from tollgate.kit import errors
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import CallId, KeyId, OrganizationId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import Admission, AdmissionRequest
from tollgate.metering.rules import charge_records, refusal
from tollgate.pricing.model import Charge, PriceItem, Unit
from tollgate.pricing.rules import rate

NOW = datetime(2026, 11, 22, 12, 0, 20, tzinfo=UTC)
MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)
CALL = CallId(UUID(int=3))
REQUEST = AdmissionRequest(
    OrganizationId(UUID(int=1)), CALL, None, KeyId(UUID(int=2)), Decimal("0.5"), Decimal(2), 900, "USD", 1
)


def refused(
    outcome: str, amount: str | None = None, scope: str | None = None, limit: str | None = None, **rest: datetime
) -> TollgateError:
    answer = Admission(
        CALL,
        outcome,
        None if amount is None else Decimal(amount),
        scope,
        None if limit is None else Decimal(limit),
        rest.get("resets_at"),
    )
    return refusal(REQUEST, answer, now=NOW)


class TestRefusals:
    @pytest.mark.parametrize(
        ("outcome", "family", "message"),
        [
            ("key", errors.AuthenticationFailed, "This API key is revoked, disabled or expired."),
            ("organization", errors.PermissionDenied, "The organization of this API key is not active."),
            ("project", errors.PermissionDenied, "The project of this API key is archived."),
            (
                "currency",
                errors.ModelNotPriced,
                "Prices are in USD; the organization is billed in another currency.",
            ),
        ],
    )
    def test_who_may_not_call_at_all_is_told_so(self, outcome: str, family: type[TollgateError], message: str) -> None:
        error = refused(outcome)
        assert type(error) is family
        assert error.message == message
        assert error.retry_after_seconds is None

    def test_a_balance_too_low_names_what_is_needed_and_what_is_there(self) -> None:
        error = refused("balance", "0.200000000000", "organization")
        assert type(error) is errors.InsufficientCredit
        assert error.message == (
            "The balance is too low for this call: it needs at least 0.5 USD, 0.2 USD is available."
        )
        assert error.metadata == {
            "limit": "balance",
            "scope": "organization",
            "needed": "0.5",
            "available": "0.2",
            "currency": "USD",
            "resets_at": None,
        }
        assert error.retry_after_seconds is None

    def test_a_limit_that_is_used_up_names_itself_and_when_it_resets(self) -> None:
        error = refused("daily", "0", "key", "10.000000000000", resets_at=MIDNIGHT)
        assert type(error) is errors.LimitExceeded
        assert error.message == "Key daily limit of 10 USD is used up; it resets 2026-11-23T00:00:00Z."
        assert error.metadata == {
            "limit": "daily",
            "scope": "key",
            "amount": "10",
            "available": "0",
            "needed": "0.5",
            "resets_at": "2026-11-23T00:00:00Z",
        }
        assert error.retry_after_seconds is None

    def test_a_limit_that_is_nearly_used_up_names_what_is_left(self) -> None:
        assert refused("monthly", "0.3", "project", "9", resets_at=MIDNIGHT).message == (
            "Project monthly limit of 9 USD has 0.3 USD left, this call needs 0.5; it resets 2026-11-23T00:00:00Z."
        )

    def test_a_total_limit_never_resets(self) -> None:
        error = refused("total", "0", "organization", "10")
        assert error.message == "Organization total limit of 10 USD is used up."
        assert error.metadata["resets_at"] is None

    @pytest.mark.parametrize(
        ("outcome", "noun", "needed"), [("rpm", "requests per minute", 1), ("tpm", "tokens per minute", 900)]
    )
    def test_a_rate_names_itself_and_when_to_try_again(self, outcome: str, noun: str, needed: int) -> None:
        error = refused(outcome, "5", "key", "1000", resets_at=NOW + timedelta(seconds=39, milliseconds=100))
        assert type(error) is errors.RateLimited
        assert error.message == f"Key limit of 1000 {noun} has 5 left, this call needs {needed}; try again in 40 s."
        assert error.metadata == {
            "limit": outcome,
            "scope": "key",
            "amount": 1000,
            "available": 5,
            "needed": needed,
            "resets_at": "2026-11-22T12:00:59Z",
            "retry_after_seconds": 40,
        }

    def test_a_call_larger_than_the_rate_is_told_that_waiting_will_not_do(self) -> None:
        assert refused("tpm", "500", "key", "500", resets_at=MIDNIGHT).message == (
            "Key limit of 500 tokens per minute is less than the 900 that this call alone needs."
        )

    def test_concurrent_calls_may_end_at_any_time(self) -> None:
        error = refused("concurrency", "0", "organization", "64")
        assert error.message == "Organization limit of 64 concurrent calls is reached; try again in 1 s."
        assert error.metadata["resets_at"] is None
        assert error.retry_after_seconds == 1

    @given(st.timedeltas(timedelta(seconds=-5), timedelta(minutes=1)))
    def test_whoever_waits_as_told_comes_after_the_reset(self, wait: timedelta) -> None:
        seconds = refused("rpm", "0", "key", "1", resets_at=NOW + wait).retry_after_seconds
        assert seconds is not None
        assert seconds >= 1
        assert NOW + timedelta(seconds=seconds) >= NOW + wait


kinds = st.sampled_from(Kind)
usages = st.dictionaries(kinds, st.integers(min_value=0, max_value=10**6)).map(UsageQuantities)
items = st.sets(st.sampled_from([Kind.COMPLETION, Kind.REQUEST, Kind.WEB_SEARCH, Kind.INPUT_AUDIO]))


def priced(kind: Kind) -> PriceItem:
    return (
        PriceItem(kind, Decimal(2), Unit.PER_COUNT)
        if kind in {Kind.REQUEST, Kind.WEB_SEARCH}
        else per_million(kind, "3")
    )


class TestChargeRecords:
    @given(usages, items)
    def test_the_records_sum_to_the_charge(self, usage: UsageQuantities, also: set[Kind]) -> None:
        charge = rate(usage, a_price(*map(priced, also | {Kind.PROMPT})))
        records = charge_records(CALL, charge, usage)
        assert sum(record.amount for record in records) == charge.amount
        assert sum(record.origin_amount for record in records) == charge.amount

    @given(usages, items)
    def test_there_is_one_record_of_each_kind_and_always_one_of_the_request(
        self, usage: UsageQuantities, also: set[Kind]
    ) -> None:
        records = charge_records(CALL, rate(usage, a_price(*map(priced, also | {Kind.PROMPT}))), usage)
        recorded = [record.kind for record in records]
        assert len(recorded) == len(set(recorded))
        assert recorded.count(Kind.REQUEST) == 1
        assert {record.call_id for record in records} == {CALL}

    @given(usages, items)
    def test_everything_used_is_recorded_with_or_without_a_price(self, usage: UsageQuantities, also: set[Kind]) -> None:
        records = charge_records(CALL, rate(usage, a_price(*map(priced, also | {Kind.PROMPT}))), usage)
        recorded = {record.kind: record.quantity for record in records if record.kind is not Kind.REQUEST}
        assert recorded == {kind: count for kind, count in usage if kind is not Kind.REQUEST}

    def test_a_kind_without_a_price_costs_nothing_and_says_so(self) -> None:
        usage = UsageQuantities({Kind.PROMPT: 5, Kind.COMPLETION: 7})
        records = charge_records(CALL, rate(usage, a_price(per_million(Kind.PROMPT, "1"))), usage)
        [unpriced] = [record for record in records if record.kind is Kind.COMPLETION]
        assert unpriced == (CALL, Kind.COMPLETION, Unit.PER_MILLION_TOKENS, None, 7, Decimal(0), Decimal(0))

    @given(usages)
    def test_of_an_insured_call_everything_is_recorded_at_no_amount(self, usage: UsageQuantities) -> None:
        nothing = Charge(items=(), amount=Decimal(0), unpriced=(), tier=0)
        records = charge_records(CALL, nothing, usage)
        assert {record.kind: record.quantity for record in records} == dict(usage) | {Kind.REQUEST: 1}
        assert {(record.unit_price, record.amount, record.origin_amount) for record in records} == {
            (None, Decimal(0), Decimal(0))
        }
