"""Eight workers that are killed at random, and a person who closes by hand: each month is closed exactly once.

TOLLGATE_TEST_SEED repeats whom another run killed, and roughly when.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.builders import seeded
from tests.invoices.builders import PLAIN, Books, Used

from tollgate.accounts.model import Organization
from tollgate.entrypoints import doctor
from tollgate.invoices import tasks
from tollgate.invoices.model import Month
from tollgate.kit.clock import SystemClock
from tollgate.kit.tokens import Kind

WORKERS = 8
ORGANIZATIONS = 1_000
GRACE = timedelta(hours=1)
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia")
COMMAND = (sys.executable, "-m", "tollgate")
DONE_SECONDS_MAX = 600
NOT_AS_THE_GATEWAY_DOES = {"attempts", "partitions"}
"""Calls are recorded here without their attempts, and where no partition was made for them."""


class Workers:
    """Processes of `tollgate worker`, and who kills them."""

    def __init__(self, database_url: str, folder: Path, dice: random.Random) -> None:
        self._environment = {**os.environ, "TOLLGATE_DATABASE_URL": database_url, "TOLLGATE_DATA_DIR": str(folder)}
        self._dice = dice
        self._living: list[asyncio.subprocess.Process] = []
        self.killed = 0

    @asynccontextmanager
    async def working(self, count: int) -> AsyncIterator[None]:
        """So many workers, one of which is killed every now and then, and another one started."""
        self._living = [await self._start("worker") for _ in range(count)]
        killing = asyncio.create_task(self._kill_again_and_again())
        try:
            yield
        finally:
            killing.cancel()
            for process in self._living:
                process.send_signal(signal.SIGTERM)
            await asyncio.gather(*(process.wait() for process in self._living))

    async def close_by_hand(self, month: Month) -> int:
        process = await self._start("invoices", "close", "--month", month.name, "--json")
        return await process.wait()

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        quiet = asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            *COMMAND, *arguments, env=self._environment, stdout=quiet, stderr=quiet
        )

    async def _kill_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(0.5 + 3 * self._dice.random())
            victim = self._dice.randrange(len(self._living))
            self._living[victim].kill()
            await self._living[victim].wait()
            self.killed += 1
            self._living[victim] = await self._start("worker")


async def customers(books: Books, dice: random.Random, months: tuple[Month, Month]) -> dict[Organization, list[Month]]:
    """A thousand organizations, and in which of the months each used something."""
    found: dict[Organization, list[Month]] = {}
    used: list[tuple[Organization, Used]] = []
    for number in range(ORGANIZATIONS):
        zone = dice.choice(ZONES)
        born = months[0].instants(ZoneInfo(zone)).start
        credit = dice.choice(("0", "0", "0.0004"))
        owner = await books.an_organization(now=born, name=f"Customer {number}", timezone=zone, credit=credit)
        found[owner] = dice.choice(([months[0]], [months[1]], list(months)))
        for month in found[owner]:
            period = month.instants(ZoneInfo(zone))
            for _ in range(dice.randint(1, 4)):
                at = period.start + dice.random() * (period.end - period.start)
                used.append((owner, Used(at, {**PLAIN, Kind.COMPLETION: dice.randint(1, 9_999)})))
    for begin in range(0, len(used), 200):
        await asyncio.gather(*(books.record(owner, call) for owner, call in used[begin : begin + 200]))
    return found


async def until_nothing_waits(books: Books) -> None:
    async with asyncio.timeout(DONE_SECONDS_MAX):
        while await books.pool.fetchval("SELECT count(*) > 0 FROM pgqueuer WHERE entrypoint = $1", tasks.CLOSE_JOB):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.2)


def newest_two(now: datetime) -> tuple[Month, Month]:
    """The last two months that are over, grace and all, in every zone."""
    newest = Month.at(now - timedelta(days=2), ZoneInfo("UTC")).preceding
    return newest.preceding, newest


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_each_month_is_closed_once_whoever_dies_at_it(books: Books, database_url: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("TOLLGATE_TEST_SEED") or 42)
    dice, clock = seeded(seed), SystemClock()
    months = newest_two(clock.now())
    expected = await customers(books, dice, months)
    workers = Workers(database_url, tmp_path, dice)

    began = time.perf_counter()
    async with workers.working(WORKERS):
        await tasks.ask_for_due(books.database, clock, GRACE)
        by_hand = await workers.close_by_hand(months[0])
        await tasks.ask_for_due(books.database, clock, GRACE)
        await until_nothing_waits(books)
    seconds = time.perf_counter() - began

    rows = await books.pool.fetch("SELECT organization_id, month, number FROM invoices ORDER BY issued_at, number")
    issued = Counter((row["organization_id"], row["month"]) for row in rows)
    assert issued == Counter((owner.id, month.name) for owner, used in expected.items() for month in used)
    year = clock.now().year
    assert sorted(row["number"] for row in rows) == [f"TG-{year}-{serial:06}" for serial in range(1, len(rows) + 1)]
    owed = "SELECT sum(debits - credits) FROM ledger_accounts WHERE account = $1"
    assert await books.pool.fetchval(owed, "receivable") == await books.pool.fetchval("SELECT sum(total) FROM invoices")
    assert await books.pool.fetchval(owed, "unbilled") == 0
    assert await books.pool.fetchval("SELECT count(*) FROM closing_failures") == 0
    report = await doctor.examine(books.database)
    assert set(report.complaints) <= NOT_AS_THE_GATEWAY_DOES
    assert by_hand == 0
    assert workers.killed > 0
    print(  # noqa: T201 - whoever runs it by hand wants to know
        f"\nseed {seed}: {len(rows)} invoices of {ORGANIZATIONS} organizations in {seconds:.1f} s,"
        f" {WORKERS} workers, {workers.killed} killed, one closing by hand"
    )
