"""What is done to issued invoices over HTTP, by whom, and what is refused."""

import io
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from pypdf import PdfReader
from tests.control_plane import ControlPlane, shared_control_plane
from tests.invoices.builders import Books, Used, at

from tollgate.accounts import service as accounts
from tollgate.infra.web import PAGE_MAX
from tollgate.invoices.rules.paying import REFERENCE_CHARACTERS_MAX
from tollgate.invoices.schemas.credit_notes import REASON_CHARACTERS_MAX
from tollgate.kit import ids
from tollgate.kit.ids import OrganizationId
from tollgate.kit.tokens import Kind

WHY: dict[str, Any] = {"reason": "the wrong address"}


@dataclass(frozen=True, slots=True)
class Acme:
    """An organization with an invoice of ten dollars, and who asks for it."""

    plane: ControlPlane
    organization: str
    manager: str
    invoice: dict[str, Any]

    async def post(self, act: str, status: int = 200, **body: Any) -> Any:
        return await self.ask("POST", f"/admin/invoices/{self.invoice['id']}/{act}", status, json=body)

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.ask("GET", path, status, key=self.manager)

    async def ask(self, method: str, path: str, status: int = 200, **rest: Any) -> Any:
        answer = await self.plane.call(method, path, **rest)
        assert answer.status_code == status, answer.text
        return answer.json()["error"]["metadata"] if status >= 400 else answer.json()["data"]


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "acts") as opened:
        yield opened


async def invoiced(plane: ControlPlane) -> Acme:
    books = Books(plane.database, plane.pool)
    text = await plane.an_organization(billing_mode="postpaid", credit_limit="100")
    async with plane.database.read() as session:
        organization = await accounts.get_organization(session, OrganizationId(ids.parse("org", text)))
    await books.record(organization, Used(at(11, 22), {Kind.PROMPT: 20_000_000, Kind.COMPLETION: 1_250_000}))
    closed = await plane.call("POST", f"/admin/organizations/{text}/invoices", json={"month": "2026-11"})
    return Acme(plane, text, await plane.a_key(text), closed.json()["data"])


@pytest.fixture
async def acme(plane: ControlPlane) -> Acme:
    return await invoiced(plane)


@pytest.fixture(scope="module")
async def refusing(plane: ControlPlane) -> Acme:
    """One invoice for everything that is refused."""
    return await invoiced(plane)


async def test_a_void_invoice_stays_to_be_read_and_another_takes_its_place(acme: Acme) -> None:
    voided = await acme.post("void", **WHY)
    again = await acme.ask("POST", f"/admin/organizations/{acme.organization}/invoices", json={"month": "2026-11"})

    assert (voided["id"], voided["status"], voided["amount_due"]) == (acme.invoice["id"], "void", "0.00")
    assert (again["status"], again["lines"]) == ("finalised", acme.invoice["lines"])
    assert again["id"] != acme.invoice["id"]
    shown = await acme.get(f"/invoices/{acme.invoice['id']}")
    assert shown == {**acme.invoice, "status": "void", "amount_due": "0.00"}
    assert [each["status"] for each in await acme.get("/invoices")] == ["finalised", "void"]
    (act,) = await acme.ask("GET", f"/admin/invoices/{acme.invoice['id']}/acts")
    assert (act["kind"], act["reason"], act["acted_by"][:4]) == ("void", WHY["reason"], "key_")


