"""The hot path, top to bottom: who calls, what for, where could it go, may they, send, stream, settle.

Every call that took a hold is settled once, whatever happens in between, and its last byte leaves only after that
commit: what was acknowledged is recorded.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from tollgate.catalog import rules as catalog
from tollgate.catalog.model import NO_TIMEOUTS, Format, Provider
from tollgate.gateway import beginnings, endings, fallback, formats, headers, progress, tokenizer, unseen
from tollgate.gateway.admitting import LONG_BYTES, Admissions
from tollgate.gateway.decoding import decoded
from tollgate.gateway.door import Door
from tollgate.gateway.endings import Call, Ending
from tollgate.gateway.model import Access, Attempt, Client, ClientGone, Upstream, Wire
from tollgate.gateway.outlook import Outlook, endpoint_of
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.relay import Relay
from tollgate.gateway.room import Place, Room
from tollgate.gateway.serving import Serving, report
from tollgate.gateway.stopwatch import Stopwatch
from tollgate.gateway.whole import Whole
from tollgate.infra import identity, telemetry
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable, ProviderFailed, TollgateError, Unavailable
from tollgate.kit.ids import AttemptId
from tollgate.kit.principal import Principal
from tollgate.metering.model import AttemptStatus, Settlement
from tollgate.metering.service import Meter

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


class Inquiry(NamedTuple):
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
        self._outlook = outlook
        self._admissions = Admissions(outlook, meter, clock)
        self._meter = meter
        self._upstreams = upstreams
        self._clock = clock
        self._around = surroundings
        self.door = Door(keys, clock)
        self.room = Room(surroundings.body_bytes_max)
        self._accesses: dict[str, tuple[Provider, Access]] = {}
        """How providers are reached, by slug."""
        self._streaming: dict[Serving, float] = {}
        """Since when they have streamed without a note, on the event loop's clock; the longest comes first."""
        self._uncounted: dict[Serving, float] = {}
        """Since when they have gone on with a prompt that was only gauged."""
        self._settling: set[Serving] = set()
        """Calls that ended and are not with the meter yet."""
        self._has_settled = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def body_bytes_max(self) -> int:
        """The largest request body it is worth to read."""
        return self._around.body_bytes_max

    async def serve(self, inquiry: Inquiry, client: Client) -> None:
        """Serve one call: admit it, forward it, relay the answer, settle it, and only then finish."""
        watch = Stopwatch()
        call = await self._admitted(inquiry)
        if inquiry.place is not None:
            inquiry.place.leave()
        serving = Serving(call, client, watch)
        if not call.prompt.counted:
            self._uncounted[serving] = asyncio.get_running_loop().time()
        try:
            await self._forward(serving)
            if call.request.stream and call.ending is not Ending.CLIENT_LEFT:
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

    async def _admitted(self, inquiry: Inquiry) -> Call:
        """Read what is asked for, and admit it: at once if it is short, else when it is its turn."""
        decode, principal = formats.CLIENTS[inquiry.wire].decode, inquiry.principal
        if len(inquiry.body) <= LONG_BYTES:
            return await self._admissions.admit(principal, decode(inquiry.body, inquiry.headers), ask_first=False)
        async with self._admissions.turn(principal, inquiry.body):
            request = await decoded(decode, inquiry.body, inquiry.headers)
            return await self._admissions.admit(principal, request, ask_first=True)

    async def count_tokens(self, inquiry: Inquiry) -> int:
        """About how many tokens a prompt is for its model, counted here: no provider is asked, nothing is charged."""
        async with self._admissions.turn(inquiry.principal, inquiry.body):
            request = await decoded(anthropic_messages.count_tokens, inquiry.body, inquiry.headers)
            return await self._admissions.count(inquiry.principal, request)

    async def note_progress(self) -> None:
        """Note about once a second how far streams have come, so that nothing delivered is lost with this process."""
        await progress.look_after(self._streaming, self._note)

    async def count_late(self) -> None:
        """Count about once a second the prompts that were only gauged, so that they are known if this process dies."""
        await progress.look_after(self._uncounted, self._count)

    async def _count(self, serving: Serving) -> None:
        """Count a prompt unless its call has come to its end: what is counted in vain delays those that wait."""
        call = serving.call
        counted = await self._admissions.counted(call)
        if serving in self._uncounted:
            del self._uncounted[serving]
            call.prompt = counted
            self._meter.note(endings.settlement_if_lost(call, serving.delivered_tokens))

    async def _forward(self, serving: Serving) -> None:
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
            self._note_beginning(call)
            try:
                serving.answering = await self._try(serving, attempt)
            except TollgateError as error:
                attempt.error, problem = error.type, error
                self._outlook.judge(call, error)
                telemetry.count(telemetry.ATTEMPTS, candidate.provider.slug, error.type)
                if not fallback.may_try_next(attempt.http_status, error.message):
                    break
            except ClientGone:
                attempt.status, call.ending = AttemptStatus.CANCELLED, Ending.CLIENT_LEFT
                return
            else:
                if not call.request.stream:
                    self._outlook.judge(call, None)
                telemetry.count(telemetry.ATTEMPTS, candidate.provider.slug, "served")
                return
        problem.metadata["generation_id"] = call.generation_id
        waits = [attempt.wait_seconds for attempt in call.attempts if attempt.wait_seconds is not None]
        if waits and problem.retry_after_seconds is not None:
            problem.metadata["retry_after_seconds"] = min(waits)
        raise problem

    def _note_beginning(self, call: Call) -> None:
        """Leave word of an attempt that is about to be made: of a first one in few words."""
        if len(call.attempts) == 1:
            self._meter.begin(beginnings.begun(call))
        else:
            self._meter.note(endings.settlement_if_lost(call, 0))

    async def _try(self, serving: Serving, attempt: Attempt) -> Relay | Whole:
        """Send the call to one endpoint, and wait until its answer has begun, or come if it does not stream."""
        call, watch = serving.call, serving.watch
        left_at = watch.leave()
        try:
            if call.request.stream and unseen.may_stop(call.request, attempt.candidate.endpoint):
                with serving.client.staying():
                    answering = await self._opened(call, attempt, may_stop=True)
            else:
                answering = await self._opened(call, attempt, may_stop=False)
        finally:
            attempt.latency_ms = watch.come_back(left_at)
        attempt.status, call.ending = AttemptStatus.SERVED, Ending.BROKE_OFF
        call.latency_ms = watch.milliseconds
        return answering

    async def _opened(self, call: Call, attempt: Attempt, *, may_stop: bool) -> Relay | Whole:
        candidate, provider = attempt.candidate, attempt.candidate.provider
        speech = call.crossing.to(candidate)
        question = speech.ask(candidate, access=self._access(provider), output_cap=call.output_cap)
        if candidate.endpoint.timeouts != NO_TIMEOUTS:
            question = question._replace(timeouts=candidate.endpoint.timeouts)
        reply = await self._upstreams[provider.format].send(question)
        attempt.http_status, attempt.wait_seconds = reply.status, fallback.wait_seconds(reply.status, reply.headers)
        if fallback.is_our_fault(reply.status):
            _log.error("provider refused our credential", provider=provider.slug, status=reply.status)
        answering = (
            Relay(reply, speech, supports_cancel=may_stop, drain_seconds=self._around.drain_seconds)
            if call.request.stream
            else Whole(reply, speech)
        )
        try:
            await answering.open()
        except BaseException:
            await answering.close()
            raise
        finally:
            attempt.answer = answering.answer
        return answering

    def _access(self, provider: Provider) -> Access:
        known = self._accesses.get(provider.slug)
        # The very same value: a provider that changes is another one.
        if known is None or known[0] is not provider:
            environment = self._outlook.environment
            access = Access(
                base_url=catalog.base_url_of(provider, environment) or "",
                credential=catalog.credential_of(provider, environment),
            )
            known = self._accesses[provider.slug] = (provider, access)
        return known[1]

    async def _relay(self, serving: Serving) -> None:
        """Pass a stream on until it ends, breaks off, or the client hangs up."""
        call, relay = serving.call, serving.streamed
        serving.outlet = relay.outlet(
            model=call.attempts[-1].candidate.endpoint.model,
            generation_id=call.generation_id,
            created=int(call.accepted_at.timestamp()),
        )
        opening = self._headers(serving)
        self._streaming[serving] = asyncio.get_running_loop().time()
        left_at = serving.watch.leave()
        try:
            await relay.run(serving.client, opening, serving.outlet)
        finally:
            serving.watch.come_back(left_at)
            del self._streaming[serving]
        call.ending = relay.ending
        self._outlook.judge(call, relay.error)
        if relay.error is not None:
            call.attempts[-1].error = relay.error.type

    async def _note(self, serving: Serving) -> None:
        """Note what a stream has delivered, if anything came since it was noted last."""
        relay, call = serving.streamed, serving.call
        if relay.events == serving.noted_events:
            return
        serving.noted_events = relay.events
        serving.delivered_tokens += await tokenizer.count(relay.news(), call.vocabulary)
        # It may have ended while we counted: then its settlement is the last word on it.
        if serving in self._streaming:
            call.attempts[-1].answer = relay.answer
            self._meter.note(endings.settlement_if_lost(call, serving.delivered_tokens))

    def _headers(self, serving: Serving) -> Mapping[str, str]:
        return headers.of_answer(serving.call, overhead=serving.watch.overhead_text, now=self._clock.now())

    async def _settle_whatever_comes(self, serving: Serving) -> None:
        """Settle; who cancels the call does not cancel what it owes.

        Where nothing of it is still to be found out, that is so by itself. Anything else is a task of its own.
        """
        call, answering = serving.call, serving.answering
        self._uncounted.pop(serving, None)
        self._settling.add(serving)
        if answering is not None:
            call.ending = answering.ending
            call.attempts[-1].answer = answering.answer
            # One that goes on would go on costing while it is being recorded.
            has_told_all = answering.ending is Ending.FINISHED and call.prompt.counted
            if has_told_all and not endings.is_doubtful(answering.answer, events=answering.events):
                await self._settle_at_once(serving, answering)
                return
        settling = asyncio.create_task(self._settle(serving))
        self._tasks.add(settling)
        settling.add_done_callback(self._tasks.discard)
        await asyncio.shield(settling)

    async def _settle_at_once(self, serving: Serving, answering: Relay | Whole) -> None:
        """Settle a call whose answer told all."""
        try:
            await self._record(serving, None)
        finally:
            # What is left of the answer's body is its end, and has come meanwhile.
            await answering.close()

    async def drained(self) -> None:
        """Wait until every call that ended is recorded."""
        while self._settling:
            self._has_settled.clear()
            await self._has_settled.wait()
        await self._meter.drained()

    async def _settle(self, serving: Serving) -> None:
        """Record the call, whatever became of it, once what it used is found out."""
        counted: int | None = None
        try:
            counted = await self._wind_up(serving)
        finally:
            await self._record(serving, counted)

    async def _wind_up(self, serving: Serving) -> int | None:
        """Let go of the provider; the output tokens, where its own count of them is missing or doubtful."""
        call, answering = serving.call, serving.answering
        if answering is not None:
            await answering.close()
        if endings.is_prompt_to_be_counted(call):
            call.prompt = await self._admissions.counted(call)
        if answering is None or not endings.is_doubtful(answering.answer, events=answering.events):
            return None
        return await tokenizer.count(answering.written(), call.vocabulary)

    async def _record(self, serving: Serving, counted_output_tokens: int | None) -> None:
        """Record the call; returns when that is committed, or known not to be."""
        try:
            settlement = self._reckoned(serving, counted_output_tokens)
        finally:
            self._settling.discard(serving)
            self._has_settled.set()
        try:
            # The meter has it before anybody waits.
            await self._meter.settle(settlement)
        except LedgerUnavailable as error:
            serving.failure = error

    def _reckoned(self, serving: Serving, counted_output_tokens: int | None) -> Settlement:
        """What the call leaves behind, now that it has come to its end."""
        call = serving.call
        call.generation_ms = serving.watch.milliseconds
        serving.usage = usage = endings.usage_of(call, counted_output_tokens)
        settlement, serving.charge = endings.settlement(call, usage)
        report(call, usage, settlement.call.status)
        return settlement

    async def _finish(self, serving: Serving) -> None:
        """Send what had to wait for the settlement: the answer, or the end of the stream."""
        outlet, error = serving.outlet, serving.failure
        with suppress(ClientGone):
            if outlet is not None:
                error = error or serving.streamed.error
                last = (
                    outlet.end(serving.receipt) if error is None else outlet.fail(error, self._around.status_of(error))
                )
                await serving.client.finish(last)
            elif error is not None:
                error.metadata["generation_id"] = serving.call.generation_id
                raise error
            else:
                await serving.client.begin(200, self._headers(serving))
                await serving.client.finish(await serving.whole.encoded(serving.receipt))
