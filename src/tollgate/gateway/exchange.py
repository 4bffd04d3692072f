"""Exchange: one reply of a provider on its way to the client, read along the way for what it says about itself.

A whole answer is read, and sent on once it is settled. A stream is passed on event by event as it comes; what says that
it is complete, and what it used, waits for the settlement.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, nullcontext

from tollgate.gateway import fallback, wire
from tollgate.gateway.crossing import Outlet, Speech
from tollgate.gateway.endings import Ending
from tollgate.gateway.model import Answer, Client, ClientGone, Receipt, Reply
from tollgate.gateway.streams import EventSplitter, EventTooLarge, data_of
from tollgate.kit.errors import ProviderFailed, TollgateError

_EPILOGUE_SECONDS = 5
"""How long a provider that has finished may take to tell its usage to a client who is gone."""
_KEPT_BYTES_MAX = 4 * 1024 * 1024


class Exchange:
    """One reply under way. `open` it, `relay` it if it streams, and find in `answer` and `ending` what became of it."""

    def __init__(
        self, reply: Reply, speech: Speech, *, streams: bool, supports_cancel: bool, drain_seconds: int
    ) -> None:
        self.ending = Ending.FINISHED
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
        self._splitter = EventSplitter()
        self._events = self._split()
        self._first = b""
        self._delivered: list[bytes] = []
        self._delivered_bytes = 0
        self._text = ""

    @property
    def answer(self) -> Answer:
        """What the answer says about itself, as far as it is known."""
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
            words = self._speech.read_error(await self._refused_body())
            raise fallback.refusal(self._reply.status, self._reply.headers, words)
        if self._streams:
            self._first = await anext(self._events, b"")
            data = data_of(self._first)
            if not data or self._is_last(data):
                raise ProviderFailed("The provider's stream was empty.")
            if not self._look(data):
                raise ProviderFailed("The provider's stream is not in its format.")
        else:
            self.body = wire.mended(await self._reply.body())
            answer = self._speech.read_answer(self.body)
            if answer is None:
                raise ProviderFailed("The provider's answer is not in its format.")
            self._whole = answer
        if self.answer.error is not None:
            raise ProviderFailed(
                "The provider answered with an error.", metadata={"provider_message": self.answer.error}
            )

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
            await self._left_alone()
        except ProviderFailed as error:
            self.error = error
            self.ending = Ending.BROKE_OFF

    async def _pass_on_all(self, client: Client, outlet: Outlet) -> None:
        await self._pass_on(client, outlet, self._first)
        async for event in self._events:
            if self._is_last(data_of(event)):
                self._take_note(event)
                outlet.take(event, data_of(event))
                return
            await self._pass_on(client, outlet, event)
        if self.answer.finish_reason is None:
            raise ProviderFailed("The provider's stream ended before its answer did.")

    async def _pass_on(self, client: Client, outlet: Outlet, event: bytes) -> None:
        data = self._take_note(event)
        piece = outlet.take(event, data)
        if piece:
            await client.write(piece)

    def _take_note(self, event: bytes) -> bytes:
        """Look into an event and keep it; its data."""
        data = data_of(event)
        self._look(data)
        self._keep(data)
        if self.answer.error is not None:
            raise ProviderFailed("The provider's stream failed.", metadata={"provider_message": self.answer.error})
        return data

    def _look(self, data: bytes) -> bool:
        return self._reader is not None and self._reader.look(data)

    def _is_last(self, data: bytes) -> bool:
        return self._reader is not None and self._reader.is_last(data)

    async def _left_alone(self) -> None:
        """The client hung up: stop the provider, unless it has finished or would charge for the rest anyway.

        A provider that has given its finish reason charges for everything, and its usage is on its way.
        """
        self.ending = Ending.CLIENT_LEFT
        if self._supports_cancel and self.answer.finish_reason is None:
            return
        patience = _EPILOGUE_SECONDS if self._supports_cancel else self._drain_seconds
        try:
            async with asyncio.timeout(patience), aclosing(self._split()) as events:
                async for event in events:
                    self._take_note(event)
        except (ProviderFailed, TimeoutError):
            return

    def _keep(self, data: bytes) -> None:
        """Remember what was delivered; of a long stream only its text."""
        self.events += 1
        self._delivered.append(data)
        self._delivered_bytes += len(data)
        if self._delivered_bytes > _KEPT_BYTES_MAX:
            self._text = self.written()
            self._delivered, self._delivered_bytes = [], 0

    def written(self) -> str:
        """Everything the model wrote, for counting where the provider did not."""
        return self._text + self._speech.text_of(self._delivered) if self._streams else self._whole.text

    def encoded(self, receipt: Receipt) -> bytes:
        """The whole answer as the client gets it."""
        return self._speech.answer(self.body, receipt)

    def outlet(self, *, model: str, generation_id: str, created: int) -> Outlet:
        """What turns the stream into the client's."""
        if self._reader is None:
            raise ProviderFailed
        return self._speech.outlet(self._reader, model=model, generation_id=generation_id, created=created)

    async def close(self) -> None:
        """Let go of the provider."""
        await self._events.aclose()
        await self._reply.close()

    async def _split(self) -> AsyncGenerator[bytes, None]:
        """The events that carry data. A last one without its boundary counts if it is whole."""
        splitter = self._splitter
        try:
            async with aclosing(self._reply.pieces()) as pieces:
                async for piece in pieces:
                    for event in splitter.feed(piece):
                        if data_of(event):
                            yield event
        except EventTooLarge as error:
            raise ProviderFailed("The provider does not speak server-sent events.") from error
        rest = splitter.rest()
        data = data_of(rest)
        if data and (self._is_last(data) or wire.decoded(data) is not None):
            yield rest.rstrip(b"\r\n") + b"\n\n"
