"""A load of calls without HTTP: processes that hold and settle as a gateway process does, and do nothing else."""

import asyncio
import multiprocessing
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self
from uuid import UUID

import uvloop
from scripts.benchmarks import machine
from scripts.benchmarks.group import ANSWER_SECONDS_MAX, BenchFailed, Group
from scripts.benchmarks.load import Answered, Half, Load, Tenant, Turnstile

from tollgate.entrypoints import ledger_access
from tollgate.infra import database
from tollgate.infra.identity import new_id
from tollgate.infra.settings import Settings
from tollgate.kit.clock import SystemClock
from tollgate.kit.ids import AttemptId, CallId, EndpointId, PriceVersionId
from tollgate.kit.tokens import Kind
from tollgate.metering.model import (
    AdmissionRequest,
    AttemptRecord,
    AttemptStatus,
    Begun,
    CallRecord,
    CallStatus,
    ChargeRecord,
    Settlement,
)
from tollgate.metering.service import Meter
from tollgate.pricing.model import CURRENCY, STANDARD, PriceItem, PriceVersion, Unit

_START_SECONDS_MAX = 60
_STOP_SECONDS_MAX = 10
_PROMPT_COST, _COMPLETION_COST = Decimal("0.000012"), Decimal("0.00001")
_HELD = Decimal("0.000044")
_PROMPT_TOKENS, _COMPLETION_TOKENS = 12, 5
_TOKENS = _PROMPT_TOKENS + _COMPLETION_TOKENS
_PRICE = PriceVersion(
    id=PriceVersionId(UUID(int=2)),
    endpoint_id=EndpointId(UUID(int=1)),
    organization_id=None,
    service_tier=STANDARD,
    effective_from=datetime(2026, 1, 1, tzinfo=UTC),
    effective_to=None,
    items=(
        PriceItem(Kind.PROMPT, Decimal(1), Unit.PER_MILLION_TOKENS),
        PriceItem(Kind.COMPLETION, Decimal(2), Unit.PER_MILLION_TOKENS),
    ),
)


@dataclass(frozen=True, slots=True)
class _Order:
    """What one process is told when it starts."""

    settings: Settings
    calls_at_once: int


