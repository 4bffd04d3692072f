"""Whole: an answer that comes in one piece, read for what it says about itself, and sent on once it is settled."""

from tollgate.gateway import fallback, wire
from tollgate.gateway.crossing import Speech
from tollgate.gateway.decoding import decoded
from tollgate.gateway.endings import Ending
from tollgate.gateway.model import NO_ANSWER, Receipt, Reply
from tollgate.gateway.refusals import refused
from tollgate.kit.errors import ProviderFailed


class Whole:
    """One such answer. `open` it, and find in `answer` what it says."""

    __slots__ = ("_body", "_reply", "_speech", "answer")

    ending = Ending.FINISHED
    """It has, once it is open."""
    events = 0
    """It comes in none."""

    def __init__(self, reply: Reply, speech: Speech) -> None:
        self.answer = NO_ANSWER
        self._body = b""
        self._reply = reply
        self._speech = speech

    async def open(self) -> None:
        """Wait for it.

        Raises:
            TollgateError: there is no usable answer.
        """
        if self._reply.status != fallback.OK:
            self.answer, error = await refused(self._reply, self._speech)
            raise error
        await decoded(self._read, await self._reply.body())

    def _read(self, body: bytes) -> None:
        self._body = body = wire.mended(body)
        answer = self._speech.read_answer(body)
        if answer is None:
            raise ProviderFailed("The provider's answer is not in its format.")
        self.answer = answer
        if answer.error is not None:
            raise ProviderFailed("The provider answered with an error.", metadata={"provider_message": answer.error})

    def written(self) -> str:
        """Everything the model wrote, for counting where the provider did not."""
        return self.answer.text

    async def close(self) -> None:
        """Let go of the provider."""
        await self._reply.close()

    async def encoded(self, receipt: Receipt) -> bytes:
        """The answer as the client gets it."""
        return await decoded(self._speech.answer, self._body, receipt)
