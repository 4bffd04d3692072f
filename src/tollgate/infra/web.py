"""Web: what comes over HTTP becomes typed values, or an `InvalidRequest` that names the part at fault.

Bodies and query parameters are decoded strictly into `Body` structs, money is read from decimal strings only,
ids are read back from their typed text, and lists are answered a page at a time behind an opaque cursor.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Generic, TypeAlias, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.dto import AbstractDTO, MsgspecDTO
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.params import SkipValidation
from litestar.plugins import OpenAPISchemaPlugin, SerializationPlugin
from litestar.typing import FieldDefinition
from msgspec import inspect

from tollgate.kit import ids, instants, money
from tollgate.kit.errors import InvalidRequest, NotFound

BODY_BYTES_MAX = 1024 * 1024
"""The largest body a management or operator route reads; Litestar enforces it as `request_max_body_size`."""

PAGE_MAX = 1000
"""The most items one page of a list may hold."""

_PARAMETERS_MAX = 100
_FAULT_PLACE = re.compile(r" - at `\$\.?(?P<path>.*)`$", re.DOTALL)
_FAULT_FIELD = re.compile(r"^Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")

Item = TypeVar("Item")
Row = TypeVar("Row")
Service = TypeVar("Service")
Shape = TypeVar("Shape", bound="Body")

Injected: TypeAlias = NamedDependency[SkipValidation[Service]]
"""`database: Injected[Database]`: a handler's parameter that the wiring provides under this name."""


