"""Reading a request's fields with their place in it: a fault is told by the path to it."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from tollgate.gateway.protocols.envelope import NULL
from tollgate.gateway.protocols.tally import first_byte
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit.errors import InvalidRequest

Decoded = TypeVar("Decoded")
Fields = Mapping[str, msgspec.Raw]

TEXT: msgspec.json.Decoder[str | None] = msgspec.json.Decoder(str | None)
FLAG: msgspec.json.Decoder[bool | None] = msgspec.json.Decoder(bool | None)
OBJECT: msgspec.json.Decoder[dict[str, msgspec.Raw] | None] = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_OBJECTS: msgspec.json.Decoder[tuple[dict[str, msgspec.Raw], ...] | None] = msgspec.json.Decoder(
    tuple[dict[str, msgspec.Raw], ...] | None
)

_TEXT_TYPE = msgspec.Raw(b'"text"')


def at(fields: Fields, name: str, form: msgspec.json.Decoder[Decoded | None], path: str) -> Decoded | None:
    """One field of the object at this path; `None` if it is missing or null.

    Raises:
        InvalidRequest: it has another form.
    """
    try:
        return form.decode(fields.get(name, NULL))
    except UNREADABLE as error:
        place = f"{path}.{name}" if path else name
        raise InvalidRequest(f"{place}: {error}.", field=place) from error


def text(fields: Fields, name: str, path: str) -> str:
    """A text that has to be there.

    Raises:
        InvalidRequest: it is not.
    """
    value = at(fields, name, TEXT, path)
    if value is None:
        raise InvalidRequest(f"{path}.{name} is missing.", field=f"{path}.{name}")
    return value


def inside(fields: Fields, name: str, path: str) -> Fields:
    """The object that a field is; an empty one where there is none.

    Raises:
        InvalidRequest: it is something else.
    """
    return at(fields, name, OBJECT, path) or {}


def each(fields: Fields, name: str, path: str) -> tuple[Fields, ...]:
    """The objects in the array that a field is; none where there is none.

    Raises:
        InvalidRequest: it is something else.
    """
    return at(fields, name, _OBJECTS, path) or ()


def blocks(fields: Fields, name: str, path: str) -> tuple[Fields, ...]:
    """Content blocks; a string is one block of text, and nothing is none.

    Raises:
        InvalidRequest: they are neither.
    """
    content = fields.get(name, NULL)
    if first_byte(content) == b'"':
        return ({"type": _TEXT_TYPE, "text": content},)
    return each(fields, name, path)


def asks(fields: Fields, name: str) -> bool:
    """Whether a field is there and asks for anything: null, false and empty things do not."""
    return bytes(fields.get(name, NULL)) not in {b"null", b"false", b"[]", b"{}", b'""'}
