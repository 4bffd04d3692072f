"""The whole life of what was paid at Stripe: refunds, disputes, payouts, and books that agree in the end."""

from decimal import Decimal

import pytest
from tests.payments.builders import Desk, days
from tests.payments.stripe_double import Kind

from tollgate.invoices.model import InvoiceStatus
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.payments.states import RefundStatus, Unlike


class TestThePaidInvoice:
    async def test_goes_from_a_declined_card_to_books_that_agree(self, desk: Desk) -> None:
        heading = await desk.invoiced(method="declines_once")

        await desk.collect(heading)
        desk.pass_time(days(1))
        await desk.collect(heading)
        await desk.credit(heading, "4")
        [refund] = await desk.refund(heading)
        desk.pass_time(days(3))
        desk.double.pay_out()
        report = await desk.reconcile()

        assert report.differences == ()
        assert (refund.amount, refund.status) == (Decimal(4), RefundStatus.SUCCEEDED)
        paid = await desk.heading(heading)
        assert (paid.status, paid.amount_paid, paid.balance) == (InvoiceStatus.PAID, Decimal(6), Decimal(0))
        # Stripe keeps 2.9 % and 30 cents of what came in, and gives none of it back.
        assert await desk.balance(heading, "processing_fees") == "0.59"
        assert await desk.balance(heading, "stripe_clearing") == "0"
        assert await desk.balance(heading, "cash") == "5.41"
        assert await desk.balance(heading, "receivable") == "0"

    @pytest.mark.long
    async def test_gives_back_no_more_than_is_owed_and_was_paid_there(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)

        with pytest.raises(Conflict, match="credit note"):
            await desk.refund(heading)
        await desk.credit(heading, "4")
        with pytest.raises(InvalidRequest, match="at most what is owed"):
            await desk.refund(heading, "4.01")
        await desk.refund(heading, "1")
        await desk.refund(heading)

        assert [each["amount"] for each in desk.double.every("refund")] == [300, 100]

    async def test_whose_refund_came_back_is_owed_again(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        await desk.credit(heading, "4")
        await desk.refund(heading)

        desk.double.end_refund(desk.double.every("refund")[0]["id"], failed=True)
        await desk.hear()
        report = await desk.reconcile()

        assert await desk.balance(heading, "receivable") == "-4"
        assert report.differences == ()
        assert await desk.complaints() == set()

    @pytest.mark.parametrize("kind", [Kind.LOST_AFTER, pytest.param(Kind.FAILS_AFTER, marks=pytest.mark.long)])
    async def test_gives_back_once_whatever_goes_wrong(self, desk: Desk, kind: Kind) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        await desk.credit(heading, "4")
        desk.double.faults.plan(kind, "POST /v1/refunds")

        await desk.refund(heading)
        for _ in range(3):
            desk.pass_time(days(1))
            await desk.sweep()

        assert [each["amount"] for each in desk.double.every("refund")] == [400]
        assert await desk.balance(heading, "receivable") == "0"

    async def test_gives_back_once_though_nobody_can_say_what_became_of_it(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        await desk.credit(heading, "4")
        desk.double.faults.plan(Kind.LOST_AFTER, "POST /v1/refunds")
        await desk.refund(heading)
        desk.double.faults.answer_with(lambda found: {**found, "data": [{"id": "re_odd"}]}, "GET /v1/refunds")
        desk.pass_time(days(1))
        await desk.sweep()

        with pytest.raises(Conflict):
            await desk.refund(heading)
        desk.pass_time(days(1))
        await desk.sweep()

        assert [each["amount"] for each in desk.double.every("refund")] == [400]
        assert await desk.balance(heading, "receivable") == "0"

    async def test_books_every_refund_whatever_is_written_on_it(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        await desk.credit(heading, "6")
        [ours] = await desk.refund(heading, "1")
        for mark in (str(ours.id), "RMA-17"):
            await desk.refund_at_stripe(heading, 250)
            desk.double.every("refund")[0]["metadata"] = {"refund": mark}
        await desk.hear()

        assert (await desk.heading(heading)).balance == 0
        assert (await desk.reconcile()).differences == ()

    async def test_books_no_refund_in_another_currency(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        await desk.refund_at_stripe(heading, 250)
        desk.double.every("refund")[0]["currency"] = "jpy"

        await desk.hear()

        assert (await desk.heading(heading)).amount_paid == Decimal(10)

    async def test_that_was_given_back_at_stripe_waits_for_whoever_explains_it(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)

        await desk.refund_at_stripe(heading, 250)
        await desk.hear()
        await desk.collect(heading)
        unexplained = await desk.reconcile()
        await desk.credit(heading, "2.50")
        await desk.collect(heading)
        explained = await desk.reconcile()

        assert [each.kind for each in unexplained.differences] == [Unlike.PARKED]
        assert explained.differences == ()

    async def test_that_is_disputed_is_open_until_the_bank_decides(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)

        dispute = desk.double.dispute(desk.double.every("charge")[0]["id"])
        await desk.hear()
        opened, owed = await desk.heading(heading), await desk.balance(heading, "receivable")
        desk.double.end_dispute(dispute["id"], won=True)
        await desk.hear()
        await desk.collect(heading)
        desk.pass_time(days(3))
        desk.double.pay_out()
        report = await desk.reconcile()

        assert (opened.status, owed) == (InvoiceStatus.FINALISED, "10")
        assert (await desk.heading(heading)).status is InvoiceStatus.PAID
        assert report.differences == ()
        assert await desk.balance(heading, "processing_fees") == "15.59"
        assert await desk.balance(heading, "stripe_clearing") == "0"


class TestTheTopUp:
    async def test_gives_back_what_is_left_and_the_rest_is_owed(self, desk: Desk) -> None:
        heading = await desk.topped_up("20", spent="15")

        await desk.refund_at_stripe(heading, 2000)
        await desk.hear()
        report = await desk.reconcile()

        assert await desk.balance(heading, "receivable") == "15"
        assert report.differences == ()

    @pytest.mark.long
    async def test_whose_credit_was_voided_before_owes_nothing_for_what_was_left(self, desk: Desk) -> None:
        heading = await desk.topped_up("20", spent="15")
        await desk.void_credit(heading)

        await desk.refund_at_stripe(heading, 500)
        await desk.hear()
        report = await desk.reconcile()

        assert await desk.balance(heading, "receivable") == "0"
        assert report.differences == ()

    async def test_that_is_voided_is_kept_until_it_is_refunded_and_cannot_be_spent(self, desk: Desk) -> None:
        heading = await desk.topped_up("20", spent="5")
        await desk.void_credit(heading)
        kept = await desk.reconcile()
        await desk.refund_at_stripe(heading, 600)
        await desk.hear()
        desk.double.end_refund(desk.double.every("refund")[0]["id"], failed=True)
        await desk.refund_at_stripe(heading, 700)
        await desk.hear()
        report = await desk.reconcile()

        assert (kept.differences, report.differences) == ((), ())
        assert await desk.balance(heading, "refundable") == "-8"
        assert (await desk.balance(heading, "receivable"), await desk.credit_left(heading)) == ("0", "0")
        assert await desk.complaints() == set()

    @pytest.mark.long
    async def test_that_is_disputed_and_won_is_credit_again(self, desk: Desk) -> None:
        heading = await desk.topped_up("20", spent="15")
        dispute = desk.double.dispute(desk.double.every("charge")[0]["id"])
        await desk.hear()

        desk.double.end_dispute(dispute["id"], won=True)
        await desk.hear()
        report = await desk.reconcile()

        assert await desk.balance(heading, "receivable") == "0"
        assert await desk.credit_left(heading) == "5"
        assert await desk.complaints() == set()
        assert report.differences == ()


class TestTheComparison:
    async def test_makes_good_what_no_webhook_told(self, desk: Desk) -> None:
        heading = await desk.invoiced(method=None)
        await desk.collect(heading)
        desk.double.pay_hosted(desk.double.every("invoice")[0]["id"])

        report = await desk.reconcile()

        assert (report.repaired, report.differences) == (1, ())
        assert (await desk.heading(heading)).status is InvoiceStatus.PAID

    async def test_finds_what_does_not_fit(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        charge = desk.double.every("balance_transaction")[0]
        charge |= {"amount": 900, "net": 900 - charge["fee"]}
        desk.double.every("charge")[0]["amount"] = 900
        [mirror] = desk.double.every("invoice")
        twin = {**mirror, "id": "in_twin", "number": "A-1"}
        desk.double.world.objects["in_twin"] = twin

        report = await desk.reconcile()

        assert [(each.kind, each.ours, each.stripes) for each in report.differences] == [
            (Unlike.DUPLICATE, mirror["id"], "in_twin"),
            (Unlike.AMOUNT, "10", "9"),
            (Unlike.CLEARING, "9.41", "8.41"),
        ]

    async def test_is_made_though_one_object_does_not_fit(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        await desk.credit(heading, "1")
        await desk.refund(heading)
        desk.double.dispute(desk.double.every("charge")[0]["id"])["currency"] = "jpy"
        desk.double.faults.answer_with(lambda found: {**found, "id": "re_other"}, "GET /v1/refunds/")

        report = await desk.reconcile()

        assert Unlike.AMOUNT in {each.kind for each in report.differences}

    @pytest.mark.long
    async def test_notices_money_of_a_customer_that_pays_for_nothing(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.pay_for_nothing(heading, 700)

        report = await desk.reconcile()

        assert [(each.kind, each.stripes) for each in report.differences] == [(Unlike.MISSING_HERE, "7 USD")]

    @pytest.mark.long
    async def test_of_a_payout_that_failed_leaves_the_money_at_stripe(self, desk: Desk) -> None:
        heading = await desk.invoiced()
        await desk.collect(heading)
        desk.pass_time(days(3))
        payout = desk.double.pay_out()
        await desk.reconcile()

        desk.double.fail_payout(payout["id"])
        await desk.hear()
        report = await desk.reconcile()

        assert report.differences == ()
        assert await desk.balance(heading, "cash") == "0"
        assert await desk.balance(heading, "stripe_clearing") == "9.41"
