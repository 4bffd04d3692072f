"""The sandbox: a provider inside the gateway, so that everything can be tried without an account anywhere.

It repeats the last user message, and embeds what it is given. Its answers are deterministic and its usage is exact:
every token of prompt and answer is counted with the model's own vocabulary. It speaks OpenAI's formats through
the same translators as everyone else.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from tollgate.gateway import sandbox_embeddings, tokenizer, wire
from tollgate.gateway.decoding import decoded
from tollgate.gateway.model import Reply, Request, UpstreamRequest
from tollgate.gateway.protocols import openai_chat, openai_embeddings

OUTPUT_TOKENS_MAX = 16_384
"""The longest answer, as the catalogue says of the model."""

_CREATED = 1_700_000_000
_ENCODING = tokenizer.DEFAULT_ENCODING
_INLINE_INPUTS_MAX = 64
"""As many embeddings take a few milliseconds; there may be thousands."""
_EMPTY = "(nothing was said)"


class SandboxUpstream:
    """Answers requests itself."""

    async def send(self, request: UpstreamRequest) -> Reply:
        """The reply to a request."""
        if request.url.endswith("/embeddings"):
            return await _embedded(request)
        chat, words, digest = await decoded(_understood, request.body)
        choices = chat.choices
        prompt_tokens = (await tokenizer.count_prompt(chat.prompt, _ENCODING)).likely
        limit = min(chat.max_tokens or OUTPUT_TOKENS_MAX, OUTPUT_TOKENS_MAX)
        pieces, cut = await tokenizer.split(words, _ENCODING, limit=limit)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(pieces) * choices,
            "total_tokens": prompt_tokens + len(pieces) * choices,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }
        head = {
            "id": f"chatcmpl-{digest[:24]}",
            "created": _CREATED,
            "model": chat.models[0],
        }
        finish = "length" if cut else "stop"
        if request.stream:
            return _SandboxReply(_events(head, pieces, finish, usage, choices=choices))
        return _SandboxReply([_whole(head, "".join(pieces), finish, usage, choices=choices)])


def _understood(body: bytes) -> tuple[Request, str, str]:
    """The request, what to repeat of it, and its digest."""
    chat = openai_chat.decode(body)
    return chat, openai_chat.last_words(chat) or _EMPTY, hashlib.sha256(body).hexdigest()


async def _embedded(request: UpstreamRequest) -> Reply:
    asked, inputs = await decoded(_embeddable, request.body)
    prompt_tokens = (await tokenizer.count_prompt(asked.prompt, _ENCODING)).likely
    if inputs <= _INLINE_INPUTS_MAX:
        return _SandboxReply([sandbox_embeddings.answer(asked, prompt_tokens=prompt_tokens)])
    return _SandboxReply([await asyncio.to_thread(sandbox_embeddings.answer, asked, prompt_tokens=prompt_tokens)])


def _embeddable(body: bytes) -> tuple[Request, int]:
    """The request, and how many inputs it has."""
    asked = openai_embeddings.decode(body)
    return asked, len(openai_embeddings.inputs(asked))


def _whole(head: Mapping[str, Any], text: str, finish: str, usage: Mapping[str, Any], *, choices: int) -> bytes:
    return msgspec.json.encode({
        **head,
        "object": "chat.completion",
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish,
            }
            for index in range(choices)
        ],
        "usage": usage,
    })  # fmt: skip


def _events(
    head: Mapping[str, Any], pieces: list[str], finish: str, usage: Mapping[str, Any], *, choices: int
) -> Iterator[bytes]:
    """The stream's events, each made when it is wanted: all of them at once can be hundreds of megabytes."""
    deltas: list[tuple[dict[str, str], str | None]] = [({"role": "assistant", "content": ""}, None)]
    deltas += [({"content": piece}, None) for piece in pieces]
    deltas.append(({}, finish))
    for delta, reason in deltas:
        for index in range(choices):
            yield _chunk(head, [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}], None)
    yield _chunk(head, [], usage)
    yield wire.event(b"[DONE]")


def _chunk(head: Mapping[str, Any], choices: list[Any], usage: Mapping[str, Any] | None) -> bytes:
    encoded = msgspec.json.encode({**head, "object": "chat.completion.chunk", "choices": choices, "usage": usage})
    return wire.event(encoded)


class _SandboxReply:
    """A reply that needs no waiting for."""

    status = 200

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.headers: Mapping[str, str] = {}
        self._pieces = iter(pieces)

    async def body(self) -> bytes:
        """The whole body."""
        return b"".join(self._pieces)

    async def piece(self) -> bytes:
        """The next event."""
        return next(self._pieces, b"")

    async def close(self) -> None:
        """There is no connection to let go of."""
