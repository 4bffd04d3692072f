"""Collecting an invoice at Stripe: one mirror, one charge, whatever goes wrong."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.invoices.acting import give_up, void
from tests.payments.builders import Desk, days
from tests.payments.stripe_double import Kind

from tollgate.invoices.model import InvoiceStatus
from tollgate.payments.states import CollectionState, Policy

ONE = "POST /v1/invoices/"
WAITS, DONE, PARKED = CollectionState.OPEN, CollectionState.DONE, CollectionState.PARKED


class TestAnInvoice:
    async def test_is_mirrored_line_by_line_and_taken_from_the_stored_method(self, stand: Desk) -> None:
        heading = await stand.invoiced()

        done = await stand.collect(heading)

        assert done is not None
        assert done.state is DONE
        paid = await stand.heading(heading)
        assert (paid.status, paid.amount_paid) == (InvoiceStatus.PAID, paid.totals.total)
        [mirror] = stand.double.every("invoice")
        assert (mirror["number"], mirror["status"], mirror["total"]) == (heading.number, "paid", 1000)
        assert await stand.balance(heading, "stripe_clearing") == "10"
        assert await stand.balance(heading, "receivable") == "0"
        assert len(stand.double.every("charge")) == 1

    async def test_is_taken_once_however_often_it_is_collected(self, stand: Desk) -> None:
        heading = await stand.invoiced()

        for _ in range(3):
            await stand.wake(heading)
            await stand.collect(heading)

        assert len(stand.double.every("charge")) == 1
        assert (await stand.collection(heading)).state is DONE

    async def test_is_asked_for_where_nothing_is_stored_to_take_it_from(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)

        waits = await stand.collect(heading)
        [mirror] = stand.double.every("invoice")
        stand.double.pay_hosted(mirror["id"])
        stand.pass_time(days(1))
        done = await stand.collect(heading)

        assert waits is not None
        assert done is not None
        assert (waits.state, done.state) == (WAITS, DONE)
        assert mirror["collection_method"] == "send_invoice"
        assert (await stand.heading(heading)).status is InvoiceStatus.PAID

    async def test_that_was_paid_by_hand_is_not_asked_for_any_more(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)

        await stand.mark_paid(heading)
        done = await stand.collect(heading)

        assert done is not None
        assert done.state is DONE
        [mirror] = stand.double.every("invoice")
        assert (mirror["status"], stand.double.every("charge")) == ("paid", [])
        assert await stand.balance(heading, "stripe_clearing") == "0"

    async def test_that_was_paid_in_part_is_asked_for_anew_over_the_rest(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)

        await stand.mark_paid(heading, "4")
        await stand.collect(heading)

        again, first = stand.double.every("invoice")
        assert (first["status"], again["status"]) == ("void", "open")
        assert (again["total"], again["number"]) == (600, f"{heading.number}-2")

    async def test_in_three_decimals_that_stripe_cannot_take_waits_for_a_person(self, stand: Desk) -> None:
        heading = await stand.invoiced(currency="KWD", tokens=25_002_500)

        parked = await stand.collect(heading)

        assert parked is not None
        assert parked.state is PARKED
        assert "by hand" in str(parked.parked_reason)
        assert stand.double.every("invoice") == []

        await stand.mark_paid(heading)
        done = await stand.collect(heading)

        assert done is not None
        assert done.state is DONE

    async def test_of_an_organization_that_is_not_collected_from_is_left_alone(self, stand: Desk) -> None:
        heading = await stand.invoiced()
        await stand.set_mode(heading, "none")

        await stand.collect(heading)

        assert stand.double.every("invoice") == []


FAULTS = [Kind.LOST_AFTER, Kind.FAILS_AFTER, Kind.LOST, Kind.FAILS, Kind.TOO_MANY]
STEPS = {
    "create": ("POST /v1/invoices", 0),
    "item": ("POST /v1/invoiceitems", 0),
    "finalise": (ONE, 0),
    "pay": (ONE, 1),
}
ALL = [pytest.param(step, FAULTS, marks=pytest.mark.long) for step in STEPS]


class TestAFault:
    @pytest.mark.parametrize(("step", "kinds"), [("create", FAULTS[1:2]), ("pay", FAULTS[:1]), *ALL])
    async def test_delays_the_money_and_doubles_nothing(self, stand: Desk, step: str, kinds: list[Kind]) -> None:
        at, skip = STEPS[step]
        for kind in kinds:
            heading = await stand.invoiced()
            stand.double.faults.plan(kind, at, skip=skip)
            before = len(stand.double.every("charge"))

            for _ in range(4):
                await stand.collect(heading)
                stand.pass_time(timedelta(minutes=10))

            assert (await stand.collection(heading)).state is DONE, kind
            assert len(stand.double.every("charge")) == before + 1, kind
            assert await stand.balance(heading, "stripe_clearing") == "10", kind
            mirrors = [each for each in stand.double.every("invoice") if heading.number in each["number"]]
            assert [each["total"] for each in mirrors if each["status"] == "paid"] == [1000], kind

    @pytest.mark.long
    async def test_that_lasts_for_days_is_looked_into_before_anything_is_asked_again(self, stand: Desk) -> None:
        heading = await stand.invoiced()
        stand.double.faults.plan(Kind.LOST_AFTER, "POST /v1/invoices")
        stand.double.faults.plan(Kind.LOST_AFTER, "POST /v1/invoiceitems")

        for _ in range(3):
            await stand.collect(heading)
            stand.pass_time(days(2))

        assert (await stand.collection(heading)).state is DONE
        [mirror] = stand.double.every("invoice")
        assert mirror["total"] == 1000


class TestWhatIsStrange:
    async def test_an_invoice_of_somebody_else_is_parked(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)
        stand.double.every("invoice")[0]["metadata"]["organization"] = "org_other"
        stand.pass_time(days(1))

        parked = await stand.collect(heading)

        assert parked is not None
        assert (parked.state, "does not mirror this one" in str(parked.parked_reason)) == (PARKED, True)

    async def test_another_total_is_parked_and_taken_back(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)
        mirror = stand.double.every("invoice")[0]
        mirror |= {"total": 900, "amount_due": 900, "amount_remaining": 900}
        stand.pass_time(days(1))

        parked = await stand.collect(heading)

        assert parked is not None
        assert (parked.state, "its total is 9, not 10" in str(parked.parked_reason)) == (PARKED, True)
        assert mirror["status"] == "void"

    async def test_is_taken_back_before_it_is_parked_however_long_stripe_is_away(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)
        mirror = stand.double.every("invoice")[0]
        mirror |= {"total": 900, "amount_due": 900, "amount_remaining": 900}
        stand.double.faults.plan(Kind.LOST, ONE)
        stand.pass_time(days(1))
        await stand.collect(heading)
        stand.pass_time(days(1))
        parked = await stand.collect(heading)

        assert parked is not None
        assert (parked.state, mirror["status"]) == (PARKED, "void")

    async def test_money_for_a_void_invoice_waits_for_a_person_until_it_went_back(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)
        stand.double.pay_hosted(stand.double.every("invoice")[0]["id"])
        await void(stand.books, heading, now=stand.clock.now())

        parked = await stand.collect(heading)
        await stand.refund(heading)
        done = await stand.collect(heading)

        assert parked is not None
        assert done is not None
        assert (parked.state, done.state) == (PARKED, DONE)
        assert "10 USD was paid beyond" in str(parked.parked_reason)
        assert await stand.balance(heading, "receivable") == "0"

    async def test_a_deleted_customer_is_replaced_and_the_invoice_asked_for_anew(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)
        stand.double.delete_customer(stand.double.every("customer")[0]["id"])
        stand.pass_time(days(1))

        await stand.collect(heading)

        again, first = stand.double.every("invoice")
        assert (first["status"], again["status"]) == ("void", "open")
        assert again["customer"] != first["customer"]


class TestWhoeverDoesNotPay:
    async def test_is_tried_again_by_the_policy_and_then_left_alone(self, stand: Desk) -> None:
        heading = await stand.invoiced(method="declining")

        tries = []
        for _ in range(9):
            await stand.collect(heading)
            tries.append(len(stand.double.every("charge")))
            stand.pass_time(days(1))

        # At once, and on days 1, 3, 5 and 7 after that.
        assert tries == [1, 2, 2, 3, 3, 4, 4, 5, 5]
        assert (await stand.told(heading)).count("invoice.payment_failed") == 5

    async def test_pays_in_the_end(self, stand: Desk) -> None:
        heading = await stand.invoiced(method="declines_once")

        waits = await stand.collect(heading)
        stand.pass_time(days(1))
        done = await stand.collect(heading)

        assert waits is not None
        assert done is not None
        assert (waits.state, waits.last_error, done.state) == (WAITS, "insufficient_funds", DONE)
        assert await stand.told(heading) == ["invoice.finalised", "invoice.payment_failed", "invoice.paid"]
        [failed] = await stand.books.pool.fetch(
            "SELECT data ->> 'reason' AS reason, data ->> 'next_attempt_at' AS again FROM events"
            " WHERE organization_id = $1 AND type = 'invoice.payment_failed'",
            heading.organization_id,
        )
        assert tuple(failed) == ("insufficient_funds", f"{stand.clock.at:%Y-%m-%dT%H:%M:%SZ}")

    async def test_is_told_suspended_and_let_in_again(self, stand: Desk) -> None:
        stand.policy = replace(Policy(), suspend_after_days=10)
        heading = await stand.invoiced(method=None)

        await stand.collect(heading)
        stand.clock.at = late = (heading.due_at or stand.clock.at) + days(2)
        await stand.collect(heading)
        told, before = await stand.told(heading), await stand.status(heading)
        stand.clock.at = late + days(9)
        await stand.collect(heading)
        suspended = await stand.status(heading)
        stand.pass_time(timedelta(hours=1))
        await stand.mark_paid(heading)
        await stand.collect(heading)

        assert (before, suspended, await stand.status(heading)) == ("active", "suspended", "active")
        assert told == ["invoice.finalised", "invoice.past_due"]
        assert await stand.told(heading) == [*told, "organization.suspended", "invoice.paid"]

    async def test_stays_suspended_when_it_is_given_up(self, stand: Desk) -> None:
        stand.policy = replace(Policy(), suspend_after_days=10)
        heading = await stand.invoiced(method=None)
        stand.clock.at = (heading.due_at or stand.clock.at) + days(11)
        await stand.collect(heading)

        await give_up(stand.books, heading)
        done = await stand.collect(heading)

        assert done is not None
        assert (done.state, await stand.status(heading)) == (DONE, "suspended")

    async def test_is_told_without_stripe_as_well(self, stand: Desk) -> None:
        stand.door = None
        heading = await stand.invoiced(method=None)
        stand.clock.at = (heading.due_at or stand.clock.at) + days(2)

        await stand.collect(heading)

        assert await stand.told(heading) == ["invoice.finalised", "invoice.past_due"]

    async def test_is_not_over_for_whoever_cannot_see_what_stripe_asks_for(self, stand: Desk) -> None:
        heading = await stand.invoiced(method=None)
        await stand.collect(heading)
        await stand.mark_paid(heading)

        seeing, stand.door = stand.door, None
        stand.pass_time(days(2))
        await stand.collect(heading)
        blind = await stand.collection(heading)
        stand.door = seeing
        stand.pass_time(days(1))
        await stand.collect(heading)

        assert blind.state is CollectionState.OPEN
        assert (await stand.collection(heading)).state is CollectionState.DONE
        assert [each["status"] for each in stand.double.every("invoice")] == ["paid"]

    async def test_whose_operator_asks_is_tried_at_once(self, stand: Desk) -> None:
        heading = await stand.invoiced(method="declining")
        await stand.collect(heading)
        stand.pass_time(timedelta(hours=1))

        await stand.ask(heading)
        await stand.collect(heading)

        assert len(stand.double.every("charge")) == 2
