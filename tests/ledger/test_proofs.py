"""Every proof of the ledger notices its own damage, and no other proof mistakes it for its own."""

from collections.abc import AsyncIterator

import pytest
from tests.history import History, a_history

POST = """
    SELECT ledger_post({{prepaid}}, gen_random_uuid(), '{debit}', '{credit}', 0.5, 'USD', '{cause}', gen_random_uuid(),
                       NULL, now(), now())
"""
DAMAGE: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "a balance of one side": (
        ("UPDATE ledger_accounts SET debits = debits + 1 WHERE organization_id = {postpaid} AND account = 'unbilled'",),
        {"account balances", "debits equal credits"},
    ),
    "a balance of both sides": (
        (
            (
                "UPDATE ledger_accounts SET debits = debits + 0.000000000001, credits = credits + 0.000000000001"
                " WHERE organization_id = {postpaid} AND account = 'unbilled'"
            ),
        ),
        {"account balances"},
    ),
    "a balance that is not there": (
        ("DELETE FROM ledger_accounts WHERE organization_id = {postpaid} AND account = 'receivable'",),
        {"account balances", "debits equal credits"},
    ),
    "a balance without transfers": (
        ("INSERT INTO ledger_accounts VALUES ({prepaid}, 'uncollectible', 'USD', 1, 1)",),
        {"account balances"},
    ),
    "a transfer that moved no balance": (
        (
            (
                "INSERT INTO transfers VALUES ({prepaid}, gen_random_uuid(), 'tax', 'cash', 1, 'USD', 'payment',"
                " gen_random_uuid(), NULL, now(), now())"
            ),
        ),
        {"account balances"},
    ),
    "what remains of a grant": (
        ("UPDATE grants SET remaining = remaining - 0.01 WHERE organization_id = {prepaid} AND remaining >= 0.01",),
        {"grant accounts", "grants add up"},
    ),
    "a grant's account without its grant": (
        (POST.format(debit="cash", credit="credits:nobody", cause="grant"),),
        {"grant accounts"},
    ),
    "the amount of a grant": (
        ("UPDATE grants SET amount = amount + 1 WHERE organization_id = {prepaid}",),
        {"grants add up"},
    ),
    "what of a grant expired or was voided": (
        ("UPDATE grants SET unused = 0.01 WHERE organization_id = {prepaid} AND remaining < amount",),
        {"grants add up"},
    ),
    "the amount of an adjustment": (
        ("UPDATE adjustments SET amount = -0.21 WHERE organization_id = {prepaid} AND amount < 0",),
        {"adjustments"},
    ),
    "an adjustment without a record": (
        (POST.format(debit="unbilled", credit="revenue", cause="adjustment"),),
        {"adjustments"},
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


async def test_a_discrepancy_says_where_and_by_how_much(history: History) -> None:
    report = await history.damaged(
        "UPDATE ledger_accounts SET debits = debits + 1.50 WHERE organization_id = {postpaid} AND account = 'unbilled'"
    )

    balances, _ = (result.findings for result in report.results if result.findings)
    (finding,) = balances
    assert finding.organization_id == history.postpaid.organization_id
    assert finding.what == "debits of account unbilled in USD"
    assert (finding.expected, finding.found) == ("3.40552", "4.90552")
