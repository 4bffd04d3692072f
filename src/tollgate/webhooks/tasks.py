"""Sending what is due, when a job asks for it. Rows are the truth: who is killed at it leaves a lease that runs out.

What is taken is committed before it is sent, and what came of it after; so an endpoint hears of an event at least
once, and under the same id each time.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from tollgate.infra import telemetry
from tollgate.infra.database import Database
from tollgate.infra.http_client import HttpClient, NoAnswer
from tollgate.infra.sealing import CannotOpen, Seal
from tollgate.kit.clock import Clock
from tollgate.kit.ids import WebhookId, typed
from tollgate.webhooks import rules, schemas, service
from tollgate.webhooks.model import DeliveryState, Outcome, Parcel
from tollgate.webhooks.store import deliveries as queue
from tollgate.webhooks.store.deliveries import Places, Taken

SECONDS_MAX = 10
"""How long an endpoint may take to answer."""
LEASE = timedelta(seconds=60)
"""For how long a delivery that was taken is left to who took it: longer than an attempt and its record take."""
UNDER_WAY_MAX = 48
FAILING_MAX = 16
EACH_MAX = 4
"""How many deliveries one process sends at once: in all, to endpoints that failed last, and to one endpoint."""
TAKES_FOR_SECONDS = 20.0
"""How long one turn goes on taking more; then it sees to it that what it took is sent, and the next turn begins."""
LOOKS_EVERY_SECONDS = 0.5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Post:
    """What it takes to send."""

    database: Database
    clock: Clock
    client: HttpClient
    seal: Seal
    chance: Callable[[], int] = lambda: secrets.randbelow(rules.CHANCES)
    """What spreads attempts that failed together."""
    seconds_max: float = SECONDS_MAX


class Courier:
    """One process's sending. Any number of processes may send at the same time."""

    def __init__(self, post: Post, *, takes_for_seconds: float = TAKES_FOR_SECONDS) -> None:
        self._post = post
        self._takes_for_seconds = takes_for_seconds
        self._is_taking = False
        self._was_asked = False

    async def deliver(self) -> int:
        """Send what is due until nothing is, or for so long; answers how many attempts that took.

        Places that become free are taken again at once, whatever the others still wait for: nobody waits for an
        endpoint but its own deliveries. Whoever asks while this is so has what is due taken with the rest, and is
        answered zero at once; whoever asks once it only waits for answers does not wait with it.
        """
        if self._is_taking:
            self._was_asked = True
            return 0
        under_way: dict[asyncio.Task[None], Taken] = {}
        try:
            sent = await self._take_turns(under_way)
            while under_way:
                await _wait(under_way)
            return sent
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _take_turns(self, under_way: dict[asyncio.Task[None], Taken]) -> int:
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        self._is_taking = True
        try:
            while loop.time() - begun < self._takes_for_seconds:
                self._was_asked = False
                taken = await _take(self._post, under_way)
                for each in taken:
                    under_way[asyncio.create_task(_deliver(self._post, each.parcel))] = each
                sent += len(taken)
                if under_way:
                    await _wait(under_way)
                elif not self._was_asked:
                    break
        finally:
            self._is_taking = False
        return sent


async def _wait(under_way: dict[asyncio.Task[None], Taken]) -> None:
    done, _ = await asyncio.wait(under_way, timeout=LOOKS_EVERY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        _look_into(task, under_way.pop(task).parcel)


async def ask_for_due(database: Database, clock: Clock) -> None:
    """Ask for what is due and was not woken: to be tried again, or left by a worker that is gone."""
    await service.ask_for_due(database, now=clock.now())


async def drop_old(database: Database, clock: Clock) -> int:
    """Forget events and deliveries that nobody can ask for any more; answers how many events there were."""
    dropped = 0
    while True:
        async with database.write() as session:
            some = await service.drop_old(session, now=clock.now())
        dropped += some
        if not some:
            return dropped


async def _take(post: Post, under_way: dict[asyncio.Task[None], Taken]) -> list[Taken]:
    busy: Counter[WebhookId] = Counter(each.parcel.webhook_id for each in under_way.values())
    failing = sum(each.failing for each in under_way.values())
    places = Places(UNDER_WAY_MAX - len(under_way), FAILING_MAX - failing, EACH_MAX, busy)
    if places.most <= 0:
        return []
    async with post.database.write() as session:
        return await queue.take(session, places, now=post.clock.now(), lease=LEASE)


async def _deliver(post: Post, parcel: Parcel) -> None:
    outcome = await _attempt(post, parcel)
    now = post.clock.now()
    fate = rules.fate(outcome, attempt=parcel.attempt, first_at=parcel.first_at, now=now, chance=post.chance())
    is_gone = rules.is_gone(outcome)
    async with post.database.write() as session:
        await queue.record(session, parcel, outcome, fate, now=now)
        if is_gone:
            await queue.disable_gone(session, parcel)
    told = "gone" if is_gone else "retried" if fate.state is DeliveryState.PENDING else fate.state.value
    telemetry.WEBHOOK_DELIVERIES.labels(told).inc()
    if fate.state is not DeliveryState.DELIVERED:
        _log.info(
            "a webhook was not delivered",
            organization=typed("org", parcel.event.organization_id),
            webhook=typed("whk", parcel.webhook_id),
            attempt=parcel.attempt,
            status=outcome.status,
            error=outcome.error,
            outcome=told,
        )


def _look_into(task: asyncio.Task[None], parcel: Parcel) -> None:
    """What breaks on our side breaks for one delivery alone, which is tried again when its lease is over."""
    error = task.exception()
    if error is not None:
        telemetry.WEBHOOK_DELIVERIES.labels("broken").inc()
        _log.error("a delivery broke", webhook=typed("whk", parcel.webhook_id), **telemetry.raised(error))


async def _attempt(post: Post, parcel: Parcel) -> Outcome:
    """Send it once; whatever stands in the way is an outcome."""
    loop = asyncio.get_running_loop()
    began, status, answer, error = loop.time(), None, "", None
    try:
        signing = _opened(post.seal, parcel)
        body = schemas.wire(parcel.event)
        headers = {
            "content-type": "application/json",
            "user-agent": "Tollgate-Webhooks",
            "tollgate-signature": rules.signature(body, signing, now=post.clock.now()),
            "tollgate-event-id": typed("evt", parcel.event.id),
            "tollgate-event-type": parcel.event.type.value,
        }
        answered = await post.client.post(parcel.url, headers=headers, body=body, seconds_max=post.seconds_max)
        status, answer = answered.status, rules.readable(answered.beginning, signing)
    except NoAnswer as refused:
        error = str(refused)
    except CannotOpen:
        # Nobody's fault but the installation's: the key on this host is not the one that sealed it.
        telemetry.WEBHOOK_SECRETS_LOCKED.inc()
        error = "The installation cannot read this endpoint's secret. Rotate it."
    return Outcome(status, error, answer, int((loop.time() - began) * 1000))


def _opened(seal: Seal, parcel: Parcel) -> list[str]:
    owner = service.sealed_for(parcel.event.organization_id, parcel.webhook_id)
    return [seal.open(sealed, owner=owner).decode() for sealed in parcel.secrets]
