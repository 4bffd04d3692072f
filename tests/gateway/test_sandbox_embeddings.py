"""The sandbox's embeddings: always the same, of length one, and the same numbers in either encoding."""

import base64
import json
import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.gateway import sandbox_embeddings
from tollgate.gateway.protocols import openai_embeddings
from tollgate.gateway.protocols.openai_embeddings import Input
from tollgate.gateway.providers import openai_embeddings as upstream

INPUTS = st.lists(
    st.text(max_size=8) | st.lists(st.integers(0, 200_000), min_size=1, max_size=4).map(tuple), max_size=4
)


@given(INPUTS, st.integers(1, 300))
@settings(max_examples=50)
def test_equal_inputs_have_equal_vectors_of_length_one(inputs: list[Input], dimensions: int) -> None:
    vectors = sandbox_embeddings.embed(inputs, dimensions=dimensions)
    assert vectors == sandbox_embeddings.embed(inputs, dimensions=dimensions)
    for vector in vectors:
        assert len(vector) == dimensions
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


def test_vectors_never_change() -> None:
    assert sandbox_embeddings.embed(["hello"], dimensions=2) == [[0.4657903015613556, 0.8848951458930969]]


def test_different_inputs_have_different_vectors() -> None:
    inputs: list[Input] = ["hello", "hello ", "1 2", (1, 2), (12,), ""]
    vectors = sandbox_embeddings.embed(inputs)
    alike = [
        abs(sum(a * b for a, b in zip(one, other, strict=True)))
        for number, one in enumerate(vectors)
        for other in vectors[:number]
    ]
    assert max(alike) < 0.3


@pytest.mark.parametrize("given_input", ["hello", ["hello", "you"], [1, 2], [[1, 2], [3]]])
def test_an_answer_has_the_same_numbers_in_either_encoding(given_input: object) -> None:
    fields = {"model": "tollgate/sandbox", "input": given_input, "dimensions": 8}
    plain, packed = (
        json.loads(_answer(**fields, encoding_format=encoding))["data"] for encoding in ("float", "base64")
    )
    assert [item["index"] for item in plain] == [item["index"] for item in packed] == list(range(len(plain)))
    for floats, text in zip(plain, packed, strict=True):
        assert struct.unpack("<8f", base64.b64decode(text["embedding"])) == tuple(floats["embedding"])


def test_an_answer_is_read_as_any_providers() -> None:
    read = upstream.read_answer(_answer(model="tollgate/sandbox", input="hello"))
    assert read is not None
    assert read.usage is not None
    assert (read.usage.quantities.prompt_tokens, read.usage.quantities.completion_tokens) == (7, 0)


def test_no_answer_is_longer_than_the_sandbox_makes_them() -> None:
    answer = json.loads(_answer(model="tollgate/sandbox", input="hello", dimensions=10**6))
    assert len(answer["data"][0]["embedding"]) == sandbox_embeddings.DIMENSIONS_MAX


def _answer(**fields: object) -> bytes:
    return sandbox_embeddings.answer(openai_embeddings.decode(json.dumps(fields).encode()), prompt_tokens=7)
