"""Likelihoods of tokens as OpenAI tells them, in chat completions and in responses alike. Pure.

Wire format: https://platform.openai.com/docs/api-reference/chat/object
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tollgate.gateway import wire
from tollgate.gateway.neutral import TokenLogprob


def read(tokens: object) -> tuple[TokenLogprob, ...]:
    """The tokens of an array that have a likelihood; those that were likely in a token's place have no others."""
    return tuple(
        TokenLogprob(token.token, token.logprob, token.bytes, tuple(one for one, _ in _read(said.get("top_logprobs"))))
        for token, said in _read(tokens)
    )


def _read(tokens: object) -> Iterator[tuple[TokenLogprob, Mapping[str, Any]]]:
    """Each token alone, with the object that tells of it."""
    for said in wire.objects(tokens):
        text, logprob, encoded = wire.text(said.get("token")), _number(said.get("logprob")), said.get("bytes")
        if text is not None and logprob is not None:
            octets = (byte for each in wire.items(encoded) if (byte := wire.count(each)) is not None)
            yield TokenLogprob(text, logprob, tuple(octets) if isinstance(encoded, list) else None), said


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
