"""What the provider does with each call, by the marker in its prompt, and what it then knows: the ground truth."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from tests.gateway.fake_provider import DONE, Behaviour, Line, chunk

PROMPT_TOKENS = 20
"""What the provider says a prompt was, whatever it was."""
WORD = " hello"
"""One token, anywhere in a text."""


class Stop(StrEnum):
    """Where the provider waits in the middle of an answer."""

    FIRST_BYTE = "after the first byte"
    MID_STREAM = "in the middle"
    LAST_BYTE = "before the last byte"


@dataclass
class Script:
    """One call, as the provider is going to answer it."""

    words: int = 5
    pause: float = 0
    """Seconds before each word of a stream, or before a whole answer for each of its words."""
    stop: Stop | None = None
    refusals: int = 0
    """Endpoints that refuse before one answers."""
    is_victim: bool = False
    """Whether the call was brought somewhere to stay until its process dies."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the provider waits."""
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to have it go on."""
    afterwards: Callable[[], None] | None = None
    """Called the moment the last byte is written."""

    async def wait_at(self, place: Stop) -> None:
        if self.stop is place:
            self.reached.set()
            await self.go_on.wait()


@dataclass
class Told:
    """One request that reached the provider, and what it was told."""

    endpoint: str
    began: float
    words: list[float] = field(default_factory=list)
    """When each word was sent, by the loop's clock."""
    finished: bool = False
    refused: bool = False


class Play:
    """All scripts, and everything that was told."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {}
        self.told: dict[str, list[Told]] = {}

    def let_all_go_on(self) -> None:
        for script in self.scripts.values():
            script.go_on.set()

    def endpoint(self, name: str, place: int) -> Behaviour:
        """What the endpoint at this place of the plan does."""

        async def behave(line: Line) -> None:
            asked = line.served.json
            marker = asked["messages"][-1]["content"].split()[0]
            told = Told(name, asyncio.get_running_loop().time())
            self.told.setdefault(marker, []).append(told)
            script = self.scripts[marker]
            if place < script.refusals:
                told.refused = True
                await line.answer(503, b'{"error": {"message": "busy", "type": "x", "code": null}}')
            elif asked.get("stream"):
                await _stream(line, script, told)
            else:
                await _whole(line, script, told)

        return behave


def _usage(words: int) -> dict[str, int]:
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": words, "total_tokens": PROMPT_TOKENS + words}


async def _stream(line: Line, script: Script, told: Told) -> None:
    await line.begin()
    for number in range(script.words):
        await asyncio.sleep(script.pause)
        if number == script.words // 2:
            await script.wait_at(Stop.MID_STREAM)
        told.words.append(asyncio.get_running_loop().time())
        await line.send(chunk({"role": "assistant", "content": WORD}, usage=None))
        if number == 0:
            await script.wait_at(Stop.FIRST_BYTE)
    await script.wait_at(Stop.LAST_BYTE)
    told.finished = True
    ending = [chunk(finish="stop", usage=None), chunk(choices=[], usage=_usage(script.words)), DONE]
    await line.send(b"".join(ending))
    if script.afterwards is not None:
        script.afterwards()
    await line.finish()


async def _whole(line: Line, script: Script, told: Told) -> None:
    await asyncio.sleep(script.pause * script.words)
    message = {"role": "assistant", "content": WORD * script.words, "refusal": None}
    body = json.dumps({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "upstream-name",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(script.words),
    }).encode()  # fmt: skip
    # The words count as sent before they are: a provider that was cut off in the middle may charge for all of them.
    told.words.extend([asyncio.get_running_loop().time()] * script.words)
    half = len(body) // 2
    head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    await _send(line, head + body[:1])
    await script.wait_at(Stop.FIRST_BYTE)
    await _send(line, body[1:half])
    await script.wait_at(Stop.MID_STREAM)
    await _send(line, body[half:-1])
    await script.wait_at(Stop.LAST_BYTE)
    told.finished = True
    await _send(line, body[-1:])
    if script.afterwards is not None:
        script.afterwards()


async def _send(line: Line, piece: bytes) -> None:
    line._writer.write(piece)
    await line._writer.drain()
