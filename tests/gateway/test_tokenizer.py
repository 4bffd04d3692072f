"""Counting tokens: as tiktoken counts, whatever the text, and never on the event loop for long."""

import asyncio
import hashlib
import json
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway import estimates, tokenizer
from tollgate.gateway.model import Blob, BlobKind, Prompt
from tollgate.gateway.tokenizer import Uncountable, VocabularyDamaged

MILLION = 1_000_000
TEXTS = st.text(
    st.sampled_from("ab Z'sRE0129é中\u0301ʰ²Ⅷǅ🌍\t\n\r/\\.,:;!?\"()_-\u3001\u3002\uff0c\x1c\x85\u3000\ufeff"),
    max_size=80,
)


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
        assert count == len(tokenizer._encoding(name).encode(text, disallowed_special=()))


async def test_special_tokens_are_ordinary_text() -> None:
    assert await tokenizer.count("<|endoftext|>", "o200k_base") > 1


async def test_an_unknown_vocabulary_is_counted_by_the_default() -> None:
    assert await tokenizer.count("Hello there", "nobody_knows") == await tokenizer.count("Hello there", "o200k_base")


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
@given(text=TEXTS, size=st.integers(9, 40))
async def test_a_text_cut_at_its_seams_has_the_tokens_it_has_whole(name: str, text: str, size: int) -> None:
    vocabulary = tokenizer._encoding(name)
    pieces = list(tokenizer._pieces(text, size, 8))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces if text)
    for seam in tokenizer._SEAM.finditer(text):
        before, after = text[: seam.start()], text[seam.start() :]
        assert vocabulary.encode_ordinary(text) == vocabulary.encode_ordinary(before) + vocabulary.encode_ordinary(
            after
        )


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("document", ["docs/ARCHITECTURE.md", "src/tollgate/gateway/tokenizer.py"])
async def test_long_texts_count_to_the_token(repository: Path, name: str, document: str) -> None:
    text = (repository / document).read_text() * 20
    assert len(list(tokenizer._pieces(text))) > 2
    assert await tokenizer.count(text, name) == len(tokenizer._encoding(name).encode_ordinary(text))


def jumbled(alphabet: str, length: int) -> str:
    """A text of these characters in no order that a vocabulary knows."""
    return "".join([alphabet[(at * at * 2_654_435_761 >> 9) % len(alphabet)] for at in range(length)])