class Body(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What a request may say. Anything it does not name is refused, and so is an instant nobody can reckon with."""

    def __post_init__(self) -> None:
        for name, field in _instants(type(self)):
            given = getattr(self, name)
            if isinstance(given, datetime):
                instants.check(given, field)


class Nothing(Body, frozen=True):
    """The query parameters of a route that has none."""


class Amount(Decimal):
    """Money in a request, zero or more: a `Decimal` that arrived as a decimal string, never as a JSON number."""


Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""An instant in a request, which says what its zone is; a `Body` checks that it can be reckoned with."""


class Paging(Body, kw_only=True, frozen=True):
    """The query parameters of every list; lists with filters derive theirs from it."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = 100
    cursor: str | None = None

    @property
    def before(self) -> UUID | None:
        """The id the page starts after, newest first; `None` on the first page."""
        return None if self.cursor is None else parse_cursor(self.cursor)


class Page(msgspec.Struct, Generic[Item], kw_only=True, frozen=True):
    """One page of a list, newest first; `next` is the cursor of the page after it, or `None` at the end."""

    data: list[Item]
    next: str | None = None


class One(msgspec.Struct, Generic[Item], kw_only=True, frozen=True):
    """One thing."""

    data: Item


def page(rows: Sequence[Row], *, limit: int, show: Callable[[Row], Item], key: Callable[[Row], UUID]) -> Page[Item]:
    """The page of `rows`, of which the store fetched one more than `limit` to learn whether another page follows."""
    shown = rows[:limit]
    following = cursor(key(shown[-1])) if len(rows) > limit else None
    return Page(data=[show(row) for row in shown], next=following)


def cursor(last: UUID) -> str:
    """The opaque text that stands for "after this row"."""
    return urlsafe_b64encode(last.bytes).decode().rstrip("=")


def parse_cursor(text: str) -> UUID:
    """Read a cursor back.

    Raises:
        InvalidRequest: the text is no cursor of ours.
    """
    try:
        return UUID(bytes=urlsafe_b64decode(text.encode("ascii") + b"=="))
    except (NotBase64, ValueError) as error:
        raise InvalidRequest("This cursor is not one that a list answered with.", field="cursor") from error


def parse_id(prefix: str, text: str, field: str | None = None) -> UUID:
    """Read a typed id back: from the path when no field is named, else from that field.

    Raises:
        NotFound: the path names something that cannot exist.
        InvalidRequest: the field is not an id with this prefix.
    """
    try:
        return ids.parse(prefix, text)
    except ids.NotAnId as error:
        if field is None:
            raise NotFound from error
        raise InvalidRequest(f"{field}: {error}", field=field) from error


def amount(text: str, field: str) -> Decimal:
    """Read a decimal string as money.

    Raises:
        InvalidRequest: the text is not an exact amount.
    """
    try:
        return money.parse_amount(text)
    except money.NotMoney as error:
        raise InvalidRequest(f"{field}: {error}", field=field) from error


def decode(body: bytes, shape: type[Shape]) -> Shape:
    """Read a JSON body as the shape, converting nothing: a number in quotes is not a number.

    Raises:
        InvalidRequest: the body is not JSON, or not of this shape; `field` is the path of the part at fault.
    """
    if _ESCAPED_NUL.search(body):
        raise InvalidRequest("Text cannot contain the character U+0000.")
    try:
        decoded: Shape = _decoder(shape).decode(body)
    except msgspec.ValidationError as error:
        raise _fault(str(error)) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
    return decoded


def query(request: ASGIConnection[Any, Any, Any, Any], shape: type[Shape], *, others_allowed: bool = False) -> Shape:
    """Read the query parameters as the shape. Fields that hold tuples take comma lists and may be repeated.

    With `others_allowed`, parameters that the shape does not have are left out: links to pages gather such.

    Raises:
        InvalidRequest: a parameter is unknown, repeated or of another type; `field` is its name.
    """
    values: dict[str, object] = {}
    kinds = _kinds(shape)
    for name, text in _parameters(request.scope["query_string"]):
        kind = kinds.get(name)
        if kind is None and others_allowed:
            continue
        if kind is None:
            raise InvalidRequest(f"There is no query parameter {name[:80]!r} here.", field=name[:80])
        if inspect.VarTupleType in kind:
            values[name] = (*_so_far(values, name), *_comma_list(name, text))
        elif name in values:
            raise InvalidRequest(f"The query parameter {name!r} is given more than once.", field=name)
        else:
            values[name] = _plain(kind, text)
    try:
        return msgspec.convert(values, shape, dec_hook=_read_custom)
    except msgspec.ValidationError as error:
        raise _fault(str(error)) from error


async def check_path(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Litestar guard for routes with parameters in their path: what the database's text cannot hold names nothing.

    Raises:
        NotFound: a part of the path holds U+0000 or half a surrogate pair.
    """
    del handler
    for part in connection.scope["path_params"].values():
        if not _is_text(str(part)):
            raise NotFound


class StrictBodies(SerializationPlugin):
    """Litestar plugin: a handler's `data: SomeBody` goes through `decode` instead of Litestar's lenient conversion."""

    def supports_type(self, field_definition: FieldDefinition) -> bool:
        return field_definition.is_subclass_of(Body)

    def create_dto_for_type(self, field_definition: FieldDefinition) -> type[AbstractDTO[Any]]:
        return _StrictDTO.__class_getitem__(field_definition.annotation)


class AmountSchema(OpenAPISchemaPlugin):
    """Litestar plugin: documents `Amount` as the decimal string it is."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        return value is Amount

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        del field_definition, schema_creator
        return Schema(type=OpenAPIType.STRING, pattern=r"^\d+(\.\d+)?$", examples=["0.00082"])


class _StrictDTO(MsgspecDTO[Body]):
    def decode_bytes(self, value: bytes) -> Body:
        return decode(value, self.model_type)

    @classmethod
    def create_for_field_definition(cls, field_definition: FieldDefinition, handler_id: str, *_: Any) -> None:
        """Nothing to prepare: `decode` needs no transfer model."""

    @classmethod
    def create_openapi_schema(cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any) -> Any:
        del handler_id
        return schema_creator.for_field_definition(field_definition)


@cache
def _decoder(shape: type[Body]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape, dec_hook=_read_custom)


def _read_custom(kind: type, value: object) -> object:
    if kind is not Amount:
        raise NotImplementedError(f"{kind} has no form in JSON")
    # msgspec adds the path of the field to a ValueError, and to no other exception.
    if not isinstance(value, str):
        raise ValueError('Money is a decimal string, such as "0.00082", never a JSON number')  # noqa: TRY004 - see above
    found = money.parse_amount(value)
    if found < 0:
        raise ValueError(f"{value!r} is below zero")
    return Amount(found)


def _fault(message: str) -> InvalidRequest:
    place = _FAULT_PLACE.search(message)
    path = place["path"][:200] if place else ""
    reason = message[: place.start()] if place else message
    named = _FAULT_FIELD.match(reason)
    if named is None:
        return InvalidRequest(f"{path}: {reason}." if path else f"{reason}.", field=path or None)
    field = f"{path}.{named['name'][:80]}" if path else named["name"][:80]
    lacking = named["how"] == "missing required"
    return InvalidRequest(f"{field} is required." if lacking else f"There is no field {field!r} here.", field=field)


@cache
def _instants(shape: type[Body]) -> tuple[tuple[str, str], ...]:
    """The attributes of the shape that may hold instants, each with its name in requests."""
    return tuple(
        (field.name, field.encode_name) for field in _fields(shape) if inspect.DateTimeType in _alternatives(field.type)
    )


@cache
def _kinds(shape: type[Body]) -> dict[str, frozenset[type[inspect.Type]]]:
    return {field.encode_name: _alternatives(field.type) for field in _fields(shape)}


def _fields(shape: type[Body]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(shape)
    assert isinstance(described, inspect.StructType)  # noqa: S101 - a Body is a struct
    return described.fields


def _alternatives(kind: inspect.Type) -> frozenset[type[inspect.Type]]:
    return frozenset(type(each) for each in (kind.types if isinstance(kind, inspect.UnionType) else (kind,)))


def _parameters(query_string: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS_MAX
        )
    except ValueError as error:
        raise InvalidRequest("The query string cannot be read.") from error
    for name, text in pairs:
        if "\x00" in text:
            raise InvalidRequest("Text cannot contain the character U+0000.", field=name[:80])
    return pairs


def _is_text(given: str) -> bool:
    return "\x00" not in given and not any("\ud800" <= character <= "\udfff" for character in given)


def _so_far(values: dict[str, object], name: str) -> tuple[object, ...]:
    found = values.get(name, ())
    return found if isinstance(found, tuple) else ()


def _comma_list(name: str, text: str) -> list[str]:
    parts = text.split(",")
    if not all(parts):
        raise InvalidRequest(f"The query parameter {name!r} has an empty item.", field=name)
    return parts


def _plain(kind: frozenset[type[inspect.Type]], text: str) -> object:
    if inspect.IntType in kind and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if inspect.BoolType in kind and text in {"true", "false"}:
        return text == "true"
    return text
