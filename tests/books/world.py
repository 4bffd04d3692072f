"""The product as the state machine drives it, on one real database, and what the database then says there is."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from tests.books.figures import Figures
from tests.books.model import BEFORE_ALL
from tests.builders import BORN, an_organization
from tests.metering.scene import LEASE, Caller, Pool
from tests.safes import a_safe

from tollgate.accounts import service as accounts
from tollgate.accounts.model import BillingMode, Limits, Organization
from tollgate.entrypoints import doctor
from tollgate.infra import database as databases
from tollgate.infra.database import Database, WriteSession
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit import ids
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import AdjustmentId, CallId, GrantId, KeyId, OrganizationId
from tollgate.kit.principal import KeyKind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import AdjustmentOrder, GrantTerms
from tollgate.metering import letters, store, tasks
from tollgate.metering import service as metering
from tollgate.metering.model import Admission, AdmissionRequest, Settled, Settlement
from tollgate.metering.recovery import Recovery
from tollgate.metering.service import Meter

Result = TypeVar("Result")

MORNING = datetime(2026, 11, 22, 9, tzinfo=UTC)
"""When every example begins: a Sunday."""

_HOLDS = """
    SELECT call_id, organization_id, amount, tokens, day_start, week_start, month_start, minute_start,
           lease_until = '-infinity' AS is_lost, checkpoint IS NOT NULL AS has_letter
    FROM holds WHERE organization_id = ANY ($1)
"""
_COUNTERS = """
    SELECT scope_id, total_used, total_held, day_used, day_held, week_used, week_held, month_used, month_held,
           minute_requests, minute_tokens, concurrent, invoice_cut,
           nullif(day_start, '-infinity') AS day_start, nullif(week_start, '-infinity') AS week_start,
           nullif(month_start, '-infinity') AS month_start, nullif(minute_start, '-infinity') AS minute_start
    FROM counters WHERE organization_id = ANY ($1)
"""
_GRANTS = """
    SELECT id, amount, remaining, amount - remaining - unused AS burned, unused, closed_at IS NOT NULL AS is_closed,
           voided_at, ends_at
    FROM grants WHERE organization_id = ANY ($1)
"""
_ACCOUNTS = "SELECT organization_id, account, debits, credits FROM ledger_accounts WHERE organization_id = ANY ($1)"
_SUMS = """
    SELECT organization_id, cut, c.calls, c.amount, c.credits, c.overrun, r.calls AS rolled_calls,
           r.amount AS rolled_amount, r.credits AS rolled_credits, c.transferred, c.transferred_credits
    FROM (SELECT organization_id, invoice_cut AS cut, count(*) AS calls, sum(amount) AS amount,
                 sum(credits_amount) AS credits, sum(overrun_amount) AS overrun,
                 sum(coalesce(t.transferred, 0)) AS transferred, sum(coalesce(t.credits, 0)) AS transferred_credits
          FROM calls
          LEFT JOIN (SELECT organization_id, cause_id AS id, sum(amount) AS transferred,
                            sum(amount) FILTER (WHERE debit_account <> 'unbilled') AS credits
                     FROM transfers WHERE organization_id = ANY ($1) AND cause = 'call' GROUP BY 1, 2) AS t
              USING (organization_id, id)
          WHERE organization_id = ANY ($1) GROUP BY 1, 2) AS c
    FULL JOIN (SELECT organization_id, invoice_cut AS cut, sum(calls) AS calls, sum(amount) AS amount,
                      sum(credits_amount) AS credits
               FROM rollups WHERE organization_id = ANY ($1) GROUP BY 1, 2) AS r USING (organization_id, cut)
"""
_CALLS = """
    SELECT id, amount, credits_amount, overrun_amount, invoice_cut FROM calls WHERE organization_id = ANY ($1)
