"""Somewhere for a test's meter to keep its calls safe."""

from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tollgate.infra import estate
from tollgate.metering.safekeeping import Safekeeping

_FOLDERS: list["TemporaryDirectory[str]"] = []
"""Deleted when the tests are over."""


def a_safe(folder: Path | None = None) -> Safekeeping:
    """A process's own, in a folder of its own or in one that others use as well."""
    if folder is None:
        _FOLDERS.append(TemporaryDirectory(prefix="tollgate-"))
        folder = Path(_FOLDERS[-1].name)
    return Safekeeping(estate.found(folder, uuid4()))
