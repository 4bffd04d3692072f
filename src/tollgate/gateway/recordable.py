"""Recordable: what callers and providers wrote, in a form that the database can keep. Pure."""

import re
from collections.abc import Mapping

import msgspec

from tollgate.gateway.model import UsageReading

_TEXT_CHARACTERS_MAX = 200
_USAGE_CHARACTERS_MAX = 8_192
_METADATA_OF_LOST_MAX = 2_048
_PAIR_OR_NUL = re.compile(r"(\\\\)|\\u0000")


def text(said: str | None) -> str | None:
    """A provider's text without what the database does not keep, and no longer than is of use."""
    if said is None or (len(said) <= _TEXT_CHARACTERS_MAX and said.isascii() and "\x00" not in said):
        return said
    return said.replace("\x00", "")[:_TEXT_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def json(value: object) -> str:
    """JSON that the database can keep: it knows no NUL, not even an escaped one.

    A pair of backslashes is one escaped backslash, and what follows it is text of its own.
    """
    encoded = msgspec.json.encode(value).decode()
    return _PAIR_OR_NUL.sub(lambda found: found[1] or "", encoded) if "\\u0000" in encoded else encoded


def metadata(given: Mapping[str, str] | None, *, is_lost: bool) -> str | None:
    """The caller's own pairs. Those of a call that may be lost are written again every second: not if they are many."""
    if given is None:
        return None
    whole = json(given)
    return None if is_lost and len(whole) > _METADATA_OF_LOST_MAX else whole


def usage(reading: UsageReading) -> str:
    """The provider's usage object as it came, or its counts alone if it is out of proportion."""
    whole = json(reading.raw)
    return whole if len(whole) <= _USAGE_CHARACTERS_MAX else json(dict(reading.quantities))
