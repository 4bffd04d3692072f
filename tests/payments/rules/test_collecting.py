"""What is done next to collect an invoice, as laws over everything that may be known."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.invoices.builders import AFTER, NOVEMBER, an_organization, usage

from tollgate.invoices.model import Heading, Invoice, InvoiceStatus, Window
from tollgate.invoices.rules import closing, lines, paying
from tollgate.payments.model import InvoiceState, PaymentIntent, StripeInvoice
from tollgate.payments.rules import collecting, mirroring
from tollgate.payments.rules.collecting import Act, Seen, Ways
from tollgate.payments.states import Collection, CollectionMode, CollectionState, Dunning, Mirror, Policy

ASKING = {InvoiceState.DRAFT, InvoiceState.OPEN, InvoiceState.UNCOLLECTIBLE}
NOW = AFTER + timedelta(hours=1)


def an_invoice(*amounts: str) -> Invoice:
    organization = an_organization()
    window = Window(NOVEMBER.instants(organization.zone), 1, previous_end=None, previous_cut=None)
    used = [usage(amount, tier=tier) for tier, amount in enumerate(amounts)]
    return closing.issue(lines.draft(organization, NOVEMBER, window, used), serial=1, now=AFTER)


def a_heading(**changes: Any) -> Heading:
    return paying.settled(replace(an_invoice("10").heading, **changes), at=AFTER)


def a_collection(heading: Heading, **changes: Any) -> Collection:
    known = Mirror(0, AFTER, "cus_1", "in_1", heading.totals.total, AFTER)
    ordinary = Collection(
        heading.organization_id, heading.id, CollectionState.OPEN, known, Dunning(), AFTER, AFTER, AFTER
    )
    return replace(ordinary, **changes)


def a_mirror(collection: Collection, heading: Heading, **changes: Any) -> StripeInvoice:
    total = collection.mirror.amount or Decimal(0)
    ordinary = StripeInvoice(
        id="in_1",
        customer_id="cus_1",
        number=collecting.number(collection, heading),
        state=InvoiceState.OPEN,
        currency=heading.currency,
        total=total,
        amount_due=total,
        amount_paid=Decimal(0),
        amount_remaining=total,
        is_paid_elsewhere=False,
        payment_intent_ids=("pi_1",),
        hosted_url=None,
        metadata=collecting.metadata(collection),
        created_at=AFTER,
        paid_at=None,
    )
    return replace(ordinary, **changes)


def an_intent(status: str, **changes: Any) -> PaymentIntent:
    received = Decimal(10) if status == "succeeded" else Decimal(0)
    ordinary = PaymentIntent("pi_1", "cus_1", status, "USD", Decimal(10), received, None, None, None, {})
    return replace(ordinary, **changes)


def is_strange(seen: Seen) -> bool:
    return seen.mirror is not None and collecting.stranger(seen.collection, seen.heading, seen.mirror) is not None


CENTS = st.sampled_from([Decimal(0), Decimal(4), Decimal(10)])
STATUSES = st.sampled_from(["succeeded", "processing", "requires_payment_method"])
TRIED = st.sampled_from(
    [
        Dunning(),
        Dunning(attempts=1, last_attempt_at=AFTER),
        Dunning(attempts=1, failures=1, first_failed_at=AFTER, last_attempt_at=AFTER),
        Dunning(attempts=5, failures=5, first_failed_at=AFTER, last_attempt_at=AFTER + timedelta(days=30)),
    ]
)


@st.composite
def sights(draw: st.DrawFn) -> Seen:
    """Everything that may be known of an invoice over 10 dollars."""
    heading = a_heading(amount_paid=draw(CENTS), amount_credited=draw(CENTS))
    if draw(st.booleans()):
        heading = replace(heading, status=draw(st.sampled_from([InvoiceStatus.VOID, InvoiceStatus.UNCOLLECTIBLE])))
    mirror = None
    collection = a_collection(heading, dunning=draw(TRIED), is_asked=draw(st.booleans()))
    stage = draw(st.integers(0, 3))
    if stage < 2:
        unknown = replace(collection.mirror, invoice_id=None, begun_at=AFTER if stage else None, filled_at=None)
        collection = replace(collection, mirror=unknown)
    elif stage == 3:
        oddities: list[dict[str, Any]] = [{}, {}, {}, {"metadata": {}}, {"currency": "EUR"}, {"total": Decimal(9)}]
        strange = draw(st.sampled_from(oddities))
        mirror = a_mirror(collection, heading, state=draw(st.sampled_from(InvoiceState)), **strange)
    ways = Ways(draw(st.sampled_from(CollectionMode)), "cus_1", has_method=draw(st.booleans()))
    intents = [an_intent(draw(STATUSES))] if mirror is not None and mirror.state is not InvoiceState.DRAFT else []
    recorded = frozenset({"pi_1"}) if draw(st.booleans()) else frozenset[str]()
    return Seen(collection, heading, ways, mirror, intents, recorded, was_looked_for=draw(st.booleans()))


@given(sights())
def test_money_is_taken_only_where_it_is_due_allowed_and_mirrored_to_the_cent(seen: Seen) -> None:
    step = collecting.next_step(seen, Policy(), NOW)

    if step.act is Act.CHARGE:
        assert seen.heading.amount_due > 0
        assert seen.heading.status is InvoiceStatus.FINALISED
        assert seen.ways.mode is CollectionMode.AUTOMATIC
        assert seen.ways.has_method
        assert seen.mirror is not None
        assert seen.mirror.amount_remaining == seen.heading.amount_due
        assert not any(intent.status == "processing" for intent in seen.intents)
        assert not collecting.unrecorded(seen)
        assert not is_strange(seen)


@given(sights())
def test_what_stripe_has_is_written_down_before_anything_else(seen: Seen) -> None:
    step = collecting.next_step(seen, Policy(), NOW)

    assert (step.act is Act.RECORD) == (bool(collecting.unrecorded(seen)) and not is_strange(seen))


@given(sights())
def test_what_is_strange_is_parked_with_a_reason(seen: Seen) -> None:
    step = collecting.next_step(seen, Policy(), NOW)

    if is_strange(seen):
        assert step.act is Act.PARK
    assert (step.act is Act.PARK) == bool(step.reason)


@given(sights())
def test_nothing_is_finished_while_something_is_due_and_nothing_is_made_twice(seen: Seen) -> None:
    step = collecting.next_step(seen, Policy(), NOW)

    if step.act is Act.FINISH:
        assert seen.heading.amount_due == 0 or seen.heading.status is InvoiceStatus.UNCOLLECTIBLE
        assert seen.heading.amount_paid <= (0 if seen.heading.status is InvoiceStatus.VOID else 10)
    if step.act is Act.MAKE:
        assert seen.mirror is None
        assert seen.was_looked_for or seen.collection.mirror.begun_at is None
        assert seen.heading.amount_due > 0
    if step.act is Act.WITHDRAW:
        assert seen.mirror is not None
        assert seen.mirror.state in ASKING
    if step.act is Act.REST:
        assert step.at is not None
        assert step.at > NOW


@given(
    st.lists(st.integers(0, 500), min_size=1, max_size=8),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
def test_the_mirrors_lines_come_to_what_is_due(cents: list[int], credited: int, paid: int) -> None:
    invoice = an_invoice(*(str(Decimal(each).scaleb(-3)) for each in cents))
    total = invoice.heading.totals.total
    changed = replace(
        invoice.heading,
        amount_credited=min(Decimal(credited).scaleb(-2), total),
        amount_paid=Decimal(paid).scaleb(-2),
    )
    heading = paying.settled(changed, at=AFTER)
    if heading.amount_due == 0:
        return

    items = mirroring.items(replace(invoice, heading=heading))

    assert sum(item.amount for item in items) == heading.amount_due
    assert all(item.amount != 0 for item in items)


def test_more_lines_than_stripe_takes_are_told_by_their_sums() -> None:
    invoice = an_invoice(*("0.01" for _ in range(mirroring.LINES_MAX + 1)))

    [item] = mirroring.items(invoice)

    assert (item.description, item.amount) == ("Usage (201 lines)", Decimal("2.01"))


def test_a_balance_at_stripe_that_is_set_against_the_mirror_parks_it() -> None:
    heading = a_heading()
    collection = a_collection(heading)
    mirror = a_mirror(collection, heading, state=InvoiceState.OPEN, amount_due=Decimal(1), amount_remaining=Decimal(1))

    said = collecting.stranger(collection, heading, mirror)

    assert said is not None
    assert "what it asks for of its total is 1, not" in said


@given(st.integers(0, 100))
def test_stripe_is_left_alone_the_longer_the_more_often_it_failed_and_six_hours_at_most(errors: int) -> None:
    pause = collecting.retry_after(errors)

    assert timedelta(seconds=30) <= pause <= collecting.retry_after(errors + 1) <= timedelta(hours=6)


@given(sights())
def test_whoever_cannot_see_stripe_ends_nothing_that_was_begun_there(seen: Seen) -> None:
    blind = replace(seen, mirror=None, intents=[], ways=Ways(CollectionMode.NONE), is_blind=True)
    known = seen.collection.mirror
    step = collecting.next_step(blind, Policy(), NOW)

    assert step.act in {Act.REST, Act.REMIND, Act.SUSPEND, Act.FINISH, Act.PARK}
    if known.invoice_id is not None or known.begun_at is not None:
        assert step.act not in {Act.FINISH, Act.PARK}
