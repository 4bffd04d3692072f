"""Every route of the control plane, walked by those whom it does not serve: other organizations, and lesser keys."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from tests.control_plane import ControlPlane, shared_control_plane
from tests.invoices.acting import credit
from tests.invoices.builders import AFTER, NOVEMBER, PLAIN, Books, Used, at
from tests.payments.shop import PAGES
from tests.payments.stripe_double import SECRET_KEY

from tollgate.infra import web
from tollgate.kit.ids import typed
from tollgate.kit.tokens import Kind

PREFIX = "/api/v1"
BODIES: Mapping[str, Any] = {
    "ChangeKey": {"name": "theirs"},
    "ChangeProject": {"name": "theirs"},
    "ChangeWebhook": {"disabled": True},
    "Replay": {"since": "2026-11-01T00:00:00Z"},
}
OF_EVERYBODY = {"author", "name"}
"""What names a model, which everybody may see."""


STARTS = ("call_id", "invoice_id", "delivery_id", "top_up_id")
"""Where the stranger has lists begin."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the document."""

    method: str
    path: str
    body: str | None
    """The name of its body's schema."""

    @property
    def names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def of_operators(self) -> bool:
        return self.path.startswith("/admin")


@dataclass(frozen=True, slots=True)
class Owner:
    """An organization with one of everything, and a key of each kind."""

    ids: Mapping[str, str]
    manager: str
    caller: str


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    configured = {"stripe_secret_key": SECRET_KEY, "stripe_api_base": "http://127.0.0.1:9"}
    async with shared_control_plane(server_url, template, "tenants", configured=configured) as opened:
        yield opened


@pytest.fixture(scope="module")
async def owner(plane: ControlPlane) -> Owner:
    books = Books(plane.database, plane.pool)
    organization = await books.an_organization()
    name = typed("org", organization.id)
    manager, caller = await plane.a_key(name), await plane.a_key(name, "inference")
    [call] = await books.record(organization, Used(at(11, 3), {Kind.PROMPT: 25_000_000}))
    heading = (await books.close(organization, NOVEMBER, now=AFTER)).heading
    note = await credit(books, heading, "1")
    await books.record(organization, Used(at(12, 1), PLAIN))

    async def made(path: str, **body: Any) -> str:
        answer = await plane.call("POST", path, key=manager, json=body)
        assert answer.status_code < 300, answer.text
        return str(answer.json()["data"]["id"])

    hook = await made("/webhooks", url="https://hooks.example.com")
    ids = {
        "organization_id": name,
        "call_id": typed("gen", call),
        "invoice_id": typed("inv", heading.id),
        "credit_note_id": typed("cn", note.id),
        "webhook_id": hook,
        "delivery_id": await made(f"/webhooks/{hook}/test"),
        "project_id": await made("/projects", name="Ours"),
        "key_id": await made("/keys", name="ours"),
        "top_up_id": await made("/credits/top-ups", amount="5", **PAGES),
        "n": "1",
    }
    return Owner(ids, manager, caller)


def routes(plane: ControlPlane) -> Iterator[Route]:
    for path, operations in plane.app.openapi_schema.to_schema()["paths"].items():
        for method, operation in operations.items():
            content: list[Any] = [*operation.get("requestBody", {}).get("content", {}).values()]
            schema = str(content[0]["schema"].get("$ref", "")) if content else ""
            if path.startswith(PREFIX):
                yield Route(method.upper(), path.removeprefix(PREFIX), schema.rpartition("/")[2] or None)


async def test_nothing_of_another_organization_is_there(plane: ControlPlane, owner: Owner) -> None:
    stranger = await plane.a_manager("Rival")
    walked = [
        each for each in routes(plane) if each.names and not each.of_operators and not OF_EVERYBODY & {*each.names}
    ]

    assert len(walked) > 20
    for route in walked:
        path = route.path.format(**owner.ids)
        body = {} if route.body is None else {"json": BODIES[route.body]}
        answer = await plane.call(route.method, path, key=stranger, **body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found"), (route, answer.text)
        assert not [each for each in owner.ids.values() if len(each) > 1 and each in answer.text]


async def test_what_the_owner_has_is_there_for_the_owner(plane: ControlPlane, owner: Owner) -> None:
    for route in routes(plane):
        if route.method == "GET" and route.names and not route.of_operators and not route.path.endswith("/pdf"):
            if OF_EVERYBODY & {*route.names}:
                continue
            answer = await plane.call("GET", route.path.format(**owner.ids), key=owner.manager)
            assert answer.status_code == 200, (route, answer.text)


async def test_no_list_tells_of_another_organization_from_wherever_it_begins(plane: ControlPlane, owner: Owner) -> None:
    stranger = await plane.a_manager("Rival")
    cursors = [web.cursor(UUID(owner.ids[name].partition("_")[2])) for name in STARTS]
    for route in routes(plane):
        if route.method != "GET" or route.names or route.of_operators:
            continue
        for query in ("", *(f"?cursor={cursor}" for cursor in cursors)):
            answer = await plane.call("GET", route.path + query, key=stranger)
            assert answer.status_code in {200, 400, 503}, (route, query, answer.text)
            assert not [each for each in owner.ids.values() if len(each) > 1 and each in answer.text], (route, query)
    other = await plane.call("GET", f"/generation?id={owner.ids['call_id']}", key=stranger)
    assert other.status_code == 404


async def test_what_is_the_operators_is_nobody_elses(plane: ControlPlane, owner: Owner) -> None:
    walked = [each for each in routes(plane) if each.of_operators]

    assert len(walked) > 60
    for route in walked:
        path = re.sub(r"{(\w+)}", lambda found: owner.ids.get(found[1], "x"), route.path)
        for key in (owner.manager, owner.caller):
            answer = await plane.call(route.method, path, key=key)
            assert answer.status_code == 403, (route, answer.text)
