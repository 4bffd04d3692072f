"""Agreements over HTTP: what the operator says, what an organization says of itself, and what is refused."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.control_plane import ControlPlane, shared_control_plane

BERLIN = {"lines": ["Hauptstr. 1"], "city": "Berlin", "postal_code": "10115", "country": "DE"}
ISSUER = {
    "name": "Tollgate GmbH",
    "address": BERLIN,
    "tax_ids": [{"type": "eu_vat", "value": "DE123456789"}],
    "registration": "HRB 1234",
    "email": "bills@tollgate.example",
    "instructions": "IBAN DE00 1234\nName the number of the invoice.",
}
DETAILS = {
    "legal_name": "株式会社アクメ",
    "address": BERLIN,
    "tax_ids": [{"type": "eu_vat", "value": "DE999"}],
    "email": "ap@acme.example",
    "purchase_order": "PO 4711",
    "notes": "Cost centre 12",
    "term_days": 30,
    "tax": {"treatment": "exclusive", "rate": "19", "label": "MwSt.", "note": None},
}


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    """The clock stands at noon of 22 November 2026."""
    async with shared_control_plane(server_url, template, "agreements") as opened:
        yield opened


async def data(plane: ControlPlane, method: str, path: str, status: int = 200, **rest: Any) -> Any:
    answer = await plane.call(method, path, **rest)
    assert answer.status_code == status, answer.text
    return answer.json()["data"]


async def refused(plane: ControlPlane, path: str, body: dict[str, Any], *, method: str = "POST") -> tuple[int, Any]:
    """The status and the field of a refusal."""
    answer = await plane.call(method, path, json=body)
    return answer.status_code, answer.json()["error"]["metadata"].get("field")


async def test_the_issuer_is_whoever_the_operator_says(plane: ControlPlane) -> None:
    assert (await plane.call("GET", "/admin/issuer")).status_code == 404
    await data(plane, "PUT", "/admin/issuer", json={"name": "Nobody yet", "address": {**BERLIN, "postal_code": ""}})

    said = await data(plane, "PUT", "/admin/issuer", json=ISSUER)

    assert said == ISSUER == await data(plane, "GET", "/admin/issuer")
    nowhere = {"name": "Atlantis", "address": {**BERLIN, "country": "XX"}}
    assert await refused(plane, "/admin/issuer", nowhere, method="PUT") == (400, "address.country")


class TestBillingDetails:
    async def test_are_the_operators_and_an_organization_says_only_what_is_its_own(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        manager, other = await plane.a_key(organization), await plane.a_manager("Other")
        path = f"/admin/organizations/{organization}/billing"
        own = {"address": None, "email": "new@acme.example", "purchase_order": None}

        assert await data(plane, "PUT", path, json=DETAILS) == DETAILS
        assert await data(plane, "GET", "/billing/details", key=manager) == DETAILS
        assert await data(plane, "PUT", "/billing/details", key=manager, json=own) == {**DETAILS, **own}
        assert await data(plane, "GET", path) == {**DETAILS, **own}
        assert (await data(plane, "GET", "/billing/details", key=other))["legal_name"] is None

    async def test_beyond_its_own_are_no_organizations_to_say(self, plane: ControlPlane) -> None:
        manager = await plane.a_manager()
        for name in ("legal_name", "tax_ids", "notes", "term_days", "tax"):
            answer = await plane.call("PUT", "/billing/details", key=manager, json={name: DETAILS[name]})

            assert (answer.status_code, answer.json()["error"]["metadata"]) == (400, {"field": name})

    async def test_are_a_managers_and_an_operators_to_see(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        manager = await plane.a_key(organization)

        assert (await plane.call("GET", "/billing/details")).status_code == 403
        assert (await plane.call("PUT", "/billing/details", json={})).status_code == 403
        for method, path in (("GET", "/admin/issuer"), ("GET", f"/admin/organizations/{organization}/billing")):
            assert (await plane.call(method, path, key=manager)).status_code == 403

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"tax": {"treatment": "reverse_charge"}, "tax_ids": []}, "tax_ids"),
            ({"tax": {"treatment": "exclusive", "rate": "19.00001"}}, "tax.rate"),
            ({"tax": {"treatment": "exclusive", "rate": 19}}, "tax.rate"),
            ({"tax": {"treatment": "exclusive"}}, "tax.rate"),
            ({"tax": {"treatment": "vat"}}, "tax.treatment"),
            ({"term_days": -1}, "term_days"),
            ({"term_days": 400}, "term_days"),
            ({"address": {**BERLIN, "lines": []}}, "address.lines"),
            ({"address": {"lines": ["a"], "city": "b"}}, "address.country"),
            ({"email": "a b"}, "email"),
        ],
    )
    async def test_that_cannot_be_name_the_field(self, plane: ControlPlane, change: dict[str, Any], field: str) -> None:
        organization = await plane.an_organization()

        path = f"/admin/organizations/{organization}/billing"
        assert await refused(plane, path, {**DETAILS, **change}, method="PUT") == (400, field)


class TestAgreements:
    async def test_are_made_listed_and_ended(self, plane: ControlPlane) -> None:
        organization = await plane.an_organization()
        at = f"/admin/organizations/{organization}"

        plan = await data(
            plane, "POST", f"{at}/subscriptions", 201,
            json={"name": "Platform", "fee": "99.00", "starts_on": "2026-11-22", "currency": "USD"})  # fmt: skip
        least = await data(plane, "POST", f"{at}/commitments", 201, json={"amount": "500", "from_month": "2026-11"})
        off = await data(
            plane, "POST", f"{at}/discounts", 201,
            json={"percent": "12.5", "from_month": "2026-12", "to_month": "2027-11"})  # fmt: skip

        assert (plan["fee"], plan["starts_on"], plan["ends_on"], plan["organization"]) == (
            "99", "2026-11-22", None, organization)  # fmt: skip
        assert (least["amount"], least["from_month"], least["to_month"]) == ("500", "2026-11", None)
        assert (off["percent"], off["from_month"], off["to_month"]) == ("12.5", "2026-12", "2027-11")
        assert await data(plane, "GET", f"{at}/subscriptions") == [plan]
        assert await data(plane, "GET", f"{at}/commitments") == [least]
        assert await data(plane, "GET", f"{at}/discounts?limit=1") == [off]
        ended = await data(plane, "POST", f"{at}/subscriptions/{plan['id']}/end", json={"ends_on": "2026-12-24"})
        assert (ended["ends_on"], ended["ended_at"]) == ("2026-12-24", "2026-11-22T12:00:00Z")
        ended = await data(plane, "POST", f"{at}/commitments/{least['id']}/end", json={})
        assert ended["to_month"] == "2026-11"  # the running month stays as agreed
        ended = await data(plane, "POST", f"{at}/discounts/{off['id']}/end", json={"to_month": "2027-03"})
        assert ended["to_month"] == "2027-03"
        ended = await data(plane, "POST", f"{at}/discounts/{off['id']}/end", json={})
        assert (ended["from_month"], ended["to_month"]) == ("2026-12", "2026-11")  # it never began
        await data(plane, "POST", f"{at}/discounts", 201, json={"percent": "1", "from_month": "2026-12"})

    async def test_that_overlap_are_refused(self, plane: ControlPlane) -> None:
        at = f"/admin/organizations/{await plane.an_organization()}"
        plan = {"name": "Platform", "fee": "1", "starts_on": "2026-12-01", "ends_on": "2026-12-24"}
        monthly = {"percent": "1", "from_month": "2026-12", "to_month": "2027-01"}
        await data(plane, "POST", f"{at}/subscriptions", 201, json=plan)
        await data(plane, "POST", f"{at}/discounts", 201, json=monthly)

        touching = {**plan, "starts_on": "2026-12-23", "ends_on": None}
        assert await refused(plane, f"{at}/subscriptions", touching) == (409, "starts_on")
        assert await refused(plane, f"{at}/discounts", {**monthly, "from_month": "2027-01"}) == (409, "from_month")
        await data(plane, "POST", f"{at}/subscriptions", 201, json={**touching, "starts_on": "2026-12-24"})
        await data(plane, "POST", f"{at}/subscriptions", 201, json={**touching, "name": "Support"})

    @pytest.mark.parametrize(
        ("kind", "body", "field"),
        [
            ("subscriptions", {"name": "a", "fee": "-1", "starts_on": "2026-12-01"}, "fee"),
            ("subscriptions", {"name": "a", "fee": "0.001", "starts_on": "2026-12-01"}, "fee"),
            ("subscriptions", {"name": "a", "fee": "1", "starts_on": "2026-13-01"}, "starts_on"),
            ("subscriptions", {"name": "a", "fee": "1", "starts_on": "0001-01-01"}, "starts_on"),
            ("subscriptions", {"name": "a", "fee": "1", "starts_on": "2026-11-21"}, "starts_on"),
            ("subscriptions", {"name": "a", "fee": "1", "starts_on": "2026-12-01", "ends_on": "9999-12-31"}, "ends_on"),
            ("subscriptions", {"name": "a", "fee": "1", "starts_on": "2026-12-01", "currency": "EUR"}, "currency"),
            ("subscriptions", {"name": "", "fee": "1", "starts_on": "2026-12-01"}, "name"),
            ("commitments", {"amount": "1", "from_month": "2026"}, "from_month"),
            ("commitments", {"amount": "1", "from_month": "1970-01"}, "from_month"),
            ("commitments", {"amount": "1", "from_month": "8999-12", "to_month": "9000-01"}, "to_month"),
            ("commitments", {"amount": "1", "from_month": "2026-12", "to_month": "2026-11"}, "to_month"),
            ("discounts", {"percent": "101", "from_month": "2026-12"}, "percent"),
            ("discounts", {"percent": "1", "from_month": "2026-12", "currency": "USD"}, "currency"),
        ],
    )
    async def test_that_cannot_be_name_the_field(
        self, plane: ControlPlane, kind: str, body: dict[str, Any], field: str
    ) -> None:
        organization = await plane.an_organization()

        assert await refused(plane, f"/admin/organizations/{organization}/{kind}", body) == (400, field)

    async def test_of_another_organization_or_kind_are_not_found(self, plane: ControlPlane) -> None:
        acme, other = await plane.an_organization(), await plane.an_organization("Other")
        body = {"name": "Platform", "fee": "1", "starts_on": "2026-12-01"}
        plan = await data(plane, "POST", f"/admin/organizations/{acme}/subscriptions", 201, json=body)
        nobody = "org_01890000-0000-7000-8000-000000000000"

        assert await data(plane, "GET", f"/admin/organizations/{other}/subscriptions") == []
        for method, path in (
            ("POST", f"/admin/organizations/{other}/subscriptions/{plan['id']}/end"),
            ("POST", f"/admin/organizations/{acme}/commitments/{plan['id']}/end"),
            ("POST", f"/admin/organizations/{acme}/commitments/{plan['id'].replace('sub', 'cmt')}/end"),
            ("GET", f"/admin/organizations/{nobody}/subscriptions"),
            ("GET", f"/admin/organizations/{nobody}/billing"),
        ):
            answer = await plane.call(method, path, json={} if method == "POST" else None)
            assert answer.status_code == 404, path
        answer = await plane.call("POST", f"/admin/organizations/{nobody}/subscriptions", json=body)
        assert answer.status_code == 404

    async def test_are_kept_by_the_database(self, plane: ControlPlane) -> None:
        at = f"/admin/organizations/{await plane.an_organization()}"
        body = {"name": "Platform", "fee": "1", "starts_on": "2026-12-01", "ends_on": "2026-12-24"}
        await data(plane, "POST", f"{at}/subscriptions", 201, json=body)
        await data(plane, "PUT", f"{at}/billing", json=DETAILS)
        await data(plane, "PUT", "/admin/issuer", json=ISSUER)
        for statement in (
            "UPDATE agreements SET amount = amount + 1",
            "UPDATE agreements SET ends_on = '2030-01-01' WHERE ends_on IS NOT NULL",
            "UPDATE agreements SET ends_on = NULL WHERE ends_on IS NOT NULL",
            "DELETE FROM agreements",
            "TRUNCATE agreements",
            "UPDATE billing_details SET details = '{}'",
            "DELETE FROM issuers",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await plane.pool.execute(statement)
