"""What comes over HTTP is read strictly, and a refusal names the part at fault."""

from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar, Request, post
from litestar.params import JSONBody
from msgspec import Meta

from tollgate.infra import web
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import typed


class Bounds(web.Body, kw_only=True, frozen=True):
    monthly: web.Amount | None = None


class Order(web.Body, kw_only=True, frozen=True):
    name: str
    count: int = 1
    tags: tuple[str, ...] = ()
    bounds: Bounds | None = None


class Listing(web.Paging, kw_only=True, frozen=True):
    group_by: tuple[Literal["day", "model"], ...] = ()
    archived: bool = False
    below: int | None = None
    start: Annotated[datetime, Meta(tz=True)] | None = None
    q: str | None = None


def _asked(query: bytes) -> Request[Any, Any, Any]:
    scope: Any = {"type": "http", "query_string": query, "headers": []}
    return Request(scope)


def _refused(body: bytes) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        web.decode(body, Order)
    return refused.value


class TestDecode:
    def test_reads_what_the_shape_names(self) -> None:
        order = web.decode(b'{"name": "a", "tags": ["x"], "bounds": {"monthly": "0.10"}}', Order)

        assert order == Order(name="a", tags=("x",), bounds=Bounds(monthly=web.Amount("0.10")))

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            (b"{}", "name"),
            (b'{"name": 1}', "name"),
            (b'{"name": null}', "name"),
            (b'{"name": "a", "count": "1"}', "count"),
            (b'{"name": "a", "count": 1.5}', "count"),
            (b'{"name": "a", "count": true}', "count"),
            (b'{"name": "a", "tags": ["x", 1]}', "tags[1]"),
            (b'{"name": "a", "nmae": 1}', "nmae"),
            (b'{"name": "a", "bounds": {"yearly": "1"}}', "bounds.yearly"),
            (b'{"name": "a", "bounds": []}', "bounds"),
            (b'{"name": "a", "` - at `$.x`": 1}', None),
        ],
    )
    def test_names_the_part_at_fault(self, body: bytes, field: str | None) -> None:
        refused = _refused(body)

        assert field is None or refused.field == field
        assert field is None or field in refused.message

    @pytest.mark.parametrize("money", [b"1", b"0.1", b"1e3", b"true", b"{}"])
    def test_takes_money_as_a_string_only(self, money: bytes) -> None:
        refused = _refused(b'{"name": "a", "bounds": {"monthly": %s}}' % money)

        assert refused.field == "bounds.monthly"
        assert "decimal string" in refused.message

    @pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "-1", "1" * 27, "0.0000000000001", "1,5", "9" * 99])
    def test_takes_exact_money_only(self, text: str) -> None:
        assert _refused(b'{"name": "a", "bounds": {"monthly": "%s"}}' % text.encode()).field == "bounds.monthly"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"name": "a"} x',
            b'{"name": "\xff"}',
            b'{"name": "\\ud800"}',
            b'{"name": "a\\u0000"}',
            b'{"name": "a\x00"}',
            b'{"name": "a", "tags": ' + b"[" * 100_000,
        ],
    )
    def test_refuses_what_is_no_text_of_an_object(self, body: bytes) -> None:
        assert _refused(body).message

    def test_knows_an_escaped_backslash_from_an_escaped_nul(self) -> None:
        assert web.decode(rb'{"name": "\\u0000"}', Order).name == r"\u0000"

    @given(st.binary())
    def test_answers_any_bytes_with_a_value_or_a_refusal(self, body: bytes) -> None:
        with suppress(InvalidRequest):
            assert isinstance(web.decode(body, Order), Order)


class TestQuery:
    def test_reads_what_the_shape_names(self) -> None:
        asked = web.query(_asked(b"limit=5&group_by=day,model&archived=true&below=-3&q=a%20b"), Listing)

        assert asked == Listing(limit=5, group_by=("day", "model"), archived=True, below=-3, q="a b")

    def test_joins_repeated_lists(self) -> None:
        assert web.query(_asked(b"group_by=day&group_by=model"), Listing).group_by == ("day", "model")

    def test_takes_the_defaults_of_what_is_left_out(self) -> None:
        assert web.query(_asked(b""), Listing) == Listing()

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            (b"colour=red", "colour"),
            (b"limit=1&limit=1", "limit"),
            (b"limit=0", "limit"),
            (b"limit=1001", "limit"),
            (b"limit=1.0", "limit"),
            (b"limit=", "limit"),
            (b"limit=%D9%A3", "limit"),
            (b"limit=" + b"9" * 5000, "limit"),
            (b"below=null", "below"),
            (b"archived=1", "archived"),
            (b"archived", "archived"),
            (b"group_by=hour", "group_by[0]"),
            (b"group_by=", "group_by"),
            (b"group_by=day,", "group_by"),
            (b"start=2026-11-22", "start"),
            (b"start=2026-11-22T12:00:00", "start"),
            (b"start=1800000000", "start"),
            (b"q=%00", "q"),
            (b"q=%ff", None),
            (b"\xff", None),
            (b"q=1" + b"&q=1" * 200, None),
        ],
    )
    def test_names_the_parameter_at_fault(self, query: bytes, field: str | None) -> None:
        with pytest.raises(InvalidRequest) as refused:
            web.query(_asked(query), Listing)

        assert refused.value.field == field


class TestPage:
    @given(st.uuids())
    def test_cursors_are_read_back(self, last: UUID) -> None:
        assert web.parse_cursor(web.cursor(last)) == last

    @given(st.text())
    def test_cursors_of_anyone_else_are_refused(self, text: str) -> None:
        with suppress(InvalidRequest):
            assert isinstance(web.parse_cursor(text), UUID)

    @given(st.lists(st.uuids(), unique=True), st.integers(1, 5))
    def test_pages_tile_the_list(self, ids: list[UUID], limit: int) -> None:
        rows = sorted(ids, reverse=True)
        seen: list[str] = []
        before: UUID | None = None
        while True:
            fetched = [row for row in rows if before is None or row < before][: limit + 1]
            part = web.page(fetched, limit=limit, show=str, key=lambda row: row)
            seen += part.data
            if part.next is None:
                break
            before = web.parse_cursor(part.next)

        assert seen == [str(row) for row in rows]


class TestScalars:
    def test_ids_are_read_back(self) -> None:
        assert web.parse_id("key", typed("key", UUID(int=7)), field="key") == UUID(int=7)

    def test_an_impossible_id_in_a_field_is_the_callers_mistake(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            web.parse_id("key", "org_1", field="key")

        assert refused.value.field == "key"

    def test_an_impossible_id_in_a_path_finds_nothing(self) -> None:
        with pytest.raises(NotFound):
            web.parse_id("key", "org_1")

    def test_amounts_are_exact_or_refused(self) -> None:
        assert web.amount("0.000000000001", field="price") == Decimal("1E-12")
        with pytest.raises(InvalidRequest) as refused:
            web.amount("cheap", field="price")
        assert refused.value.field == "price"


def test_the_documentation_describes_bodies_and_shows_money_as_text() -> None:
    @post("/orders")
    async def order(data: JSONBody[Order]) -> web.One[str]:
        return web.One(data=data.name)

    schemas = (
        Litestar([order], plugins=[web.StrictBodies(), web.AmountSchema()]).openapi_schema.to_schema()["components"]
    )["schemas"]

    assert schemas["Order"]["required"] == ["name"]
    assert schemas["Bounds"]["properties"]["monthly"]["oneOf"][0]["type"] == "string"
