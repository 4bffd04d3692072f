"""Stripe's wire format: form-encoded parameters with nested names in, JSON objects, lists and errors out."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

Thing = dict[str, Any]
"""An object of Stripe's as JSON; names that begin with an underscore stay inside the double."""

_PARTS = re.compile(r"[^\[\]]+")


class Problem(Exception):
    """An error as Stripe answers it."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str | None = None, **more: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        given = {"type": kind, "message": message, "code": code, **more}
        self.error = {name: value for name, value in given.items() if value is not None}

    @property
    def body(self) -> Thing:
        return {"error": self.error}


def missing(kind: str, identifier: str) -> Problem:
    """There is no such object."""
    return Problem(404, f"No such {kind}: '{identifier}'", code="resource_missing", param="id")


class Params:
    """The parameters of a request; whatever a route has not asked for when it is done is unknown to it."""

    def __init__(self, given: Thing) -> None:
        self._given = dict(given)

    def text(self, name: str, default: str | None = None) -> str | None:
        """One that may be left out."""
        found = self._given.pop(name, default)
        if found is not None and not isinstance(found, str):
            raise Problem(400, f"Invalid {name}", param=name)
        return found

    def needed(self, name: str) -> str:
        """One that must be given."""
        found = self.text(name)
        if not found:
            raise Problem(400, f"Missing required param: {name}.", code="parameter_missing", param=name)
        return found

    def number(self, name: str, default: int | None = None) -> int | None:
        """A whole number that may be left out."""
        found = self.text(name)
        if found is None:
            return default
        if not re.fullmatch(r"-?[0-9]{1,15}", found):
            raise Problem(400, f"Invalid integer: {found}", code="parameter_invalid_integer", param=name)
        return int(found)

    def truth(self, name: str, *, default: bool = False) -> bool:
        """true or false."""
        found = self.text(name)
        if found not in {None, "true", "false"}:
            raise Problem(400, f"Invalid boolean: {found}", param=name)
        return default if found is None else found == "true"

    def inner(self, name: str) -> "Params":
        """The parameters within one, such as `name` in `product_data[name]`."""
        found = self._given.pop(name, {})
        if not isinstance(found, dict):
            raise Problem(400, f"Invalid object: {name}", param=name)
        return Params(found)

    def many(self, name: str) -> list["Params"]:
        """A list of objects."""
        return [Params(each) for each in self._items(name)]

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        return [str(each) for each in self._items(name)]

    def mapping(self, name: str) -> dict[str, str]:
        """All that is within one, such as metadata."""
        found = self._given.pop(name, {})
        return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}

    def done(self) -> None:
        """Refuse what nobody asked for."""
        for name in self._given:
            raise Problem(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)

    def _items(self, name: str) -> list[Any]:
        found = self._given.pop(name, {})
        return list(found.values()) if isinstance(found, dict) else []


def decode(form: str) -> Params:
    """Read `a[b][0][c]=d` as nested objects; lists are objects with numbers for names."""
    root: Thing = {}
    for name, value in parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form)):
        *path, last = _PARTS.findall(name)
        place = root
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return Params(root)


def shown(thing: Thing) -> Thing:
    """The object as it goes over the wire."""
    return {name: _shown(value) for name, value in thing.items() if not name.startswith("_")}


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return shown(value)
    return [_shown(each) for each in value] if isinstance(value, list) else value


def listed(url: str, found: Iterable[Thing], params: Params, keep: Callable[[Thing], bool] = lambda _: True) -> Thing:
    """One page of objects, the newest first: `limit`, `starting_after`, and `created[gte]`."""
    limit, after = params.number("limit", 10) or 10, params.text("starting_after")
    since = params.inner("created").number("gte", 0) or 0
    if not 1 <= limit <= 100:
        raise Problem(400, "This value must be between 1 and 100.", param="limit")
    wanted = [each for each in found if each["created"] >= since and keep(each)]
    if after is not None:
        names = [each["id"] for each in wanted]
        if after not in names:
            raise missing("object", after)
        wanted = wanted[names.index(after) + 1 :]
    return {"object": "list", "url": url, "has_more": len(wanted) > limit, "data": wanted[:limit]}


def encode(thing: Thing) -> bytes:
    """The JSON of an answer."""
    return json.dumps(thing, indent=2).encode()
