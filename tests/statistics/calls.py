"""Calls to settle whose attempts tell something of endpoints, and the figures computed anew from the recorded rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from tests.metering.scene import Caller, Pool, Scene, a_settlement, an_attempt

from tollgate.infra.identity import new_id
from tollgate.kit.ids import CallId, EndpointId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import AttemptRecord, AttemptStatus, CallRecord, CallStatus, Settlement
from tollgate.metering.rules import charge_records
from tollgate.pricing.model import Charge
from tollgate.statistics.model import EndpointStatistics, Figures, Spread, Tally
from tollgate.statistics.sketch import RELATIVE_ERROR

SERVED, FAILED, CANCELLED = AttemptStatus.SERVED, AttemptStatus.FAILED, AttemptStatus.CANCELLED
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIVE_MINUTES, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)


def a_call(caller: Caller, at: datetime, endpoint: EndpointId, **said: Any) -> Settlement:
    """A call that one endpoint was tried for. `status`, `estimated` … are the call's, `ended` … the attempt's."""
    ended: AttemptStatus = said.pop("ended", SERVED)
    attempt = {name: said.pop(name) for name in ("http_status", "error") if name in said}
    first_token_ms = said.pop("first_token_ms", 120)
    settlement = a_settlement(caller, CallId(new_id(at)), at, **{"prompt": 10, "completion": 100, **said})
    tried = an_attempt(settlement.call, 1, ended)._replace(endpoint_id=endpoint, latency_ms=first_token_ms, **attempt)
    if settlement.call.status is CallStatus.INSURED:
        settlement = _insured(settlement)
    return settlement._replace(attempts=(tried,))


def _insured(settlement: Settlement) -> Settlement:
    """The same call, which its customer does not pay, though it used what it used."""
    call, nothing = settlement.call, Charge(items=(), amount=Decimal(0), unpriced=(), tier=0)
    charges = charge_records(call.call_id, nothing, UsageQuantities({Kind(k): n for k, n in _counts(call).items()}))
    return settlement._replace(call=call._replace(origin_amount=nothing.amount, amount=nothing.amount), charges=charges)


def _counts(call: CallRecord) -> dict[str, int]:
    counts: dict[str, int] = json.loads(call.quantities)
    return counts


def after_others(settlement: Settlement, *others: tuple[EndpointId, int | None, str]) -> Settlement:
    """The same call, before whose attempt others failed: at which endpoint, with which HTTP status and error."""
    failed = [
        an_attempt(settlement.call, ordinal, FAILED)._replace(endpoint_id=endpoint, http_status=status, error=error)
        for ordinal, (endpoint, status, error) in enumerate(others, start=1)
    ]
    served = [attempt._replace(ordinal=len(failed) + 1) for attempt in settlement.attempts]
    return settlement._replace(attempts=(*failed, *served))


def some_call(chance: Random, caller: Caller, at: datetime, endpoints: Sequence[EndpointId]) -> Settlement:
    """Any call at all: streamed or not, short or long, served, failed, insured, cancelled or recovered."""
    settlement = a_call(
        caller,
        at,
        chance.choice(endpoints),
        streamed=chance.random() < 0.7,
        status=chance.choices(
            [CallStatus.SETTLED, CallStatus.CANCELLED, CallStatus.INSURED, CallStatus.RECOVERED, CallStatus.FAILED],
            weights=[16, 1, 1, 1, 1],
        )[0],
        estimated=chance.random() < 0.1,
        completion=chance.choice([0, 1, chance.randrange(2, 4000)]),
        generation_ms=chance.choice([0, 1, chance.randrange(2, 60_000)]),
        first_token_ms=chance.choice([0, 1, int(chance.lognormvariate(6, 1))]),
        ended=chance.choices([SERVED, FAILED, CANCELLED], weights=[16, 3, 1])[0],
        error=chance.choices([None, "provider_error", "invalid_request"], weights=[16, 1, 1])[0],
        http_status=chance.choice([None, 200, 400, 404, 413, 422, 429, 500, 503]),
    )
    if chance.random() < 0.2:
        refused = (chance.choice(endpoints), chance.choice([None, 401, 429, 500]), "provider_error")
        settlement = after_others(settlement, refused)
    return settlement


async def settled(scene: Scene, settlements: Sequence[Settlement], chance: Random) -> None:
    """Settle the calls in batches of any size."""
    rest = list(settlements)
    while rest:
        size = chance.randrange(1, 40)
        await scene.settle(*rest[:size])
        rest = rest[size:]


@dataclass(slots=True)
class Raw:
    """All that the recorded rows tell of one endpoint in one window, sample by sample."""

    ok: int = 0
    failed: int = 0
    latencies: list[int] = field(default_factory=list)
    throughputs: list[int] = field(default_factory=list)
    """In thousandths."""

    def add(self, call: CallRecord, attempt: AttemptRecord) -> None:
        served = attempt.status == SERVED
        if served and attempt.error is None and call.status != CallStatus.INSURED:
            self.ok += 1
        elif served or (attempt.status == FAILED and not _is_no_fault_of_the_endpoint(attempt)):
            self.failed += 1
        if served and call.streamed and attempt.latency_ms is not None:
            self.latencies.append(attempt.latency_ms)
        written = _written(call)
        if served and call.status == CallStatus.SETTLED and not call.estimated and written and call.generation_ms:
            per_second = Fraction(written * 1000, call.generation_ms)
            self.throughputs.append(floor(per_second * 1000 + Fraction(1, 2)))

    @property
    def tally(self) -> Tally:
        return Tally(self.ok, self.failed)


def _is_no_fault_of_the_endpoint(attempt: AttemptRecord) -> bool:
    return attempt.http_status in {400, 403, 404, 413, 422, 429} or attempt.error in {"invalid_request", "rate_limit"}


def _written(call: CallRecord) -> int:
    quantities: Any = call.quantities
    return sum(quantities.get(kind, 0) for kind in ("completion", "internal_reasoning", "output_audio", "output_image"))


def began_at(attempt_id: UUID) -> datetime:
    """The millisecond in the id."""
    return EPOCH + timedelta(milliseconds=attempt_id.int >> 80)


def floored(at: datetime, length: timedelta) -> datetime:
    return at - (at - EPOCH) % length


async def raw(pool: Pool, endpoint: EndpointId, since: datetime, until: datetime | None = None) -> Raw:
    """What calls and attempts tell of the endpoint since then."""
    rows = await pool.fetch(
        "SELECT to_jsonb(c) AS call, to_jsonb(a) AS attempt, a.id FROM attempts AS a"
        " JOIN calls AS c ON c.organization_id = a.organization_id AND c.id = a.call_id WHERE a.endpoint_id = $1",
        endpoint,
    )
    told = Raw()
    for row in rows:
        if since <= began_at(row["id"]) and (until is None or began_at(row["id"]) < until):
            told.add(_named(row["call"]), _named(row["attempt"]))
    return told


def _named(stored: str) -> Any:
    return SimpleNamespace(**json.loads(stored))


def assert_spread(found: Spread | None, samples: Sequence[int], *, parts: int = 1) -> None:
    """Least, most and mean to the last digit, quantiles within the sketch's error of the sample at their place."""
    if not samples:
        assert found is None
        return
    assert found is not None
    in_order = sorted(samples)
    assert found.count == len(in_order)
    assert (found.min, found.max) == (in_order[0] / parts, in_order[-1] / parts)
    assert found.avg == float(Fraction(sum(in_order), len(in_order) * parts))
    for percent, about in ((50, found.p50), (90, found.p90), (99, found.p99)):
        exact = in_order[ceil(Fraction(percent * len(in_order), 100)) - 1] / parts
        assert abs(about - exact) <= RELATIVE_ERROR * exact + 1e-9, percent


def assert_figures(found: Figures, told: Raw) -> None:
    assert found.tally == told.tally
    assert_spread(found.latency_ms, told.latencies)
    assert_spread(found.throughput, told.throughputs, parts=1000)


async def assert_true(pool: Pool, endpoint: EndpointId, found: EndpointStatistics, now: datetime) -> None:
    """Every figure is what the recorded rows tell."""
    assert_figures(found.live, await raw(pool, endpoint, floored(now - HOUR, FIVE_MINUTES)))
    assert_figures(found.long, await raw(pool, endpoint, floored(now - 30 * DAY, HOUR)))
    first = floored(now, HOUR) - 23 * HOUR
    assert found.last_day == (await raw(pool, endpoint, first)).tally
    assert [hour.starts_at for hour in found.hourly] == [first + number * HOUR for number in range(24)]
    for hour in found.hourly:
        assert hour.tally == (await raw(pool, endpoint, hour.starts_at, hour.starts_at + HOUR)).tally
