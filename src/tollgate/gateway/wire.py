"""Reading what others wrote: JSON that may be anything, counts that may be missing, halves of characters. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

COUNT_MAX = 10**12
"""No call uses more of anything: a larger count is no count."""

_ESCAPES = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
"""Escaped backslashes and whole surrogate pairs, to be skipped, and halves of such pairs."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises on bytes that are not JSON, or not of the form asked for."""


def mended(data: bytes) -> bytes:
    """The JSON without escaped halves of surrogate pairs: legal JSON that no UTF-8 can express, and no reader here."""
    if b"\\ud" not in data and b"\\uD" not in data:
        return data
    return _ESCAPES.sub(lambda match: rb"\ufffd" if match.lastgroup == "half" else match[0], data)


def decoded(data: bytes) -> dict[str, Any] | None:
    """The JSON object these bytes are; `None` if they are anything else."""
    try:
        value = msgspec.json.decode(mended(data))
    except UNREADABLE:
        return None
    return value if isinstance(value, dict) else None


def count(value: object) -> int | None:
    """A count, or `None` where there is none: a missing count is not zero. Some servers write 1000.0 for 1000."""
    if type(value) is int:
        return value if 0 <= value <= COUNT_MAX else None
    return count(int(value)) if isinstance(value, float) and value.is_integer() else None


def mapping(value: object) -> Mapping[str, Any]:
    """The object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """The array, or an empty one in place of anything else."""
    return value if isinstance(value, list) else []


def objects(value: object) -> list[Mapping[str, Any]]:
    """The objects in an array; what else is in it is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str | None:
    """The string, or `None` in place of anything else."""
    return value if isinstance(value, str) else None


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without those that are `None`: what is left to the provider."""
    return {name: value for name, value in fields.items() if value is not None}


def raw(value: object) -> msgspec.Raw:
    """The value, encoded."""
    return msgspec.Raw(msgspec.json.encode(value))


def embedded(json: str) -> msgspec.Raw | None:
    """JSON text of an object, to be put into other JSON digit by digit as it is; `None` if it is none."""
    data = mended(json.encode("utf-8", "replace"))
    return None if decoded(data) is None else msgspec.Raw(data)


def event(data: bytes, name: str | None = None) -> bytes:
    """One server-sent event; line breaks between parts of its JSON, where they mean nothing, would end it early."""
    data = data.replace(b"\n", b" ").replace(b"\r", b" ")
    return b"data: " + data + b"\n\n" if name is None else b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


def read_error(body: bytes) -> str | None:
    """A provider's own words in the body of a refusal, if it has any we can show."""
    found = decoded(body)
    return error_message(found) if found is not None and "error" in found else None


def error_message(body: Mapping[str, Any]) -> str:
    """A provider's own words about an error, wherever it put them."""
    error = body.get("error")
    words = error.get("message") if isinstance(error, dict) else error
    return words if isinstance(words, str) and words else "The provider gave no reason."


def unknown_counts(*known: tuple[Mapping[str, Any], Iterable[str]]) -> tuple[str, ...]:
    """The names of fields with a count that are not among those known: (object, the names known in it)."""
    return tuple(
        [name for fields, names in known for name, value in fields.items() if name not in names and count(value)]
    )
