"""Collecting an invoice at Stripe: one mirror, one charge, whatever goes wrong."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.payments.builders import Desk, days
from tests.payments.stripe_double import Kind

from tollgate.invoices.model import InvoiceStatus
from tollgate.payments.states import CollectionState, Policy

PAY = "POST /v1/invoices/in_00000001/pay"
WAITS, DONE, PARKED = CollectionState.OPEN, CollectionState.DONE, CollectionState.PARKED


class TestAnInvoice:
    async def test_is_mirrored_line_by_line_and_taken_from_the_stored_method(self, desk: Desk) -> None:
        heading = await desk.invoiced()

        done = await desk.collect(heading)

        assert done is not None
        assert done.state is DONE
        paid = await desk.heading(heading)
        assert (paid.status, paid.amount_paid) == (InvoiceStatus.PAID, paid.totals.total)
        [mirror] = desk.double.every("invoice")
        assert (mirror["number"], mirror["status"], mirror["total"]) == (heading.number, "paid", 1000)
        assert await desk.balance(heading, "stripe_clearing") == "10"
        assert await desk.balance(heading, "receivable") == "0"
        assert len(desk.double.every("charge")) == 1

    async def test_is_taken_once_however_often_it_is_collected(self, desk: Desk) -> None:
        heading = await desk.invoiced()

        for _ in range(3):
            await desk.wake(heading)
            await desk.collect(heading)

        assert len(desk.double.every("charge")) == 1
        assert (await desk.collection(heading)).state is DONE

    async def test_is_asked_for_where_nothing_is_stored_to_take_it_from(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)

        waits = await desk.collect(heading)
        [mirror] = desk.double.every("invoice")
        desk.double.pay_hosted(mirror["id"])
        desk.pass_time(days(1))
        done = await desk.collect(heading)

        assert waits is not None
        assert done is not None
        assert (waits.state, done.state) == (WAITS, DONE)
        assert mirror["collection_method"] == "send_invoice"
        assert (await desk.heading(heading)).status is InvoiceStatus.PAID

    async def test_that_was_paid_by_hand_is_not_asked_for_any_more(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)
        await desk.collect(heading)

        await desk.mark_paid(heading)
        done = await desk.collect(heading)

        assert done is not None
        assert done.state is DONE
        [mirror] = desk.double.every("invoice")
        assert (mirror["status"], desk.double.every("charge")) == ("paid", [])
        assert await desk.balance(heading, "stripe_clearing") == "0"

    async def test_that_was_paid_in_part_is_asked_for_anew_over_the_rest(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)
        await desk.collect(heading)

        await desk.mark_paid(heading, "4")
        await desk.collect(heading)

        again, first = desk.double.every("invoice")
        assert (first["status"], again["status"]) == ("void", "open")
        assert (again["total"], again["number"]) == (600, f"{heading.number}-2")

    async def test_in_three_decimals_that_stripe_cannot_take_waits_for_a_person(self, desk: Desk) -> None:
        heading = await desk.invoiced(currency="KWD", tokens=25_002_500)

        parked = await desk.collect(heading)

        assert parked is not None
        assert parked.state is PARKED
        assert "by hand" in str(parked.parked_reason)
        assert desk.double.every("invoice") == []

        await desk.mark_paid(heading)
        done = await desk.collect(heading)

        assert done is not None
        assert done.state is DONE

    async def test_of_an_organization_that_is_not_collected_from_is_left_alone(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.set_mode(heading, "none")

        await desk.collect(heading)

        assert desk.double.every("invoice") == []


class TestAFault:
    @pytest.mark.parametrize("kind", [Kind.LOST, Kind.LOST_AFTER, Kind.FAILS, Kind.FAILS_AFTER, Kind.TOO_MANY])
    @pytest.mark.parametrize(
        "at", ["POST /v1/invoices", "POST /v1/invoiceitems", "POST /v1/invoices/in_00000001/finalize", PAY]
    )
    async def test_delays_the_money_and_doubles_nothing(self, desk: Desk, kind: Kind, at: str) -> None:
        heading = await desk.invoiced()
        desk.double.faults.plan(kind, at)

        for _ in range(4):
            await desk.collect(heading)
            desk.pass_time(timedelta(minutes=10))

        assert (await desk.collection(heading)).state is DONE
        assert [charge["status"] for charge in desk.double.every("charge")] == ["succeeded"]
        assert await desk.balance(heading, "stripe_clearing") == "10"
        living = [each for each in desk.double.every("invoice") if each["status"] != "void"]
        assert [each["total"] for each in living] == [1000]

    async def test_that_lasts_for_days_is_looked_into_before_anything_is_asked_again(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        desk.double.faults.plan(Kind.LOST_AFTER, "POST /v1/invoices")
        desk.double.faults.plan(Kind.LOST_AFTER, "POST /v1/invoiceitems")

        for _ in range(3):
            await desk.collect(heading)
            desk.pass_time(days(2))

        assert (await desk.collection(heading)).state is DONE
        [mirror] = desk.double.every("invoice")
        assert mirror["total"] == 1000


class TestWhatIsStrange:
    async def test_an_invoice_of_somebody_else_is_parked(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)
        await desk.collect(heading)
        desk.double.every("invoice")[0]["metadata"]["tollgate_organization"] = "org_other"
        desk.pass_time(days(1))

        parked = await desk.collect(heading)

        assert parked is not None
        assert (parked.state, "does not mirror this one" in str(parked.parked_reason)) == (PARKED, True)

    async def test_another_total_is_parked_and_taken_back(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)
        await desk.collect(heading)
        mirror = desk.double.every("invoice")[0]
        mirror |= {"total": 900, "amount_due": 900, "amount_remaining": 900}
        desk.pass_time(days(1))

        parked = await desk.collect(heading)

        assert parked is not None
        assert (parked.state, "its total is 9, not 10" in str(parked.parked_reason)) == (PARKED, True)
        assert mirror["status"] == "void"

    async def test_a_deleted_customer_is_replaced_and_the_invoice_asked_for_anew(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)
        await desk.collect(heading)
        desk.double.delete_customer(desk.double.every("customer")[0]["id"])
        desk.pass_time(days(1))

        await desk.collect(heading)

        again, first = desk.double.every("invoice")
        assert (first["status"], again["status"]) == ("void", "open")
        assert again["customer"] != first["customer"]


class TestWhoeverDoesNotPay:
    async def test_is_tried_again_by_the_policy_and_then_left_alone(self, desk: Desk) -> None:
        heading = await desk.invoiced(method="declining")

        tries = []
        for day in range(12):
            await desk.collect(heading)
            tries.append(len(desk.double.every("charge")))
            assert day < 12
            desk.pass_time(days(1))

        # At once, and on days 1, 3, 5 and 7 after that.
        assert tries == [1, 2, 2, 3, 3, 4, 4, 5, 5, 5, 5, 5]
        assert (await desk.told(heading)).count("invoice.payment_failed") == 5

    async def test_pays_in_the_end(self, desk: Desk) -> None:
        heading = await desk.invoiced(method="declines_once")

        waits = await desk.collect(heading)
        desk.pass_time(days(1))
        done = await desk.collect(heading)

        assert waits is not None
        assert done is not None
        assert (waits.state, waits.last_error, done.state) == (WAITS, "insufficient_funds", DONE)
        assert await desk.told(heading) == ["invoice.finalised", "invoice.payment_failed", "invoice.paid"]

    async def test_is_told_suspended_and_let_in_again(self, desk: Desk) -> None:
        desk.policy = replace(Policy(), suspend_after_days=10)
        heading = await desk.invoiced(method=None)

        await desk.collect(heading)
        desk.clock.at = late = (heading.due_at or desk.clock.at) + days(2)
        await desk.collect(heading)
        told, before = await desk.told(heading), await desk.status(heading)
        desk.clock.at = late + days(9)
        await desk.collect(heading)
        suspended = await desk.status(heading)
        desk.pass_time(timedelta(hours=1))
        await desk.mark_paid(heading)
        await desk.collect(heading)

        assert (before, suspended, await desk.status(heading)) == ("active", "suspended", "active")
        assert told == ["invoice.finalised", "invoice.past_due"]
        assert await desk.told(heading) == [*told, "organization.suspended", "invoice.paid"]

    async def test_is_told_without_stripe_as_well(self, desk: Desk) -> None:
        desk.door = None
        heading = await desk.invoiced(method=None)
        desk.clock.at = (heading.due_at or desk.clock.at) + days(2)

        await desk.collect(heading)

        assert await desk.told(heading) == ["invoice.finalised", "invoice.past_due"]

    async def test_whose_operator_asks_is_tried_at_once(self, desk: Desk) -> None:
        heading = await desk.invoiced(method="declining")
        await desk.collect(heading)
        desk.pass_time(timedelta(hours=1))

        await desk.ask(heading)
        await desk.collect(heading)

        assert len(desk.double.every("charge")) == 2
