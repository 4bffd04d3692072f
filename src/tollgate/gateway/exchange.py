"""Exchange: one reply of a provider on its way to the client, read along the way for what it says about itself.

A whole answer is read, and sent on once it is settled. A stream is passed on event by event as it comes; what says that
it is complete, and what it used, waits for the settlement.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace

from tollgate.gateway import fallback, wire
from tollgate.gateway.crossing import Speech
from tollgate.gateway.decoding import decoded
from tollgate.gateway.endings import Ending
from tollgate.gateway.model import Answer, Client, ClientGone, Receipt, Reply
from tollgate.gateway.streams import EventSplitter, EventTooLarge, data_of
from tollgate.gateway.translation import Outlet
from tollgate.kit.errors import ProviderFailed, TollgateError

_EPILOGUE_SECONDS = 5
"""How long a provider that has finished may take to tell its usage to a client who is gone."""
_LAST_PIECE_SECONDS = 0.05
"""How long the end of a body may take after the end of the answer in it."""
_KEPT_BYTES_MAX = 4 * 1024 * 1024


class Exchange:
    """One reply under way. `open` it, `relay` it if it streams, and find in `answer` and `ending` what became of it."""

    def __init__(
        self, reply: Reply, speech: Speech, *, streams: bool, supports_cancel: bool, drain_seconds: int
    ) -> None:
        self.ending = Ending.BROKE_OFF if streams else Ending.FINISHED
        """How it ended: a stream breaks off unless it turns out otherwise."""
        self.error: TollgateError | None = None
        """Why the stream broke off."""
        self.body = b""
        """The whole answer, if it does not stream."""
        self.events = 0
        """How many events of a stream came."""
        self._reply = reply
        self._speech = speech
        self._streams = streams
        self._supports_cancel = supports_cancel
        self._drain_seconds = drain_seconds
        self._whole = Answer()
        self._reader = speech.reader() if streams else None
        self._pieces = reply.pieces()
        self._splitter = EventSplitter()
        self._complete: Iterator[bytes] = iter(())
        """Events that have come whole and were not asked for yet."""
        self._has_ended = False
        self._first = b""
        self._is_told = False
        """Whether no output came after the usage that was told last."""
        self._is_complete = False
        """Whether a stream came to the end of its answer."""
        self._delivered: list[bytes] = []
        self._delivered_bytes = 0
        self._text = ""
        self._read_events = 0
        """How many of the delivered events `news` has told."""
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
        return self._whole if self._reader is None else self._reader.answer

    async def open(self) -> None:
        """Wait for the whole answer, or for a stream's first event.

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
            body = await self._refused_body()
            # Nothing streams, and what it says it used is its provider's cost.
            self._reader, self._whole = None, self._speech.read_answer(body) or Answer()
            raise fallback.refusal(self._reply.status, self._reply.headers, self._speech.read_error(body))
        if self._streams:
            self._first = await self._next()
            data = data_of(self._first)
            if not data or self._is_last(data):
                raise self._no_stream(self._splitter.rest())
            if not self._take_note(data):
                raise ProviderFailed("The provider's stream is not in its format.")
        else:
            self.body = await decoded(wire.mended, await self._reply.body())
            answer = await decoded(self._speech.read_answer, self.body)
            if answer is None:
                raise ProviderFailed("The provider's answer is not in its format.")
            self._whole = answer
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

    async def _refused_body(self) -> bytes:
        try:
            return await self._reply.body()
        except ProviderFailed:
            return b""

    async def relay(self, client: Client, headers: Mapping[str, str], outlet: Outlet) -> None:
        """Pass the stream on until it ends, breaks off, or the client hangs up."""
        try:
            # A provider that would charge on regardless is not interrupted: it may go on to its usage.
            async with client.staying() if self._supports_cancel else nullcontext():
                await client.begin(200, headers)
                await self._pass_on_all(client, outlet)
        except ClientGone:
            self.ending = Ending.CLIENT_LEFT
            await self._left_alone()
        except ProviderFailed as error:
            self.error = error
        else:
            self.ending = Ending.FINISHED

    async def _pass_on_all(self, client: Client, outlet: Outlet) -> None:
        event = self._first
        while event:
            if piece := outlet.take(event, data_of(event)):
                await client.write(piece)
            event = b"" if self._is_complete else await self._next_noted()
        if not self._is_complete:
            raise ProviderFailed("The provider's stream ended before its answer did.")

    async def _next_noted(self) -> bytes:
        """The next event, looked into and kept; empty once the stream has ended.

        Raises:
            ProviderFailed: it broke off, or says that it failed.
        """
        event = await self._next()
        if event:
            self._take_note(data_of(event))
        else:
            self._is_complete = self._said.finish_reason is not None
        if self._said.error is not None:
            raise ProviderFailed("The provider's stream failed.", metadata={"provider_message": self._said.error})
        return event

    def _take_note(self, data: bytes) -> bool:
        """Look into an event and keep it; whether it could belong to the format at all."""
        if self._reader is None:
            return False
        before = self._reader.answer.usage
        is_known = self._reader.look(data)
        self._keep(data)
        said = self._reader.answer
        self._is_told = said.usage is not before or (self._is_told and said.finish_reason is not None)
        self._is_complete = self._is_last(data)
        return is_known

    def _is_last(self, data: bytes) -> bool:
        return self._reader is not None and self._reader.is_last(data)

    async def _left_alone(self) -> None:
        """The client hung up: stop the provider, unless it has finished or would charge for the rest anyway.

        A provider that has given its finish reason charges for everything, and its usage is on its way.
        """
        if self._supports_cancel and self._said.finish_reason is None:
            return
        patience = _EPILOGUE_SECONDS if self._supports_cancel else self._drain_seconds
        try:
            async with asyncio.timeout(patience):
                while not self._is_complete and await self._next_noted():
                    pass
        except (ProviderFailed, TimeoutError):
            return

    def _keep(self, data: bytes) -> None:
        """Remember what was delivered; of a long stream only its text."""
        self.events += 1
        self._delivered.append(data)
        self._delivered_bytes += len(data)
        if self._delivered_bytes > _KEPT_BYTES_MAX:
            self._unread_text = self.news()
            self._text = self.written()
            self._delivered, self._delivered_bytes, self._read_events = [], 0, 0

    def written(self) -> str:
        """Everything the model wrote, for counting where the provider did not."""
        return self._text + self._speech.text_of(self._delivered) if self._streams else self._whole.text

    def news(self) -> str:
        """What the model wrote into a stream since this was last asked."""
        text = self._unread_text + self._speech.text_of(self._delivered[self._read_events :])
        self._unread_text, self._read_events = "", len(self._delivered)
        return text

    async def encoded(self, receipt: Receipt) -> bytes:
        """The whole answer as the client gets it."""
        return await decoded(self._speech.answer, self.body, receipt)

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
                    while await self._piece():
                        pass
        await self._pieces.aclose()
        await self._reply.close()

    async def _next(self) -> bytes:
        """The next event that carries data; empty once the stream has ended. Who is interrupted here can go on later.

        A last event without its boundary counts if it is whole.
        """
        while not self._has_ended:
            try:
                for event in self._complete:
                    if data_of(event):
                        return event
            except EventTooLarge as error:
                raise ProviderFailed("The provider does not speak server-sent events.") from error
            piece = await self._piece()
            if piece:
                self._complete = self._splitter.feed(piece)
            else:
                self._has_ended = True
                rest = self._splitter.rest()
                data = data_of(rest)
                if data and (self._is_last(data) or wire.decoded(data) is not None):
                    return rest.rstrip(b"\r\n") + b"\n\n"
        return b""

    async def _piece(self) -> bytes:
        try:
            return await anext(self._pieces, b"")
        except asyncio.CancelledError:
            # A generator that was interrupted has ended; its reply has not.
            self._pieces = self._reply.pieces()
            raise