async def test_a_credit_note_says_the_opposite_of_what_it_credits(acme: Acme) -> None:
    note = await acme.post("credit-notes", 201, lines=[{"n": 1, "amount": "2.00"}], **WHY)

    assert await acme.get(f"/credit-notes/{note['id']}") == note
    line = acme.invoice["lines"][0]
    assert note.pop("lines") == [
        {
            **{name: line[name] for name in ("n", "type", "description", "project", "model", "kind", "tier", "origin")},
            "amount": "-2.00",
            "amount_exact": "-2",
        }
    ]
    assert note.pop("id").startswith("cn_")
    assert note.pop("number").startswith("CN-2026-")
    assert note == {
        "kind": "credit_note",
        "invoice": {name: acme.invoice[name] for name in ("id", "number", "issued_at")},
        "organization": acme.invoice["organization"],
        "period": acme.invoice["period"],
        "currency": "USD",
        "issued_at": "2026-11-22T12:00:00Z",
        "reason": WHY["reason"],
        "settle": "balance",
        "tax_total": "0.00",
        "total_exact": "-2",
        "total": "-2.00",
        "rounding": "0",
    }
    invoice = await acme.get(f"/invoices/{acme.invoice['id']}")
    assert (invoice["amount_credited"], invoice["amount_due"]) == ("2.00", "8.00")


async def test_a_credit_note_is_a_file_with_what_it_says_attached(acme: Acme) -> None:
    note = await acme.post("credit-notes", 201, amount="2.50", **WHY)

    file = await acme.plane.call("GET", f"/credit-notes/{note['id']}/pdf", key=acme.manager)
    another = await acme.plane.call("GET", f"/credit-notes/{note['id']}/pdf", key=await acme.plane.a_manager("Other"))
    for_anybody = f"/admin/invoices/{acme.invoice['id']}/credit-notes/{note['id']}/pdf"
    operators = await acme.plane.call("GET", for_anybody)
    forbidden = await acme.plane.call("GET", for_anybody, key=acme.manager)

    assert file.headers["content-disposition"] == f'attachment; filename="{note["number"]}.pdf"'
    read = PdfReader(io.BytesIO(file.content))
    (attached,) = (content for contents in read.attachments.values() for content in contents)
    assert json.loads(attached)["number"] == note["number"]
    assert "2.50" in "".join(page.extract_text() for page in read.pages)
    assert another.status_code == 404
    assert operators.content == file.content
    assert forbidden.status_code == 403


async def test_what_was_paid_for_what_is_credited_is_given_back_or_becomes_credit(acme: Acme) -> None:
    await acme.post("mark-paid")
    first = await acme.post("credit-notes", 201, amount="3.00", **WHY)
    refunded = await acme.post("mark-refunded", reference="wire 8", refunded_at="2026-11-22T11:00:00Z")
    last = await acme.post("credit-notes", 201, settle="credit", **WHY)

    assert (refunded["status"], last["total"]) == ("paid", "-7.00")
    listed = await acme.get("/credit-notes?limit=1")
    assert [each["id"] for each in listed] == [last["id"]]
    assert [each["id"] for each in await acme.get(f"/invoices/{acme.invoice['id']}/credit-notes")] == [
        first["id"],
        last["id"],
    ]
    paid = await acme.get(f"/invoices/{acme.invoice['id']}/payments")
    assert {(each["kind"], each["method"], each["amount"]) for each in paid} == {
        ("payment", "manual", "10.00"),
        ("refund", "manual", "3.00"),
        ("refund", "credit", "7.00"),
    }
    assert (await acme.get("/credits"))["total"] == "7"
    transfers = await acme.get("/credits/transactions?cause=credit_note,payment")
    assert {each["cause_id"][:3] for each in transfers} == {"cn_", "pay"}


