"""Tokenizer: the one door to tiktoken. It bounds a prompt before the call and counts what a provider did not.

The vocabularies ship with the package and are never fetched. Small texts are counted where they stand; large ones in
a thread, so that no call waits for another one's prompt.
"""

import asyncio
import codecs
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

import tiktoken

from tollgate.gateway.model import Prompt

Result = TypeVar("Result")

DEFAULT_ENCODING = "o200k_base"
"""Counts for models whose own vocabulary nobody publishes."""

IMAGE_TOKENS = 1_105
"""What one image counts for before the call: a 1024x1024 image in high detail, by OpenAI's published tile rule."""

_VOCABULARIES = {
    "o200k_base": (
        "fb374d419588a4632f3f557e76b4b70aebbca790",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k_base": (
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}
"""File name and SHA-256 of each vocabulary, as tiktoken itself expects them."""
_LOADED: set[str] = set()
"""The vocabularies that count at once."""
_FOLDER = Path(__file__).parent / "vocabularies"

_INLINE_CHARACTERS_MAX = 16_000
"""Up to about a millisecond of counting is done on the event loop."""
_MESSAGE_OVERHEAD = 4
_REPLY_OVERHEAD = 3
_WHITESPACE_RUN_MAX = 100_000
_LONG_WHITESPACE = re.compile(rf"(?<!\s)\s{{{_WHITESPACE_RUN_MAX},}}")
"""tiktoken panics on a run of about a million; cut well below, a run loses no more than a token a piece.

Only the beginning of a run is looked at: from within it, every character would be tried again.
"""


class VocabularyDamaged(Exception):
    """A vocabulary file of the package is missing or is not what it should be."""


@cache
def _encoding(name: str) -> tiktoken.Encoding:
    """The vocabulary, which takes most of a second to load when it is first asked for."""
    file_name, digest = _VOCABULARIES[name]
    path = _FOLDER / file_name
    # tiktoken would delete a file that does not match and try to fetch another.
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise VocabularyDamaged(f"{path} is not the vocabulary {name}; reinstall the package")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(_FOLDER)
    encoding = tiktoken.get_encoding(name)
    _LOADED.add(name)
    return encoding


async def warm_up() -> None:
    """Load the default vocabulary."""
    await asyncio.to_thread(_encoding, DEFAULT_ENCODING)


async def count(text: str, encoding: str) -> int:
    """How many tokens the text is in an encoding; in the default one if we do not know it."""
    return await _aside(_count, text, _known(encoding))


async def split(text: str, encoding: str, *, limit: int) -> tuple[list[str], bool]:
    """The text token by token, at most `limit` of them, and whether that cut it short.

    Tokens that end inside a character are joined to those that complete it, each piece still counting one: what is
    left of the character stands in the last of them, and the others are empty.
    """
    return await _aside(lambda text, name: _split(text, name, limit), text, _known(encoding))


def _known(encoding: str) -> str:
    return encoding if encoding in _VOCABULARIES else DEFAULT_ENCODING


async def _aside(work: Callable[[str, str], Result], text: str, name: str) -> Result:
    """Work on a short text at once, and on a long one, or with a vocabulary still to be loaded, in a thread."""
    if len(text) <= _INLINE_CHARACTERS_MAX and name in _LOADED:
        return work(text, name)
    return await asyncio.to_thread(work, text, name)


def _split(text: str, name: str, limit: int) -> tuple[list[str], bool]:
    vocabulary = _encoding(name)
    tokens = [token for piece in _pieces(text) for token in vocabulary.encode_ordinary(piece)]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(vocabulary.decode_single_token_bytes(token)) for token in tokens[:limit]]
    return pieces, limit < len(tokens)


async def count_prompt(prompt: Prompt, encoding: str) -> int:
    """About how many tokens a chat prompt is: its texts, a little for each message, a lump for each image.

    Overheads by OpenAI's cookbook, "How to count tokens with tiktoken".
    """
    overhead = _REPLY_OVERHEAD + _MESSAGE_OVERHEAD * prompt.messages + IMAGE_TOKENS * prompt.images
    return overhead + await count("\n".join(prompt.texts), encoding)


def _count(text: str, name: str) -> int:
    encoding = _encoding(name)
    if len(text) < _WHITESPACE_RUN_MAX:
        return len(encoding.encode_ordinary(text))
    return sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterable[str]:
    """The text in pieces that hold no overlong run of whitespace."""
    start = 0
    for run in _LONG_WHITESPACE.finditer(text):
        yield text[start : run.start()]
        for at in range(run.start(), run.end(), _WHITESPACE_RUN_MAX):
            yield text[at : min(at + _WHITESPACE_RUN_MAX, run.end())]
        start = run.end()
    yield text[start:]
