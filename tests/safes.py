"""Somewhere for a test's meter to keep its calls safe."""

import atexit
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from tollgate.infra import estate
from tollgate.metering.model import Settlement
from tollgate.metering.safekeeping import Safekeeping


def a_safe(folder: Path | None = None) -> Safekeeping:
    """A process's own, in a folder of its own that goes when the tests are over, or in one that others use as well."""
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="tollgate-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Safekeeping(estate.found(folder, uuid4()))


async def keep(safe: Safekeeping, *settlements: Settlement, at: datetime) -> None:
    """What a meter does with settlements that the ledger does not take in time."""
    for settlement in settlements:
        safe.note(settlement)
    await safe.keep(settlements, at)