"""


class World:
    """One database with everything that works on it, in an event loop of its own."""

    def __init__(self, database_url: str) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._examples = itertools.count(1)
        self._numbers = itertools.count()
        self._example = 0
        self.steps = 0
        self.outcomes: Counter[str] = Counter()
        self.clock = FixedClock(MORNING)
        self.database: Database = databases.connect(database_url, connections_max=2)
        self.pool: Pool = self.run(databases.connect_pool(database_url, connections_max=3))
        self.revision: int = self.run(self.pool.fetchval("SELECT revision FROM catalogue_revision"))
        self._safe = a_safe()
        self._meter = Meter(self.pool, self.clock, self._safe, settle_timeout_seconds=30, lease=LEASE)
        self._recovery = Recovery(self.pool, self.clock, self._meter, Path("nowhere"))

    def run(self, work: Awaitable[Result]) -> Result:
        async def working() -> Result:
            return await work

        return self._runner.run(working())

    def close(self) -> None:
        self.run(self._safe.close())
        self.run(self.pool.close())
        self.run(self.database.close())
        self._runner.close()

    def begin(self) -> None:
        """A new example: another morning, and ids in an order that is the same whenever the example is repeated."""
        self._example, self._numbers, self.clock.at = next(self._examples), itertools.count(1), MORNING

    def entropy(self) -> int:
        """Bits of which the order alone is fixed: some permutation, after all that came in earlier examples."""
        return self._example << 32 | next(self._numbers) * 0x9E3779B1 % (1 << 32)

    def id_bytes(self) -> bytes:
        """The same as ten bytes: what stands in for the kernel's where ids are minted."""
        return self.entropy().to_bytes(10)

    def call_id(self, at: datetime) -> CallId:
        return CallId(ids.uuid7(at, self.entropy()))

    # What the product is asked to do.

    def _write(self, use: Callable[[WriteSession], Coroutine[Any, Any, Result]]) -> Result:
        async def writing() -> Result:
            async with self.database.write() as session:
                return await use(session)

        return self.run(writing())

    def _write_unless_conflict(self, use: Callable[[WriteSession], Coroutine[Any, Any, Result]]) -> Result | None:
        try:
            return self._write(use)
        except Conflict:
            return None

    def open_organization(self, credit_limit: Decimal | None, timezone: str) -> Organization:
        mode = BillingMode.PREPAID if credit_limit == 0 else BillingMode.POSTPAID
        return self.run(an_organization(self.database, billing_mode=mode, credit_limit=credit_limit, timezone=timezone))

    def open_project(self, owner: OrganizationId) -> ids.ProjectId:
        made = self._write(lambda session: accounts.create_project(session, organization_id=owner, name="a", now=BORN))
        return made.id

    def make_key(self, owner: OrganizationId, project_id: ids.ProjectId | None, expires_at: datetime | None) -> Caller:
        order = NewKey(owner, KeyKind.INFERENCE, "a key", project_id, expires_at=expires_at)
        minted = self._write(lambda session: keys.create(session, order=order, now=BORN))
        return Caller(owner, project_id, minted.key.id)

    def disable_key(self, owner: OrganizationId, key_id: KeyId, *, disabled: bool) -> None:
        self._write_unless_conflict(
            lambda session: keys.change(
                session,
                organization_id=owner,
                key_id=key_id,
                edit=lambda key: replace(key, disabled=disabled),
                now=self.clock.now(),
            )
        )

    def revoke_key(self, owner: OrganizationId, key_id: KeyId) -> None:
        self._write(lambda session: keys.revoke(session, organization_id=owner, key_id=key_id, now=self.clock.now()))

    def limit(self, owner: OrganizationId, scope_id: UUID, edit: Callable[[Limits], Limits]) -> Limits:
        return self._write(
            lambda session: accounts.change_limits(session, organization_id=owner, scope_id=scope_id, edit=edit)
        )

    def grant(self, owner: OrganizationId, terms: GrantTerms) -> GrantId | None:
        """The grant's id; `None` if its reference stands for another."""
        now = self.clock.now()
        made = self._write_unless_conflict(
            lambda session: ledger.grant_credit(session, organization_id=owner, terms=terms, by=None, now=now)
        )
        return None if made is None else made.id

    def void(self, owner: OrganizationId, grant_id: GrantId) -> bool:
        """Whether that could be done."""
        made = self._write_unless_conflict(
            lambda session: ledger.void_grant(
                session, grant=(owner, grant_id), reason="a mistake", by=None, now=self.clock.now()
            )
        )
        return made is not None

    def adjust(self, owner: OrganizationId, amount: Decimal) -> tuple[AdjustmentId, Decimal]:
        """The adjustment's id, and what grants paid of it."""
        order = AdjustmentOrder(amount, "USD", "a wish")
        made = self._write(
            lambda session: ledger.adjust(session, organization_id=owner, order=order, by=None, now=self.clock.now())
        )
        return made.id, made.credits_amount

    def end_grants(self) -> None:
        self.run(tasks.end_grants(self.database, self.clock))

    def cut(self, owner: OrganizationId) -> int:
        return self._write(lambda session: metering.cut_records(session, organization_id=owner))

    def admit(self, requests: Sequence[AdmissionRequest]) -> list[Admission]:
        return self.run(store.admit(self.pool, requests, now=self.clock.now(), lease=LEASE))

    def settle(self, settlements: Sequence[Settlement]) -> list[Settled]:
        return self.run(store.settle(self.pool, settlements, now=self.clock.now()))

    def checkpoint(self, owner: OrganizationId, settlement: Settlement) -> None:
        letter = letters.written(settlement)
        self.run(store.checkpoint(self.pool, [(owner, settlement.call.call_id, letter)]))

    def lose(self, call_id: CallId) -> None:
        """The lease of its hold is over, as it is long after its host is gone."""
        self.run(self.pool.execute("UPDATE holds SET lease_until = '-infinity' WHERE call_id = $1", call_id))

    def give_back(self, calls: Mapping[CallId, OrganizationId]) -> None:
        self.run(store.give_back(self.pool, calls, now=self.clock.now()))

    def sweep(self) -> int:
        """How many calls were settled or given back. After a minute without a sweep the first does nothing of that."""
        return self.run(self._recovery.sweep()) or self.run(self._recovery.sweep())

    # What there is.

    def examine(self, owner: OrganizationId) -> doctor.Report:
        return self.run(doctor.examine(self.database, organization_id=owner))

    def figures(self, owners: Iterable[UUID]) -> Figures:
        return self.run(self._figures(list(owners)))

    async def _figures(self, owners: list[UUID]) -> Figures:
        async with self.pool.acquire() as connection:
            holds, counters, grants, balances, sums = [
                await connection.fetch(query, owners) for query in (_HOLDS, _COUNTERS, _GRANTS, _ACCOUNTS, _SUMS)
            ]
        return Figures(
            holds=_rows(holds, 1),
            counters={scope: _with_starts(row) for scope, row in _rows(counters, 1).items()},
            grants=_rows(grants, 1),
            accounts=_rows(balances, 2),
            sums=_rows(sums, 2),
        )

    def calls(self, owners: Iterable[UUID]) -> dict[UUID, tuple[Any, ...]]:
        return {row["id"]: tuple(row) for row in self.run(self.pool.fetch(_CALLS, list(owners)))}


def _rows(rows: Sequence[Any], key_columns: int) -> dict[Any, dict[str, Any]]:
    """The rows by their first column or columns."""
    return {
        row[0] if key_columns == 1 else tuple(row)[:key_columns]: dict(list(row.items())[key_columns:]) for row in rows
    }


def _with_starts(row: dict[str, Any]) -> dict[str, Any]:
    """The counter, with an instant before all others where no window was ever open."""
    return {name: BEFORE_ALL if value is None else value for name, value in row.items()}
