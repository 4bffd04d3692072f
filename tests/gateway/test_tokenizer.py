"""Counting tokens: as tiktoken counts, whatever the text, and never on the event loop for long."""

import asyncio
import hashlib
import json
import time
from pathlib import Path

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway import tokenizer
from tollgate.gateway.model import Prompt
from tollgate.gateway.tokenizer import VocabularyDamaged


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
async def test_counts_are_tiktokens(name: str) -> None:
    for text in (
        "",
        "hi",
        "Hello, wörld 🌍!",
        "def f(x):\n\treturn x  # \u3042",
        "<|endoftext|> and <|fim_prefix|>",
        "a" * 50_000,
    ):
        count = await tokenizer.count(text, name)
        assert count == len(tiktoken.get_encoding(name).encode(text, disallowed_special=()))


async def test_special_tokens_are_ordinary_text() -> None:
    assert await tokenizer.count("<|endoftext|>", "o200k_base") > 1


async def test_an_unknown_vocabulary_is_counted_by_the_default() -> None:
    assert await tokenizer.count("Hello there", "nobody_knows") == await tokenizer.count("Hello there", "o200k_base")


@pytest.mark.parametrize("blank", [" ", "\n", "\t", "\u3000"])
async def test_endless_whitespace_is_counted_all_the_same(blank: str) -> None:
    """tiktoken panics on a run of a million."""
    count = await tokenizer.count("a" + blank * 1_200_000 + "b", "o200k_base")
    assert 1_000 < count < 1_300_000


async def test_a_piece_of_whitespace_costs_at_most_a_token() -> None:
    text = "a" + " " * 250_000 + "b"
    exact = len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))
    assert exact <= await tokenizer.count(text, "o200k_base") <= exact + 4


async def test_many_runs_just_under_the_longest_one_are_counted_in_one_pass() -> None:
    """Looked for from each of their characters they would take minutes, with the interpreter held."""
    text = (" " * 99_999 + "x") * 20
    assert await tokenizer.count(text, "o200k_base") == len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))


async def test_unpaired_surrogates_are_counted() -> None:
    assert await tokenizer.count("a\ud83d b", "o200k_base") > 0
    assert await tokenizer.count("\udc00" * 20_000, "o200k_base") > 0


@given(st.text())
async def test_pieces_are_the_text_and_as_many_as_its_tokens(text: str) -> None:
    pieces, cut = await tokenizer.split(text, "o200k_base", limit=len(text) * 8)
    assert "".join(pieces) == text
    assert not cut
    assert len(pieces) == len(tiktoken.get_encoding("o200k_base").encode_ordinary(text))


async def test_a_limit_cuts_the_pieces() -> None:
    assert await tokenizer.split("Hello there friend", "o200k_base", limit=2) == (["Hello", " there"], True)
    assert (await tokenizer.split("Hello there", "o200k_base", limit=2))[1] is False


async def test_large_texts_are_counted_beside_the_event_loop() -> None:
    text = json.dumps(list(range(300_000)))
    counting = asyncio.ensure_future(tokenizer.count(text, "o200k_base"))
    longest, last = 0.0, time.perf_counter()
    while not counting.done():
        await asyncio.sleep(0.001)
        longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
    assert await counting > 300_000
    assert longest < 0.5


async def test_messages_and_images_count_apart_from_their_text() -> None:
    text = await tokenizer.count("hi\nthere", "o200k_base")
    assert await tokenizer.count_prompt(Prompt(("hi", "there"), messages=2, images=0), "o200k_base") == text + 11
    assert (
        await tokenizer.count_prompt(Prompt((), messages=1, images=2), "o200k_base") == 7 + 2 * tokenizer.IMAGE_TOKENS
    )


def test_a_vocabulary_that_is_not_what_it_should_be_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "_FOLDER", tmp_path)
    file_name, _ = tokenizer._VOCABULARIES["o200k_base"]
    with pytest.raises(VocabularyDamaged, match="reinstall"):
        tokenizer._encoding.__wrapped__("o200k_base")
    (tmp_path / file_name).write_bytes(b"aGVsbG8= 0\n")
    with pytest.raises(VocabularyDamaged, match="o200k_base"):
        tokenizer._encoding.__wrapped__("o200k_base")
    assert (tmp_path / file_name).exists()


def test_the_vocabularies_are_the_ones_tiktoken_expects() -> None:
    for file_name, digest in tokenizer._VOCABULARIES.values():
        assert hashlib.sha256((tokenizer._FOLDER / file_name).read_bytes()).hexdigest() == digest
