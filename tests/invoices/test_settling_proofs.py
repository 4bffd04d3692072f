"""Every proof of payments, credit notes and void invoices notices its own damage, and no other takes it for its own."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from tests.history import NOW, History, a_history

from tollgate.invoices.acts import CreditOrder, Surplus
from tollgate.invoices.model import Month, PaymentOrder, RefundOrder
from tollgate.invoices.service import credit_notes, invoices, payments, voiding

NOTE = "organization_id = {postpaid} AND number = 'CN-2026-000001'"
ITS_LINES = f"organization_id = {{postpaid}} AND credit_note_id = (SELECT id FROM credit_notes WHERE {NOTE})"
INVOICE = "(SELECT id FROM invoices WHERE organization_id = {postpaid} AND status = 'paid' AND amount_credited > 0)"
VOID = "(SELECT id FROM invoices WHERE organization_id = {postpaid} AND status = 'void')"
POST = """
    SELECT ledger_post({{postpaid}}, gen_random_uuid(), '{debit}', '{credit}', 0.5, 'USD', '{cause}', {cause_id},
                       NULL, now(), now())
"""
REVERSED = "cause = 'invoice_void' AND debit_account = 'unbilled'"
PAYMENT = "(SELECT id FROM invoice_payments WHERE organization_id = {postpaid} AND kind = 'payment' LIMIT 1)"
DAMAGE: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "the total of a note": (
        (f"UPDATE credit_notes SET total = total + 0.01 WHERE {NOTE}",),
        {"credit note lines", "credit note rounding", "credited invoices", "credit note postings"},
    ),
    "the tax of a note": (
        (f"UPDATE credit_notes SET tax = tax - 0.01 WHERE {NOTE}",),
        {"credit note lines", "credit note postings"},
    ),
    "a line of a note": (
        (f"UPDATE credit_note_lines SET amount_exact = amount_exact - 0.000000000001 WHERE {ITS_LINES} AND n = 1",),
        {"credit note lines", "credited invoices"},
    ),
    "a line of less than a minor unit": (
        (f"UPDATE credit_note_lines SET amount = amount + 0.005 WHERE {ITS_LINES} AND n = 1",),
        {"credit note lines", "credit note rounding", "credited invoices"},
    ),
    "a number that none has": (
        ("UPDATE invoice_series SET next_number = next_number + 1 WHERE series = 'CN-2026'",),
        {"invoice numbers"},
    ),
    "what was credited": (
        (f"UPDATE invoices SET amount_credited = amount_credited - 0.01, amount_paid = 0.01 WHERE id = {INVOICE}",),
        {"credited invoices", "invoice payments"},
    ),
    "what was paid": (
        (f"UPDATE invoices SET amount_paid = amount_paid + 0.01 WHERE id = {INVOICE}",),
        {"invoice payments", "receivable of invoices"},
    ),
    "a payment": (
        (f"UPDATE invoice_payments SET amount = amount + 0.01 WHERE id = {PAYMENT}",),
        {"invoice payments", "payment postings"},
    ),
    "where a payment is": (
        (f"UPDATE invoice_payments SET method = 'stripe' WHERE id = {PAYMENT}",),
        {"payment postings"},
    ),
    "what a note posted": (
        (POST.format(debit="revenue", credit="receivable", cause="credit_note",
                     cause_id=f"(SELECT id FROM credit_notes WHERE {NOTE})"),),
        {"credit note postings", "receivable of invoices"},
    ),
    "what no note posted": (
        (POST.format(debit="revenue", credit="receivable", cause="credit_note", cause_id="gen_random_uuid()"),),
        {"credit note postings"},
    ),
    "what giving up posted": (
        (POST.format(debit="uncollectible", credit="receivable", cause="uncollectible", cause_id=INVOICE),),
        {"receivable of invoices"},
    ),
    "a void that is none": (
        (f"DELETE FROM invoice_acts WHERE invoice_id = {VOID}",),
        {"void invoices"},
    ),
    "a reversal that names another transfer": (
        (f"UPDATE transfers SET reverses_id = gen_random_uuid() WHERE {REVERSED}",),
        {"void invoices", "reversals"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
async def history(server_url: str, template: str) -> AsyncIterator[History]:
    async with a_history(server_url, template) as made:
        await _acted(made)
        yield made


async def _acted(history: History) -> None:
    """November is voided, closed again and given up; October is credited, paid, credited again and refunded."""
    owner = history.postpaid.organization_id
    async with history.database.write() as session:
        november, october = await invoices.list_invoices(session, organization_id=owner, before=None, count=2)
        await voiding.void(session, invoice_id=november.id, reason="wrong", by=None, now=NOW)
        again = (await invoices.close(session, organization_id=owner, month=Month(2026, 11), now=NOW)).heading
        for invoice_id, order in (
            (october.id, CreditOrder("wrong", Decimal("0.10"))),
            (october.id, None),
            (october.id, CreditOrder("wrong", Decimal("0.10"))),
            (october.id, CreditOrder("wrong", surplus=Surplus.CREDIT)),
            (again.id, CreditOrder("wrong", Decimal("0.10"))),
        ):
            if order is None:
                await payments.mark_paid(session, invoice_id=invoice_id, order=PaymentOrder(), by=None, now=NOW)
            else:
                await credit_notes.issue(session, invoice_id=invoice_id, order=order, by=None, now=NOW)
        await payments.mark_refunded(session, invoice_id=october.id, order=RefundOrder(), by=None, now=NOW)
        await voiding.mark_uncollectible(session, invoice_id=again.id, reason="bankrupt", by=None, now=NOW)


async def test_what_was_done_rightly_is_whole(history: History) -> None:
    report = await history.damaged("SELECT 1")

    assert report.whole, report.complaints


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_noticed(history: History, damage: str) -> None:
    statements, complaints = DAMAGE[damage]

    report = await history.damaged(*statements)

    assert set(report.complaints) == complaints
    assert not report.whole
