"""The sandbox's embeddings: directions in space that follow from a text's digest alone, and so never change. Pure.

Equal inputs have equal embeddings; those of different ones are as good as orthogonal, whatever they mean.
"""

import base64
import hashlib
import math
import struct
from collections.abc import Iterable

import msgspec

from tollgate.gateway.model import Request
from tollgate.gateway.protocols import openai_embeddings
from tollgate.gateway.protocols.openai_embeddings import Input

DIMENSIONS = 256
"""How long an embedding is, unless the request says."""
DIMENSIONS_MAX = 1_024


def answer(request: Request, *, prompt_tokens: int) -> bytes:
    """The whole answer to an embeddings request whose prompt is so long.

    Raises:
        InvalidRequest: its input or its dimensions have a form that means nothing.
    """
    dimensions = min(openai_embeddings.dimensions(request) or DIMENSIONS, DIMENSIONS_MAX)
    as_base64 = openai_embeddings.encoding_format(request) == "base64"
    vectors = embed(openai_embeddings.inputs(request), dimensions=dimensions)
    return msgspec.json.encode({
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": request.models[0],
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    })  # fmt: skip


def embed(inputs: Iterable[Input], *, dimensions: int = DIMENSIONS) -> list[list[float]]:
    """A vector of length one for each input, in numbers that 32-bit floats hold exactly."""
    return [_direction(item, dimensions) for item in inputs]


def encoded(vector: list[float]) -> str:
    """The vector as clients unpack it: little-endian 32-bit floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _direction(item: Input, dimensions: int) -> list[float]:
    """The digest of the input, stretched to as many numbers as there are dimensions, and scaled to length one."""
    text = item if isinstance(item, str) else " ".join(map(str, item))
    kind = b"text" if isinstance(item, str) else b"tokens"
    seed = hashlib.sha256(kind + b"\x00" + text.encode("utf-8", "replace")).digest()
    # Odd numbers: no component is zero, and so no vector is.
    numbers = [
        2 * number + 1 for number in struct.unpack(f"<{dimensions}h", hashlib.shake_256(seed).digest(2 * dimensions))
    ]
    length = math.sqrt(sum(number * number for number in numbers))
    return list(
        struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *(number / length for number in numbers)))
    )
