"""The hot path, top to bottom: who calls, what for, where could it go, may they, send, stream, settle.

Every call that took a hold is settled once, whatever happens in between, and its last byte leaves only after that
commit: what was acknowledged is recorded.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import structlog

from tollgate.catalog import rules as catalog
from tollgate.catalog.model import Format, Provider
from tollgate.gateway import endings, fallback, formats, headers, tokenizer, unseen
from tollgate.gateway.admitting import LONG_BYTES, Admissions
from tollgate.gateway.decoding import decoded
from tollgate.gateway.endings import Call, Ending, Usage
from tollgate.gateway.exchange import Exchange
from tollgate.gateway.model import Access, Attempt, Candidate, Client, ClientGone, Receipt, Request, Upstream, Wire
from tollgate.gateway.outlook import Outlook, endpoint_of
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.room import Place, Room
from tollgate.gateway.stopwatch import Stopwatch
from tollgate.gateway.translation import Outlet
from tollgate.infra import identity, telemetry
from tollgate.infra.database import DATABASE_AWAY
from tollgate.keys import rules as keys
from tollgate.keys.service import KeyRing
from tollgate.kit import ids
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable, ProviderFailed, TollgateError, Unavailable
from tollgate.kit.ids import AttemptId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.metering.model import AttemptStatus, CallStatus
from tollgate.metering.service import Meter
from tollgate.pricing.model import Charge

_NOTE_SECONDS = 1.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the installation lends the gateway."""

    body_bytes_max: int
    """The largest request body, in bytes."""
    drain_seconds: int
    """How long a provider that charges on regardless may go on after its client hung up."""
    status_of: Callable[[TollgateError], int]
    """The HTTP status of an error, for streams that already began."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A call as it came in, its caller known."""

    principal: Principal
    wire: Wire
    """What its route is for."""
    body: bytes
    headers: Mapping[str, str]
    """Those that belong to the wire format, names in lower case."""
    place: Place | None = None
    """What its body takes up, where that is counted."""


