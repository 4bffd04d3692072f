"""Tokenizer: the one door to tiktoken. It bounds a prompt before the call and counts what a provider did not.

The vocabularies ship with the package and are never fetched. Short texts are counted where they stand; long ones in
a thread and a piece at a time, so that no call waits for another one's prompt. What counts for what: docs/counting.md.
"""

import asyncio
import codecs
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import tiktoken

from tollgate.gateway import estimates
from tollgate.gateway.model import Prompt, PromptTokens
from tollgate.gateway.recall import Recalled
from tollgate.kit.errors import InvalidRequest

Result = TypeVar("Result")

DEFAULT_ENCODING = "o200k_base"
"""Counts for models whose own vocabulary nobody publishes."""

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

_MESSAGE_OVERHEAD = 4
_REPLY_OVERHEAD = 3

_INLINE_ASCII_MAX = 16_000
_INLINE_CHARACTERS_MAX = 5_000
"""Up to here no text we know of takes more than 5 ms, and most take a tenth of that. Beyond ASCII, a character is up to
four bytes, and lone halves of surrogate pairs make tiktoken encode twice."""

_PIECE_CHARACTERS = 3 * 2**14
"""Counting a piece takes a few milliseconds, and handing its tokens to Python, when all others wait, less than one.

tiktoken panics on a million characters of whitespace in one go. Numbers are tokens of three digits, and the largest of
whitespace are powers of two: cut at multiples of both, endless runs of them count as they do whole.
"""
_ALONE_CHARACTERS = 2**10
"""A text as long as this is counted by itself, and may be found again."""
_SAMPLES = 16
_SAMPLE_CHARACTERS = 300
"""Together few enough to be counted on the event loop, whatever they are."""
_GAUGED_INLINE_MAX = 500_000
"""Up to here it takes a millisecond or two to find texts again and sample the others."""
_SEAM_SOUGHT_WITHIN = 2**12
_SEAM = re.compile(r"""(?<=\S)(?=[ \t])|(?<=[^\W_])(?=[\r\n.,:;!?"()\u3001\u3002\uff0c])|(?<=[A-Za-z])(?=[0-9])""")
"""Where every vocabulary's pattern begins a new word, whatever stands before and after: a text cut there has the very
tokens it has whole. Three of the marks are the Chinese comma, enumeration comma and full stop."""


class VocabularyDamaged(Exception):
    """A vocabulary file of the package is missing or is not what it should be."""


class Uncountable(InvalidRequest):
    """The text cannot be counted in tokens."""


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
    # A third of its memory: it needs them again only to be pickled, and nobody does that.
    encoding._mergeable_ranks = {}  # noqa: SLF001 - there is no other way to let go of them
    _LOADED.add(name)
    return encoding


def load() -> None:
    """Load the default vocabulary, before processes are forked that can share it."""
    _encoding(DEFAULT_ENCODING)


async def warm_up() -> None:
    """Load the default vocabulary, if it is not there yet."""
    await asyncio.to_thread(load)


async def count_prompt(prompt: Prompt, encoding: str, recalled: Recalled | None = None) -> PromptTokens:
    """How many tokens a prompt is: its texts and a little for each message, counted; its images and files, estimated.

    Overheads by OpenAI's cookbook, "How to count tokens with tiktoken"; what is not a conversation has none. Data in
    base64 is estimated by its size alone: to count it would take long and tell nothing.
    """
    name = _known(encoding)
    if sum(map(len, prompt.texts)) < _ALONE_CHARACTERS and name in _LOADED:
        # One passage, with nothing to be found again, and nothing to cut.
        texts = len(_tokens("\n".join(prompt.texts), _encoding(name)))
    else:
        texts = await _aside(partial(_count, recalled=recalled), prompt.texts, name)
    return estimates.prompt_tokens(prompt, counted=texts + _untold(prompt))


async def gauge_prompt(prompt: Prompt, encoding: str, recalled: Recalled) -> PromptTokens:
    """The same as far as it is quickly known: counted if nearly all of it was counted before, else by samples.

    What is not counted has no more tokens than bytes, and likely as many for its bytes as the samples have.
    """
    name = _known(encoding)
    if sum(map(len, prompt.texts)) <= _GAUGED_INLINE_MAX and name in _LOADED:
        likely, most = _gauge(prompt.texts, name, recalled)
    else:
        likely, most = await asyncio.to_thread(_gauge, prompt.texts, name, recalled)
    counted, bounded = (
        estimates.prompt_tokens(prompt, counted=texts + _untold(prompt)) for texts in (likely, most or likely)
    )
    return PromptTokens(counted.likely, bounded.most, counted=most is None)


def most_of(prompt: Prompt) -> PromptTokens:
    """The most that a prompt can be, by its bytes alone; nothing of it is counted."""
    texts = sum(map(_size, prompt.texts)) + len(prompt.texts)
    bounded = estimates.prompt_tokens(prompt, counted=texts + _untold(prompt))
    return PromptTokens(bounded.likely, bounded.most, counted=False)


async def count(text: str, encoding: str) -> int:
    """How many tokens the text is in an encoding; in the default one if we do not know it."""
    return await _aside(_count, (text,), _known(encoding))


def _untold(prompt: Prompt) -> int:
    """What a prompt comes to beside its texts, images and files."""
    overhead = _REPLY_OVERHEAD + _MESSAGE_OVERHEAD * prompt.messages if prompt.messages else 0
    return prompt.tokens + overhead


