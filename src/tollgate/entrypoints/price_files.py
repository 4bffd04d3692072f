"""Price files: versions to publish, as JSON or TOML or as options of a command; whatever is wrong is told by its place.

A file holds one version, as `POST /admin/prices` takes it, or many: a list of them, in TOML under `[[prices]]`.
"""

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tollgate.infra import web
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.tokens import Kind
from tollgate.pricing.rules import unit_of
from tollgate.pricing.schemas import PublishPrice

_MANY = "prices"
_TOML_PLACE = re.compile(r"^(?P<what>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)$", re.DOTALL)
_OPTION = re.compile(r"(?P<kind>[a-z0-9_]+)(@(?P<tier>\d{1,15}))?=(?P<price>\S+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version that a file or a command line asks for, and where."""

    place: str
    """What its fields are found under: the file's name and, of many, its number in it."""
    body: PublishPrice

    def refused(self, error: InvalidRequest) -> InvalidRequest:
        """The refusal of this entry, with its place."""
        return refused_at(self.place, error)


def refused_at(place: str, error: InvalidRequest) -> InvalidRequest:
    """The refusal, with the file, the entry and the field that it is about before the reason."""
    field = error.field
    told = error.message if field is None or field in error.message else f"{field}: {error.message}"
    return InvalidRequest(f"{place}: {told}", field=field)


def read(name: str, text: bytes) -> tuple[list[Entry], bool]:
    """The versions of a file of this name, and whether it is a list of them.

    Raises:
        InvalidRequest: it cannot be read; the message begins with the file's name and the line, or the field.
    """
    found = document(name, text)
    if isinstance(found, dict) and set(found) == {_MANY}:
        found = found[_MANY]
    if not isinstance(found, list):
        return [Entry(name, _body(name, found))], False
    places = [f"{name}: {_MANY}[{number}]" for number in range(len(found))]
    return [Entry(place, _body(place, each)) for place, each in zip(places, found, strict=True)], True


def document(name: str, text: bytes) -> Any:
    """What a file of this name says, JSON or TOML.

    Raises:
        InvalidRequest: it is neither; the message begins with the file's name and the line.
    """
    return _toml(name, text) if name.endswith(".toml") else _json(name, text)


def _json(name: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"{name}:{error.lineno}:{error.colno}: this is not valid JSON: {error.msg}.") from error
    except UnicodeDecodeError as error:
        raise _not_text(name, text, error) from error


def _toml(name: str, text: bytes) -> Any:
    try:
        return tomllib.loads(text.decode())
    except tomllib.TOMLDecodeError as error:
        found = _TOML_PLACE.match(str(error))
        place, what = (f"{name}:{found['line']}:{found['column']}", found["what"]) if found else (name, str(error))
        raise InvalidRequest(f"{place}: this is not valid TOML: {what}.") from error
    except UnicodeDecodeError as error:
        raise _not_text(name, text, error) from error


def _not_text(name: str, text: bytes, error: UnicodeDecodeError) -> InvalidRequest:
    line = text[: error.start].count(b"\n") + 1
    return InvalidRequest(f"{name}:{line}: this is not text in UTF-8.")


def _body(place: str, document: object) -> PublishPrice:
    try:
        return web.decode(msgspec.json.encode(document), PublishPrice)
    except InvalidRequest as error:
        raise refused_at(place, error) from error


def from_options(prices: Sequence[str], **fields: str | None) -> Entry:
    """The version that options ask for: prices as `kind=price`, or `kind@tokens=price` from so many prompt tokens on.

    Raises:
        InvalidRequest: an option cannot be read; the message names it.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    return Entry("the options", _body("the options", {**given, "items": items_of(prices)}))


def items_of(prices: Sequence[str]) -> list[dict[str, object]]:
    """The items that `--price` options ask for, as a body holds them.

    Raises:
        InvalidRequest: an option cannot be read; the message names it.
    """
    tiers: dict[str, list[tuple[int, str]]] = {}
    for text in prices:
        found = _OPTION.fullmatch(text)
        if found is None or found["kind"] not in set(Kind):
            raise InvalidRequest(
                f"--price {text!r}: say KIND=PRICE, as in prompt=0.4, or KIND@TOKENS=PRICE for calls of so many prompt "
                f"tokens or more; kinds are {', '.join(Kind)}."
            )
        tiers.setdefault(found["kind"], []).append((int(found["tier"] or 0), found["price"]))
    return [item for kind, steps in tiers.items() for item in _items(kind, sorted(steps))]


def _items(kind: str, steps: list[tuple[int, str]]) -> list[dict[str, object]]:
    ends: list[int | None] = [*(start for start, _ in steps[1:]), None]
    tiered = len(steps) > 1 or steps[0][0] > 0
    return [
        {
            "kind": kind,
            "price": price,
            "unit": unit_of(Kind(kind)).value,
            "prompt_tokens": {"gte": start, "lt": end} if tiered else None,
        }
        for (start, price), end in zip(steps, ends, strict=True)
    ]
