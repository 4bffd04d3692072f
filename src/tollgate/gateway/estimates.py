"""Estimates: what images and files count for before a provider has looked at them, likely and at most. Pure.

By whose published rates, and how far off they may be: docs/counting.md.
"""

from tollgate.gateway.model import Blob, BlobKind, Prompt, PromptTokens

IMAGE_LIKELY = 1_600
"""As much as the largest image costs by the rules of models that shrink it to about a megapixel."""
IMAGE_MOST = 5_000
"""As much as it costs by the rules of models that see four times as much."""
PAGE_LIKELY = 1_500
"""The least that Anthropic names for a page's text, and nearly three times what Google takes with Gemini 3."""
PAGE_MOST = 8_000
"""The most that Anthropic names for a page's text, and for its picture."""

ELSEWHERE_MOST = 1_000_000
"""What a provider fetches itself fills its context, if it has to; this is the largest of them."""

_AUDIO_BYTES_PER_TOKEN = 1_000
"""Google's 32 tokens a second are this at 256 kbit/s, OpenAI's 10 at 80."""
_TEXT_BYTES_PER_TOKEN = 4
_PAGE_BYTES = 100_000
_PAGE_BYTES_LEAST = 1_000
"""A page of nothing but words, compressed."""


def prompt_tokens(prompt: Prompt, *, counted: int) -> PromptTokens:
    """What a prompt comes to of which so many tokens were counted, likely and at most."""
    if not (prompt.images or prompt.blobs or prompt.elsewhere):
        return PromptTokens(counted, counted)
    return PromptTokens(
        likely=counted + IMAGE_LIKELY * prompt.images + sum(map(_likely, prompt.blobs)),
        most=counted + IMAGE_MOST * prompt.images + sum(map(_most, prompt.blobs)) + ELSEWHERE_MOST * prompt.elsewhere,
    )


def _likely(blob: Blob) -> int:
    match blob.kind:
        case BlobKind.AUDIO:
            return _parts(blob.size, _AUDIO_BYTES_PER_TOKEN)
        case BlobKind.TEXT:
            return _parts(blob.size, _TEXT_BYTES_PER_TOKEN)
        case BlobKind.DOCUMENT:
            return PAGE_LIKELY * _parts(blob.size, _PAGE_BYTES)
        case BlobKind.IMAGE:
            return IMAGE_LIKELY


def _most(blob: Blob) -> int:
    """A token for each character of its base64: no text has more, neither what is in it nor the base64 itself.

    Pages may be pictures as well, and compressed: they are bounded by how small a page gets.
    """
    if blob.kind in {BlobKind.DOCUMENT, BlobKind.IMAGE}:
        return PAGE_MOST * _parts(blob.size, _PAGE_BYTES_LEAST)
    return _parts(blob.size * 4, 3)


def _parts(size: int, part: int) -> int:
    """How many parts of a size there are, the last one perhaps smaller."""
    return -(-size // part)
