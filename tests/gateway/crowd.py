"""Many callers at once through several processes of one installation, and someone who watches what is left."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
from tests.builders import BORN, a_grant, an_organization
from tests.gateway.fake_provider import Line, whole
from tests.gateway.installation import MESSAGES, Installation, provider_of, serving

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Limits
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit.clock import SystemClock
from tollgate.kit.ids import OrganizationId, ProjectId
from tollgate.kit.principal import KeyKind

HOLD = Decimal("0.3")
"""What a call holds: a hundred tokens of output, which is less than the least worth having, so nothing is capped."""
CHARGE = Decimal("0.15")
"""What it is charged: it writes fifty."""
PRICES = {"prompt": "0", "completion": "3000"}
BODY = {"messages": MESSAGES, "max_tokens": 100}
_USAGE = {"prompt_tokens": 10, "completion_tokens": 50, "total_tokens": 60}
_READ_EVERY_SECONDS = 0.02

Name = TypeVar("Name")

_LEFT = """
    SELECT o.id, 'balance' AS bound,
           coalesce(o.credit_limit, 'infinity') - c.total_held
           + coalesce((SELECT sum(g.remaining) FROM grants AS g WHERE g.organization_id = o.id), 0)
           - coalesce((SELECT sum(a.debits - a.credits) FROM ledger_accounts AS a
                       WHERE a.organization_id = o.id AND a.account IN ('unbilled', 'receivable')), 0) AS available
    FROM organizations AS o JOIN counters AS c ON c.scope_id = o.id
    UNION ALL
    SELECT l.organization_id, b.bound, b.size - b.taken
    FROM limits AS l JOIN counters AS c USING (organization_id, scope_id),
         LATERAL (VALUES ('total', l.total, c.total_used + c.total_held), ('daily', l.daily, c.day_used + c.day_held),
                         ('weekly', l.weekly, c.week_used + c.week_held),
                         ('monthly', l.monthly, c.month_used + c.month_held), ('rpm', l.rpm, c.minute_requests),
                         ('tpm', l.tpm, c.minute_tokens), ('concurrency', l.concurrency, c.concurrent))
             AS b (bound, size, taken)
    WHERE b.size IS NOT NULL
    UNION ALL
    SELECT c.organization_id, 'what is held, and not by calls',
           -abs(c.total_held - coalesce((SELECT sum(h.amount) FROM holds AS h WHERE h.organization_id = o.id), 0))
    FROM organizations AS o JOIN counters AS c ON c.organization_id = o.id AND c.scope_id = o.id
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one caller heard."""

    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def refused_by(self) -> str:
        """The bound that could not carry the call, or "" for a call that was made."""
        if self.status == 200:
            return ""
        error = self.json["error"]
        return str(error["metadata"].get("limit", "balance" if error["type"] == "insufficient_credit" else error))


@dataclass(frozen=True, slots=True)
class Party:
    """An organization, whose calls come by all its keys in turn."""

    organization_id: OrganizationId
    scopes: Mapping[str, UUID]
    keys: Sequence[str]


class Gate:
    """A provider that keeps everyone waiting until it is opened, so that what calls hold stays held."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0
        self._answer = whole(usage=_USAGE)

    async def until(self, enough: Callable[[int], bool]) -> None:
        """Wait until it is enough how many wait here."""
        while not enough(self.waiting):  # noqa: ASYNC110 - it also turns on those who never come here
            await asyncio.sleep(_READ_EVERY_SECONDS)

    async def __call__(self, line: Line) -> None:
        self.waiting += 1
        await self.opened.wait()
        await self._answer(line)


@dataclass
class Monitor:
    """Reads what is left of every bound, again and again."""

    pool: "asyncpg.Pool[asyncpg.Record]"
    readings: int = 0
    least: dict[str, Decimal] = field(default_factory=dict)
    """The least that was ever left, by bound."""

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        done = asyncio.Event()
        reading = asyncio.create_task(self._read_until(done))
        try:
            yield
        finally:
            done.set()
            await reading

    def assert_never_less_than_nothing(self) -> None:
        assert self.readings
        assert min(self.least.values()) >= 0, self.least

    async def _read_until(self, done: asyncio.Event) -> None:
        while not done.is_set():
            for row in await self.pool.fetch(
                f"SELECT bound, min(available) AS available FROM ({_LEFT}) AS l GROUP BY 1"
            ):
                self.least[row["bound"]] = min(row["available"], self.least.get(row["bound"], row["available"]))
            self.readings += 1
            await asyncio.sleep(_READ_EVERY_SECONDS)


