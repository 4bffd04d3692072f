"""What the operator does with invoices that were issued, as tests do it, an hour after November was closed."""

from datetime import datetime, timedelta
from decimal import Decimal

from tests.invoices.builders import AFTER, Books

from tollgate.entrypoints import doctor
from tollgate.invoices.acts import CreditNote, CreditOrder, Surplus
from tollgate.invoices.model import Heading, PaymentOrder, RefundOrder
from tollgate.invoices.service import credit_notes, payments, voiding
from tollgate.kit.tokens import Kind

LATER = AFTER + timedelta(hours=1)
TEN_DOLLARS = {Kind.PROMPT: 25_000_000}
NOT_KEPT = {"attempts", "partitions"}
"""What the doctor misses where calls are only recorded: nobody tried an endpoint, or made partitions ready."""


async def void(books: Books, heading: Heading, *, now: datetime = LATER) -> Heading:
    async with books.database.write() as session:
        return await voiding.void(session, invoice_id=heading.id, reason="wrong", by=None, now=now)


async def give_up(books: Books, heading: Heading) -> Heading:
    async with books.database.write() as session:
        return await voiding.mark_uncollectible(session, invoice_id=heading.id, reason="bankrupt", by=None, now=LATER)


async def pay(books: Books, heading: Heading, amount: str | None = None) -> Heading:
    order = PaymentOrder(None if amount is None else Decimal(amount))
    async with books.database.write() as session:
        return await payments.mark_paid(session, invoice_id=heading.id, order=order, by=None, now=LATER)


async def credit(
    books: Books, heading: Heading, amount: str | None = None, *, surplus: Surplus = Surplus.BALANCE
) -> CreditNote:
    order = CreditOrder("wrong", None if amount is None else Decimal(amount), surplus=surplus)
    async with books.database.write() as session:
        return await credit_notes.issue(session, invoice_id=heading.id, order=order, by=None, now=LATER)


async def refund(books: Books, heading: Heading, amount: str | None = None) -> Heading:
    order = RefundOrder(None if amount is None else Decimal(amount))
    async with books.database.write() as session:
        return await payments.mark_refunded(session, invoice_id=heading.id, order=order, by=None, now=LATER)


async def assert_whole(books: Books) -> None:
    """The doctor finds nothing."""
    assert set((await doctor.examine(books.database)).complaints) <= NOT_KEPT
