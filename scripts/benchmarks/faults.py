"""Providers that suffer faults: four of them in a process of their own, which remembers what each answered to the end.

They speak OpenAI's chat format, whole and streamed, answer every prompt with itself, and always say that it used the
same. What they remember is the truth that a ledger is held against.
"""

import asyncio
import json
import multiprocessing
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from enum import StrEnum
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from scripts.benchmarks.group import BenchFailed

NAMES = ("first", "second", "third", "fourth")
"""Cheapest first."""
PROMPT_TOKENS, COMPLETION_TOKENS = 8, 4
"""Of every call, and less than is held for it."""
SLOW_SECONDS = 0.4
RETRY_AFTER_SECONDS = 1

_ANSWER_SECONDS_MAX = 30
_STOP_SECONDS_MAX = 10
_CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
}


class Fault(StrEnum):
    """What a provider can suffer from."""

    REFUSED = "refused"
    """Nobody listens: connections are refused at once."""
    DEAD = "dead"
    """Nothing comes back at all: connections are waited for in vain."""
    HANG = "hang"
    """It takes the question, and says nothing."""
    HANG_IN_BODY = "hang-in-body"
    """It begins to answer: half of a whole answer, or the head of a stream without any event."""
    LIMITED = "limited"
    """It answers 429, and when to come back."""
    STORM = "storm"
    """It answers 500."""
    SLOW = "slow"
    """It answers well, after a while."""
    GARBAGE = "garbage"
    """It answers 200 with what is no answer."""


Faults = Mapping[str, Fault]
"""Who suffers from what, by name; those that are not in it are well."""
Truth = Counter[tuple[str, str]]
"""How often which provider answered which prompt to the end."""


class Providers:
    """All four, alive for as long as the block runs."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        # It ends when our end of its pipe does, however we end.
        self._process = context.Process(target=_serve, args=(self._theirs,), daemon=True)
        self.urls: Mapping[str, str] = {}
        """Where they are, by name."""

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.urls = {name: f"http://127.0.0.1:{port}/v1" for name, port in self._answer().items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.join(_STOP_SECONDS_MAX)
        self._process.kill()
        self._process.join()

    def suffer(self, faults: Faults) -> None:
        """From now on these suffer, and the others are well."""
        self._pipe.send(faults)
        self._answer()

    def truth(self) -> Truth:
        """What they answered so far."""
        self._pipe.send(None)
        truth: Truth = self._answer()
        return truth

    def _answer(self) -> Any:
        with suppress(EOFError):
            if self._pipe.poll(_ANSWER_SECONDS_MAX):
                return self._pipe.recv()
        raise BenchFailed("The process with the providers failed; what it said is above.")


def _serve(pipe: Connection) -> None:
    """Do what is asked until nobody asks any more."""
    asyncio.run(_serve_wishes(pipe))


async def _serve_wishes(pipe: Connection) -> None:
    truth: Truth = Counter()
    providers = {name: _Provider(name, truth) for name in NAMES}
    for provider in providers.values():
        await provider.suffer(None)
    pipe.send({name: provider.port for name, provider in providers.items()})
    with suppress(EOFError):
        while True:
            faults: Faults | None = await asyncio.to_thread(pipe.recv)
            if faults is None:
                pipe.send(truth)
                continue
            for name, provider in providers.items():
                await provider.suffer(faults.get(name))
            pipe.send(faults)


class _Provider:
    """One of them."""

    def __init__(self, name: str, truth: Truth) -> None:
        self.port = 0
        self._name = name
        self._truth = truth
        self._fault: Fault | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._dead = ExitStack()

    async def suffer(self, fault: Fault | None) -> None:
        """From now on; `None` is nothing."""
        self._fault = fault
        self._dead.close()
        if fault in {Fault.REFUSED, Fault.DEAD}:
            self._hang_up()
            self._dead.enter_context(_dead(self.port) if fault is Fault.DEAD else nullcontext())
        elif self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                await self._answer(reader, writer)
        self._connections.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request as the fault of this moment has it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        size = next((line.partition(":")[2] for line in head if line.startswith("content-length:")), "0")
        body = await reader.readexactly(int(size))
        if not body:
            # Somebody looks whether there is anybody.
            writer.write(_head(200, {"content-length": "0"}))
            return
        question = json.loads(body)
        prompt, streams, fault = question["messages"][-1]["content"], bool(question.get("stream")), self._fault
        if fault is Fault.SLOW:
            await asyncio.sleep(SLOW_SECONDS)
        if fault is None or fault is Fault.SLOW:
            answer = _streamed(prompt) if streams else _whole(prompt)
            writer.write(answer)
            await writer.drain()
            if not reader.at_eof() and not writer.is_closing():
                self._truth[self._name, prompt] += 1
            return
        writer.write(_said_instead(fault, streams=streams))
        await writer.drain()
        if fault in {Fault.HANG, Fault.HANG_IN_BODY}:
            # Nothing is pipelined: whatever can be read is the end of the caller's patience.
            await reader.read(1)
            writer.close()


@contextmanager
def _dead(port: int) -> Iterator[None]:
    """A port whose queue of connections is full: the kernel drops what else comes."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(("127.0.0.1", port))
        yield


def _said_instead(fault: Fault, *, streams: bool) -> bytes:
    """What a provider that suffers says."""
    if fault is Fault.LIMITED:
        return _refusal(429, {"retry-after": str(RETRY_AFTER_SECONDS)})
    if fault is Fault.STORM:
        return _refusal(500, {})
    if fault is Fault.GARBAGE:
        return _body(200, b"<html>Welcome!</html>", {"content-type": "text/html"})
    if fault is Fault.HANG_IN_BODY:
        return _head(200, _CHUNKED) if streams else _body(200, b'{"id": "chatcmpl-1", "obj', {"content-length": "500"})
    return b""


def _whole(prompt: str) -> bytes:
    message = {"role": "assistant", "content": prompt, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {"object": "chat.completion", "choices": [choice], "usage": _USAGE}
    return _body(200, json.dumps(_stamped(answer)).encode(), {})


def _streamed(prompt: str) -> bytes:
    deltas = [{"role": "assistant", "content": ""}, *({"content": character} for character in prompt)]
    events: list[dict[str, Any]] = [
        *({"choices": [_choice(delta, None)], "usage": None} for delta in deltas),
        {"choices": [_choice({}, "stop")], "usage": None},
        {"choices": [], "usage": _USAGE},
    ]
    said = [json.dumps(_stamped({"object": "chat.completion.chunk"} | event)) for event in events]
    pieces = [f"data: {event}\n\n".encode() for event in (*said, "[DONE]")]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return _head(200, _CHUNKED) + chunks + b"0\r\n\r\n"


def _choice(delta: Mapping[str, str], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _stamped(answer: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "m"} | answer


def _refusal(status: int, headers: Mapping[str, str]) -> bytes:
    error = {"message": "not now", "type": "server_error", "code": None}
    return _body(status, json.dumps({"error": error}).encode(), headers)


def _body(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    return _head(status, {"content-type": "application/json", "content-length": str(len(body)), **headers}) + body


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