@dataclass
class Crowd:
    """An installation of several processes, and everyone who calls there."""

    gateway: Installation
    database: Database
    processes: Sequence[str]
    """Their base URLs."""
    monitor: Monitor
    model: str = ""
    gate: Gate = field(default_factory=Gate)

    async def party(
        self,
        *,
        grant: str = "1000",
        credit_limit: str | None = "0",
        limits: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Party:
        """An organization with two projects; `limits` by scope are its own, those of the first project, or its key's.

        A scope that has a limit makes all the calls: a key alone, a project by two keys, an organization by four.
        """
        organization = await an_organization(
            self.database,
            credit_limit=None if credit_limit is None else Decimal(credit_limit),
            timezone=zone_of_noon(),
        )
        owner = organization.id
        if Decimal(grant):
            await a_grant(self.database, owner, grant)
        async with self.database.write() as session:
            projects: list[ProjectId | None] = [
                (await accounts.create_project(session, organization_id=owner, name=name, now=BORN)).id for name in "ab"
            ]
            minted = [
                await keys.create(session, order=NewKey(owner, KeyKind.INFERENCE, "a key", project), now=BORN)
                for project in (projects[0], *projects, None)
            ]
            scopes: dict[str, UUID] = {"organization": owner, "key": minted[0].key.id}
            if projects[0] is not None:
                scopes["project"] = projects[0]
            for scope, limit in (limits or {}).items():
                await accounts.change_limits(
                    session,
                    organization_id=owner,
                    scope_id=scopes[scope],
                    edit=lambda _, limit=limit: Limits(**limit),  # type: ignore[misc]  # the default binds it
                )
        callers = {"key": 1, "project": 2}.get(next(iter(limits or {}), "organization"), 4)
        return Party(owner, scopes, [each.text for each in minted[:callers]])

    async def call(self, party: Party, turn: int) -> Answer:
        """One call of the party's, by one of its keys, through one of the processes."""
        process = self.processes[turn % len(self.processes)]
        key = party.keys[turn // len(self.processes) % len(party.keys)]
        return await send(process, "/chat/completions", key, {"model": self.model, **BODY})

    async def rush(self, parties: Mapping[str, Party], calls: int) -> dict[str, list[Answer]]:
        """So many calls of every party, all at once, none of which ends before each is admitted or refused.

        Answers what they heard, by party.
        """
        self.gate = Gate()
        self.gateway.provider.behaviours[provider_of(self.model)] = self.gate
        made = {name: [asyncio.create_task(self.call(party, turn)) for turn in range(calls)]
                for name, party in parties.items()}  # fmt: skip
        everyone = [each for tasks in made.values() for each in tasks]
        async with asyncio.timeout(100):
            await self.gate.until(lambda waiting: waiting + sum(each.done() for each in everyone) == len(everyone))
        self.gate.opened.set()
        return {name: await asyncio.gather(*tasks) for name, tasks in made.items()}

    async def rests(self, parties: Mapping[Name, Party]) -> dict[Name, tuple[Decimal, Decimal, int]]:
        """What each party has used, still holds, and has under way, when all is said and done."""
        rows = await self.gateway.pool.fetch(
            "SELECT scope_id, total_used, total_held, concurrent FROM counters WHERE scope_id = ANY ($1)",
            [party.organization_id for party in parties.values()],
        )
        found = {row["scope_id"]: (row["total_used"], row["total_held"], row["concurrent"]) for row in rows}
        nothing = (Decimal(0), Decimal(0), 0)
        return {name: found.get(party.organization_id, nothing) for name, party in parties.items()}


@asynccontextmanager
async def crowding(gateway: Installation, *, others: int, **environment: str) -> AsyncIterator[Crowd]:
    """The installation with so many more processes, and a model whose calls hold a known amount."""
    async with AsyncExitStack() as stack:
        database = databases.connect(gateway.database_url)
        stack.push_async_callback(database.close)
        starting = [stack.enter_async_context(serving(gateway.database_url, **environment)) for _ in range(others)]
        crowd = Crowd(gateway, database, [gateway.base_url, *await asyncio.gather(*starting)], Monitor(gateway.pool))
        crowd.model = await gateway.model(crowd.gate, prices=PRICES)
        yield crowd


async def send(
    base_url: str, path: str, key: str, body: Mapping[str, Any], *, idempotency_key: str | None = None
) -> Answer:
    """One POST on a connection of its own, with as little ado as can be: there may be thousands at once."""
    host, _, port = base_url.removeprefix("http://").partition("/")[0].partition(":")
    content = json.dumps(body).encode()
    head = (
        f"POST /api/v1{path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n"
    ) + ("" if idempotency_key is None else f"idempotency-key: {idempotency_key}\r\n")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.encode() + b"\r\n" + content)
        answered, _, text = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status, *lines = answered.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(status.split(" ")[1]), headers, json.loads(text, parse_float=Decimal))


def zone_of_noon() -> str:
    """A time zone in which no day ends soon."""
    ahead = 12 - SystemClock().now().hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


async def within_a_minute(seconds: int) -> None:
    """Wait, if need be, until the minute lasts as long as that."""
    now = SystemClock().now()
    left = 60 - now.second - now.microsecond / 1_000_000
    if left < seconds:
        await asyncio.sleep(left + 0.05)
