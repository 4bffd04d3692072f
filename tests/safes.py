"""Somewhere for a test's meter to keep its calls safe."""

import atexit
import shutil
import tempfile
from pathlib import Path
from uuid import uuid4

from tollgate.infra import estate
from tollgate.metering.safekeeping import Safekeeping


def a_safe(folder: Path | None = None) -> Safekeeping:
    """A process's own, in a folder of its own that goes when the tests are over, or in one that others use as well."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="tollgate-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Safekeeping(estate.found(folder, uuid4()))
