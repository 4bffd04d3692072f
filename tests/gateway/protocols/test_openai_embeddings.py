"""OpenAI's embeddings protocol, as clients speak it: what is read of a body, and what an answer is given on its way."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.builders import a_receipt

from tollgate.gateway.model import Preferences
from tollgate.gateway.protocols import openai_embeddings
from tollgate.gateway.protocols.openai_embeddings import decode
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.tokens import Kind

RECEIPT = a_receipt({Kind.PROMPT: 7}, model="acme/embedder")
ANSWER = (
    b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0100,-1E-3]}],"model":"their-name"%s}'
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "acme/embedder", "input": "hi", **fields}).encode()


@pytest.mark.parametrize(("said", "meant", "texts", "tokens"), [
    ("hi", ("hi",), ("hi",), 0),
    (["hi", "you"], ("hi", "you"), ("hi", "you"), 0),
    (['"', '\\"\\'], ('"', '\\"\\'), ('"', '\\"\\'), 0),
    ([1, 0, 5], ((1, 0, 5),), (), 3),
    ([[1, 0], [5]], ((1, 0), (5,)), (), 3),
])  # fmt: skip
def test_the_input_has_four_forms(said: Any, meant: Any, texts: tuple[str, ...], tokens: int) -> None:
    request = decode(body(input=said))
    assert openai_embeddings.inputs(request) == meant
    assert (request.prompt.texts, request.prompt.tokens) == (texts, tokens)
    assert (request.prompt.messages, request.prompt.images) == (0, 0)


def test_a_plain_body_says_what_is_asked_for_and_nothing_else() -> None:
    request = decode(body())
    assert (request.models, request.stream, request.include_usage) == (("acme/embedder",), False, False)
    assert (request.max_tokens, request.choices, request.service_tier) == (None, 0, None)
    assert (request.parameters, request.preferences) == (frozenset(), Preferences())
    assert (openai_embeddings.dimensions(request), openai_embeddings.encoding_format(request)) == (None, "float")


def test_fields_for_the_gateway_are_read_and_kept_from_the_provider() -> None:
    request = decode(body(
        models=["acme/other"], user="u", provider={"only": ["acme"]}, dimensions=64, encoding_format="base64"
    ))  # fmt: skip
    assert request.models == ("acme/embedder", "acme/other")
    assert (request.attribution.user, request.preferences.only) == ("u", ("acme",))
    assert set(request.fields) == {"model", "input", "dimensions", "encoding_format"}
    assert request.parameters == {"dimensions"}
    assert (openai_embeddings.dimensions(request), openai_embeddings.encoding_format(request)) == (64, "base64")


def test_a_field_nobody_knows_counts_as_prompt() -> None:
    assert decode(body(instruction="find cats")).prompt.texts == ("hi", "find cats")


@pytest.mark.parametrize(("fields", "field"), [
    ({"Input": "b"}, "Input"),
    ({"input": None}, "input"), ({"input": []}, "input"), ({"input": [[]]}, "input"), ({"input": [[1], []]}, "input"),
    ({"input": [1, "a"]}, "input"), ({"input": ["a", 1]}, "input"), ({"input": [1, [1]]}, "input"),
    ({"input": [-1]}, "input"), ({"input": [1.5]}, "input"), ({"input": [True]}, "input"), ({"input": {}}, "input"),
    ({"input": ["a"] * 2_049}, "input"), ({"input": [[1]] * 2_049}, "input"), ({"input": [1] * 500_001}, "input"),
    ({"input": [{"text": "a"}]}, "input"), ({"model": None}, "model"), ({"stream": True}, "stream"),
    ({"dimensions": 0}, "dimensions"), ({"dimensions": "64"}, "dimensions"),
    ({"encoding_format": "hex"}, "encoding_format"), ({"provider": {"sort": "size"}}, "provider.sort"),
])  # fmt: skip
def test_what_means_nothing_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(body(**fields))
    assert refused.value.field == field


def test_as_many_inputs_as_openai_takes_are_taken() -> None:
    assert len(openai_embeddings.inputs(decode(body(input=["a\\"] * 2_048)))) == 2_048


def test_an_answer_keeps_every_byte_of_its_embeddings() -> None:
    given_back = openai_embeddings.passed_answer(ANSWER % b',"usage":{"prompt_tokens":7,"total_tokens":7}', RECEIPT)
    assert b'"embedding":[0.0100,-1E-3]' in given_back
    told = json.loads(given_back, parse_float=str)
    assert (told["model"], told["provider"]) == ("acme/embedder", "acme")
    assert told["usage"] == {
        "prompt_tokens": 7,
        "total_tokens": 7,
        "cost": "0.0000007",
        "cost_details": [
            {"kind": "prompt", "quantity": 7, "unit": "per_million_tokens", "unit_price": "0.1", "amount": "0.0000007"}
        ],
    }


@pytest.mark.parametrize("usage", [b"", b',"usage":null', b',"usage":5', b',"usage":{"total_tokens":99}'])
def test_what_we_counted_ourselves_is_told(usage: bytes) -> None:
    told = json.loads(openai_embeddings.passed_answer(ANSWER % usage, RECEIPT._replace(estimated=True)))
    assert (told["usage"]["prompt_tokens"], told["usage"]["total_tokens"]) == (7, 7)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: body(input=value))
    | JSON.map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=100)
def test_no_body_raises_anything_but_our_error(given_body: bytes) -> None:
    with suppress(InvalidRequest):
        openai_embeddings.inputs(decode(given_body))
