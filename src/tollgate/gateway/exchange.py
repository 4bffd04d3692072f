"""Exchange: one reply of a provider on its way to the client, read along the way for what it says about itself.

A whole answer is read, and sent on once it is settled. A stream is passed on event by event, bytes unchanged, while
events that carry usage, a finish reason or an error are looked into; the usage event waits for the settlement.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, nullcontext
from dataclasses import replace

import msgspec

from tollgate.gateway import fallback
from tollgate.gateway.endings import Ending
from tollgate.gateway.model import Answer, ChatRequest, Client, ClientGone, Reply
from tollgate.gateway.protocols import openai_chat
from tollgate.gateway.providers import openai
from tollgate.gateway.streams import EventSplitter, EventTooLarge, data_of
from tollgate.kit.errors import ProviderFailed, TollgateError

_DONE = b"[DONE]"
_NO_USAGE = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,')
"""What OpenAI adds to every chunk when usage is asked for; inside a JSON string its quotes would be escaped."""
_EPILOGUE_SECONDS = 5
"""How long a provider that has finished may take to tell its usage to a client who is gone."""
_KEPT_BYTES_MAX = 4 * 1024 * 1024
_CHUNK = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Exchange:
    """One reply under way. `open` it, `relay` it if it streams, and find in `answer` and `ending` what became of it."""

    def __init__(self, reply: Reply, request: ChatRequest, *, supports_cancel: bool, drain_seconds: int) -> None:
        self.ending = Ending.FINISHED
        self.answer = Answer()
        self.error: TollgateError | None = None
        """Why the stream broke off."""
        self.body = b""
        """The whole answer, if it does not stream."""
        self.usage_chunk: Mapping[str, msgspec.Raw] | None = None
        """The chunk of a stream that carried the usage last."""
        self._reply = reply
        self._request = request
        self._supports_cancel = supports_cancel
        self._drain_seconds = drain_seconds
        self._splitter = EventSplitter()
        self._events = self._split()
        self._first: bytes | None = None
        self._delivered: list[bytes] = []
        self._delivered_bytes = 0
        self._text = ""

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
            raise fallback.refusal(self._reply.status, self._reply.headers, await self._refused_body())
        if self._request.stream:
            self._first = await anext(self._events, b"")
            if data_of(self._first) in {b"", _DONE}:
                raise ProviderFailed("The provider's stream was empty.")
            if not self._look_into(data_of(self._first)):
                raise ProviderFailed("The provider's stream is not one of chat completion chunks.")
        else:
            self.body = openai.mended(await self._reply.body())
            answer = openai.read_answer(self.body)
            if answer is None:
                raise ProviderFailed("The provider's answer is not a chat completion.")
            self.answer = answer
        if self.answer.error is not None:
            raise ProviderFailed(
                "The provider answered with an error.", metadata={"provider_message": self.answer.error}
            )

    async def _refused_body(self) -> bytes:
        try:
            return await self._reply.body()
        except ProviderFailed:
            return b""

    async def relay(self, client: Client, headers: Mapping[str, str]) -> None:
        """Pass the stream on until it ends, breaks off, or the client hangs up."""
        try:
            # A provider that would charge on regardless is not interrupted: it may go on to its usage.
            async with client.staying() if self._supports_cancel else nullcontext():
                await client.begin(200, headers)
                await self._pass_on_all(client)
        except ClientGone:
            await self._left_alone()
        except ProviderFailed as error:
            self.error = error
            self.ending = Ending.BROKE_OFF

    async def _pass_on_all(self, client: Client) -> None:
        await self._pass_on(client, self._first or b"")
        async for event in self._events:
            if data_of(event) == _DONE:
                return
            await self._pass_on(client, event)
        if self.answer.finish_reason is None:
            raise ProviderFailed("The provider's stream ended before its answer did.")

    async def _pass_on(self, client: Client, event: bytes) -> None:
        data = data_of(event)
        telling = openai.is_telling(data)
        if telling:
            self._look_into(data)
        self._keep(data)
        if self.answer.error is not None:
            raise ProviderFailed("The provider's stream failed.", metadata={"provider_message": self.answer.error})
        kept = self._without_usage(data, event) if telling else event
        if kept is not None:
            await client.write(kept if self._request.include_usage else _NO_USAGE.sub(b"", kept))

    def _look_into(self, data: bytes) -> bool:
        """Take note of what an event says; whether it could be read at all."""
        said = openai.read_event(data)
        if said is None:
            return False
        known = self.answer
        self.answer = replace(
            known,
            # The last usage seen, never the sum: providers that send several send running totals.
            usage=said.usage or known.usage,
            finish_reason=said.finish_reason or known.finish_reason,
            upstream_id=said.upstream_id or known.upstream_id,
            service_tier=said.service_tier or known.service_tier,
            error=said.error,
        )
        return True

    def _without_usage(self, data: bytes, event: bytes) -> bytes | None:
        """What to pass on of an event that tells something: usage is held back until it is settled."""
        try:
            chunk = _CHUNK.decode(openai.mended(data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return event
        if bytes(chunk.get("usage", b"null")) == b"null":
            return event
        self.usage_chunk = chunk
        return openai_chat.without_usage(chunk)

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
                    data = data_of(event)
                    self._keep(data)
                    if openai.is_telling(data):
                        self._look_into(data)
        except (ProviderFailed, TimeoutError):
            return

    def _keep(self, data: bytes) -> None:
        """Remember what was delivered; of a long stream only its text."""
        self._delivered.append(data)
        self._delivered_bytes += len(data)
        if self._delivered_bytes > _KEPT_BYTES_MAX:
            self._text = self.written()
            self._delivered, self._delivered_bytes = [], 0

    def written(self) -> str:
        """Everything the model wrote, for counting where the provider did not."""
        return self._text + openai.text_of(self._delivered) if self._request.stream else self.answer.text

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
        data = data_of(splitter.rest())
        if data == _DONE or openai.read_event(data) is not None:
            yield openai_chat.event(data)
