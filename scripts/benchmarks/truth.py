"""What was recorded of calls, held against what their callers were told and what providers really answered."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import asyncpg
from scripts.benchmarks import books
from scripts.benchmarks.callers import Called, prompt_of
from scripts.benchmarks.faults import COMPLETION_TOKENS, PROMPT_TOKENS, Truth
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.load import Answered

from tollgate.kit.ids import CallId, OrganizationId

_RECORDS = """
    SELECT c.user_id, c.organization_id, c.id, c.status, c.amount, c.provider,
           coalesce(a.served, 0) AS served, a.served_by, coalesce(a.failed, 0) AS failed,
           coalesce(t.amount, 0) AS charged
    FROM calls AS c
    LEFT JOIN (SELECT call_id, count(*) FILTER (WHERE status = 'served') AS served,
                      max(provider) FILTER (WHERE status = 'served') AS served_by,
                      count(*) FILTER (WHERE status = 'failed') AS failed
               FROM attempts GROUP BY call_id) AS a ON a.call_id = c.id
    LEFT JOIN (SELECT cause_id, sum(amount) AS amount
               FROM transfers WHERE cause = 'call' GROUP BY cause_id) AS t ON t.cause_id = c.id
"""
_TRANSFERS = "SELECT coalesce(sum(amount), 0) FROM transfers WHERE cause = 'call'"
_TOLD_MAX = 5


@dataclass(frozen=True, slots=True)
class Record:
    """A call as the ledger has it."""

    organization_id: UUID
    call_id: UUID
    status: str
    amount: Decimal
    provider: str | None
    served: int
    """Attempts that served it."""
    served_by: str | None
    failed: int
    """Attempts that failed."""
    charged: Decimal
    """What was taken for it."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything the ledger has, by the prompts of the calls."""

    records: Mapping[str, Sequence[Record]]
    books: books.Books
    transferred: Decimal

    def failed(self, called: Called) -> int:
        """How many attempts of a call failed."""
        return sum(record.failed for record in self.records.get(prompt_of(called.number), ()))

    @property
    def count(self) -> int:
        """How many records there are."""
        return sum(map(len, self.records.values()))

    def check(self, made: Sequence[Called], truth: Truth, prices: Mapping[str, str]) -> None:
        """Each call is recorded once, was served once by whom its record says, and is charged that one's price, once.

        A call whose caller got no answer has one record at most. Nothing is held, and no sum says anything else.

        Raises:
            BenchFailed: it is not so.
        """
        wrong = [f"{prompt_of(call.number)} {what}" for call in made for what in self._wrongs(call, truth, prices)]
        strangers = self.records.keys() - {prompt_of(call.number) for call in made}
        wrong += [f"{prompt} is recorded, and nobody made it" for prompt in strangers]
        if wrong:
            raise BenchFailed(f"The ledger is wrong in {len(wrong)} places: {'; '.join(wrong[:_TOLD_MAX])}.")
        answered = [_answered(record) for records in self.records.values() for record in records]
        self.books.check(answered)
        if self.transferred != sum((each.cost for each in answered), Decimal(0)):
            raise BenchFailed(f"Transfers for calls come to {self.transferred}, and that is not what they cost.")

    def _wrongs(self, call: Called, truth: Truth, prices: Mapping[str, str]) -> Iterator[str]:
        """What is wrong with the record of a call."""
        prompt = prompt_of(call.number)
        records = self.records.get(prompt, ())
        if len(records) > 1 or (call.problem is None and not records):
            yield f"has {len(records)} records"
            return
        for record in records:
            if record.charged != record.amount:
                yield f"cost {record.amount}, and {record.charged} was taken"
            if call.problem is None:
                yield from self._wrongs_of_answered(call, record, prices)
                if truth[record.provider or "", prompt] != 1:
                    yield f"was answered {truth[record.provider or '', prompt]} times by {record.provider}"
            elif not record.served and record.amount:
                yield f"was served by nobody and cost {record.amount}"

    def _wrongs_of_answered(self, call: Called, record: Record, prices: Mapping[str, str]) -> Iterator[str]:
        told = (call.call_id, call.provider, call.cost, "settled", 1, call.provider)
        found = (record.call_id, record.provider, record.amount, record.status, record.served, record.served_by)
        if told != found:
            yield f"is recorded as {found}, and its caller was told {told}"
        cost = Decimal(prices[call.provider or ""]) * (PROMPT_TOKENS + COMPLETION_TOKENS) / 1_000_000
        if record.amount != cost:
            yield f"cost {record.amount} instead of {cost}"


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
        transferred = await connection.fetchval(_TRANSFERS)
    finally:
        await connection.close()
    records: dict[str, list[Record]] = defaultdict(list)
    for prompt, *row in rows:
        records[prompt].append(Record(*row))
    return Ledger(records, written, transferred)


def unused(made: Sequence[Called], truth: Truth) -> int:
    """How many whole answers of providers reached nobody."""
    used = Counter((call.provider or "", prompt_of(call.number)) for call in made if call.problem is None)
    return (truth - used).total()