BLANKS = {name: blank * MILLION for name, blank in {
    "space": " ", "line feed": "\n", "ideographic space": "\u3000",
}.items()} | {
    "CRLF": "\r\n" * (MILLION // 2),
    "mixed": jumbled(" \t\n\r\x0b\x0c\x85\xa0\u2003\u2028\u3000", MILLION),
}  # fmt: skip


@pytest.mark.parametrize("blank", BLANKS)
async def test_a_million_blanks_in_a_text_are_counted_as_tiktoken_would(blank: str) -> None:
    """Would, because it panics at them; what it makes of each part of the pattern it can still be asked."""
    run, vocabulary = BLANKS[blank], tokenizer._encoding("o200k_base")
    lines_end = max(run.rfind("\n"), run.rfind("\r")) + 1
    lines, rest = run[:lines_end], run[lines_end:]
    exact = (
        len(vocabulary.encode_ordinary("word"))
        + len(vocabulary._encode_single_piece(lines) if lines else ())
        + len(vocabulary._encode_single_piece(rest[:-1]) if rest else ())
        + len(vocabulary.encode_ordinary(rest[-1:] + "word and on"))
    )
    assert exact <= await tokenizer.count(f"word{run}word and on", "o200k_base") <= exact + 5


@pytest.mark.parametrize("blank", ["space", "mixed"])
async def test_three_million_blanks_count_as_three_times_a_million(blank: str) -> None:
    one = await tokenizer.count(BLANKS[blank], "o200k_base")
    three = await tokenizer.count(BLANKS[blank] * 3, "o200k_base")
    assert 3 * one - 10 <= three <= 3 * one + 10
    pieces, cut = await tokenizer.split(BLANKS[blank] * 3, "o200k_base", limit=1_000)
    assert (len(pieces), cut) == (1_000, True)


async def test_a_vocabulary_that_stands_a_million_blanks_counts_as_many() -> None:
    exact = len(tokenizer._encoding("cl100k_base").encode_ordinary(BLANKS["mixed"]))
    assert exact <= await tokenizer.count(BLANKS["mixed"], "cl100k_base") <= exact + 5


@pytest.mark.parametrize("text", ["^", "A", "中", "/", "0", "\u0301", "<|endoftext|>"])
async def test_endless_text_without_a_seam_counts_to_within_a_few_tokens(text: str) -> None:
    text *= 300_000 // len(text)
    exact = len(tokenizer._encoding("o200k_base").encode(text, disallowed_special=()))
    assert exact <= await tokenizer.count(text, "o200k_base") <= exact + 12


def test_what_tiktoken_panics_at_is_counted_in_halves(capfd: pytest.CaptureFixture[str]) -> None:
    text = "word" + BLANKS["space"] + "word"
    assert len(tokenizer._tokens(text, tokenizer._encoding("o200k_base"))) == MILLION // 128 + 4
    assert "panicked" in capfd.readouterr().err


def test_a_panic_that_nothing_helps_against_is_an_error_of_ours() -> None:
    class PanicException(BaseException):
        """As pyo3 names it, which keeps the class to itself."""

    class Panicking:
        def encode_ordinary(self, text: str) -> list[int]:
            raise PanicException(text)

    with pytest.raises(Uncountable, match="counted"):
        tokenizer._tokens("some text", Panicking())  # type: ignore[arg-type]  # as much of an encoding as is needed


def test_what_is_no_panic_is_not_taken_for_one() -> None:
    with pytest.raises(KeyboardInterrupt), tokenizer._PanicsTold():
        raise KeyboardInterrupt


@pytest.mark.parametrize("body", [rb'"\ud800"', rb'"a\udc00b"', rb'"\ud800\ud800"', rb'"\ud83dx"', b'"\xed\xa0\x80"'])
def test_bodies_bring_no_unpaired_surrogates(body: bytes) -> None:
    """Every text that is counted was decoded by msgspec."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        msgspec.json.decode(body, type=str)


@pytest.mark.parametrize("text", ["a\ud83d b", "\udc00" * 20_000, "\ud800word \udfff" * 20_000, "\ud83d\ude00" * 9])
async def test_unpaired_surrogates_count_as_what_replaces_them(text: str) -> None:
    replaced = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    exact = len(tokenizer._encoding("o200k_base").encode_ordinary(replaced))
    assert exact <= await tokenizer.count(text, "o200k_base") <= exact + 12


@given(st.text())
async def test_pieces_are_the_text_and_as_many_as_its_tokens(text: str) -> None:
    pieces, cut = await tokenizer.split(text, "o200k_base", limit=len(text) * 8)
    assert "".join(pieces) == text
    assert not cut
    assert len(pieces) == len(tokenizer._encoding("o200k_base").encode_ordinary(text))


async def test_a_limit_cuts_the_pieces() -> None:
    assert await tokenizer.split("Hello there friend", "o200k_base", limit=2) == (["Hello", " there"], True)
    assert (await tokenizer.split("Hello there", "o200k_base", limit=2))[1] is False


LONG = {
    "numbers": json.dumps(list(range(300_000))),
    "prose": "It was the best of times, it was the worst of times; “it” was. " * 30_000,
    "ideographs": jumbled("".join(map(chr, range(0x4E00, 0x9FFF))), 500_000),
    "blanks": " " * 1_500_000,
}


@pytest.mark.parametrize("text", LONG)
async def test_long_texts_are_counted_beside_the_event_loop(text: str) -> None:
    counting = asyncio.ensure_future(tokenizer.count_prompt(Prompt((LONG[text], "!"), 1, 0), "o200k_base"))
    waits, last = [], time.perf_counter()
    while not counting.done():
        await asyncio.sleep(0.001)
        waits.append(time.perf_counter() - last)
        last += waits[-1]
    assert (await counting).likely > 10_000
    assert sorted(waits)[len(waits) * 9 // 10] < 0.02


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
@pytest.mark.parametrize("alphabet", [
    "^", " ", "a", "A", "aB", "!?#", "0", "\n", " ^", "abcdefghijklmnopqrstuvwxyz", "\u3000", "\u0301", "é", "中文字",
    "🌍🎉", "\U00020000\U0002a000", "\ud800",
])  # fmt: skip
async def test_what_is_counted_on_the_event_loop_takes_a_few_milliseconds(name: str, alphabet: str) -> None:
    tokenizer._encoding(name)
    inline_max = tokenizer._INLINE_ASCII_MAX if alphabet.isascii() else tokenizer._INLINE_CHARACTERS_MAX
    text = jumbled(alphabet, inline_max)
    assert min([await seconds_to_count(text, name) for _ in range(5)]) < 0.01


async def seconds_to_count(text: str, name: str) -> float:
    started = time.thread_time()
    await tokenizer.count(text, name)
    return time.thread_time() - started


@given(st.lists(st.text(max_size=30), max_size=8))
async def test_the_texts_of_a_prompt_count_as_lines(texts: list[str]) -> None:
    count = await tokenizer.count("\n".join(texts), "o200k_base")
    assert await counted(Prompt(tuple(texts), messages=1, images=0)) == count + 7


async def test_long_texts_of_a_prompt_count_one_by_one() -> None:
    texts = ("It was the best of times. " * 5_000, "short", "", "the worst " * 20_000)
    lines = [await tokenizer.count(text, "o200k_base") for text in texts]
    assert abs(await counted(Prompt(texts, messages=2, images=0)) - (sum(lines) + len(lines) - 1 + 11)) <= 1


async def counted(prompt: Prompt) -> int:
    """The tokens of a prompt that leaves nothing to be estimated."""
    tokens = await tokenizer.count_prompt(prompt, "o200k_base")
    assert tokens.likely == tokens.most
    return tokens.likely


async def test_messages_and_token_ids_count_apart_from_their_text() -> None:
    text = await tokenizer.count("hi\nthere", "o200k_base")
    assert await counted(Prompt(("hi", "there"), messages=2, images=0)) == text + 11
    assert await counted(Prompt(("hi", "there"), messages=0, images=0, tokens=5)) == text + 5


async def test_images_and_files_are_added_to_what_is_counted() -> None:
    prompt = Prompt((), messages=1, images=2, blobs=(Blob(BlobKind.AUDIO, 3_000),))
    assert await tokenizer.count_prompt(prompt, "o200k_base") == estimates.prompt_tokens(prompt, counted=7)


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
