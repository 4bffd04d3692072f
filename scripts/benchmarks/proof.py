"""Tollgate's ledger, held against what its callers were told and what providers say they served.

A gateway that is fast and keeps wrong books is not fast: whatever is wrong here ends a benchmark with an error.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import asyncpg
from scripts.benchmarks import books
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.load import Answered
from scripts.benchmarks.provided import SERVED, Provided
from scripts.benchmarks.traffic import Told

from tollgate.kit.ids import CallId, OrganizationId

_RECORDS = """
    SELECT c.organization_id, c.id, c.user_id, c.status, c.amount, c.quantities::text, c.provider,
           coalesce(a.served, 0) AS served, a.served_by, a.upstream_id, coalesce(a.failed, 0) AS failed,
           coalesce(t.amount, 0) AS charged
    FROM calls AS c
    LEFT JOIN (SELECT call_id, count(*) FILTER (WHERE status = 'served') AS served,
                      max(provider) FILTER (WHERE status = 'served') AS served_by,
                      max(upstream_id) FILTER (WHERE status = 'served') AS upstream_id,
                      count(*) FILTER (WHERE status = 'failed') AS failed
               FROM attempts GROUP BY call_id) AS a ON a.call_id = c.id
    LEFT JOIN (SELECT cause_id, sum(amount) AS amount
               FROM transfers WHERE cause = 'call' GROUP BY cause_id) AS t ON t.cause_id = c.id
"""
_TRANSFERRED = "SELECT coalesce(sum(amount), 0) FROM transfers WHERE cause = 'call'"
_PER = 1_000_000
_TOLD_MAX = 5

Prices = Mapping[str, Mapping[str, Decimal]]
"""US dollars a million tokens, by provider and kind."""


@dataclass(frozen=True, slots=True)
class Record:
    """A call as the ledger has it."""

    organization_id: UUID
    call_id: UUID
    user: str | None
    """Who the call says is behind it."""
    status: str
    amount: Decimal
    quantities: Mapping[str, int]
    provider: str | None
    served: int
    """Attempts that served it."""
    served_by: str | None
    upstream_id: str | None
    failed: int
    """Attempts that failed."""
    charged: Decimal
    """What was taken for it."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything the ledger has, once nothing is held any more."""

    records: Mapping[str, Record]
    """By generation id."""
    books: books.Books
    transferred: Decimal

    def check(self, told: Sequence[Told], provided: Iterable[Provided], prices: Prices) -> None:
        """Each answered call is recorded once, was served once by whom its record says, and is charged that, once.

        What callers got no answer of is recorded or not, and no other call is. Nothing is held, and no sum says
        anything else.

        Raises:
            BenchFailed: it is not so.
        """
        served = {each.id: each for each in provided}
        answered = [each for each in told if each.problem is None]
        wrongs = [wrong for each in answered for wrong in self._wrongs_of(each, served, prices)]
        wrongs += self._wrongs_beside(answered, served, unanswered=len(told) - len(answered))
        if wrongs:
            raise BenchFailed(f"The ledger is wrong in {len(wrongs)} places: {'; '.join(wrongs[:_TOLD_MAX])}.")
        self.books.check([_answered(record) for record in self.records.values()])
        if self.transferred != self.amount:
            raise BenchFailed(f"Transfers for calls come to {self.transferred}, and they cost {self.amount}.")

    def _wrongs_of(self, told: Told, provided: Mapping[str, Provided], prices: Prices) -> Iterator[str]:
        """What is wrong with the record of a call that was answered."""
        record, served = self.records.get(told.generation_id or ""), provided.get(told.upstream_id or "")
        if record is None or served is None:
            missing = "in the ledger" if record is None else "known to any provider"
            yield f"{told.generation_id} ({told.upstream_id}) was answered and is not {missing}"
            return
        price = prices[told.provider or ""]
        cost = sum((price[kind] * count for kind, count in served.quantities.items()), Decimal(0)) / _PER
        expected = ("settled", 1, told.provider, told.provider, served.id, served.call, served.quantities, cost, cost)
        found = (
            record.status,
            record.served,
            record.provider,
            record.served_by,
            record.upstream_id,
            record.user or "",
            record.quantities,
            record.amount,
            record.charged,
        )
        if found != expected or served.ended != SERVED or told.cost is None or Decimal(told.cost) != cost:
            yield f"{told} is recorded as {found}, and was answered as {served}"

    def _wrongs_beside(
        self, answered: Sequence[Told], provided: Mapping[str, Provided], *, unanswered: int
    ) -> Iterator[str]:
        """What is wrong with what is recorded beside the answered calls, or is not recorded."""
        known = Counter(each.generation_id for each in answered)
        if known.total() != len(known):
            yield f"generation ids were told twice, such as {known.most_common(1)}"
        strangers = [record for generation_id, record in self.records.items() if generation_id not in known]
        if len(strangers) > unanswered:
            yield f"{len(strangers)} calls are recorded that nobody was answered, such as {strangers[0]}"
        for record in strangers:
            if record.charged != record.amount or (record.amount and not record.served):
                yield f"nobody was answered, and {record} is charged"
        recorded = {record.upstream_id for record in self.records.values()}
        lost = [each for each in provided.values() if each.ended == SERVED and each.id not in recorded]
        if len(lost) > unanswered + self.failed:
            yield f"{len(lost)} answers were served and are not recorded, such as {lost[0]}"

    @property
    def amount(self) -> Decimal:
        """What all calls cost."""
        return sum((record.amount for record in self.records.values()), Decimal(0))

    @property
    def failed(self) -> int:
        """How many attempts failed."""
        return sum(record.failed for record in self.records.values())


def _answered(record: Record) -> Answered:
    return Answered(OrganizationId(record.organization_id), CallId(record.call_id), record.amount)


def ledger(group: Group) -> Ledger:
    """What it has, once nothing is held any more."""
    return asyncio.run(_ledger(group))


async def _ledger(group: Group) -> Ledger:
    written = await books.books(group)
    connection = await asyncpg.connect(group.database_url)
    try:
        rows = await connection.fetch(_RECORDS)
        transferred: Decimal = await connection.fetchval(_TRANSFERRED)
    finally:
        await connection.close()
    records = {}
    for organization_id, call_id, user, status, amount, quantities, *rest in rows:
        counted = {kind: count for kind, count in json.loads(quantities).items() if kind != "request"}
        records[str(call_id)] = Record(organization_id, call_id, user, status, amount, counted, *rest)
    return Ledger(records, written, transferred)


def unused(told: Sequence[Told], provided: Iterable[Provided]) -> int:
    """How many whole answers of providers reached nobody."""
    used = {each.upstream_id for each in told if each.problem is None}
    return sum(each.ended == SERVED and each.id not in used for each in provided)
