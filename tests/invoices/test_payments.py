"""What comes in for an invoice and goes back, by hand and by way of a payment provider."""

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at
from tests.invoices.builders import an_organization as somebody
from tests.invoices.builders import usage as used

from tollgate.invoices.model import (
    Heading,
    InvoiceStatus,
    Payment,
    PaymentKind,
    PaymentMethod,
    PaymentOrder,
    Window,
)
from tollgate.invoices.rules import closing, lines, paying
from tollgate.invoices.service import payments
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import PaymentId
from tollgate.kit.tokens import Kind

MILLION = {Kind.PROMPT: 25_000_000}
"""10 dollars' worth."""


async def invoiced(books: Books) -> Heading:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 3), MILLION))
    return (await books.close(organization, NOVEMBER, now=AFTER)).heading


async def mark(books: Books, heading: Heading, **order: Any) -> Heading:
    paid = PaymentOrder(**order)
    async with books.database.write() as session:
        return await payments.mark_paid(session, invoice_id=heading.id, order=paid, by=None, now=AFTER)


def at_stripe(heading: Heading, number: int, kind: PaymentKind, amount: str) -> Payment:
    return Payment(
        organization_id=heading.organization_id,
        id=PaymentId(UUID(int=number)),
        invoice_id=heading.id,
        kind=kind,
        method=PaymentMethod.STRIPE,
        amount=Decimal(amount),
        currency="USD",
        reference="pi_1",
        occurred_at=AFTER,
        recorded_at=AFTER,
        recorded_by=None,
    )


async def record(books: Books, payment: Payment) -> Heading:
    async with books.database.write() as session:
        return await payments.record(session, payment=payment)


async def receivable(books: Books, heading: Heading) -> str:
    organization = replace(somebody(), id=heading.organization_id)
    return (await books.balances(organization))[1]


class TestByHand:
    async def test_pays_what_is_due_and_no_more(self, books: Books) -> None:
        heading = await invoiced(books)

        part = await mark(books, heading, amount=Decimal(4), reference="wire 7")
        with pytest.raises(InvalidRequest, match="at most what is due, 6"):
            await mark(books, heading, amount=Decimal("6.01"))
        whole = await mark(books, heading)
        with pytest.raises(Conflict, match="it is paid"):
            await mark(books, heading)

        assert (part.status, part.amount_due, part.paid_at) == (InvoiceStatus.FINALISED, Decimal(6), None)
        assert (whole.status, whole.amount_due, whole.paid_at) == (InvoiceStatus.PAID, Decimal(0), AFTER)
        assert await receivable(books, heading) == "0"

    @pytest.mark.parametrize("amount", ["0", "0.001", "11"])
    async def test_pays_an_amount_that_can_be_paid(self, books: Books, amount: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await mark(books, await invoiced(books), amount=Decimal(amount))

        assert refused.value.field == "amount"

    async def test_pays_nothing_ahead_of_time(self, books: Books) -> None:
        with pytest.raises(InvalidRequest) as refused:
            await mark(books, await invoiced(books), paid_at=at(12, 24))

        assert refused.value.field == "paid_at"


class TestAtStripe:
    async def test_a_payment_is_recorded_once_however_often_it_is_told(self, books: Books) -> None:
        heading = await invoiced(books)
        payment = at_stripe(heading, 1, PaymentKind.PAYMENT, "10")

        first, again = await record(books, payment), await record(books, payment)

        assert first == again
        assert first.amount_paid == Decimal(10)
        assert await receivable(books, heading) == "0"

    async def test_a_dispute_opens_the_invoice_again_and_winning_it_closes_it(self, books: Books) -> None:
        heading = await invoiced(books)
        await record(books, at_stripe(heading, 1, PaymentKind.PAYMENT, "10"))

        disputed = await record(books, at_stripe(heading, 2, PaymentKind.DISPUTE, "10"))
        owed = await receivable(books, heading)
        won = await record(books, at_stripe(heading, 3, PaymentKind.DISPUTE_WON, "10"))

        assert (disputed.status, disputed.amount_due, owed) == (InvoiceStatus.FINALISED, Decimal(10), "10")
        assert (won.status, won.amount_due) == (InvoiceStatus.PAID, Decimal(0))

    async def test_whoever_listens_hears_that_it_was_issued_and_paid(self, books: Books) -> None:
        heading = await invoiced(books)
        await record(books, at_stripe(heading, 1, PaymentKind.PAYMENT, "10"))

        told = await books.pool.fetch("SELECT type FROM events ORDER BY type")

        assert [row["type"] for row in told] == ["invoice.finalised", "invoice.paid"]


CENTS = st.integers(1, 5000).map(lambda cents: Decimal(cents).scaleb(-2))
MOVES = st.lists(st.tuples(st.sampled_from(PaymentKind), CENTS), max_size=8)


@given(st.integers(0, 10_000), MOVES)
def test_what_is_owed_in_the_ledger_is_always_what_the_invoice_says(
    cents: int, moves: list[tuple[PaymentKind, Decimal]]
) -> None:
    organization = somebody()
    window = Window(NOVEMBER.instants(organization.zone), 1, previous_end=None, previous_cut=None)
    drafted = lines.draft(organization, NOVEMBER, window, [used(str(Decimal(cents).scaleb(-2)))])
    heading = closing.issue(drafted, serial=1, now=AFTER).heading
    owed = heading.totals.total

    for number, (kind, amount) in enumerate(moves):
        payment = at_stripe(heading, number, kind, str(amount))
        for transfer in paying.postings(heading, payment):
            owed += transfer.amount if transfer.debit_account == "receivable" else -transfer.amount
        heading = paying.after(heading, payment)

        assert owed == heading.balance
        assert (heading.status is InvoiceStatus.PAID) == (owed <= 0)
