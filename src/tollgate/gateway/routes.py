"""Routes of the data plane: plain ASGI, because nothing may stand between a stream and its client."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeAlias

from litestar import asgi
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler
from litestar.types import HTTPSendMessage, Receive, Scope, Send

from tollgate.gateway import patience
from tollgate.gateway.door import Proof
from tollgate.gateway.model import ClientGone, Wire
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.room import Place
from tollgate.gateway.service import Gateway, Inquiry
from tollgate.kit.errors import InvalidRequest, PayloadTooLarge, TollgateError

KEEP_ALIVE_SECONDS = 10.0
WRITE_SECONDS_MAX = 60.0
"""How long a caller may take to make room for a piece of an answer."""
_THROWN_AWAY_BODIES = 4
"""How much of a body that is too large is read on and thrown away: a caller who still sends hears no answer."""
_FORMAT_HEADERS = b"anthropic-"

Serve: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""What answers a request of the data plane."""
_KEEP_ALIVE = b": keep-alive\n\n"


def _inference(path: str, wire: Wire) -> ASGIRouteHandler:
    """`POST` to this path: serve one call in this wire format."""

    @asgi(path, copy_scope=False)
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        gateway, proof = await _opened(scope, receive)
        place = gateway.room.of(proof.principal.organization_id)
        client = AsgiClient(receive, send)
        try:
            await gateway.serve(await _inquiry(gateway, scope, receive, wire, (proof, place)), client)
        finally:
            place.leave()
            client.rest()

    return handle


async def _opened(scope: Scope, receive: Receive) -> tuple[Gateway, Proof]:
    """Whose call it is; nothing of the body is read before the key is proven."""
    if scope["method"] != "POST":  # type: ignore[typeddict-item]  # Litestar routes HTTP only to these paths
        raise MethodNotAllowedException
    gateway: Gateway = scope["litestar_app"].state["gateway"]
    try:
        return gateway, await gateway.door.authenticate(scope["headers"])
    except TollgateError:
        # A caller who still sends hears no answer.
        with suppress(TimeoutError):
            await gateway.room.arriving.within(_throw_away(receive, gateway.body_bytes_max))
        raise


async def _inquiry(
    gateway: Gateway, scope: Scope, receive: Receive, wire: Wire, caller: tuple[Proof, Place]
) -> Inquiry:
    """The call once it is whole. What its key may do is asked when the body has come: that can be long after it began.

    Raises:
        InvalidRequest: the body is incomplete, or does not arrive in time.
        PayloadTooLarge: it is too large.
    """
    proof, place = caller
    try:
        body = await gateway.room.arriving.within(_body(receive, gateway.body_bytes_max, place))
    except TimeoutError as error:
        raise InvalidRequest("The body did not arrive in time.") from error
    if not gateway.door.still_holds(proof):
        proof = await gateway.door.authenticate(scope["headers"])
    return Inquiry(proof.principal, wire, body, _headers(scope) if wire is Wire.MESSAGES else {}, place)


def _headers(scope: Scope) -> Mapping[str, str]:
    """The caller's headers that belong to Anthropic's wire format; the others have none."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name.startswith(_FORMAT_HEADERS)
    }


async def _throw_away(receive: Receive, bytes_max: int) -> None:
    """Read a stranger's body without keeping it."""
    size = 0
    while size <= bytes_max:
        message = await receive()
        size += len(message.get("body", b""))  # type: ignore[arg-type]  # of the union's members only one has a body
        if not message.get("more_body"):
            return


