"""An outage: PostgreSQL goes away under load for a while, a gateway dies meanwhile, and everything comes back."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tests.crashes.callers import Callers, Saw, Seen, table
from tests.crashes.rounds import load, settled_down
from tests.crashes.script import Script
from tests.crashes.truth import Findings
from tests.gateway.installation import Customer

_BEFORE_SECONDS = 1
_AFTER_SECONDS = 1
_BACK_SECONDS_MAX = 30
_LAST_CALLS = 4


@dataclass
class Report:
    """What came of it."""

    found: Findings
    seen: list[Seen]
    began: float
    away_at: float
    back_at: float
    kept: list[Seen]
    """Calls that were under way at the gateway that died, and were answered before it did."""
    dead: int
    again: dict[int, float]
    """After how many seconds each gateway that lived on answered again."""

    @property
    def during(self) -> list[Seen]:
        """Calls to those that lived on, and that were under way or sent while the database was away."""
        return [
            one
            for one in self.seen
            if one.ended > self.away_at and one.began < self.back_at and one.gateway != self.dead
        ]

    @property
    def acknowledged(self) -> int:
        """How many calls were answered to their end while the database was away."""
        return sum(one.saw is Saw.ANSWERED and self.away_at < one.ended < self.back_at for one in self.seen)

    @property
    def longest_wait(self) -> float:
        """How long a caller waited at most to be told that the ledger is away."""
        return max((one.ended - one.began for one in self.seen if one.saw is Saw.AWAY), default=0)

    def text(self, *, step: float) -> str:
        """For people."""
        return "\n".join([
            f"PostgreSQL was away from second {self.away_at - self.began:.1f} to {self.back_at - self.began:.1f}.",
            table(self.seen, since=self.began, step=step),
            f"Acknowledged while it was away: {self.acknowledged}; "
            f"longest wait for a 503: {self.longest_wait:.1f} s; answered again after: "
            + ", ".join(f"gateway {gateway} {seconds:.1f} s" for gateway, seconds in sorted(self.again.items())),
            self.found.told,
        ])  # fmt: skip


async def outage(
    callers: Callers, customers: Sequence[Customer], *, seconds: float, dies: int, per_second: float
) -> Report:
    """Have the database away for so long, and one gateway die with its spool full; wait until all is well again."""
    before, clock, plant = set(callers.seen), asyncio.get_running_loop().time, callers.plant
    began = clock()
    async with load(callers, customers, per_second=per_second) as going:
        await asyncio.sleep(_BEFORE_SECONDS)
        last = [
            callers.call(customers[0], dies, Script(pause=0.1), streamed=place % 2 == 0) for place in range(_LAST_CALLS)
        ]
        await asyncio.sleep(0.3)
        away_at = clock()
        await plant.stop_postgres()
        kept = list(await asyncio.gather(*last))
        going.spared.add(dies)
        await plant.gateways[dies].kill()
        await asyncio.sleep(away_at + seconds - clock())
        await plant.start_postgres()
        back_at = clock()
        starting = asyncio.create_task(plant.gateways[dies].start())
        others = [gateway for gateway in range(len(plant.gateways)) if gateway != dies]
        again = await asyncio.gather(*(_answers_again(callers, customers[0], gateway) for gateway in others))
        await starting
        going.spared.clear()
        await asyncio.sleep(_AFTER_SECONDS)
    found = await settled_down(callers, before)
    seen = [one for marker, one in callers.seen.items() if marker not in before]
    return Report(found, seen, began, away_at, back_at, kept, dies, dict(zip(others, again, strict=True)))


async def _answers_again(callers: Callers, customer: Customer, gateway: int) -> float:
    """The seconds until a call to this gateway is answered."""
    clock = asyncio.get_running_loop().time
    begin = clock()
    async with asyncio.timeout(_BACK_SECONDS_MAX):
        while True:
            seen = await callers.call(customer, gateway, Script(words=1), streamed=False)
            if seen.saw is Saw.ANSWERED:
                break
            await asyncio.sleep(0.1)
    return clock() - begin
