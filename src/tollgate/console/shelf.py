"""Shelf: the files that pages load, each under a name that changes with its content, so that browsers may keep it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_NAMED = re.compile(r"(?P<stem>[a-z]+)\.(?P<digest>[0-9a-f]{12})\.(?P<kind>css|js|svg)")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file."""

    name: str
    """As pages name it: `page.0123456789ab.css`."""
    media_type: str
    content: bytes


def _read() -> Mapping[str, Asset]:
    """The package's own files, by plain name."""
    found = {}
    for file in (files(__package__) / "assets").iterdir():
        stem, _, kind = file.name.partition(".")
        if kind in _TYPES:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            found[file.name] = Asset(f"{stem}.{digest}.{kind}", _TYPES[kind], content)
    return found


_ASSETS = _read()


def path_of(plain_name: str) -> str:
    """Where a page finds a file: `/assets/page.0123456789ab.css` for `page.css`."""
    return f"/assets/{_ASSETS[plain_name].name}"


def take(name: str) -> Asset | None:
    """The file a page named, `None` if there is none.

    While one version gives way to the next, a page of the one may ask a process of the other: it is given what there
    is under that name now, and can tell by `Asset.name` that it is another.
    """
    named = _NAMED.fullmatch(name)
    return None if named is None else _ASSETS.get(f"{named['stem']}.{named['kind']}")
