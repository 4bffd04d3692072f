"""The description of the interface: every route says what it is for, what it belongs to, and who may ask."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tollgate.entrypoints import http
from tollgate.infra.settings import Settings
from tollgate.kit.clock import SystemClock

METHODS = {"get", "post", "patch", "put", "delete"}
OF_OPERATORS = "Takes an operator key."


@pytest.fixture(scope="module")
async def interface() -> AsyncIterator[httpx.AsyncClient]:
    """The application without a lifespan: what describes it asks no database."""
    app: Any = http.build(
        Settings("postgresql://127.0.0.1:9/none", data_dir=Path()), environment={}, clock=SystemClock()
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tollgate.test") as client:
        yield client


@pytest.fixture(scope="module")
async def document(interface: httpx.AsyncClient) -> dict[str, Any]:
    described: dict[str, Any] = (await interface.get("/schema/openapi.json")).json()
    return described


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & item.keys():
            yield f"{method} {path}", item[method]


def _squeezed(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _is_of_a_name(summary: str, operation: dict[str, Any]) -> bool:
    """Whether it is what is made of the handler's name where nobody wrote anything."""
    return " " not in summary or _squeezed(operation.get("operationId", "")).endswith(_squeezed(summary))


async def test_every_operation_has_a_summary_that_somebody_wrote_a_description_and_a_tag(
    document: dict[str, Any],
) -> None:
    lacking = {
        where: (operation.get("summary"), operation.get("description"), operation.get("tags"))
        for where, operation in _operations(document)
        if _is_of_a_name(operation.get("summary", ""), operation)
        or not operation.get("description")
        or not operation.get("tags")
    }

    assert lacking == {}
    assert len([*_operations(document)]) > 140


async def test_the_descriptions_say_which_key_is_taken(document: dict[str, Any]) -> None:
    told = {where: operation["description"] for where, operation in _operations(document)}

    assert {where for where in told if " /api/v1/admin/" in where} == {
        where for where, what in told.items() if what == OF_OPERATORS
    }
    assert told["get /api/v1/key"] == "Takes a key of any kind."
    assert told["get /api/v1/keys"] == "Takes a management key, and is about its organization alone."
    assert told["get /api/v1/models"] == "Takes no key."
    assert told["post /api/v1/chat/completions"] == "Takes an inference key."


async def test_the_page_shows_what_the_description_says(interface: httpx.AsyncClient, document: dict[str, Any]) -> None:
    page = (await interface.get("/docs")).text

    assert page.count("<article>") == len([*_operations(document)])
    assert "<p class=more>The organization&#x27;s keys, newest first. Takes a management key" in page
