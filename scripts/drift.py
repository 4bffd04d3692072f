"""Checks that the migrations, applied to an empty database, make exactly the tables that the slices declare."""

import asyncio
import sys
import tempfile
from pathlib import Path

from tollgate.infra import upgrades
from tollgate.infra.embedded_postgres import EmbeddedPostgres


async def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        server = EmbeddedPostgres(Path(scratch), durable=False)
        await server.start()
        try:
            await upgrades.upgrade(server.url)
            found = await upgrades.drift(server.url)
        finally:
            await server.stop()
    for difference in found:
        print(difference)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
