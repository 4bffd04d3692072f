"""What a grant says of itself adds up, and what is refused is told why."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import BORN

from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import AdjustmentId, GrantId, OrganizationId, derived_id, uuid7
from tollgate.ledger import rules
from tollgate.ledger.model import (
    AMOUNT_MAX,
    Adjustment,
    AdjustmentOrder,
    Grant,
    GrantCategory,
    GrantTerms,
    credits_of,
)

SOMEBODY = OrganizationId(uuid7(BORN, 1))
AMOUNTS = st.decimals(min_value="0.000000000001", max_value=10**9, places=12)
SHARES = st.decimals(min_value=0, max_value=10**9, places=12)
INSTANTS = st.none() | st.integers(0, 100).map(lambda hours: BORN + timedelta(hours=hours))


def a_grant(amount: Decimal = Decimal(5), **changes: Any) -> Grant:
    ordinary: dict[str, Any] = {
        "organization_id": SOMEBODY,
        "id": GrantId(uuid7(BORN, 2)),
        "category": GrantCategory.PAID,
        "priority": 50,
        "amount": amount,
        "remaining": amount,
        "currency": "USD",
        "reason": "a reason",
        "expires_at": None,
        "created_at": BORN,
        "created_by": None,
    }
    return Grant(**{**ordinary, **changes})


@given(burned=AMOUNTS, unused=SHARES, remaining=SHARES, expires_at=INSTANTS, voided_at=INSTANTS)
def test_a_grant_is_what_was_burned_expired_and_voided_and_what_remains(
    burned: Decimal, unused: Decimal, remaining: Decimal, expires_at: datetime | None, voided_at: datetime | None
) -> None:
    grant = a_grant(
        burned + unused + remaining, unused=unused, remaining=remaining, expires_at=expires_at, voided_at=voided_at
    )

    assert grant.burned == burned
    assert grant.burned + grant.expired + grant.voided + grant.remaining == grant.amount
    assert 0 in {grant.expired, grant.voided}
    if unused and (expires_at, voided_at) != (None, None):
        assert (grant.voided > 0) == (grant.ends_at != expires_at)


@given(amount=AMOUNTS, category=st.sampled_from(GrantCategory))
def test_a_grant_is_funded_in_full_by_one_transfer_that_follows_from_it(
    amount: Decimal, category: GrantCategory
) -> None:
    grant = a_grant(amount, category=category)

    transfer = rules.funding(grant)

    assert (transfer.debit_account, transfer.credit_account) == (category.source, credits_of(grant.id))
    assert (transfer.amount, transfer.id) == (amount, derived_id(grant.id, "grant"))


@given(amount=AMOUNTS)
def test_a_favour_is_a_grant_of_its_own_id_and_amount_that_can_be_taken_back(amount: Decimal) -> None:
    favour = Adjustment(
        organization_id=SOMEBODY,
        id=AdjustmentId(UUID(int=7)),
        amount=amount,
        currency="USD",
        reason="a reason",
        credits_amount=Decimal(0),
        invoice_cut=0,
        created_at=BORN,
        created_by=None,
    )

    grant = rules.favour_grant(favour)

    assert (grant.id, grant.amount, grant.remaining) == (favour.grant_id, amount, amount)
    assert rules.favour_funding(grant, favour).id == rules.funding(grant).id
    rules.check_voidable(grant, BORN)


@given(amount=st.decimals(min_value=-AMOUNT_MAX, max_value=AMOUNT_MAX, places=12))
def test_any_amount_but_nothing_adjusts(amount: Decimal) -> None:
    order = AdjustmentOrder(amount, "USD", "a reason")
    if amount == 0:
        with pytest.raises(InvalidRequest):
            rules.check_adjustment(order)
    else:
        rules.check_adjustment(order)


def test_a_reference_stands_for_equal_terms_however_they_are_written() -> None:
    grant = a_grant(Decimal(5), reference="1", expires_at=BORN)
    terms = GrantTerms(Decimal("5.00"), "USD", GrantCategory.PAID, "a reason", expires_at=BORN, reference="1")
    rules.check_same_terms(grant, terms)
    with pytest.raises(Conflict, match="differs in amount, expires_at"):
        rules.check_same_terms(a_grant(Decimal(6), reference="1"), terms)
