"""What Stripe's answers mean for a top-up, and when one is looked after."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOON

from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import OrganizationId, TopUpId, typed
from tollgate.payments.model import CheckoutSession, NotChargeable, PaymentIntent, SessionState
from tollgate.payments.records import TopUp, TopUpStatus
from tollgate.payments.rules import top_ups as rules

OWNER, ID = OrganizationId(UUID(int=1)), TopUpId(UUID(int=2))
TOTAL = Decimal("29.75")
METADATA = {"organization": typed("org", OWNER), "top_up": typed("tup", ID)}
TOP_UP = TopUp(
    organization_id=OWNER, id=ID, amount=Decimal(25), tax=Decimal("4.75"), currency="USD", status=TopUpStatus.OPEN,
    reason=None, success_url="https://a.test", cancel_url="https://a.test", customer_id="cus_1", attempt=1,
    session_id="cs_1", url="https://b.test", payment_intent_id=None, grant_id=None, once_key=None, once_request=None,
    tries=0, next_at=NOON, created_at=NOON, created_by=None, expires_at=NOON + rules.PAGE_LASTS, closed_at=None,
)  # fmt: skip
PAGE = CheckoutSession(
    id="cs_1", customer_id="cus_1", mode="payment", state=SessionState.COMPLETE, is_paid=True, url=None, currency="USD",
    amount=TOTAL, payment_intent_id="pi_1", setup_method_id=None, reference=typed("tup", ID), metadata=METADATA,
    expires_at=NOON,
)  # fmt: skip
INTENT = PaymentIntent(
    id="pi_1", customer_id="cus_1", status="succeeded", currency="USD", amount=TOTAL, amount_received=TOTAL,
    latest_charge_id="ch_1", error_code=None, decline_code=None, metadata=METADATA,
)  # fmt: skip


def test_what_fits_in_every_respect_is_paid() -> None:
    verdict = rules.judge(TOP_UP, PAGE, INTENT)

    assert (verdict.status, verdict.reason, verdict.payment_intent_id) == (TopUpStatus.PAID, None, "pi_1")


@pytest.mark.parametrize(
    "page",
    [
        {"reference": "tup_other"},
        {"mode": "setup"},
        {"customer_id": "cus_2"},
        {"customer_id": None},
        {"amount": Decimal(25)},
        {"amount": None},
        {"currency": "EUR"},
        {"state": SessionState.OPEN, "amount": Decimal(1)},
    ],
)
def test_a_page_that_does_not_fit_is_parked(page: dict[str, Any]) -> None:
    verdict = rules.judge(TOP_UP, replace(PAGE, **page), INTENT)

    assert (verdict.status, bool(verdict.reason)) == (TopUpStatus.PARKED, True)


@pytest.mark.parametrize(
    "intent",
    [
        {"amount_received": Decimal("29.74")},
        {"amount_received": Decimal(0)},
        {"currency": "EUR"},
        {"metadata": {}},
        {"metadata": {**METADATA, "top_up": typed("tup", UUID(int=3))}},
        {"customer_id": "cus_2"},
        {"status": "processing"},
    ],
)
def test_a_payment_that_does_not_fit_is_parked(intent: dict[str, Any]) -> None:
    assert rules.judge(TOP_UP, PAGE, replace(INTENT, **intent)).status is TopUpStatus.PARKED
    assert rules.judge(TOP_UP, PAGE, None).status is TopUpStatus.PARKED


@pytest.mark.parametrize(
    ("page", "intent", "status"),
    [
        ({"state": SessionState.OPEN}, {}, TopUpStatus.OPEN),
        ({"state": SessionState.EXPIRED}, {}, TopUpStatus.EXPIRED),
        ({"is_paid": False}, {"status": "processing"}, TopUpStatus.PROCESSING),
        ({"is_paid": False}, {"status": "requires_payment_method"}, TopUpStatus.FAILED),
        ({"is_paid": False}, {"status": "canceled"}, TopUpStatus.FAILED),
    ],
)
def test_what_is_not_paid_is_not_credited(page: dict[str, Any], intent: dict[str, Any], status: TopUpStatus) -> None:
    assert rules.judge(TOP_UP, replace(PAGE, **page), replace(INTENT, **intent)).status is status


@given(
    page=st.fixed_dictionaries(
        {},
        optional={
            "state": st.sampled_from(SessionState),
            "is_paid": st.booleans(),
            "amount": st.sampled_from([None, TOTAL, Decimal(1)]),
            "customer_id": st.sampled_from([None, "cus_1", "cus_2"]),
        },
    ),
    intent=st.fixed_dictionaries(
        {},
        optional={
            "status": st.sampled_from(["succeeded", "processing", "canceled"]),
            "amount_received": st.sampled_from([TOTAL, Decimal(1)]),
            "customer_id": st.sampled_from([None, "cus_1"]),
        },
    ),
)
def test_credit_is_only_for_exactly_what_was_asked_for(page: dict[str, Any], intent: dict[str, Any]) -> None:
    told, paid = replace(PAGE, **page), replace(INTENT, **intent)

    is_paid = rules.judge(TOP_UP, told, paid).status is TopUpStatus.PAID

    assert is_paid == (
        told.state is SessionState.COMPLETE
        and told.is_paid
        and paid.status == "succeeded"
        and {told.amount, paid.amount_received} == {TOTAL}
        and {told.customer_id, paid.customer_id} == {"cus_1"}
    )


@given(tries=st.integers(0, 10**6), status=st.sampled_from(TopUpStatus), late=st.integers(0, 48))
def test_what_waits_is_looked_after_again_and_nothing_else_is(tries: int, status: TopUpStatus, late: int) -> None:
    now = NOON + timedelta(hours=late)

    at = rules.next_look(replace(TOP_UP, tries=tries, status=status), now)

    assert (at is None) == (not status.is_waiting)
    assert at is None or now < at <= now + timedelta(hours=6)


@given(tries=st.integers(0, 20))
def test_a_page_is_looked_at_once_it_should_have_ended(tries: int) -> None:
    before_end = TOP_UP.expires_at - timedelta(seconds=1)

    assert rules.next_look(replace(TOP_UP, tries=tries), before_end) == TOP_UP.expires_at + timedelta(minutes=1)


def test_a_page_asks_for_the_same_however_often() -> None:
    order = rules.wanted(TOP_UP)

    assert order == rules.wanted(replace(TOP_UP, tries=3, status=TopUpStatus.OPENING, url=None))
    assert sum(amount for _, amount in order.lines) == TOP_UP.total
    assert rules.named_in(order.metadata) == (OWNER, ID)


@pytest.mark.parametrize("amount", ["1", "100000", "12.34"])
def test_ordinary_amounts_are_taken(amount: str) -> None:
    rules.check_amount(Decimal(amount), "USD")


@pytest.mark.parametrize(
    ("amount", "currency"), [("0.5", "USD"), ("0", "USD"), ("99", "JPY"), ("100000.01", "USD"), ("10000001", "JPY")]
)
def test_tiny_and_huge_amounts_are_refused(amount: str, currency: str) -> None:
    with pytest.raises(InvalidRequest, match="A top-up is"):
        rules.check_amount(Decimal(amount), currency)


def test_what_stripe_cannot_take_is_refused() -> None:
    with pytest.raises(NotChargeable):
        rules.check_amount(Decimal("100.5"), "JPY")