async def test_a_repeat_with_the_same_key_gets_the_first_note_again(acme: Acme) -> None:
    path, body = f"/admin/invoices/{acme.invoice['id']}/credit-notes", {"amount": "1.00", **WHY}
    once: dict[str, Any] = {"headers": {"Idempotency-Key": f"credit {acme.organization}"}}

    first, again = [await acme.plane.call("POST", path, json=body, **once) for _ in range(2)]

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert len(await acme.ask("GET", path)) == 1


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("void", {}, "reason"),
        ("void", {"reason": ""}, "reason"),
        ("mark-uncollectible", {"reason": "x" * (REASON_CHARACTERS_MAX + 1)}, "reason"),
        ("mark-paid", {"reference": "x" * (REFERENCE_CHARACTERS_MAX + 1)}, "reference"),
        ("credit-notes", {"amount": "1.00"}, "reason"),
        ("credit-notes", {"amount": 1, **WHY}, "amount"),
        ("credit-notes", {"amount": "-1.00", **WHY}, "amount"),
        ("credit-notes", {"amount": "10.01", **WHY}, "amount"),
        ("credit-notes", {"amount": "0.001", **WHY}, "amount"),
        ("credit-notes", {"amount": "1.00", "lines": [{"n": 1}], **WHY}, "lines"),
        ("credit-notes", {"lines": [], **WHY}, "lines"),
        ("credit-notes", {"lines": [{"n": 9}], **WHY}, "lines[0].n"),
        ("credit-notes", {"lines": [{"n": 10**30}], **WHY}, "lines[0].n"),
        ("credit-notes", {"lines": [{"n": 1}, {"n": 1}], **WHY}, "lines[1].n"),
        ("credit-notes", {"lines": [{"n": 1, "amount": "99"}], **WHY}, "lines[0].amount"),
        ("credit-notes", {"settle": "cash", **WHY}, "settle"),
        ("mark-refunded", {"amount": "abc"}, "amount"),
        ("mark-refunded", {"refunded_at": "2027-01-01T00:00:00Z"}, "refunded_at"),
        ("mark-paid", {"paid_at": "2027-01-01T00:00:00Z"}, "paid_at"),
    ],
)
async def test_what_cannot_be_is_refused_by_the_field_at_fault(
    refusing: Acme, act: str, body: dict[str, Any], field: str
) -> None:
    assert (await refusing.post(act, 400, **body))["field"] == field


async def test_what_contradicts_the_invoice_is_a_conflict(acme: Acme) -> None:
    await acme.post("mark-refunded", 409)
    await acme.post("mark-uncollectible", **WHY)
    await acme.post("void", 409, **WHY)
    await acme.post("credit-notes", 201, **WHY)
    await acme.post("credit-notes", 409, **WHY)
    await acme.post("mark-uncollectible", 409, **WHY)


async def test_only_the_operator_acts_and_nobody_sees_anothers(acme: Acme) -> None:
    note = await acme.post("credit-notes", 201, amount="1.00", **WHY)
    stranger = await acme.plane.a_manager("Stranger")

    for path in (
        f"/credit-notes/{note['id']}",
        f"/invoices/{acme.invoice['id']}/credit-notes",
        f"/invoices/{acme.invoice['id']}/payments",
    ):
        assert (await acme.plane.call("GET", path, key=stranger)).status_code == 404
    assert (await acme.plane.call("GET", f"/credit-notes?limit={PAGE_MAX}", key=stranger)).json()["data"] == []
    for act in ("void", "mark-uncollectible", "mark-paid", "mark-refunded", "credit-notes"):
        path = f"/admin/invoices/{acme.invoice['id']}/{act}"
        assert (await acme.plane.call("POST", path, key=acme.manager, json=WHY)).status_code == 403
    for act in ("credit-notes", "acts"):
        path = f"/admin/invoices/{acme.invoice['id']}/{act}"
        assert (await acme.plane.call("GET", path, key=acme.manager)).status_code == 403


async def test_the_operator_finds_nothing_at_a_bad_address(plane: ControlPlane) -> None:
    for name in ("inv_ffffffff-ffff-ffff-ffff-ffffffffffff", "inv_00000000-0000-0000-0000-000000000000", "x"):
        for act in ("void", "mark-uncollectible", "credit-notes"):
            assert (await plane.call("POST", f"/admin/invoices/{name}/{act}", json=WHY)).status_code == 404
        for act in ("mark-refunded", "mark-paid"):
            assert (await plane.call("POST", f"/admin/invoices/{name}/{act}", json={})).status_code == 404
        for act in ("credit-notes", "acts"):
            assert (await plane.call("GET", f"/admin/invoices/{name}/{act}")).status_code == 404
