"""Estimates: what nobody has counted yet is likely this much, and never more than that."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.gateway import estimates, tokenizer
from tollgate.gateway.model import Blob, BlobKind, Prompt, PromptTokens

SIZES = st.integers(0, 50_000_000)
BLOBS = st.builds(Blob, st.sampled_from(BlobKind), st.integers(1, 50_000_000))
MEGABYTE = 1_000_000


def estimated(*blobs: Blob, images: int = 0, counted: int = 0) -> PromptTokens:
    return estimates.prompt_tokens(Prompt((), 0, images, blobs=blobs), counted=counted)


@given(st.lists(BLOBS, max_size=4), st.integers(0, 20), SIZES)
def test_most_is_never_less_than_likely(blobs: list[Blob], images: int, counted: int) -> None:
    tokens = estimated(*blobs, images=images, counted=counted)
    assert counted <= tokens.likely <= tokens.most


@given(BLOBS)
def test_no_file_counts_for_less_than_a_token_for_each_character_of_its_base64(blob: Blob) -> None:
    assert estimated(blob).most >= blob.size * 4 / 3


def test_what_was_counted_is_both_likely_and_most() -> None:
    assert estimated(counted=12) == PromptTokens(12, 12)


@pytest.mark.parametrize("kind", BlobKind)
@given(text=st.text(min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
async def test_text_that_says_it_is_something_else_is_bounded(kind: BlobKind, text: str) -> None:
    """Whichever a server reads, what is in the base64 or the base64 itself."""
    data = base64.b64encode(text.encode()).decode()
    most = estimated(Blob(kind, len(data) * 3 // 4)).most
    assert await tokenizer.count(text, "o200k_base") <= most
    assert await tokenizer.count(data, "cl100k_base") <= most


@pytest.mark.parametrize(("kind", "likely", "most"), [
    (BlobKind.AUDIO, 5_000, 6_666_667),
    (BlobKind.TEXT, 1_250_000, 6_666_667),
    (BlobKind.DOCUMENT, 75_000, 40_000_000),
    (BlobKind.IMAGE, 1_600, 40_000_000),
])  # fmt: skip
def test_five_megabytes_count_by_what_they_are(kind: BlobKind, likely: int, most: int) -> None:
    assert estimated(Blob(kind, 5 * MEGABYTE)) == PromptTokens(likely, most)


def test_a_document_has_a_page_at_least() -> None:
    assert estimated(Blob(BlobKind.DOCUMENT, 700)) == PromptTokens(estimates.PAGE_LIKELY, estimates.PAGE_MOST)


@pytest.mark.parametrize(("seconds", "bytes_a_second"), [(60, 32_000), (60, 16_000), (600, 8_000)])
def test_sound_is_likely_to_count_for_what_is_published_for_usual_bitrates(seconds: int, bytes_a_second: int) -> None:
    """Google counts 32 tokens a second and OpenAI 10: between half the one and thrice the other."""
    tokens = estimated(Blob(BlobKind.AUDIO, seconds * bytes_a_second))
    assert 32 * seconds / 4 <= tokens.likely <= 3.2 * 10 * seconds
    assert tokens.most >= 32 * seconds