class Meters:
    """Processes with a meter each, alive for as long as the block runs."""

    def __init__(self, group: Group, *, processes: int, connections: int) -> None:
        settings = Settings(group.database_url, data_dir=group.data_dir)
        self._order = _Order(settings, max(1, connections // processes))
        self._count = processes
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        for _ in range(self._count):
            ours, theirs = context.Pipe()
            # A process ends when our end of its pipe does, however we end.
            process = context.Process(target=_serve, args=(self._order, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_STOP_SECONDS_MAX if error is None else 0)
            process.kill()
            process.join()

    def bear(self, load: Load) -> Half:
        """Hold and settle the calls of a load; every process does its share of it, at the same time.

        Raises:
            BenchFailed: a process failed; it said why.
        """
        for at, pipe in enumerate(self._pipes):
            # Each begins with another tenant, as calls are spread that come from outside.
            first = at * len(load.tenants) // self._count
            tenants = [*load.tenants[first:], *load.tenants[:first]]
            pipe.send(Load(tenants, load.seconds, load.calls_max // self._count))
        halves = [self._answer_of(pipe, load) for pipe in self._pipes]
        return Half(
            [call for half in halves for call in half.calls],
            [milliseconds for half in halves for milliseconds in half.milliseconds],
            max(half.seconds for half in halves),
            sum(half.cpu_seconds for half in halves),
        )

    def _answer_of(self, pipe: Connection, load: Load) -> Half:
        try:
            if pipe.poll(load.seconds + _START_SECONDS_MAX + ANSWER_SECONDS_MAX):
                half: Half = pipe.recv()
                return half
        except EOFError:
            pass
        raise BenchFailed("A process that holds and settles failed; what it said is above.")


def _serve(order: _Order, pipe: Connection) -> None:
    """Bear load after load until nobody asks any more."""
    machine.leave_interrupts()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(_serve_loads(order, pipe))


async def _serve_loads(order: _Order, pipe: Connection) -> None:
    settings = order.settings
    pool = await database.connect_pool(settings.database_url, connections_max=settings.data_plane_connections)
    revision = await pool.fetchval("SELECT revision FROM catalogue_revision")
    async with ledger_access.metered(pool, SystemClock(), settings) as (meter, _):
        caller = _Caller(meter, revision)
        while (load := await asyncio.to_thread(_next_load, pipe)) is not None:
            pipe.send(await caller.bear(load, calls_at_once=order.calls_at_once))
        await meter.drained()
    await pool.close()


def _next_load(pipe: Connection) -> Load | None:
    try:
        load: Load = pipe.recv()
    except EOFError:
        return None
    return load


class _Caller:
    """Holds and settles."""

    def __init__(self, meter: Meter, revision: int) -> None:
        self._meter = meter
        self._revision = revision
        self._clock = SystemClock()

    async def bear(self, load: Load, *, calls_at_once: int) -> Half:
        turnstile, half = Turnstile(load), Half()
        started, cpu_seconds = time.perf_counter(), machine.cpu_seconds(os.getpid())
        async with asyncio.TaskGroup() as calling:
            for _ in range(calls_at_once):
                calling.create_task(self._calls(turnstile, half))
        half.seconds = time.perf_counter() - started
        half.cpu_seconds = machine.cpu_seconds(os.getpid()) - cpu_seconds
        return half

    async def _calls(self, turnstile: Turnstile, half: Half) -> None:
        while (tenant := turnstile.next()) is not None:
            started = time.perf_counter()
            begun = self._begun(tenant)
            await self._meter.admit(self._request(begun))
            self._meter.begin(begun)
            settlement = _settlement(begun)
            await self._meter.settle(settlement)
            half.milliseconds.append((time.perf_counter() - started) * 1000)
            half.calls.append(Answered(tenant.organization_id, begun.call_id, settlement.call.amount))

    def _begun(self, tenant: Tenant) -> Begun:
        """A small sandbox call."""
        now = self._clock.now()
        return Begun(
            organization_id=tenant.organization_id,
            call_id=CallId(new_id(now)),
            project_id=None,
            key_id=tenant.key_id,
            accepted_at=now,
            requested_model="sandbox/echo",
            model="sandbox/echo",
            provider="sandbox",
            endpoint_id=_PRICE.endpoint_id,
            api="chat",
            streamed=False,
            user_id=None,
            session_id=None,
            metadata=None,
            attempt_id=AttemptId(new_id(now)),
            prompt_tokens=_PROMPT_TOKENS,
            costs_us=False,
            price=_PRICE,
        )

    def _request(self, begun: Begun) -> AdmissionRequest:
        return AdmissionRequest(
            organization_id=begun.organization_id,
            call_id=begun.call_id,
            project_id=begun.project_id,
            key_id=begun.key_id,
            hold_least=_HELD,
            hold_most=_HELD,
            tokens=_TOKENS,
            currency=CURRENCY,
            revision=self._revision,
        )


def _settlement(begun: Begun) -> Settlement:
    """What it leaves behind."""
    cost = _PROMPT_COST + _COMPLETION_COST
    call = CallRecord(
        organization_id=begun.organization_id,
        call_id=begun.call_id,
        project_id=begun.project_id,
        key_id=begun.key_id,
        accepted_at=begun.accepted_at,
        requested_model=begun.requested_model,
        model=begun.model,
        provider=begun.provider,
        endpoint_id=begun.endpoint_id,
        api=begun.api,
        streamed=begun.streamed,
        status=CallStatus.SETTLED,
        estimated=False,
        anomalous=False,
        finish_reason="stop",
        native_finish_reason="stop",
        latency_ms=1,
        generation_ms=2,
        quantities='{"prompt":12,"completion":5}',
        tokens=_TOKENS,
        price_version_id=begun.price.id,
        tier=0,
        currency=CURRENCY,
        origin_amount=cost,
        amount=cost,
        provider_cost=Decimal(0),
        user_id=begun.user_id,
        session_id=begun.session_id,
        metadata=begun.metadata,
    )
    return Settlement(call, _charges(begun.call_id), (_attempt(begun),))


def _charges(call_id: CallId) -> tuple[ChargeRecord, ...]:
    prompt, completion = _PRICE.items
    return (
        _charge(call_id, prompt, _PROMPT_TOKENS, _PROMPT_COST),
        _charge(call_id, completion, _COMPLETION_TOKENS, _COMPLETION_COST),
        ChargeRecord(call_id, Kind.REQUEST, None, None, 1, Decimal(0), Decimal(0)),
    )


def _charge(call_id: CallId, item: PriceItem, tokens: int, cost: Decimal) -> ChargeRecord:
    return ChargeRecord(call_id, item.kind, item.unit, item.unit_price, tokens, cost, cost)


def _attempt(begun: Begun) -> AttemptRecord:
    return AttemptRecord(
        organization_id=begun.organization_id,
        id=begun.attempt_id,
        call_id=begun.call_id,
        ordinal=1,
        endpoint_id=begun.endpoint_id,
        provider=begun.provider,
        status=AttemptStatus.SERVED,
        http_status=200,
        error=None,
        latency_ms=1,
        provider_cost=Decimal(0),
        upstream_id="chatcmpl-1",
        usage='{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17}',
    )