class Gateway:
    """Serves calls."""

    def __init__(
        self, *, keys: KeyRing, outlook: Outlook, meter: Meter, upstreams: Mapping[Format, Upstream], clock: Clock,
        surroundings: Surroundings,
    ) -> None:  # fmt: skip
        self._keys = keys
        self._outlook = outlook
        self._admissions = Admissions(outlook, meter, clock)
        self._meter = meter
        self._upstreams = upstreams
        self._clock = clock
        self._around = surroundings
        self.room = Room(surroundings.body_bytes_max)
        self._streaming: set[_Serving] = set()
        self._uncounted: set[_Serving] = set()
        self._settling: set[asyncio.Task[None]] = set()

    @property
    def body_bytes_max(self) -> int:
        """The largest request body it is worth to read."""
        return self._around.body_bytes_max

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """The bearer of the inference key in these headers; nothing of the call is read before."""
        try:
            principal = await self._keys.authenticate_headers(headers, self._clock.now())
        except DATABASE_AWAY as error:
            raise LedgerUnavailable(metadata={"retry_after_seconds": 1}) from error
        keys.check_kind(principal, KeyKind.INFERENCE)
        return principal

    async def serve(self, inquiry: Inquiry, client: Client) -> None:
        """Serve one call: admit it, forward it, relay the answer, settle it, and only then finish."""
        watch = Stopwatch()
        async with self._admissions.turn(inquiry.principal, inquiry.body):
            request = unseen.noted(await decoded(formats.CLIENTS[inquiry.wire].decode, inquiry.body, inquiry.headers))
            ask_first = len(inquiry.body) > LONG_BYTES
            call = await self._admissions.admit(inquiry.principal, request, ask_first=ask_first)
        if inquiry.place is not None:
            inquiry.place.leave()
        serving = _Serving(call, client, watch)
        if not call.prompt.counted:
            self._uncounted.add(serving)
        try:
            await self._forward(serving)
            if request.stream and call.ending is not Ending.CLIENT_LEFT:
                await self._relay(serving)
        except asyncio.CancelledError:
            # Nothing but a stop whose patience is over cancels calls.
            serving.failure = Unavailable("Tollgate is being stopped.", metadata={"retry_after_seconds": 1})
        finally:
            if call.attempts:
                self._outlook.health.rested(call.attempts[-1].candidate.endpoint.id)
            await self._settle_whatever_comes(serving)
        if call.ending is not Ending.CLIENT_LEFT:
            await self._finish(serving)

    async def count_tokens(self, inquiry: Inquiry) -> int:
        """About how many tokens a prompt is for its model, counted here: no provider is asked, nothing is charged."""
        async with self._admissions.turn(inquiry.principal, inquiry.body):
            request = await decoded(anthropic_messages.count_tokens, inquiry.body, inquiry.headers)
            return await self._admissions.count(inquiry.principal, request)

    async def note_progress(self) -> None:
        """Note about once a second how far streams have come, so that nothing delivered is lost with this process."""
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            for serving in list(self._streaming):
                await self._note(serving)

    async def count_late(self) -> None:
        """Count about once a second the prompts that were only gauged, so that they are known if this process dies."""
        while True:
            await asyncio.sleep(_NOTE_SECONDS)
            for serving in list(self._uncounted):
                await self._count(serving)

    async def _count(self, serving: "_Serving") -> None:
        """Count a prompt unless its call has come to its end: what is counted in vain delays those that wait."""
        call = serving.call
        if serving not in self._uncounted:
            return
        counted = await self._admissions.counted(call)
        if serving in self._uncounted:
            self._uncounted.discard(serving)
            call.prompt = counted
            self._meter.note(endings.settlement_if_lost(call, serving.delivered_tokens))

    async def _forward(self, serving: "_Serving") -> None:
        """Try the planned endpoints in order until one begins to answer, or the client hangs up.

        Raises:
            TollgateError: none did; why the last one did not.
        """
        call = serving.call
        problem: TollgateError = ProviderFailed()
        for candidate in self._outlook.health.in_turn(call.plan.candidates, endpoint_of):
            began_at = self._clock.now()
            attempt = Attempt(AttemptId(identity.new_id(began_at)), candidate, began_at)
            call.attempts.append(attempt)
            self._meter.note(endings.settlement_if_lost(call, 0))
            try:
                serving.exchange = await self._try(serving, attempt)
            except TollgateError as error:
                attempt.error, problem = error.type, error
                self._outlook.judge(call, error)
                telemetry.ATTEMPTS.labels(candidate.provider.slug, error.type).inc()
                if not fallback.may_try_next(attempt.http_status, error.message):
                    break
            except ClientGone:
                attempt.status, call.ending = AttemptStatus.CANCELLED, Ending.CLIENT_LEFT
                return
            else:
                if not call.request.stream:
                    self._outlook.judge(call, None)
                telemetry.ATTEMPTS.labels(candidate.provider.slug, "served").inc()
                return
        problem.metadata["generation_id"] = ids.typed("gen", call.id)
        waits = [attempt.wait_seconds for attempt in call.attempts if attempt.wait_seconds is not None]
        if waits and problem.retry_after_seconds is not None:
            problem.metadata["retry_after_seconds"] = min(waits)
        raise problem

    async def _try(self, serving: "_Serving", attempt: Attempt) -> Exchange:
        """Send the call to one endpoint, and wait until its answer has begun."""
        call, candidate = serving.call, attempt.candidate
        stops = call.request.stream and _may_stop(call.request, candidate)
        with serving.watch.away() as absence:
            try:
                async with serving.client.staying() if stops else nullcontext():
                    exchange = await self._exchange(call, attempt)
                    try:
                        await exchange.open()
                    finally:
                        attempt.answer = exchange.answer
            finally:
                attempt.latency_ms = absence.milliseconds
        attempt.status, call.ending = AttemptStatus.SERVED, Ending.BROKE_OFF
        call.latency_ms = serving.watch.milliseconds
        return exchange

    async def _exchange(self, call: Call, attempt: Attempt) -> Exchange:
        candidate, provider = attempt.candidate, attempt.candidate.provider
        speech = call.crossing.to(candidate)
        question = speech.ask(candidate, access=self._access(provider), output_cap=call.output_cap)
        question = replace(question, timeouts=candidate.endpoint.timeouts)
        reply = await self._upstreams[provider.format].send(question)
        attempt.http_status, attempt.wait_seconds = reply.status, fallback.wait_seconds(reply.status, reply.headers)
        if fallback.is_our_fault(reply.status):
            _log.error("provider refused our credential", provider=provider.slug, status=reply.status)
        return Exchange(
            reply,
            speech,
            streams=call.request.stream,
            supports_cancel=_may_stop(call.request, candidate),
            drain_seconds=self._around.drain_seconds,
        )

    def _access(self, provider: Provider) -> Access:
        environment = self._outlook.environment
        return Access(
            base_url=catalog.base_url_of(provider, environment) or "",
            credential=catalog.credential_of(provider, environment),
        )

    async def _relay(self, serving: "_Serving") -> None:
        """Pass a stream on until it ends, breaks off, or the client hangs up."""
        call, exchange = serving.call, serving.answered
        serving.outlet = exchange.outlet(
            model=call.attempts[-1].candidate.endpoint.model,
            generation_id=ids.typed("gen", call.id),
            created=int(call.accepted_at.timestamp()),
        )
        opening = self._headers(serving)
        self._streaming.add(serving)
        try:
            with serving.watch.away():
                await exchange.relay(serving.client, opening, serving.outlet)
        finally:
            self._streaming.discard(serving)
        call.ending = exchange.ending
        self._outlook.judge(call, exchange.error)
        if exchange.error is not None:
            call.attempts[-1].error = exchange.error.type

    async def _note(self, serving: "_Serving") -> None:
        """Note what a stream has delivered, if anything came since it was noted last."""
        exchange, call = serving.answered, serving.call
        if exchange.events == serving.noted_events:
            return
        serving.noted_events = exchange.events
        serving.delivered_tokens += await tokenizer.count(exchange.news(), call.vocabulary)
        # It may have ended while we counted: then its settlement is the last word on it.
        if serving in self._streaming:
            call.attempts[-1].answer = exchange.answer
            self._meter.note(endings.settlement_if_lost(call, serving.delivered_tokens))

    def _headers(self, serving: "_Serving") -> Mapping[str, str]:
        return headers.of_answer(serving.call, overhead=serving.watch.overhead_text, now=self._clock.now())

    async def _settle_whatever_comes(self, serving: "_Serving") -> None:
        """Settle in a task of its own: who cancels the call does not cancel what it owes."""
        settling = asyncio.create_task(self._settle(serving))
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        await asyncio.shield(settling)

    async def drained(self) -> None:
        """Wait until every call that ended is recorded."""
        while self._settling:
            await asyncio.wait(self._settling)
        await self._meter.drained()

    async def _settle(self, serving: "_Serving") -> None:
        """Record the call, whatever became of it; returns when that is committed, or known not to be."""
        call, counted = serving.call, None
        try:
            counted = await self._wind_up(serving)
        finally:
            call.generation_ms = serving.watch.milliseconds
            usage = endings.usage_of(call, counted)
            settlement, serving.charge = endings.settlement(call, usage)
            serving.usage = usage
            _report(call, usage, settlement.call.status)
            try:
                await self._meter.settle(settlement)
            except LedgerUnavailable as error:
                serving.failure = error

    async def _wind_up(self, serving: "_Serving") -> int | None:
        """Let go of the provider; the output tokens, where its own count of them is missing or doubtful."""
        call, exchange = serving.call, serving.exchange
        self._uncounted.discard(serving)
        if exchange is not None:
            call.ending = exchange.ending
            call.attempts[-1].answer = exchange.answer
            await exchange.close()
        if endings.is_prompt_to_be_counted(call):
            call.prompt = await self._admissions.counted(call)
        if exchange is None or not endings.is_doubtful(exchange.answer, events=exchange.events):
            return None
        return await tokenizer.count(exchange.written(), call.vocabulary)

    async def _finish(self, serving: "_Serving") -> None:
        """Send what had to wait for the settlement: the answer, or the end of the stream."""
        outlet = serving.outlet
        error = serving.failure or serving.answered.error
        with suppress(ClientGone):
            if outlet is not None:
                last = (
                    outlet.end(serving.receipt) if error is None else outlet.fail(error, self._around.status_of(error))
                )
                await serving.client.finish(last)
            elif error is not None:
                error.metadata["generation_id"] = ids.typed("gen", serving.call.id)
                raise error
            else:
                await serving.client.begin(200, self._headers(serving))
                await serving.client.finish(await serving.answered.encoded(serving.receipt))


