"""What must be true afterwards: records, callers and provider agree, nothing is held, and the books balance."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import asyncpg
from tests.crashes.callers import Callers, Saw, Seen
from tests.crashes.plant import Plant
from tests.crashes.script import PROMPT_TOKENS, Told

from tollgate.entrypoints import doctor

PROMPT_PRICE = Decimal("0.0000004")
WORD_PRICE = Decimal("0.0000016")
CHECKPOINT_SECONDS_MAX = 2.5
"""How old the last note on a stream may be when its process dies; notes are made about once a second."""
_QUIET_SECONDS_MAX = 60
_SENDING_SECONDS_MAX = 2
"""From when a call is made to when its last request is at a provider, on a busy machine."""

_RECORDS = """
    SELECT c.user_id AS marker, c.id, c.status, c.estimated, c.amount, c.quantities::text,
           (SELECT count(*) FROM attempts AS a
            WHERE a.organization_id = c.organization_id AND a.call_id = c.id) AS attempts
    FROM calls AS c WHERE c.user_id = ANY ($1)
"""
_HELD = """
    SELECT scope_id, total_held, day_held, week_held, month_held, concurrent FROM counters
    WHERE (total_held, day_held, week_held, month_held, concurrent) <> (0, 0, 0, 0, 0)
"""


@dataclass
class Findings:
    """What is wrong, in sentences; and how often what."""

    wrong: list[str]
    counts: dict[str, int]
    seconds: float = 0
    """How long it took, after the last caller had an answer, until nothing was under way."""

    @property
    def told(self) -> str:
        """All of it."""
        return "\n".join([f"{self.counts}, quiet after {self.seconds:.1f} s", *self.wrong])


async def until_quiet(callers: Callers, *, seconds_max: float = _QUIET_SECONDS_MAX) -> float:
    """Wait until nothing is held and every call that reached the provider is recorded; the seconds that took.

    If it never comes to that, what is missing is found afterwards.
    """
    clock = asyncio.get_running_loop().time
    begin = clock()
    plant = callers.plant
    while clock() < begin + seconds_max:
        try:
            holds = await plant.pool.fetchval("SELECT count(*) FROM holds")
            recorded = await plant.pool.fetchval(
                "SELECT count(DISTINCT user_id) FROM calls WHERE user_id = ANY ($1)", list(plant.play.told)
            )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            holds = -1
        else:
            if holds == 0 and recorded == len(plant.play.told) and not plant.unclaimed:
                break
        await asyncio.sleep(0.1)
    return clock() - begin


async def findings(callers: Callers, markers: Iterable[str], *, killed_at: float | None = None) -> Findings:
    """What is wrong with these calls, and with the books as a whole."""
    pool, told = callers.plant.pool, callers.plant.play.told
    wrong: list[str] = []
    counts: dict[str, int] = {}
    records: dict[str, list[asyncpg.Record]] = {}
    for record in await pool.fetch(_RECORDS, list(markers)):
        records.setdefault(record["marker"], []).append(record)
        counts[record["status"]] = counts.get(record["status"], 0) + 1
    for marker in markers:
        seen = callers.seen[marker]
        counts[f"saw {seen.saw}"] = counts.get(f"saw {seen.saw}", 0) + 1
        doubtful = _is_doubtful(callers, seen, records.get(marker, []))
        if doubtful and len(told.get(marker, [])) < records[marker][0]["attempts"]:
            counts["in doubt"] = counts.get("in doubt", 0) + 1
            continue
        found = _of_call(seen, told.get(marker, []), records.get(marker, []), killed_at)
        wrong += [f"{marker} (gateway {seen.gateway}, {_kind(seen)}, caller saw {seen.saw}): {one}" for one in found]
    return Findings(wrong + await _of_books(callers.plant), counts)


def _is_doubtful(callers: Callers, seen: Seen, records: Sequence[asyncpg.Record]) -> bool:
    """Whether the call died as it was being sent, so that nobody here can say if its last request left the process.

    Its record says that it may have: without it, what the provider charges for such a request would be in no book.
    """
    if callers.plant.play.scripts[seen.marker].is_victim or seen.saw is Saw.ANSWERED or len(records) != 1:
        return False
    is_young = seen.ended - seen.began < _SENDING_SECONDS_MAX
    return is_young and records[0]["status"] == "recovered" and "completion" not in json.loads(records[0]["quantities"])


def _kind(seen: Seen) -> str:
    return "streamed" if seen.streamed else "whole"


def _of_call(seen: Seen, told: Sequence[Told], records: Sequence[asyncpg.Record], killed_at: float | None) -> list[str]:
    if not told:
        return [f"never reached the provider, but is recorded: {_text(record)}" for record in records]
    if len(records) != 1:
        return [f"reached the provider and has {len(records)} records: {[_text(record) for record in records]}"]
    record, wrong = records[0], []
    if record["attempts"] != len(told):
        wrong.append(f"{len(told)} requests reached providers, {record['attempts']} attempts are recorded")
    if seen.saw is Saw.ANSWERED:
        if record["status"] != "settled" or record["amount"] != seen.cost:
            wrong.append(f"its caller was told {seen.cost}; recorded is {_text(record)}")
        if seen.generation != f"gen_{record['id']}":
            wrong.append(f"its caller was told {seen.generation}; its record is {record['id']}")
    return wrong + _of_charge(seen, told[-1], record, killed_at)


def _of_charge(seen: Seen, served: Told, record: asyncpg.Record, killed_at: float | None) -> list[str]:
    """What is wrong with what the call is charged: never more than was sent, nor less than what was noted."""
    wrong = []
    quantities = json.loads(record["quantities"])
    prompt, words = quantities.get("prompt", 0), quantities.get("completion", 0)
    if record["amount"] not in {prompt * PROMPT_PRICE + words * WORD_PRICE, 0}:
        wrong.append(f"its charge is not that of its quantities: {_text(record)}")
    if words > len(served.words):
        wrong.append(f"{len(served.words)} words were sent, {words} are charged: {_text(record)}")
    if record["status"] in {"settled", "recovered"} and not served.refused and (prompt == 0 or record["amount"] == 0):
        wrong.append(f"its prompt is not charged: {_text(record)}")
    if record["status"] == "settled" and (prompt, words) != (PROMPT_TOKENS, len(served.words)):
        wrong.append(f"it is recorded as settled, but not as told: {_text(record)}")
    if record["status"] == "recovered" and not record["estimated"]:
        wrong.append(f"what was recovered is no estimate: {_text(record)}")
    if record["status"] not in {"settled", "recovered", "failed"}:
        wrong.append(f"it ended as nothing that happened here: {_text(record)}")
    if killed_at is not None and seen.streamed and record["status"] == "recovered":
        noted = sum(1 for at in served.words if at < killed_at - CHECKPOINT_SECONDS_MAX)
        if words < noted:
            wrong.append(f"{noted} words were sent long before the end, only {words} are charged")
    return wrong


async def _of_books(plant: Plant) -> list[str]:
    wrong = [f"held: {dict(row)}" for row in await plant.pool.fetch("SELECT * FROM holds")]
    wrong += plant.unclaimed
    wrong += [f"held by a counter: {dict(row)}" for row in await plant.pool.fetch(_HELD)]
    report = await doctor.examine(plant.database)
    return wrong + [
        f"the doctor: {result.check.name}: {finding}" for result in report.results for finding in result.findings
    ]


def _text(record: asyncpg.Record) -> str:
    return f"{record['status']} {record['amount']} {record['quantities']} {record['id']}"
