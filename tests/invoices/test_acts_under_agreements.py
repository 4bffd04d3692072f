"""Invoices with fees, minimums, discounts and tax are voided and credited like any other, and the books stay whole."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from tests.agreements.builders import ACME, an_order
from tests.invoices.acting import LATER, assert_whole, credit, pay, refund, void
from tests.invoices.builders import AFTER, NOVEMBER, Books, Used, at

from tollgate.agreements import service as agreements
from tollgate.agreements.model import AgreementKind, TaxTerms, TaxTreatment
from tollgate.invoices.acts import CreditOrder, LineOrder, Surplus
from tollgate.invoices.model import LineType
from tollgate.invoices.service import credit_notes
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger

SOLD = ("unbilled", "receivable", "revenue", "tax", "rounding")


@pytest.mark.parametrize("currency", ["JPY", "USD", "KWD"])
@pytest.mark.parametrize("treatment", [TaxTreatment.EXCLUSIVE, TaxTreatment.INCLUSIVE])
async def test_everything_is_taken_back_to_the_last_digit(books: Books, treatment: TaxTreatment, currency: str) -> None:
    organization = await books.an_organization(currency=currency)
    owner = organization.id
    details = replace(ACME, tax=TaxTerms(treatment, Decimal("7.7")))
    orders = [
        an_order(AgreementKind.SUBSCRIPTION, starts_on=date(2026, 11, 16)),
        an_order(AgreementKind.COMMITMENT),
        an_order(AgreementKind.DISCOUNT, percent=Decimal("3.3")),
    ]
    async with books.database.write() as session:
        await agreements.change_billing(session, organization_id=owner, edit=lambda _: details, by=None, now=at(11, 1))
        for order in orders:
            await agreements.agree(session, organization_id=owner, order=order, by=None, now=at(11, 1))
    await books.record(organization, Used(at(11, 5), {Kind.PROMPT: 7_512_347, Kind.COMPLETION: 1_333_333}))

    first = await books.close(organization, NOVEMBER, now=AFTER)
    await void(books, first.heading)
    again = await books.close(organization, NOVEMBER, now=LATER)
    assert (again.lines, again.heading.totals) == (first.lines, first.heading.totals)
    assert {LineType.FEE, LineType.COMMITMENT, LineType.DISCOUNT} <= {line.type for line in again.lines}
    await assert_whole(books)

    await credit(books, again.heading, "17")
    async with books.database.write() as session:
        part = CreditOrder("wrong", lines=(LineOrder(1, Decimal(1)),))
        await credit_notes.issue(session, invoice_id=again.heading.id, order=part, by=None, now=LATER)
    await pay(books, again.heading)
    await credit(books, again.heading, "9", surplus=Surplus.CREDIT)
    await credit(books, again.heading)
    await refund(books, again.heading)

    async with books.database.read() as session:
        left = [
            await ledger.balance(session, organization_id=owner, account=account, currency=currency) for account in SOLD
        ]
    assert left == [0, 0, 0, 0, 0]
    await assert_whole(books)
