"""The floor: our own stack with nothing in it. It knows no keys, looks at nothing, records nothing, and passes on.

Litestar's plain ASGI handler, served by granian and scheduled as the gateway is, with the gateway's HTTP client;
answers that stream are relayed piece by piece.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send
from pyreqwest.client import Client, ClientBuilder
from scripts.benchmarks.contestants import Contestant, NotStarted, Served
from scripts.benchmarks.group import free_port, until_it_listens
from scripts.benchmarks.machine import started

from tollgate.infra.children import work_in_batches

_CALLS_AT_ONCE_MAX = 4096
_PROVIDER_VARIABLE = "BENCHMARK_PROVIDER"
_EVENTS = "text/event-stream"


def create_app() -> Litestar:
    """The application, in front of the provider that the environment names."""
    client = _client()
    url = f"{os.environ[_PROVIDER_VARIABLE]}/chat/completions"

    @asgi("/v1/chat/completions", copy_scope=False)
    async def relay(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        asking = client.post(url).headers({"content-type": "application/json"}).body_bytes(await _body(receive))
        async with asking.streamed_read_buffer_limit(0).build_streamed() as answer:
            kind = answer.headers.get("content-type") or "application/json"
            headers = [(b"content-type", kind.encode())]
            reader = answer.body_reader
            if not kind.startswith(_EVENTS):
                body = bytes(await answer.bytes())
                headers.append((b"content-length", str(len(body)).encode()))
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                await send({"type": "http.response.body", "body": body, "more_body": False})
                return
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            while (piece := await reader.read_chunk()) is not None:
                await send({"type": "http.response.body", "body": bytes(piece), "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return Litestar([relay], openapi_config=None, logging_config=None)


def _client() -> Client:
    return ClientBuilder().follow_redirects(enable=False).no_proxy().error_for_status(enable=False).build()


async def _body(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))  # type: ignore[arg-type]  # of the union's members only one has a body
        more = bool(message.get("more_body"))
    return b"".join(pieces)


def main() -> None:
    """`python -m scripts.benchmarks.bare PORT`."""
    work_in_batches()
    Granian(
        "scripts.benchmarks.bare:create_app",
        factory=True,
        interface=Interfaces.ASGI,
        address="127.0.0.1",
        port=int(sys.argv[1]),
        workers=1,
        backpressure=_CALLS_AT_ONCE_MAX,
        loop=Loops.uvloop,
        websockets=False,
        log_access=False,
        log_level=LogLevels.warning,
    ).serve()


@contextmanager
def _running(provider_url: str, cpu: int) -> Iterator[Served]:
    port = free_port()
    environment = {**os.environ, _PROVIDER_VARIABLE: provider_url}
    command = [sys.executable, "-m", "scripts.benchmarks.bare", str(port)]
    with started(command, {cpu}, env=environment) as process:
        if not until_it_listens(port, process):
            raise NotStarted("it does not listen; what it said is above")
        yield Served(f"http://127.0.0.1:{port}/v1", {}, "bare", process.pid)


BARE = Contestant("bare", f"granian {version('granian')}, pyreqwest {version('pyreqwest')}", "nothing", _running)

if __name__ == "__main__":
    main()
