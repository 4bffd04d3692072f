"""Tally: files count by their size and kind in every format, what goes with them as text, and nothing hides."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway.model import Blob, BlobKind, Prompt
from tollgate.gateway.protocols.tally import Tally, first_byte, media_kind, text_in, words_of

DATA = base64.b64encode(b"x" * 3_000).decode()
WORDS = "secret words here " * 20
AUDIO, DOCUMENT = Blob(BlobKind.AUDIO, 3_000), Blob(BlobKind.DOCUMENT, 3_000)
TEXT, IMAGE = Blob(BlobKind.TEXT, 3_000), Blob(BlobKind.IMAGE, 3_000)


def tallied(*parts: Any) -> Prompt:
    tally = Tally()
    tally.content(msgspec.Raw(json.dumps(parts).encode()))
    return tally.prompt(1)


def url(media_type: str) -> str:
    return f"data:{media_type};base64,{DATA}"


def source(media_type: str) -> dict[str, str]:
    return {"type": "base64", "media_type": media_type, "data": DATA}


@pytest.mark.parametrize(("part", "blob", "texts"), [
    ({"type": "input_audio", "input_audio": {"data": DATA, "format": "mp3"}}, AUDIO, ("mp3",)),
    ({"type": "file", "file": {"file_data": url("application/pdf"), "filename": "a.pdf"}}, DOCUMENT,
     ("a.pdf", "data:application/pdf;base64")),
    ({"type": "file", "file": {"file_data": DATA}}, DOCUMENT, ()),
    ({"type": "file", "file": {"file_data": url("audio/wav")}}, AUDIO, ("data:audio/wav;base64",)),
    ({"type": "file", "file": {"file_data": url("text/csv")}}, TEXT, ("data:text/csv;base64",)),
    ({"type": "file", "file": {"file_data": url("image/png")}}, IMAGE, ("data:image/png;base64",)),
    ({"type": "input_file", "file_data": url("application/pdf"), "filename": "b.pdf"}, DOCUMENT,
     ("b.pdf", "data:application/pdf;base64")),
    ({"type": "input_file", "file_data": DATA}, DOCUMENT, ()),
    ({"type": "document", "source": source("application/pdf"), "title": "t", "context": "c"}, DOCUMENT,
     ("t", "c", "application/pdf")),
    ({"type": "document", "source": source("text/plain"), "cache_control": {"type": "ephemeral"}}, TEXT,
     ("text/plain",)),
    ({"type": "image_url", "image_url": {"url": url("application/pdf")}}, DOCUMENT, ("data:application/pdf;base64",)),
    ({"type": "image_url", "image_url": url("video/mp4")}, AUDIO, ("data:video/mp4;base64",)),
    ({"type": "input_image", "image_url": url("text/plain")}, TEXT, ("data:text/plain;base64",)),
    ({"type": "image", "source": source("application/pdf")}, DOCUMENT, ("application/pdf",)),
])  # fmt: skip
def test_a_file_counts_by_its_kind_and_size_and_the_rest_as_text(
    part: dict[str, Any], blob: Blob, texts: tuple[str, ...]
) -> None:
    assert tallied(part) == Prompt(texts, messages=1, images=0, blobs=(blob,))


@pytest.mark.parametrize("part", [
    {"type": "image_url", "image_url": {"url": url("image/png"), "detail": "high"}},
    {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
    {"type": "image_url", "image_url": url("IMAGE/JPEG")},
    {"type": "input_image", "image_url": url("image/webp")},
    {"type": "input_image", "file_id": "file-1"},
    {"type": "image", "source": source("image/gif")},
    {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
    {"type": "image_url"},
])  # fmt: skip
def test_a_picture_is_a_lump(part: dict[str, Any]) -> None:
    assert tallied(part) == Prompt((), messages=1, images=1)


@pytest.mark.parametrize("given_source", [
    {"type": "text", "media_type": "text/plain", "data": WORDS},
    {"type": "content", "content": WORDS},
    {"type": "content", "content": [{"type": "text", "text": WORDS}]},
])  # fmt: skip
def test_a_document_that_is_text_counts_as_text(given_source: dict[str, Any]) -> None:
    prompt = tallied({"type": "document", "source": given_source})
    assert WORDS in prompt.texts
    assert not prompt.blobs


def test_pictures_in_a_document_are_lumps_and_documents_in_it_their_json() -> None:
    inner = {"type": "document", "source": source("application/pdf")}
    parts = [{"type": "image", "source": source("image/png")}, inner]
    prompt = tallied({"type": "document", "source": {"type": "content", "content": parts}})
    assert prompt == Prompt((json.dumps(inner),), messages=1, images=1)


HIDEOUTS: tuple[dict[str, Any], ...] = (
    {"type": "input_audio", "input_audio": {"data": WORDS, "format": "mp3"}},
    {"type": "input_audio", "input_audio": {"data": DATA, "format": WORDS}},
    {"type": "input_audio", "input_audio": {"data": DATA, "more": {"x": WORDS}}},
    {"type": "input_audio", "input_audio": {"data": [WORDS]}},
    {"type": "input_audio", "input_audio": WORDS},
    {"type": "input_audio", "input_audio": {"data": DATA}, "text": WORDS},
    {"type": "file", "file": {"file_data": f"data:text/plain,{WORDS}"}},
    {"type": "file", "file": {"file_data": f"data:{WORDS};base64,{DATA}"}},
    {"type": "file", "file": {"file_data": url("text/plain") + WORDS}},
    {"type": "file", "file": {"file_data": DATA, "filename": WORDS}},
    {"type": "file", "file": {"file_url": WORDS}},
    {"type": "file", "file_data": WORDS},
    {"type": "input_file", "file_data": DATA, "file_url": WORDS},
    {"type": "input_file", "input_file": {"file_data": WORDS}},
    {"type": "document", "source": {**source("application/pdf"), "data": WORDS}},
    {"type": "document", "source": {**source("application/pdf"), "media_type": WORDS}},
    {"type": "document", "source": {**source("application/pdf"), "more": WORDS}},
    {"type": "document", "source": {"type": WORDS}},
    {"type": "document", "source": {"type": "url", "url": WORDS}},
    {"type": "document", "source": {"type": "content", "content": {"x": WORDS}}},
    {"type": "document", "source": WORDS},
    {"type": "document", "title": WORDS, "source": source("application/pdf")},
    {"type": "image", "source": {**source(WORDS)}},
    {"type": "image_url", "image_url": url(WORDS)},
    {"type": "image_url", "image_url": "x", "text": WORDS},
    {"type": WORDS, "data": DATA},
)


@pytest.mark.parametrize("part", HIDEOUTS)
def test_no_words_hide_beside_a_file_or_in_its_place(part: dict[str, Any]) -> None:
    assert WORDS in "\n".join(tallied(part).texts)


@pytest.mark.parametrize("part", [
    {"type": "video_url", "video_url": {"url": url("video/mp4")}},
    {"type": "novel", "data": DATA},
])  # fmt: skip
def test_what_is_not_known_counts_as_its_json(part: dict[str, Any]) -> None:
    assert tallied(part) == Prompt((json.dumps(part),), messages=1, images=0)


@given(st.binary(min_size=1, max_size=200), st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_data_in_base64_is_no_smaller_than_it_is(data: bytes, encode: Any) -> None:
    [blob] = tallied({"type": "input_file", "file_data": encode(data).decode()}).blobs
    assert len(data) <= blob.size <= len(data) + 2


@pytest.mark.parametrize(("media_type", "kind"), [
    ("audio/mpeg", BlobKind.AUDIO),
    ("TEXT/Markdown; charset=utf-8", BlobKind.TEXT),
    ("application/json", BlobKind.TEXT),
    ("image/svg+xml", BlobKind.TEXT),
    ("image/png", BlobKind.IMAGE),
    ("application/pdf", BlobKind.DOCUMENT),
    ("", BlobKind.DOCUMENT),
])  # fmt: skip
def test_the_media_type_tells_the_kind(media_type: str, kind: BlobKind) -> None:
    assert media_kind(media_type) is kind


def test_the_first_byte_tells_a_texts_form() -> None:
    raws = [msgspec.Raw(text) for text in (b'"a"', b"null", b'{"a":1}', b"12")]
    assert [first_byte(raw) for raw in raws] == [b'"', b"n", b"{", b"1"]
    assert [text_in(raw) for raw in raws] == ["a", "", '{"a":1}', "12"]


@pytest.mark.parametrize(("part", "words"), [
    (b'"a"', "a"), (b'{"type":"text","text":"b"}', "b"), (b'{"type":"image"}', None), (b'{"type":"text"}', None),
])  # fmt: skip
def test_the_words_of_a_part_are_a_texts(part: bytes, words: str | None) -> None:
    assert words_of(msgspec.Raw(part)) == words
