"""Embeddings as providers answer them: all usage is prompt, and nothing they say raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.builders import a_candidate
from tests.gateway.corpus import Entry, entries

from tollgate.catalog.model import Format
from tollgate.gateway.model import Access, Wire
from tollgate.gateway.protocols import openai_embeddings as client
from tollgate.gateway.providers import openai_embeddings
from tollgate.kit.tokens import Kind

ACCESS = Access("https://api.test/v1", "secret")
DATA = [{"object": "embedding", "index": 0, "embedding": [0.5]}]


def answer(**fields: Any) -> bytes:
    return json.dumps({"object": "list", "data": DATA, **fields}).encode()


@pytest.mark.parametrize("entry", entries(Wire.EMBEDDINGS), ids=lambda entry: entry.name)
def test_the_corpus_is_read_as_documented(entry: Entry) -> None:
    assert entry.whole is not None
    read = openai_embeddings.read_answer(entry.whole)
    assert read is not None
    assert read.usage is not None
    assert dict(read.usage.quantities) == entry.quantities
    assert read.usage.anomalous is entry.expected.get("anomalous", False)
    assert (read.usage.prompt_known, read.usage.completion_known, read.usage.unknown) == (True, True, ())
    assert (read.finish_reason, read.native_finish_reason, read.text, read.error) == (None, None, "", None)


def test_a_request_passes_under_the_providers_name_for_the_model() -> None:
    request = client.decode(b'{"model":"acme/embedder","input":["\\u00e9"],"user":"u","dimensions":64}')
    candidate = a_candidate(upstream_model="embedder-1")
    sent = openai_embeddings.passed_request(request, candidate, access=ACCESS, output_cap=5)
    assert sent.url == "https://api.test/v1/embeddings"
    assert sent.headers["authorization"] == "Bearer secret"
    assert sent.body == b'{"model":"embedder-1","input":["\\u00e9"],"dimensions":64}'
    assert sent.stream is False


def test_azure_has_them_below_its_resource() -> None:
    request = client.decode(b'{"model":"acme/embedder","input":"a"}')
    candidate = a_candidate(speaks=Format.AZURE_OPENAI)
    sent = openai_embeddings.passed_request(request, candidate, access=ACCESS, output_cap=None)
    assert (sent.url, sent.headers["api-key"]) == ("https://api.test/v1/openai/v1/embeddings", "secret")


@pytest.mark.parametrize("data", [None, [], {}, "a", 5])
def test_no_embeddings_are_no_answer(data: Any) -> None:
    assert openai_embeddings.read_answer(answer(data=data)) is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"usage":{"prompt_tokens":5}}', b'{"data":[1'])
def test_what_is_no_answer_is_none(body: bytes) -> None:
    assert openai_embeddings.read_answer(body) is None


def test_an_error_inside_an_answer_is_told() -> None:
    read = openai_embeddings.read_answer(b'{"error":{"message":"Overloaded"}}')
    assert read is not None
    assert (read.error, read.usage) == ("Overloaded", None)


@pytest.mark.parametrize("usage", [None, 5, {}, {"prompt_tokens": None}, {"prompt_tokens": "7"}, {"prompt_tokens": -1}])
def test_odd_usage_is_no_usage(usage: Any) -> None:
    read = openai_embeddings.read_answer(answer(usage=usage))
    assert read is not None
    assert read.usage is None


def test_a_total_that_differs_is_an_anomaly() -> None:
    read = openai_embeddings.read_usage({"prompt_tokens": 7, "total_tokens": 9})
    assert read is not None
    assert (dict(read.quantities), read.anomalous) == ({Kind.PROMPT: 7}, True)


def test_counts_nobody_knows_are_named() -> None:
    read = openai_embeddings.read_usage({"prompt_tokens": 7, "completion_tokens": 2, "search_units": 0})
    assert read is not None
    assert read.unknown == ("completion_tokens",)


def test_a_refusal_in_the_providers_words_is_read() -> None:
    assert openai_embeddings.read_error(b'{"error":{"message":"Too long"}}') == "Too long"
    assert openai_embeddings.read_error(b"<html>") is None


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=60) | st.fixed_dictionaries({}, optional={
    "data": JSON, "usage": JSON, "error": JSON, "id": JSON, "service_tier": JSON,
}).map(lambda value: json.dumps(value).encode()))  # fmt: skip
@settings(max_examples=100)
def test_no_answer_raises_anything(body: bytes) -> None:
    openai_embeddings.read_answer(body)
    openai_embeddings.read_error(body)