async def _body(receive: Receive, bytes_max: int, place: Place) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The body is incomplete.")
        piece: bytes = message.get("body", b"")  # type: ignore[assignment]  # the union's other members were ruled out
        size += len(piece)
        if size <= bytes_max:
            place.take(len(piece))
            pieces.append(piece)
        else:
            pieces.clear()
        ended = not message.get("more_body")
        if size > (bytes_max if ended else _THROWN_AWAY_BODIES * bytes_max):
            raise PayloadTooLarge(f"A request body has at most {bytes_max} bytes.")
        if ended:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class _Stay:
    """A block that can be interrupted, as by `asyncio.Timeout`, and ends in `ClientGone` then."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._is_interrupted = False

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._cancelled_before = 0 if self._task is None else self._task.cancelling()

    def interrupt(self) -> None:
        """End the block, if it has not ended."""
        if self._task is not None and not self._is_interrupted:
            self._is_interrupted = True
            self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if task is None or not self._is_interrupted:
            return
        # If somebody else has cancelled the task as well, it stays cancelled.
        if task.uncancel() <= self._cancelled_before and kind is asyncio.CancelledError:
            raise ClientGone from None


class AsgiClient:
    """The caller behind ASGI's `receive` and `send`. Streams that fall silent are kept alive by comments.

    The server may swallow what is sent to a caller who is gone, so those who wait for a stream are listened to.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._listening: asyncio.Task[None] | None = None
        self._gone = False
        self._stay: _Stay | None = None
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._reminder: asyncio.Task[None] | None = None

    def staying(self) -> "_Stay":
        """A block that a caller who hangs up interrupts: it ends in `ClientGone` at once."""
        self._listen()
        self._stay = _Stay()
        return self._stay

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status and the headers."""
        await self._deliver({
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()],
        })  # fmt: skip

    async def write(self, piece: bytes) -> None:
        """Send a piece; the pieces of a stream are whole events."""
        if self._reminder is not None:
            await self._reminder
        rest = self._begin_to_deliver({"type": "http.response.body", "body": piece, "more_body": True})
        if rest is not None:
            await rest
        self._sent_at = self._time()
        if self._timer is None:
            self._listen()
            self._remind_in(KEEP_ALIVE_SECONDS)

    async def finish(self, piece: bytes = b"") -> None:
        """Send the last piece."""
        self.rest()
        if self._reminder is not None:
            await self._reminder
        await self._deliver({"type": "http.response.body", "body": piece, "more_body": False})

    def rest(self) -> None:
        """Stop keeping the stream alive, and listening for its end."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listening is not None:
            self._listening.cancel()

    def _listen(self) -> None:
        if self._listening is None:
            self._listening = self._loop.create_task(self._hear())

    async def _hear(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._stay is not None:
            self._stay.interrupt()

    def _remind_in(self, seconds: float) -> None:
        self._timer = self._loop.call_later(seconds, self._remind)

    def _remind(self) -> None:
        silent_for = self._loop.time() - self._sent_at
        if silent_for < KEEP_ALIVE_SECONDS:
            self._remind_in(KEEP_ALIVE_SECONDS - silent_for)
            return
        self._sent_at += silent_for
        self._reminder = asyncio.ensure_future(self._keep_alive())
        self._remind_in(KEEP_ALIVE_SECONDS)

    async def _keep_alive(self) -> None:
        await self._deliver({"type": "http.response.body", "body": _KEEP_ALIVE, "more_body": True})
        self._reminder = None

    async def _deliver(self, message: HTTPSendMessage) -> None:
        rest = self._begin_to_deliver(message)
        if rest is not None:
            await rest

    def _begin_to_deliver(self, message: HTTPSendMessage) -> Awaitable[None] | None:
        """Send; nearly always that is over at once. If it is not, what is left to be waited for."""
        if self._gone:
            raise ClientGone
        try:
            rest = patience.begin(self._send(message))
        except (OSError, RuntimeError) as error:
            raise ClientGone from error
        return None if rest is None else self._go_on_with(rest)

    @staticmethod
    async def _go_on_with(rest: Awaitable[None]) -> None:
        try:
            # Who does not read for so long is as good as gone: the provider and the hold would wait with us.
            async with asyncio.timeout(WRITE_SECONDS_MAX):
                await rest
        except (OSError, RuntimeError) as error:
            raise ClientGone from error


@asgi("/v1/messages/count_tokens", copy_scope=False)
async def count_tokens(scope: Scope, receive: Receive, send: Send) -> None:
    """`POST /v1/messages/count_tokens`: about how many tokens a prompt is; nothing is charged."""
    gateway, proof = await _opened(scope, receive)
    place = gateway.room.of(proof.principal.organization_id)
    try:
        counted = await gateway.count_tokens(await _inquiry(gateway, scope, receive, Wire.MESSAGES, (proof, place)))
    finally:
        place.leave()
    client = AsgiClient(receive, send)
    await client.begin(200, {"content-type": "application/json"})
    await client.finish(anthropic_messages.token_count(counted))


OPENAI = (
    _inference("/chat/completions", Wire.CHAT),
    _inference("/responses", Wire.RESPONSES),
    _inference("/embeddings", Wire.EMBEDDINGS),
)
"""What OpenAI's clients call, below their base address."""
ANTHROPIC = (_inference("/v1/messages", Wire.MESSAGES), count_tokens)
"""What Anthropic's clients call, below theirs."""
