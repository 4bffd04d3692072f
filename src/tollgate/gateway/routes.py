"""Routes of the data plane: plain ASGI, because nothing may stand between a stream and its client."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

from litestar import asgi
from litestar.exceptions import MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler
from litestar.types import Receive, Scope, Send

from tollgate.gateway.asgi_client import AsgiClient
from tollgate.gateway.door import Proof
from tollgate.gateway.model import Wire
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.room import Place
from tollgate.gateway.service import Gateway, Inquiry
from tollgate.kit.errors import InvalidRequest, PayloadTooLarge, TollgateError

_THROWN_AWAY_BODIES = 4
"""How much of a body that is too large is read on and thrown away: a caller who still sends hears no answer."""
_FORMAT_HEADERS = b"anthropic-"

Serve: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
"""What answers a request of the data plane."""


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
