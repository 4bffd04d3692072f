"""Relay: one stream of a provider on its way to the client, read along the way for what it says about itself.

A stream is passed on piece by piece as it comes: one that tells nothing but content is looked over as a whole, any
other event by event. What says that the stream is complete, and what it used, waits for the settlement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

from tollgate.gateway import fallback, patience, wire
from tollgate.gateway.crossing import Speech
from tollgate.gateway.endings import Ending
from tollgate.gateway.model import Answer, Client, ClientGone, Reply
from tollgate.gateway.refusals import refused
from tollgate.gateway.streams import (
    EventSplitter,
    EventTooLarge,
    count_events,
    data_in,
    data_of,
    end_of_event,
    start_of_event,
)
from tollgate.gateway.translation import Outlet
from tollgate.kit.errors import ProviderFailed, TollgateError

_EPILOGUE_SECONDS = 5
"""How long a provider that has finished may take to tell its usage to a client who is gone."""
_LAST_PIECE_SECONDS = 0.05
"""How long the end of a body may take after the end of the answer in it."""
_KEPT_BYTES_MAX = 4 * 1024 * 1024


class Relay:
    """One stream under way. `open` it, `run` it, and find in `answer` and `ending` what became of it."""

    def __init__(self, reply: Reply, speech: Speech, *, supports_cancel: bool, drain_seconds: int) -> None:
        self.ending = Ending.BROKE_OFF
        """How it ended: it breaks off unless it turns out otherwise."""
        self.events = 0
        """How many events came."""
        self.error: TollgateError | None = None
        """Why the stream broke off."""
        self._reply = reply
        self._speech = speech
        self._supports_cancel = supports_cancel
        self._drain_seconds = drain_seconds
        self._refused: Answer | None = None
        """What a refusal said instead."""
        self._reader = speech.reader()
        self._splitter = EventSplitter()
        self._at_hand = b""
        """Whole events that came with the first one, and were not looked at yet."""
        self._first = b""
        self._has_ended = False
        self._is_no_stream = False
        """Whether it turned out not to be in events."""
        self._is_told = False
        """Whether no output came after the usage that was told last."""
        self._is_complete = False
        """Whether a stream came to the end of its answer."""
        self._is_over = False
        """Whether nothing of it is read any more: it is complete, has failed, or has ended."""
        self._delivered: list[bytes] = []
        """What came: events that passed together, and single ones."""
        self._delivered_bytes = 0
        self._text = ""
        self._read = 0
        """How much of what was delivered `news` has told."""
        self._unread_text = ""

    @property
    def answer(self) -> Answer:
        """What the answer says about itself, as far as it is known.

        Usage told in the middle of a stream that did not come to its end says nothing of what came after it.
        """
        if self._refused is not None:
            return self._refused
        answer = self._reader.answer
        if self._is_complete or self._is_told or answer.usage is None:
            return answer
        return replace(answer, usage=replace(answer.usage, completion_known=False))

    async def open(self) -> None:
        """Wait for the first event.

        Raises:
            TollgateError: there is no usable answer. Nothing has reached the client.
        """
        if self._reply.status != fallback.OK:
            self._refused, reason = await refused(self._reply, self._speech)
            raise reason
        self._first, data = await self._begin()
        if not data or self._reader.is_last(data):
            raise self._no_stream(self._at_hand + self._splitter.rest())
        if not self._take_note(self._first, data):
            raise ProviderFailed("The provider's stream is not in its format.")
        error = self._reader.answer.error
        if error is not None:
            raise ProviderFailed("The provider answered with an error.", metadata={"provider_message": error})

    def _no_stream(self, body: bytes) -> ProviderFailed:
        """Why there is none: what came instead may be an error in one piece."""
        words = self._speech.read_error(body)
        if words is not None:
            return ProviderFailed("The provider answered with an error.", metadata={"provider_message": words})
        told = "is not in its format" if body.strip() else "was empty"
        return ProviderFailed(f"The provider's stream {told}.")

    async def _begin(self) -> tuple[bytes, bytes]:
        """The first event that carries data, and the data; both empty if there is none."""
        while piece := await self._reply.piece():
            if self._splitter.whole_events(piece):
                end = end_of_event(piece, 0)
                self._at_hand = piece[end:]
                return piece[:end], data_of(piece[:end])
            for event, data in self._events(self._splitter.feed(piece)):
                return event, data
            self._check()
        return next(self._events(self._last_event()), (b"", b""))

    async def run(self, client: Client, headers: Mapping[str, str], outlet: Outlet) -> None:
        """Pass the stream on until it ends, breaks off, or the client hangs up."""
        try:
            # A provider that would charge on regardless is not interrupted: it may go on to its usage.
            with client.staying() if self._supports_cancel else nullcontext():
                await client.begin(200, headers)
                first = outlet.take(self._first, data_of(self._first))
                await self._pass_on(first, outlet, client.write)
        except ClientGone:
            self.ending = Ending.CLIENT_LEFT
            await self._left_alone(outlet)
        except ProviderFailed as error:
            self.error = error
        else:
            self.ending = Ending.FINISHED

    async def _pass_on(self, said: bytes, outlet: Outlet, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Send this, and what comes after it, to the end of the answer.

        Raises:
            ProviderFailed: the stream broke off, or says that it failed.
        """
        at_hand, self._at_hand = self._at_hand, b""
        if not self._is_over:
            said += self._noted(at_hand, outlet)
        if said:
            await send(said)
        while not self._is_over:
            piece = await self._reply.piece()
            if said := self._noted(piece, outlet) if piece else self._each_noted(self._last_event(), outlet):
                await send(said)
        self._check()
        if self._has_ended and self._reader.answer.finish_reason is not None:
            self._is_complete = True
        if not self._is_complete:
            raise ProviderFailed("The provider's stream ended before its answer did.")

    def _check(self) -> None:
        """Raise what the stream says, or shows, of why it has failed."""
        if self._is_no_stream:
            raise ProviderFailed("The provider does not speak server-sent events.")
        error = self._reader.answer.error
        if error is not None:
            raise ProviderFailed("The provider's stream failed.", metadata={"provider_message": error})

    def _noted(self, piece: bytes, outlet: Outlet) -> bytes:
        """What to send of a piece, up to the end of the answer or an error in it; all of that is noted.

        Of one that is whole events, only those are taken apart that tell something.
        """
        events = self._splitter.whole_events(piece)
        if not events:
            return self._each_noted(self._splitter.feed(piece), outlet)
        telling = self._reader.find_telling(piece, 0)
        if telling == -1:
            self._keep(piece, events)
            return outlet.pass_on(piece)
        sent: list[bytes] = []
        at = 0
        while telling != -1 and not self._is_over:
            begin, end = start_of_event(piece, telling), end_of_event(piece, telling)
            sent += self._passed(piece[at:begin], outlet), self._each_noted((piece[begin:end],), outlet)
            telling, at = self._reader.find_telling(piece, end), end
        if not self._is_over:
            sent.append(self._passed(piece[at:], outlet))
        return b"".join(sent)

    def _passed(self, quiet: bytes, outlet: Outlet) -> bytes:
        """What to send of events that tell nothing; they are kept."""
        if not quiet:
            return b""
        self._keep(quiet, count_events(quiet))
        return outlet.pass_on(quiet)

    def _each_noted(self, events: Iterable[bytes], outlet: Outlet) -> bytes:
        """What to send of these events, each looked into."""
        sent = []
        for event, data in self._events(events):
            self._take_note(event, data)
            if self._reader.answer.error is None:
                sent.append(outlet.take(event, data))
            if self._is_over:
                break
        return b"".join(sent)

    def _last_event(self) -> Iterator[bytes]:
        """The event without its boundary that the body has ended with: it counts if what is in it is whole."""
        self._has_ended = self._is_over = True
        rest = self._splitter.rest()
        data = data_of(rest)
        if data and (self._reader.is_last(data) or wire.decoded(data) is not None):
            yield rest.rstrip(b"\r\n") + b"\n\n"

    def _events(self, events: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Those that carry data, with it."""
        try:
            for event in events:
                if data := data_of(event):
                    yield event, data
        except EventTooLarge:
            self._is_no_stream = self._is_over = True

    def _take_note(self, event: bytes, data: bytes) -> bool:
        """Look into an event and keep it; whether it could belong to the format at all."""
        before = self._reader.answer.usage
        is_known = self._reader.look(data)
        self._keep(event, 1)
        said = self._reader.answer
        self._is_told = self._is_told or said.usage is not before
        self._is_complete = self._reader.is_last(data)
        self._is_over = self._is_over or self._is_complete or said.error is not None
        return is_known

    async def _left_alone(self, outlet: Outlet) -> None:
        """The client hung up: stop the provider, unless it has finished or would charge for the rest anyway.

        A provider that has given its finish reason charges for everything, and its usage is on its way.
        """
        if self._supports_cancel and self._reader.answer.finish_reason is None:
            return
        wait_seconds = _EPILOGUE_SECONDS if self._supports_cancel else self._drain_seconds
        with suppress(ProviderFailed, TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._pass_on(b"", outlet, _to_nobody)

    def _keep(self, delivered: bytes, events: int) -> None:
        """Remember so many events that were delivered, after a look at what they tell."""
        if self._is_told:
            self._is_told = self._reader.answer.finish_reason is not None
        self._delivered.append(delivered)
        self.events += events
        self._delivered_bytes += len(delivered)
        if self._delivered_bytes > _KEPT_BYTES_MAX:
            self._shorten()

    def _shorten(self) -> None:
        """Keep of what was delivered so far only its text."""
        self._unread_text = self.news()
        self._text = self.written()
        self._delivered, self._delivered_bytes, self._read = [], 0, 0

    def written(self) -> str:
        """Everything the model wrote, for counting where the provider did not."""
        return self._text + self._text_of(self._delivered)

    def news(self) -> str:
        """What the model wrote into a stream since this was last asked."""
        text = self._unread_text + self._text_of(self._delivered[self._read :])
        self._unread_text, self._read = "", len(self._delivered)
        return text

    def _text_of(self, delivered: list[bytes]) -> str:
        return self._speech.text_of([data for events in delivered for data in data_in(events)])

    def outlet(self, *, model: str, generation_id: str, created: int) -> Outlet:
        """What turns the stream into the client's."""
        return self._speech.outlet(self._reader, model=model, generation_id=generation_id, created=created)

    async def close(self) -> None:
        """Let go of the provider; the connection of an answer that came to its end is left to the next call."""
        try:
            if self._is_complete and not self._has_ended:
                with suppress(ProviderFailed, TimeoutError):
                    await patience.within(_LAST_PIECE_SECONDS, self._read_out())
        finally:
            await self._reply.close()

    async def _read_out(self) -> None:
        while await self._reply.piece():
            pass


async def _to_nobody(said: bytes) -> None:
    """Who would be told is gone."""
