"""Exchange: one stream of a provider on its way to the client, read along the way for what it says about itself.

A stream is passed on piece by piece as it comes: one that tells nothing but content is looked over as a whole, any
other event by event. What says that the stream is complete, and what it used, waits for the settlement.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

from tollgate.gateway import fallback, wire
from tollgate.gateway.crossing import Speech
from tollgate.gateway.endings import Ending
from tollgate.gateway.model import NO_ANSWER, Answer, Client, ClientGone, Reply
from tollgate.gateway.streams import EventSplitter, EventTooLarge, data_in, data_of
from tollgate.gateway.translation import Outlet, Reader
from tollgate.gateway.whole import refused
from tollgate.kit.errors import ProviderFailed, TollgateError

_EPILOGUE_SECONDS = 5
"""How long a provider that has finished may take to tell its usage to a client who is gone."""
_LAST_PIECE_SECONDS = 0.05
"""How long the end of a body may take after the end of the answer in it."""
_KEPT_BYTES_MAX = 4 * 1024 * 1024


class Exchange:
    """One stream under way. `open` it, `relay` it, and find in `answer` and `ending` what became of it."""

    def __init__(self, reply: Reply, speech: Speech, *, supports_cancel: bool, drain_seconds: int) -> None:
        self.ending = Ending.BROKE_OFF
        """How it ended: it breaks off unless it turns out otherwise."""
        self.error: TollgateError | None = None
        """Why the stream broke off."""
        self.events = 0
        """How many events of a stream came."""
        self._reply = reply
        self._speech = speech
        self._supports_cancel = supports_cancel
        self._drain_seconds = drain_seconds
        self._refused = NO_ANSWER
        self._reader: Reader | None = speech.reader()
        self._splitter = EventSplitter()
        self._at_hand: Iterator[bytes] = iter(())
        """Events that have come whole and were not looked at yet."""
        self._first = b""
        self._has_ended = False
        self._is_no_stream = False
        """Whether it turned out not to be in events."""
        self._is_told = False
        """Whether no output came after the usage that was told last."""
        self._is_complete = False
        """Whether a stream came to the end of its answer."""
        self._delivered: list[bytes] = []
        """What came, in whole events."""
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
        answer = self._said
        if self._reader is None or self._is_complete or self._is_told or answer.usage is None:
            return answer
        return replace(answer, usage=replace(answer.usage, completion_known=False))

    @property
    def _said(self) -> Answer:
        return self._refused if self._reader is None else self._reader.answer

    async def open(self) -> None:
        """Wait for the first event.

        Raises:
            TollgateError: there is no usable answer, and the provider is let go of. Nothing has reached the client.
        """
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        if self._reply.status != fallback.OK:
            self._reader = None
            self._refused, error = await refused(self._reply, self._speech)
            raise error
        self._first, data = await self._begin()
        if not data or self._is_last(data):
            raise self._no_stream(self._splitter.rest())
        if not self._take_note(self._first, data):
            raise ProviderFailed("The provider's stream is not in its format.")
        if self._said.error is not None:
            raise ProviderFailed(
                "The provider answered with an error.", metadata={"provider_message": self._said.error}
            )

    def _no_stream(self, body: bytes) -> ProviderFailed:
        """Why there is none: what came instead may be an error in one piece."""
        words = self._speech.read_error(body)
        if words is not None:
            return ProviderFailed("The provider answered with an error.", metadata={"provider_message": words})
        told = "is not in its format" if body.strip() else "was empty"
        return ProviderFailed(f"The provider's stream {told}.")

    async def _begin(self) -> tuple[bytes, bytes]:
        """The first event that carries data, and the data; both empty if there is none."""
        while True:
            for event, data in self._events():
                return event, data
            self._check()
            if self._has_ended:
                return b"", b""
            self._arrived(await self._reply.piece())

    async def relay(self, client: Client, headers: Mapping[str, str], outlet: Outlet) -> None:
        """Pass the stream on until it ends, breaks off, or the client hangs up."""
        try:
            # A provider that would charge on regardless is not interrupted: it may go on to its usage.
            async with client.staying() if self._supports_cancel else nullcontext():
                await client.begin(200, headers)
                first = outlet.take(self._first, data_of(self._first))
                await self._pass_on(first + self._noted(outlet), outlet, client.write)
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
        while True:
            if said:
                await send(said)
            self._check()
            if self._is_complete:
                return
            if self._has_ended:
                raise ProviderFailed("The provider's stream ended before its answer did.")
            while self._is_content(piece := await self._reply.piece()):
                if passed := outlet.pass_on(piece):
                    await send(passed)
            self._arrived(piece)
            said = self._noted(outlet)

    def _check(self) -> None:
        """Raise what the stream says, or shows, of why it has failed."""
        if self._is_no_stream:
            raise ProviderFailed("The provider does not speak server-sent events.")
        if self._said.error is not None:
            raise ProviderFailed("The provider's stream failed.", metadata={"provider_message": self._said.error})

    def _is_content(self, piece: bytes) -> bool:
        """Whether a piece is whole events with nothing to note in them; then it is kept."""
        if self._reader is None or not self._splitter.may_pass(piece) or not self._reader.is_quiet(piece):
            return False
        if self._is_told:
            self._is_told = self._said.finish_reason is not None
        self._keep(piece, events=piece.count(b"\n\n"))
        return True

    def _arrived(self, piece: bytes) -> None:
        """Have at hand the events that are complete with this piece.

        A last one without its boundary counts if what is in it is whole.
        """
        if piece:
            self._at_hand = self._splitter.feed(piece)
            return
        self._has_ended = True
        rest = self._splitter.rest()
        data = data_of(rest)
        if data and (self._is_last(data) or wire.decoded(data) is not None):
            self._at_hand = iter((rest.rstrip(b"\r\n") + b"\n\n",))

    def _noted(self, outlet: Outlet) -> bytes:
        """What to send of the events at hand, up to the end of the answer or an error in them; they are noted."""
        sent = []
        for event, data in () if self._is_complete else self._events():
            self._take_note(event, data)
            if self._said.error is not None:
                break
            sent.append(outlet.take(event, data))
            if self._is_complete:
                break
        if self._has_ended and self._said.finish_reason is not None:
            self._is_complete = True
        return b"".join(sent)

    def _events(self) -> Iterator[tuple[bytes, bytes]]:
        """The events at hand that carry data, with it."""
        try:
            for event in self._at_hand:
                if data := data_of(event):
                    yield event, data
        except EventTooLarge:
            self._is_no_stream = True

    def _take_note(self, event: bytes, data: bytes) -> bool:
        """Look into an event and keep it; whether it could belong to the format at all."""
        if self._reader is None:
            return False
        before = self._reader.answer.usage
        is_known = self._reader.look(data)
        self._keep(event, events=1)
        said = self._reader.answer
        self._is_told = said.usage is not before or (self._is_told and said.finish_reason is not None)
        self._is_complete = self._is_last(data)
        return is_known

    def _is_last(self, data: bytes) -> bool:
        return self._reader is not None and self._reader.is_last(data)

    async def _left_alone(self, outlet: Outlet) -> None:
        """The client hung up: stop the provider, unless it has finished or would charge for the rest anyway.

        A provider that has given its finish reason charges for everything, and its usage is on its way.
        """
        if self._supports_cancel and self._said.finish_reason is None:
            return
        patience = _EPILOGUE_SECONDS if self._supports_cancel else self._drain_seconds
        with suppress(ProviderFailed, TimeoutError):
            async with asyncio.timeout(patience):
                await self._pass_on(self._noted(outlet), outlet, _to_nobody)

    def _keep(self, delivered: bytes, *, events: int) -> None:
        """Remember what was delivered; of a long stream only its text."""
        self.events += events
        self._delivered.append(delivered)
        self._delivered_bytes += len(delivered)
        if self._delivered_bytes > _KEPT_BYTES_MAX:
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
        if self._reader is None:
            raise ProviderFailed
        return self._speech.outlet(self._reader, model=model, generation_id=generation_id, created=created)

    async def close(self) -> None:
        """Let go of the provider; the connection of an answer that came to its end is left to the next call."""
        if self._is_complete and not self._has_ended:
            with suppress(ProviderFailed, TimeoutError):
                async with asyncio.timeout(_LAST_PIECE_SECONDS):
                    while await self._reply.piece():
                        pass
        await self._reply.close()


async def _to_nobody(said: bytes) -> None:
    """Who would be told is gone."""
