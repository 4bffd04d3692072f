"""What lies at the edges of the calendar and of text is refused by every route alike, and never fails."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from litestar.routes import HTTPRoute
from tests.control_plane import ControlPlane, shared_control_plane

from tollgate.infra import web

EDGES = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "0001-01-02T00:00:00-12:00",
    "1999-12-31T23:59:59Z",
    "9001-01-01T00:00:00Z",
    "9999-12-31T12:00:00+12:00",
    "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59.999999-23:59",
)
PRICE = {"model": "acme/one", "provider": "acme", "items": []}
GRANT = {"amount": "1"}
MODEL = {"slug": "acme/two", "name": "Two"}
RERATE = {"model": "acme/one", "provider": "acme", "items": [], "reason": "a mistake"}
KEY = {"kind": "inference", "name": "mine"}

BODIES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("POST", "/admin/prices", "effective_from", PRICE),
    ("POST", "/admin/price-adjustments", "effective_from", {"percent": "5"}),
    ("POST", "/admin/rerate", "from", RERATE),
    ("POST", "/admin/rerate", "to", {**RERATE, "from": "2026-01-01T00:00:00Z"}),
    ("POST", "/admin/price-adjustments/padj_01890000-0000-7000-8000-000000000000/end", "effective_to", {}),
    ("POST", "/admin/models", "deprecated_at", MODEL),
    ("POST", "/admin/models", "retires_at", MODEL),
    ("PATCH", "/admin/models/acme/one", "deprecated_at", {}),
    ("PATCH", "/admin/models/acme/one", "retires_at", {}),
    ("POST", "/admin/organizations/{organization}/grants", "expires_at", GRANT),
    ("POST", "/admin/organizations/{organization}/keys", "expires_at", KEY),
    ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/mark-paid", "paid_at", {}),
    ("POST", "/keys", "expires_at", {"name": "mine"}),
    ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/mark-paid", "paid_at", {}),
    ("POST", "/admin/invoices/inv_01890000-0000-7000-8000-000000000000/mark-refunded", "refunded_at", {}),
    ("PATCH", "/keys/key_01890000-0000-7000-8000-000000000000", "expires_at", {}),
    ("POST", "/webhooks/whk_01890000-0000-7000-8000-000000000000/replay", "since", {}),
)
SUBSCRIPTION = {"name": "Platform", "fee": "1", "starts_on": "2026-12-01"}
DAYS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("/subscriptions", "starts_on", SUBSCRIPTION),
    ("/subscriptions", "ends_on", SUBSCRIPTION),
    ("/subscriptions/{subscription}/end", "ends_on", {}),
)
QUERIES = (
    ("/admin/catalogue/changes", "after"),
    ("/admin/catalogue/changes", "before"),
    ("/usage", "start"),
    ("/usage", "end"),
    ("/calls", "start"),
    ("/calls", "end"),
)


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "edges") as opened:
        yield opened


@pytest.fixture(scope="module")
async def organization(plane: ControlPlane) -> str:
    return await plane.an_organization()


@pytest.fixture(scope="module")
async def manager(plane: ControlPlane, organization: str) -> str:
    return await plane.a_key(organization)


def _shapes(shape: type[web.Body]) -> Iterator[type[web.Body]]:
    for derived in shape.__subclasses__():
        if derived.__module__.startswith("tollgate."):
            yield derived
            yield from _shapes(derived)


class TestInstants:
    @pytest.mark.parametrize("case", BODIES, ids=lambda case: f"{case[1]} {case[2]}")
    async def test_in_a_body_are_of_years_that_can_be_reckoned_with(
        self, plane: ControlPlane, organization: str, manager: str, case: tuple[str, str, str, dict[str, Any]]
    ) -> None:
        method, path, field, rest = case
        place = path.format(organization=organization)
        key = plane.operator_key if path.startswith("/admin/") else manager
        for edge in EDGES:
            answer = await plane.call(method, place, key=key, json={**rest, field: edge})

            assert answer.status_code == 400, (edge, answer.text)
            assert answer.json()["error"]["metadata"] == {"field": field}, edge

    async def test_that_are_days_are_of_the_same_years(self, plane: ControlPlane, organization: str) -> None:
        at = f"/admin/organizations/{organization}"
        made = await plane.call("POST", f"{at}/subscriptions", json=SUBSCRIPTION)
        for path, field, rest in DAYS:
            place = at + path.format(subscription=made.json()["data"]["id"])
            for edge in ("0001-01-01", "1999-12-31", "9001-01-01", "9999-12-31"):
                answer = await plane.call("POST", place, json={**rest, field: edge})

                assert answer.status_code == 400, (edge, answer.text)
                assert answer.json()["error"]["metadata"] == {"field": field}, edge

    @pytest.mark.parametrize(("path", "field"), QUERIES)
    async def test_in_a_query_are_of_years_that_can_be_reckoned_with(
        self, plane: ControlPlane, manager: str, path: str, field: str
    ) -> None:
        key = plane.operator_key if path.startswith("/admin/") else manager
        whole = {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"} if field in {"start", "end"} else {}
        for edge in EDGES:
            answer = await plane.call("GET", path, key=key, params={**whole, field: edge})

            assert answer.status_code == 400, (edge, answer.text)
            assert answer.json()["error"]["metadata"] == {"field": field}, edge

    def test_are_nowhere_taken_under_a_name_that_is_not_tried_here(self) -> None:
        taken = {
            field.encode_name
            for shape in _shapes(web.Body)
            for field in msgspec.structs.fields(shape)
            if "datetime.datetime" in str(field.type)
        }

        days = {
            field.encode_name
            for shape in _shapes(web.Body)
            for field in msgspec.structs.fields(shape)
            if "datetime.date'" in str(field.type) or "datetime.date " in str(field.type)
        }

        assert taken == {field for _, _, field, _ in BODIES} | {field for _, field in QUERIES}
        assert days == {field for _, field, _ in DAYS}


def _places(plane: ControlPlane, organization: str, text: str) -> Iterator[tuple[str, str]]:
    """Every method and path of a route that has places in its path, with the text in one place after the other."""
    for route in plane.app.routes:
        places = re.findall(r"{\w+}", route.path_format) if isinstance(route, HTTPRoute) else []
        for place in places:
            path = route.path_format.replace(place, text).replace("{organization_id}", organization)
            for method in sorted(route.methods - {"OPTIONS"}):
                yield method, re.sub(r"{\w+}", "acme", path)


class TestPaths:
    @pytest.mark.parametrize("text", ["%00", "a%00b", "acme%00"])
    async def test_with_a_character_that_no_name_can_have_lead_nowhere(
        self, plane: ControlPlane, organization: str, manager: str, text: str
    ) -> None:
        found = list(_places(plane, organization, text))
        assert len(found) > 50
        for method, path in found:
            key = plane.operator_key if "/admin/" in path else manager
            answer = await plane.client.request(method, path, headers={"Authorization": f"Bearer {key}"})

            assert answer.status_code == 404, (method, path, answer.text)

    async def test_that_end_in_half_a_character_lead_nowhere(self, plane: ControlPlane) -> None:
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope: Any = {"type": "http", "method": "GET", "path": "/models/acme/one\ud800", "raw_path": b"/",
                      "query_string": b"", "headers": [], "root_path": "", "scheme": "http",
                      "server": ("tollgate.test", 80), "client": None, "http_version": "1.1", "state": {}}  # fmt: skip
        await plane.app(scope, receive, send)

        assert told[0]["status"] == 404
