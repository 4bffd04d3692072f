"""A month: calls are made and paid for as they happen, and then become one invoice that nothing changes any more."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import copied
from tests.stories.serving import Keys, Served, serving

MONTH = datetime.now(UTC).strftime("%Y-%m")  # noqa: TID251 - the group lives by the real clock, and so do its months
CENT = Decimal("0.01")


@pytest.fixture(scope="module")
def served(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(copied(migrated, tmp_path_factory.mktemp("month"))) as group:
        yield group


@pytest.fixture(scope="module")
def operator(served: Served) -> str:
    assert served.keys is not None
    return served.keys.operator


def a_customer(served: Served, operator: str, **terms: object) -> tuple[str, Keys]:
    """An organization on these terms, and its keys."""
    order = {"name": "Acme", **terms}
    organization = served.post("/admin/organizations", order, key=operator)["data"]["id"]
    management, inference = (
        served.post(f"/admin/organizations/{organization}/keys", {"kind": kind, "name": kind}, key=operator)["key"]
        for kind in ("management", "inference")
    )
    return organization, Keys(operator, management, inference)


def make_calls(served: Served, keys: Keys) -> Decimal:
    """Calls long enough to be worth some cents; answers what their callers were told they cost."""
    parts = [
        served.chat("All work and no play makes a dull gateway. " * count, key=keys.inference, max_tokens=16_384)
        for count in (200, 400, 800)
    ]
    return sum((Decimal(item["amount"]) for part in parts for item in part["usage"]["cost_details"]), Decimal(0))


def check_that_lines_explain_themselves(served: Served, invoice: dict[str, Any], key: str) -> None:
    """The calls behind each usage line add up to it, and the lines to the invoice: exactly, and rounded."""
    for line in invoice["lines"]:
        if line["type"] == "usage":
            calls = served.get(f"/invoices/{invoice['id']}/lines/{line['n']}/calls", key=key)["data"]
            assert sum(Decimal(call["amount"]) for call in calls) == Decimal(line["amount_exact"])
            assert sum(call["quantity"] for call in calls) == line["quantity"]
    lines = invoice["lines"]
    assert sum(Decimal(line["amount_exact"]) for line in lines) == Decimal(invoice["total_exact"])
    assert sum(Decimal(line["amount"]) for line in lines) == Decimal(invoice["total"])
    assert Decimal(invoice["rounding"]) == Decimal(invoice["total"]) - Decimal(invoice["total_exact"])
    assert abs(Decimal(invoice["rounding"])) <= CENT / 2


def test_a_post_paid_month_closed_by_the_api_is_due(served: Served, operator: str) -> None:
    organization, keys = a_customer(served, operator, billing_mode="postpaid", credit_limit="10")
    cost = make_calls(served, keys)
    draft = served.get("/invoices/current", key=keys.management)["data"]
    assert (draft["status"], draft["number"], Decimal(draft["subtotal_exact"])) == ("draft", None, cost)

    path = f"/admin/organizations/{organization}/invoices"
    invoice = served.post(path, {"month": MONTH}, key=operator)["data"]

    assert invoice["id"] == draft["id"]
    assert invoice["status"] == "finalised"
    assert invoice["number"].startswith("TG-")
    assert Decimal(invoice["total_exact"]) == cost
    assert Decimal(invoice["total"]) == cost.quantize(CENT, "ROUND_HALF_UP")
    assert invoice["amount_due"] == invoice["total"] != "0.00"
    check_that_lines_explain_themselves(served, invoice, keys.management)
    usage = served.get("/usage", key=keys.management)
    assert Decimal(usage["total"]["amount"]) == cost
    balance = served.get("/credits", key=keys.management)["data"]
    assert (balance["unbilled"], Decimal(balance["receivable"])) == ("0", Decimal(invoice["total"]))


def test_a_prepaid_month_closed_by_the_command_line_is_paid(served: Served, operator: str) -> None:
    organization, keys = a_customer(served, operator, billing_mode="prepaid")
    grant = {"amount": "3", "category": "paid", "reason": "Bank transfer"}
    served.post(f"/admin/organizations/{organization}/grants", grant, key=operator)
    cost = make_calls(served, keys)

    outcome = served.tollgate("invoices", "close", "--month", MONTH, "--organization", organization)

    (closed,) = outcome["closed"]
    assert closed["failure"] is None
    invoice = served.get(f"/invoices/{closed['invoice']['id']}", key=keys.management)["data"]
    assert (invoice["status"], invoice["total"], invoice["amount_due"]) == ("paid", "0.00", "0.00")
    assert Decimal(invoice["subtotal_exact"]) == cost
    assert Decimal(invoice["credits_exact"]) == -cost
    check_that_lines_explain_themselves(served, invoice, keys.management)
    balance = served.get("/credits", key=keys.management)["data"]
    assert Decimal(balance["total"]) == 3 - cost


async def test_an_issued_invoice_keeps_its_bytes_whatever_happens(served: Served, operator: str) -> None:
    organization, keys = a_customer(served, operator, billing_mode="postpaid", credit_limit="10")
    make_calls(served, keys)
    path = f"/admin/organizations/{organization}/invoices"
    issued = served.call("POST", path, key=operator, json={"month": MONTH}).content
    invoice = served.get("/invoices", key=keys.management)["data"][0]
    again = f"/admin/invoices/{invoice['id']}/finalise"

    served.chat("Used after the month was closed.", key=keys.inference)
    served.call("PATCH", f"/admin/organizations/{organization}", key=operator, json={"name": "Renamed"})
    assert served.call("POST", path, key=operator, json={"month": MONTH}).content == issued
    assert served.call("POST", again, key=operator).content == issued
    assert served.call("GET", f"/invoices/{invoice['id']}", key=keys.management).content == issued
    connection = await asyncpg.connect((served.data_dir / "database-url").read_text())
    try:
        for statement in (
            "UPDATE invoices SET total = 0",
            "DELETE FROM invoices",
            "UPDATE invoice_lines SET amount = 0",
            "DELETE FROM invoice_lines",
            "UPDATE transfers SET amount = 1",
            "DELETE FROM transfers",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(statement)
    finally:
        await connection.close()

    following = served.get("/invoices/current", key=keys.management)["data"]
    assert following["period"]["month"] > MONTH
    assert {line["origin"] for line in following["lines"]} == {MONTH}, "late usage names the month it is from"


async def test_numbers_leave_no_gap(served: Served) -> None:
    connection = await asyncpg.connect((served.data_dir / "database-url").read_text())
    try:
        numbers = [row["number"] for row in await connection.fetch("SELECT number FROM invoices ORDER BY number")]
    finally:
        await connection.close()

    assert [int(number.rpartition("-")[2]) for number in numbers] == list(range(1, len(numbers) + 1))
