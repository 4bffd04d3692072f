"""What goes back: never more than is owed and was paid, and what a top-up gives back adds up."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOON

from tollgate.kit.errors import Conflict
from tollgate.kit.ids import GrantId, OrganizationId, TopUpId
from tollgate.ledger.model import Transfer
from tollgate.payments.records import TopUp, TopUpStatus
from tollgate.payments.rules import clearing, refunding
from tollgate.payments.states import DisputeRow, Movement, RefundRow, RefundStatus

OWNER = OrganizationId(UUID(int=1))
CENTS = st.integers(1, 5000).map(lambda cents: Decimal(cents).scaleb(-2))
LEFT = st.dictionaries(
    st.sampled_from(["pi_1", "pi_2", "pi_3"]), st.integers(0, 5000).map(lambda cents: Decimal(cents).scaleb(-2))
)


@given(CENTS, LEFT)
def test_shares_come_to_the_amount_and_none_is_more_than_was_paid(amount: Decimal, left: dict[str, Decimal]) -> None:
    if sum(left.values()) < amount:
        with pytest.raises(Conflict, match="as it was paid"):
            refunding.shares(amount, left)
        return

    found = refunding.shares(amount, left)

    assert sum(part for _, part in found) == amount
    assert all(0 < part <= left[payment] for payment, part in found)


TOP_UP = TopUp(
    OWNER, TopUpId(UUID(int=2)), Decimal(20), Decimal("3.80"), "USD", TopUpStatus.PAID, None, "", "", None, 1, None,
    None, "pi_1", GrantId(UUID(int=3)), None, None, 0, None, NOON, None, NOON, NOON,
)  # fmt: skip
REFUND = RefundRow(
    organization_id=OWNER,
    id=UUID(int=4),
    payment_intent_id="pi_1",
    invoice_id=None,
    top_up_id=TOP_UP.id,
    amount=Decimal(1),
    currency="USD",
    status=RefundStatus.SENT,
    is_ours=False,
    stripe_refund_id="re_1",
    reason=None,
    from_credit=Decimal(0),
    last_error=None,
    attempts=0,
    next_at=None,
    requested_by=None,
    created_at=NOON,
    updated_at=NOON,
)


@given(st.integers(1, 2380), st.integers(0, 2000))
def test_what_goes_back_of_a_top_up_adds_up_and_takes_no_credit_that_is_spent(cents: int, remaining: int) -> None:
    row = replace(REFUND, amount=Decimal(cents).scaleb(-2))
    left = Decimal(remaining).scaleb(-2)

    parts = refunding.parts(row, TOP_UP, left, kept=Decimal(1), before=refunding.Gone())
    posted = refunding.taken_back(row, parts, GrantId(UUID(int=3)), now=NOON)

    assert parts.credit + parts.tax + parts.kept + parts.owed == row.amount
    assert parts.credit <= left
    assert 0 <= parts.kept <= 1
    assert 0 <= parts.tax <= TOP_UP.tax
    assert sum(transfer.amount for transfer in posted) == row.amount
    if cents == 2380:
        assert parts.tax == TOP_UP.tax


@given(st.lists(st.integers(1, 2379), max_size=8), st.integers(0, 7))
def test_what_goes_back_in_parts_takes_as_much_tax_and_credit_as_the_whole_whatever_came_again(
    cuts: list[int], failing: int
) -> None:
    """Parts go back one after another, one of them comes again, and then goes back after all."""
    bounds = [0, *sorted(set(cuts)), 2380]
    rows = [
        replace(REFUND, id=UUID(int=10 + n), amount=Decimal(high - low).scaleb(-2))
        for n, (low, high) in enumerate(pairwise(bounds))
    ]
    posted: list[tuple[RefundRow | DisputeRow, Sequence[Transfer]]] = []

    def goes_back(row: RefundRow) -> None:
        taken = sum((refunding.posted_parts(transfers).credit for each, transfers in posted if each.gone), Decimal(0))
        parts = refunding.parts(row, TOP_UP, TOP_UP.amount - taken, kept=Decimal(0), before=refunding.gone(posted))
        transfers = refunding.taken_back(row, parts, GrantId(UUID(int=3)), now=NOON)
        assert refunding.posted_parts(transfers) == parts
        posted.append((row, transfers))

    for n, row in enumerate(rows):
        goes_back(row)
        if n == failing:
            posted[-1] = (replace(row, status=RefundStatus.FAILED), posted[-1][1])
    if failing < len(rows):
        goes_back(replace(rows[failing], id=UUID(int=9)))

    gone = [refunding.posted_parts(transfers) for each, transfers in posted if each.gone]
    assert sum(part.tax for part in gone) == TOP_UP.tax
    assert sum(part.credit for part in gone) == TOP_UP.amount
    assert all(part.owed == 0 for part in gone)


AMOUNTS = st.integers(-5000, 5000).map(lambda cents: Decimal(cents).scaleb(-2))


@given(
    st.lists(st.tuples(AMOUNTS, st.integers(0, 300).map(lambda cents: Decimal(cents).scaleb(-2)))),
    st.sampled_from(["USD", "EUR"]),
)
def test_clearing_is_empty_once_all_that_moved_is_paid_out(moved: list[tuple[Decimal, Decimal]], kept: str) -> None:
    movements = [
        Movement(OWNER, f"txn_{n}", "charge", None, "pi_1", kept, amount, fee, "USD", amount, NOON, NOON)
        for n, (amount, fee) in enumerate(moved)
    ]
    balances = {("stripe_clearing", "USD"): sum((each.source_amount for each in movements), Decimal(0))}
    transfers = [transfer for movement in movements for transfer in clearing.postings(movement)]
    for (owner, currency), amount in clearing.shares(movements).items():
        share = clearing.share("po_1", (owner, currency, amount), is_return=False, now=NOON)
        transfer = clearing.payout_posting(share)
        transfers += [] if transfer is None else [transfer]
    for transfer in transfers:
        for account, sign in ((transfer.debit_account, 1), (transfer.credit_account, -1)):
            place = (account, transfer.currency)
            balances[place] = balances.get(place, Decimal(0)) + sign * transfer.amount

    assert all(amount == 0 for (account, _), amount in balances.items() if account == "stripe_clearing")
    assert len({transfer.id for transfer in transfers}) == len(transfers)
