"""What differs between two sets of books is found, whichever of them has more, and nothing else is."""

from decimal import Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.payments.rules.test_collecting import a_collection, a_heading, a_mirror

from tollgate.kit.ids import OrganizationId
from tollgate.payments.model import InvoiceState
from tollgate.payments.rules import reconciling
from tollgate.payments.rules.reconciling import Pair
from tollgate.payments.states import Unlike

OWNER = OrganizationId(UUID(int=1))
SUMS = st.dictionaries(
    st.sampled_from(["pi_1", "pi_2", "pi_3", "pi_4"]),
    st.integers(-3, 3).map(lambda units: (OWNER, Decimal(units))),
)


@given(SUMS, SUMS)
def test_every_payment_that_differs_is_told_once_and_no_other(
    ours: dict[str, tuple[OrganizationId, Decimal]], stripes: dict[str, tuple[OrganizationId, Decimal]]
) -> None:
    found = reconciling.payments(ours, stripes)

    differing = {name for name in ours.keys() | stripes.keys() if ours.get(name) != stripes.get(name)}
    assert sorted(each.what for each in found) == sorted(f"payment {name}" for name in differing)
    assert reconciling.payments(ours, ours) == []
    assert len(reconciling.payments(stripes, ours)) == len(found)


@given(st.dictionaries(st.just((OWNER, "USD")), st.integers(-3, 3).map(Decimal)), st.integers(-3, 3).map(Decimal))
def test_money_at_stripe_that_nobody_has_is_no_difference_to_nothing(
    ours: dict[tuple[OrganizationId, str], Decimal], there: Decimal
) -> None:
    found = reconciling.clearing(ours, {(OWNER, "USD"): there})

    assert bool(found) == (ours.get((OWNER, "USD"), Decimal(0)) != there)


@given(st.sampled_from(InvoiceState), st.sampled_from([Decimal(0), Decimal(4), Decimal(10)]))
def test_an_invoice_that_is_settled_here_and_open_there_or_the_other_way_round_is_told(
    state: InvoiceState, paid: Decimal
) -> None:
    heading = a_heading(amount_paid=paid)
    collection = a_collection(heading)
    mirror = a_mirror(collection, heading, state=state, amount_remaining=heading.amount_due)

    found = reconciling.invoices([Pair(collection, heading, mirror)], [mirror])

    asks = state in {InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}
    is_settled = heading.amount_due == 0
    is_at_odds = (asks and is_settled) or (state is InvoiceState.PAID and not is_settled)
    assert [each.kind for each in found] == ([Unlike.STATUS] if is_at_odds else [])


def test_an_invoice_that_stripe_does_not_have_is_told() -> None:
    heading = a_heading()
    pair = Pair(a_collection(heading), heading, None)

    assert [each.kind for each in reconciling.invoices([pair], [])] == [Unlike.MISSING_AT_STRIPE]