@dataclass(slots=True, eq=False)
class _Serving:
    """What one call in this process goes along with: its client, its exchange with a provider, and its receipt."""

    call: Call
    client: Client
    watch: Stopwatch
    exchange: Exchange | None = None
    outlet: Outlet | None = None
    usage: Usage | None = None
    charge: Charge | None = None
    failure: TollgateError | None = None
    """Why its client gets no good end, though the provider may have given one."""
    noted_events: int = 0
    """How many events of its stream had come when it was last noted."""
    delivered_tokens: int = 0
    """What they delivered, as far as it was counted."""

    @property
    def answered(self) -> Exchange:
        """The exchange that some provider answered."""
        if self.exchange is None:
            raise ProviderFailed
        return self.exchange

    @property
    def receipt(self) -> Receipt:
        """What the client is told about the call once it is settled."""
        if self.charge is None or self.usage is None:
            raise LedgerUnavailable
        endpoint = self.call.attempts[-1].candidate.endpoint
        return Receipt(
            generation_id=ids.typed("gen", self.call.id),
            model=endpoint.model,
            provider=endpoint.provider,
            quantities=self.usage.quantities,
            estimated=self.usage.estimated,
            charge=self.charge,
        )


def _may_stop(request: Request, candidate: Candidate) -> bool:
    """Whether to stop the provider when its client has left: it stops charging, and we can count what it has done."""
    endpoint = candidate.endpoint
    return endpoint.supports_cancel and not unseen.is_counted_by_provider_alone(request, endpoint)


def _report(call: Call, usage: Usage, status: CallStatus) -> None:
    """Count what an operator watches."""
    telemetry.CALLS.labels(status).inc()
    serving, told = call.serving, call.answer.usage
    if serving is None:
        return
    provider, tier = serving.candidate.provider.slug, endings.served_tier(call.answer)
    if told is not None and told.anomalous:
        telemetry.ANOMALIES.labels(provider).inc()
    if told is not None and told.unknown:
        telemetry.UNKNOWN_USAGE.labels(provider).inc()
        _log.warning("usage has fields with counts we do not know", provider=provider, fields=told.unknown[:20])
    if usage.disputed:
        telemetry.DISPUTED_USAGE.labels(provider).inc()
    if tier is not None and endings.price_of(serving).service_tier != tier:
        telemetry.UNPRICED_TIERS.labels(provider).inc()
