"""Tollgate's ledger, held against what its callers were told and what the provider says it served.

A gateway that is fast and keeps wrong books is not fast: whatever is wrong here ends a benchmark with an error.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from scripts.benchmarks import books
from scripts.benchmarks.generator import Told
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.load import Answered
from scripts.benchmarks.provided import SERVED, Provided

from tollgate.kit.ids import CallId, OrganizationId

_RECORDS = """
    SELECT c.organization_id, c.id, c.status, c.amount, c.quantities::text, a.attempts, a.served, a.upstream_id,
           coalesce(t.amount, 0) AS charged
    FROM calls AS c
    LEFT JOIN (SELECT call_id, count(*) AS attempts, count(*) FILTER (WHERE status = 'served') AS served,
                      max(upstream_id) FILTER (WHERE status = 'served') AS upstream_id
               FROM attempts GROUP BY call_id) AS a ON a.call_id = c.id
    LEFT JOIN (SELECT cause_id, sum(amount) AS amount
               FROM transfers WHERE cause = 'call' GROUP BY cause_id) AS t ON t.cause_id = c.id
"""
_TRANSFERRED = "SELECT coalesce(sum(amount), 0) FROM transfers WHERE cause = 'call'"
_PER = 1_000_000
_TOLD_MAX = 5


@dataclass(frozen=True, slots=True)
class Record:
    """A call as the ledger has it."""

    organization_id: UUID
    call_id: UUID
    status: str
    amount: Decimal
    quantities: Mapping[str, int]
    attempts: int
    served: int
    upstream_id: str | None
    charged: Decimal


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that has to agree."""

    records: Mapping[str, Record]
    """The ledger's, by generation id."""
    provided: Mapping[str, Provided]
    """The provider's, by its own id."""
    prices: Mapping[str, Decimal]
    """US dollars a million tokens, by kind."""

    def wrongs(self, told: Sequence[Told], *, unanswered: int) -> Iterator[str]:
        """What is wrong. Calls whose callers got no answer may be recorded or not, and no others."""
        for each in told:
            yield from self._wrongs_of(each)
        known = {each.generation_id for each in told}
        strangers = self.records.keys() - known
        if len(known) != len(told):
            yield f"{len(told) - len(known)} generation ids were told twice"
        if len(strangers) > unanswered:
            yield f"{len(strangers)} calls are recorded that nobody was answered, such as {min(strangers)}"
        recorded = {record.upstream_id for record in self.records.values()}
        lost = {each.id for each in self.provided.values() if each.ended == SERVED} - recorded
        if len(lost) > unanswered:
            yield f"{len(lost)} answers were served and are not recorded, such as {min(lost)}"

    def _wrongs_of(self, told: Told) -> Iterator[str]:
        record = self.records.get(told.generation_id or "")
        served = self.provided.get(told.upstream_id or "")
        if record is None or served is None:
            missing = "in the ledger" if record is None else "known to the provider"
            yield f"{told.generation_id} ({told.upstream_id}) was answered and is not {missing}"
            return
        if not told.is_whole:
            yield f"{told.generation_id} was answered in part"
        cost = sum((self.prices[kind] * count for kind, count in served.quantities.items()), Decimal(0)) / _PER
        expected = ("settled", 1, 1, served.id, served.quantities, cost, cost, cost)
        found = (
            record.status,
            record.attempts,
            record.served,
            record.upstream_id,
            record.quantities,
            record.amount,
            record.charged,
            Decimal(told.cost or "NaN"),
        )
        if served.ended != SERVED or found != expected:
            yield f"{told.generation_id} is recorded as {found}, which should be {expected}, and ended {served.ended}"


def check(
    group: Group, told: Sequence[Told], provided: Iterable[Provided], prices: Mapping[str, Decimal], *, unanswered: int
) -> dict[str, Any]:
    """What the ledger has, if every figure of it is right.

    Raises:
        BenchFailed: it is not.
    """
    written = asyncio.run(books.books(group))
    records, transferred = asyncio.run(_records(group))
    account = Account(records, {each.id: each for each in provided}, prices)
    wrongs = [*account.wrongs(told, unanswered=unanswered)]
    if wrongs:
        raise BenchFailed(f"The ledger is wrong in {len(wrongs)} places: {'; '.join(wrongs[:_TOLD_MAX])}.")
    written.check([_answered(record) for record in records.values()])
    amount = sum((record.amount for record in records.values()), Decimal(0))
    if transferred != amount:
        raise BenchFailed(f"Transfers for calls come to {transferred}, and they cost {amount}.")
    return {"answered": len(told), "recorded": len(records), "amount": str(amount.normalize()), "held": 0}


def _answered(record: Record) -> Answered:
    return Answered(OrganizationId(record.organization_id), CallId(record.call_id), record.amount)


async def _records(group: Group) -> tuple[dict[str, Record], Decimal]:
    connection = await asyncpg.connect(group.database_url)
    try:
        rows = await connection.fetch(_RECORDS)
        transferred: Decimal = await connection.fetchval(_TRANSFERRED)
    finally:
        await connection.close()
    records = {}
    for organization_id, call_id, status, amount, quantities, *rest in rows:
        counted = {kind: count for kind, count in json.loads(quantities).items() if kind != "request"}
        records[str(call_id)] = Record(organization_id, call_id, status, amount, counted, *rest)
    return records, transferred
