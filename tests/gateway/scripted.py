"""Calls without a network: providers who say what a script says, and callers who hang up where it says so."""

import asyncio
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.gateway import asking
from tests.gateway.asking import Asked
from tests.gateway.fake_provider import DONE, chunk, event

from tollgate.gateway.asgi_client import AsgiClient
from tollgate.gateway.model import Reply, UpstreamRequest, Wire
from tollgate.kit.errors import ProviderFailed

WORDS = ("alpha ", "bravo ", "charlie ", "delta ")
"""What every provider here says."""
PROMPT_TOKENS, OUTPUT_TOKENS = 1000, 300
"""What it says it used: more than its words, for it thinks."""
_NUMBERS = itertools.count(1)
_NUMBER = re.compile(rb"#(\d+)#")


def events(wire: Wire) -> list[bytes]:
    """A stream of these words and this usage in the provider's format, an event each."""
    return {Wire.CHAT: _chat, Wire.RESPONSES: _responses, Wire.MESSAGES: _messages}.get(wire, _gemini)()


def _chat() -> list[bytes]:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
    words = [chunk({"content": word}, usage=None) for word in WORDS]
    opening, finish = chunk({"role": "assistant", "content": ""}, usage=None), chunk(finish="stop", usage=None)
    return [opening, *words, finish, chunk(choices=[], usage=usage), DONE]


def _responses() -> list[bytes]:
    text, head = "".join(WORDS), {"id": "resp_1", "object": "response", "model": "upstream-name", "output": []}
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": OUTPUT_TOKENS}
    item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
    done = {**item, "status": "completed", "content": [{**part, "text": text}]}
    at, within = {"output_index": 0}, {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    said: list[tuple[str, dict[str, Any]]] = [
        ("created", {"response": {**head, "status": "in_progress"}}),
        ("output_item.added", {**at, "item": {**item, "status": "in_progress"}}),
        ("content_part.added", {**within, "part": part}),
        *(("output_text.delta", {**within, "delta": word}) for word in WORDS),
        ("output_text.done", {**within, "text": text}),
        ("content_part.done", {**within, "part": {**part, "text": text}}),
        ("output_item.done", {**at, "item": done}),
        ("completed", {"response": {**head, "status": "completed", "output": [done], "usage": usage}}),
    ]
    return [
        event({"type": f"response.{kind}", "sequence_number": number, **rest}, f"response.{kind}")
        for number, (kind, rest) in enumerate(said)
    ]


def _messages() -> list[bytes]:
    message: Any = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "upstream-name",
               "stop_reason": None, "stop_sequence": None,
               "usage": {"input_tokens": PROMPT_TOKENS, "output_tokens": 1}}  # fmt: skip
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": OUTPUT_TOKENS}},
        {"type": "message_stop"},
    ]
    return [event(each, each["type"]) for each in said]


def _gemini() -> list[bytes]:
    said: list[bytes] = []
    for number, word in enumerate(WORDS, start=1):
        is_last = number == len(WORDS)
        written = OUTPUT_TOKENS if is_last else 10 * number
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": word}]}, "index": 0}
        if is_last:
            candidate["finishReason"] = "STOP"
        usage = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": written,
                 "totalTokenCount": PROMPT_TOKENS + written}  # fmt: skip
        said.append(event({"candidates": [candidate], "usageMetadata": usage, "responseId": "r1"}))
    return said


@dataclass(eq=False)
class Script:
    """One call: in what format it is asked, and what happens."""

    client: Wire
    pieces: Sequence[bytes]
    broken: ProviderFailed | RuntimeError | None = None
    """How the stream breaks off after its pieces; `None`: it ends."""
    hangs: bool = False
    """Whether the provider falls silent after its pieces, but for its client hanging up."""
    leaves_at_send: int | None = None
    """The caller hangs up when this many messages were sent to it: the head of the answer, and events."""
    leaves_at_read: int | None = None
    """The caller hangs up while the provider has sent this many pieces, and nothing more yet."""
    number: int = field(default_factory=lambda: next(_NUMBERS))
    error: ProviderFailed | RuntimeError | None = None
    """What the caller was told in place of an answer."""
    read: int = 0
    """How many pieces the gateway has taken."""

    def __post_init__(self) -> None:
        self.caller = Caller(leaves_at=self.leaves_at_send)

    def body(self, model: str) -> bytes:
        """The request, marked so that its provider and its record are found."""
        asked = Asked("", (("user", "text", f"Say hello. #{self.number}#"),))
        user = {"metadata": {"user_id": self.user}} if self.client is Wire.MESSAGES else {"user": self.user}
        return json.dumps({"model": model, **asking.body(self.client, asked, stream=True), **user}).encode()

    @property
    def user(self) -> str:
        return f"user-{self.number}"


class Caller(AsgiClient):
    """The caller behind a server that swallows what is sent to who is gone."""

    def __init__(self, *, leaves_at: int | None = None) -> None:
        super().__init__(self._from_caller, self._to_caller)
        self.sent = b""
        self.finished = False
        self._left = asyncio.Event()
        self._leaves_at = leaves_at
        self._messages = 0

    def leave(self) -> None:
        self._left.set()

    @property
    def has_left(self) -> bool:
        return self._left.is_set()

    async def _from_caller(self) -> Any:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _to_caller(self, message: Any) -> None:
        if self._messages == self._leaves_at:
            self.leave()
        await passing_time()
        self._messages += 1
        if not self.has_left:
            self.sent += message.get("body", b"")
            self.finished = message["type"] == "http.response.body" and not message["more_body"]


async def passing_time() -> None:
    """Long enough for whoever was told something to have heard it."""
    for _ in range(8):
        await asyncio.sleep(0)


class ScriptedReply:
    """A reply under way; like a connection, it goes on where a reader was interrupted."""

    def __init__(self, script: Script, status: int = 200) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self.closed = False
        self._script = script

    async def body(self) -> bytes:
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def piece(self) -> bytes:
        script = self._script
        if script.read == script.leaves_at_read and not script.caller.has_left:
            script.caller.leave()
            await passing_time()
        while script.read < len(script.pieces):
            script.read += 1
            if piece := script.pieces[script.read - 1]:
                return piece
        if script.hangs:
            await asyncio.Event().wait()
        if script.broken is not None:
            raise script.broken
        return b""

    async def close(self) -> None:
        self.closed = True


class ScriptedUpstream:
    """Answers each call as its script says, or with the next of its answers: pieces, and a status."""

    def __init__(self) -> None:
        self.scripts: dict[int, Script] = {}

    async def send(self, request: UpstreamRequest) -> Reply:
        found = _NUMBER.search(request.body)
        assert found is not None
        return ScriptedReply(self.scripts[int(found[1])])
