"""Every proof of invoices notices its own damage, and no other proof mistakes it for its own."""

from collections.abc import AsyncIterator

import pytest
from tests.history import History, a_history

NOVEMBER = "organization_id = {postpaid} AND month = '2026-11'"
ITS_ID = f"(SELECT id FROM invoices WHERE {NOVEMBER})"
ITS_LINES = f"organization_id = {{postpaid}} AND invoice_id = {ITS_ID}"
AGREED = "organization_id = {prepaid} AND month = '2026-11'"
AGREED_LINES = f"organization_id = {{prepaid}} AND invoice_id = (SELECT id FROM invoices WHERE {AGREED})"
POST = """
    SELECT ledger_post({{postpaid}}, gen_random_uuid(), '{debit}', '{credit}', 0.5, 'USD', 'invoice', {invoice},
                       NULL, now(), now())
"""
DAMAGE: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "the exact amount of a line": (
        (f"UPDATE invoice_lines SET amount_exact = amount_exact + 0.000000000001 WHERE {ITS_LINES} AND n = 1",),
        {"invoice lines", "invoice unit prices"},
    ),
    "the amount of a line": (
        (f"UPDATE invoice_lines SET amount = amount + 0.02 WHERE {ITS_LINES} AND n = 1",),
        {"invoice lines", "invoice rounding"},
    ),
    "what two lines bear of the total": (
        (f"UPDATE invoice_lines SET amount = amount + 0.05 * (3 - 2 * n) WHERE {ITS_LINES} AND n <= 2",),
        {"invoice rounding"},
    ),
    "a line of less than a minor unit": (
        (f"UPDATE invoice_lines SET amount = amount + 0.005 * (3 - 2 * n) WHERE {ITS_LINES} AND n <= 2",),
        {"invoice rounding"},
    ),
    "a line that is not there": (
        (f"DELETE FROM invoice_lines WHERE {ITS_LINES} AND n = 1",),
        {"invoice lines"},
    ),
    "the total": (
        (f"UPDATE invoices SET total = total + 0.01, subtotal = subtotal + 0.01 WHERE {NOVEMBER}",),
        {"invoice lines", "invoice rounding", "invoice postings", "receivable of invoices"},
    ),
    "the exact total": (
        (
            (
                "UPDATE invoices SET total_exact = total_exact + 0.000000000001,"
                f" subtotal_exact = subtotal_exact + 0.000000000001 WHERE {NOVEMBER}"
            ),
        ),
        {"invoice lines", "invoices of what was used", "invoice postings"},
    ),
    "the quantity of a line": (
        (f"UPDATE invoice_lines SET quantity = quantity + 1 WHERE {ITS_LINES} AND n = 1",),
        {"invoice unit prices"},
    ),
    "a number": (
        (f"UPDATE invoices SET number = 'TG-2026-000007' WHERE {NOVEMBER}",),
        {"invoice numbers"},
    ),
    "a number that is none": (
        (f"UPDATE invoices SET number = 'seven' WHERE {NOVEMBER}",),
        {"invoice numbers"},
    ),
    "a number that two have": (
        (f"UPDATE invoices SET number = 'TG-2026-000001' WHERE {NOVEMBER}",),
        {"invoice numbers"},
    ),
    "a number that none has": (
        ("UPDATE invoice_series SET next_number = next_number + 1",),
        {"invoice numbers"},
    ),
    "a period that overlaps": (
        (f"UPDATE invoices SET period_start = period_start - interval '1 day' WHERE {NOVEMBER}",),
        {"invoice windows"},
    ),
    "a window that takes in what was invoiced": (
        (f"UPDATE invoices SET previous_end = NULL, previous_cut = NULL WHERE {NOVEMBER}",),
        {"invoice windows", "invoices of what was used"},
    ),
    "a cut that takes in what was not": (
        (f"UPDATE invoices SET cut = cut + 1 WHERE {NOVEMBER}",),
        {"invoices of what was used", "invoiced adjustments"},
    ),
    "a charge that is on no invoice": (
        ("UPDATE adjustments SET invoice_cut = 1 WHERE organization_id = {postpaid} AND amount < 0",),
        {"invoiced adjustments"},
    ),
    "what issuing it posted": (
        (POST.format(debit="receivable", credit="unbilled", invoice=ITS_ID),),
        {"invoice postings", "receivable of invoices"},
    ),
    "what was rounded": (
        (POST.format(debit="receivable", credit="rounding", invoice=ITS_ID),),
        {"invoice postings", "receivable of invoices"},
    ),
    "the tax": (
        (
            (
                "UPDATE invoices SET tax = tax + 0.01, tax_exact = tax + 0.01, tax_amount = tax + 0.01,"
                f" total = total + 0.01, total_exact = total_exact + 0.01 WHERE {AGREED}"
            ),
        ),
        {"invoice lines", "invoice tax", "receivable of invoices", "invoice postings"},
    ),
    "the rate of the tax": (
        (f"UPDATE invoices SET tax_rate = tax_rate + 0.1 WHERE {AGREED}",),
        {"invoice tax"},
    ),
    "a fee that is charged twice": (
        (
            (
                "INSERT INTO invoice_lines SELECT organization_id, invoice_id, n + 100, type, project_id, project_name,"
                " model, kind, tier, price_version_id, unit, unit_price, quantity, origin, 0, 0, adjustment_id,"
                f" adjustment_reason, agreement_id, wording FROM invoice_lines WHERE {AGREED_LINES} AND type = 'fee'"
            ),
        ),
        {"invoiced agreements"},
    ),
    "a commitment that is taken back and was not charged": (
        (
            (
                "UPDATE invoice_lines SET origin = '2026-10', amount = -amount, amount_exact = -amount_exact"
                f" WHERE {AGREED_LINES} AND type = 'commitment'"
            ),
        ),
        {"invoice lines", "invoiced agreements"},
    ),
    "what a fee posted": (
        (
            (
                "SELECT ledger_post({prepaid}, gen_random_uuid(), 'unbilled', 'revenue', 0.5, 'USD', 'invoice',"
                f" (SELECT id FROM invoices WHERE {AGREED}), NULL, now(), now())"
            ),
        ),
        {"invoice postings"},
    ),
    "a posting of no invoice": (
        (POST.format(debit="receivable", credit="unbilled", invoice="gen_random_uuid()"),),
        {"postings of no invoice"},
    ),
}


@pytest.fixture(scope="module")
async def history(server_url: str, template: str) -> AsyncIterator[History]:
    async with a_history(server_url, template) as made:
        yield made


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_noticed(history: History, damage: str) -> None:
    statements, complaints = DAMAGE[damage]

    report = await history.damaged(*statements)

    assert set(report.complaints) == complaints
    assert not report.whole