async def split(text: str, encoding: str, *, limit: int) -> tuple[list[str], bool]:
    """The text token by token, at most `limit` of them, and whether that cut it short.

    Tokens that end inside a character are joined to those that complete it, each piece still counting one: what is
    left of the character stands in the last of them, and the others are empty.
    """
    return await _aside(lambda texts, name: _split(texts[0], name, limit), (text,), _known(encoding))


def _known(encoding: str) -> str:
    return encoding if encoding in _VOCABULARIES else DEFAULT_ENCODING


async def _aside(work: Callable[[Sequence[str], str], Result], texts: Sequence[str], name: str) -> Result:
    """Work on short texts at once, and on long ones, or with a vocabulary still to be loaded, in a thread."""
    inline_max = _INLINE_ASCII_MAX if all(map(str.isascii, texts)) else _INLINE_CHARACTERS_MAX
    if sum(map(len, texts)) <= inline_max and name in _LOADED:
        return work(texts, name)
    return await asyncio.to_thread(work, texts, name)


def _count(texts: Sequence[str], name: str, recalled: Recalled | None = None) -> int:
    return _joined([_length(passage, name, recalled) for passage in _passages(texts)])


def _joined(lengths: Sequence[int]) -> int:
    """What passages come to, each a line of its own."""
    return sum(lengths) + max(len(lengths) - 1, 0)


def _length(passage: str, name: str, recalled: Recalled | None) -> int:
    """A passage's tokens, counted unless they have been before."""
    if recalled is None or len(passage) < _ALONE_CHARACTERS:
        return _counted(passage, name)
    return recalled.length(_bytes(passage), lambda: _counted(passage, name))


def _counted(passage: str, name: str) -> int:
    encoding = _encoding(name)
    return sum(len(_tokens(piece, encoding)) for piece in _pieces(passage))


def _gauge(texts: Sequence[str], name: str, recalled: Recalled) -> tuple[int, int | None]:
    """How many tokens texts likely have, and at most; `None` for the most if they were counted after all."""
    lengths: list[int] = []
    unknown: list[str] = []
    size = 0
    for passage in _passages(texts):
        text = _bytes(passage)
        known = recalled.find(text) if len(passage) >= _ALONE_CHARACTERS else None
        if known is None:
            unknown.append(passage)
            size += len(text)
        else:
            lengths.append(known)
    if sum(map(len, unknown)) <= _INLINE_CHARACTERS_MAX:
        return _joined([*lengths, *(_length(passage, name, recalled) for passage in unknown)]), None
    known, samples = _joined(lengths) + len(unknown), list(_samples(unknown))
    tokens = sum(_counted(sample, name) for sample in samples)
    return known + -(-size * tokens // sum(map(_size, samples))), known + size


def _samples(texts: Sequence[str]) -> Iterator[str]:
    """Parts of texts that lie as far apart from each other everywhere."""
    stride = sum(map(len, texts)) // _SAMPLES
    start = (stride - _SAMPLE_CHARACTERS) // 2
    for text in texts:
        while start < len(text):
            yield text[start : start + _SAMPLE_CHARACTERS]
            start += stride
        start -= len(text)


def _size(text: str) -> int:
    """A text's bytes: each token is one at least."""
    return len(text) if text.isascii() else len(_bytes(text))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _split(text: str, name: str, limit: int) -> tuple[list[str], bool]:
    encoding = _encoding(name)
    all_tokens = (token for piece in _pieces(text) for token in _tokens(piece, encoding))
    tokens = list(islice(all_tokens, limit + 1))
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(encoding.decode_single_token_bytes(token)) for token in tokens[:limit]]
    return pieces, limit < len(tokens)


def _passages(texts: Iterable[str]) -> Iterator[str]:
    """The texts: the long ones by themselves, the others each a line, as many together as make a piece.

    All at once would be copied with other calls waiting.
    """
    lines: list[str] = []
    room = _PIECE_CHARACTERS
    for text in texts:
        is_long = len(text) >= _ALONE_CHARACTERS
        if lines and (is_long or len(text) > room):
            yield "\n".join(lines)
            lines, room = [], _PIECE_CHARACTERS
        if is_long:
            yield text
        else:
            lines.append(text)
            room -= len(text) + 1
    if lines:
        yield "\n".join(lines)


def _pieces(text: str, size: int = _PIECE_CHARACTERS, sought_within: int = _SEAM_SOUGHT_WITHIN) -> Iterator[str]:
    """The text in pieces of at most `size` characters, cut at seams.

    Where there is no seam for long, it is cut all the same, which may count a token or two more than there are.
    """
    start = 0
    while len(text) - start > size:
        seam = _SEAM.search(text, start + size - sought_within, start + size)
        end = seam.start() if seam is not None else start + size - text.startswith("\r\n", start + size - 1)
        yield text[start:end]
        start = end
    yield text[start:]


def _tokens(text: str, encoding: tiktoken.Encoding) -> list[int]:
    """The text's tokens; those of its halves, one after the other, should tiktoken panic at the whole.

    Raises:
        Uncountable: tiktoken panics at a single character.
    """
    try:
        with _PanicsTold():
            return encoding.encode_ordinary(text)
    except Uncountable:
        if len(text) <= 1:
            raise
        middle = len(text) // 2
        return [*_tokens(text[:middle], encoding), *_tokens(text[middle:], encoding)]


class _PanicsTold:
    """A block in which a panic of tiktoken becomes `Uncountable`.

    A panic comes as an exception that is no `Exception`, so that nothing short of the end of the process would stop
    it, and of a class that cannot be imported, only recognised.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and kind.__name__ == "PanicException":
            raise Uncountable from error
