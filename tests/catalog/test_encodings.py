"""A model is counted in the vocabulary that tiktoken documents for its name."""

from datetime import UTC, datetime

import pytest
import tiktoken
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st
from tiktoken.model import MODEL_PREFIX_TO_ENCODING, MODEL_TO_ENCODING

from tollgate.catalog import known_providers, rules
from tollgate.catalog.encodings import CL100K_BASE, O200K_BASE, encoding_of
from tollgate.catalog.schemas import CreateModel

SHIPPED = {"o200k_base": O200K_BASE, "o200k_harmony": O200K_BASE, "cl100k_base": CL100K_BASE}
"""Harmony's texts are tokens of o200k_base; only its special tokens are others."""

NAMES = sorted(
    {name for name, encoding in MODEL_TO_ENCODING.items() if encoding in SHIPPED}
    | {prefix + "2024-08-06" for prefix in MODEL_PREFIX_TO_ENCODING if not prefix.startswith("ft:")}
)
LISTED = sorted(
    {known_providers.model_slug(provider.id, model.id) for provider in providers for model in provider.models}
)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_tiktoken_knows_has_the_encoding_it_tells(name: str) -> None:
    assert encoding_of(f"openai/{name}") == SHIPPED[tiktoken.encoding_name_for_model(name)]


def test_every_listed_name_tiktoken_knows_has_the_encoding_it_tells() -> None:
    """Of whatever author: several lists sell OpenAI's models under names of their own."""
    compared = 0
    for slug in LISTED:
        try:
            told = tiktoken.encoding_name_for_model(slug.rpartition("/")[2])
        except KeyError:
            continue
        if told in SHIPPED:
            assert encoding_of(slug) == SHIPPED[told], slug
            compared += 1
    assert compared > 50


@pytest.mark.parametrize(("slug", "encoding"), [
    ("openai/gpt-6.1-sol", O200K_BASE),
    ("openai/gpt-5.4-nano", O200K_BASE),
    ("openai/gpt-4.1-mini", O200K_BASE),
    ("openai/gpt-4.5-preview", O200K_BASE),
    ("openai/gpt-4o-mini", O200K_BASE),
    ("openai/chatgpt-4o-latest", O200K_BASE),
    ("openai/o4-mini-deep-research", O200K_BASE),
    ("openai/gpt-oss-120b", O200K_BASE),
    ("openai/gpt-4", CL100K_BASE),
    ("openai/gpt-4-turbo", CL100K_BASE),
    ("azure/gpt-35-turbo", CL100K_BASE),
    ("openai/gpt-3.5-0301", CL100K_BASE),
    ("openai/text-embedding-3-large", CL100K_BASE),
    ("openai/text-davinci-003", O200K_BASE),
    ("anthropic/claude-sonnet-4.5", O200K_BASE),
    ("google/gemini-3-pro", O200K_BASE),
    ("google/text-embedding-005", O200K_BASE),
    ("nobody/knows", O200K_BASE),
])  # fmt: skip
def test_the_encoding_of_a_model(slug: str, encoding: str) -> None:
    assert encoding_of(slug) == encoding


@given(st.text())
def test_every_model_has_an_encoding_that_is_shipped(slug: str) -> None:
    assert encoding_of(slug) in rules.TOKENIZERS


def test_what_nothing_is_known_of_has_the_default() -> None:
    assert encoding_of("") == O200K_BASE


@pytest.mark.parametrize(("slug", "given_tokenizer", "encoding"), [
    ("openai/gpt-4", None, CL100K_BASE),
    ("openai/gpt-4", O200K_BASE, O200K_BASE),
    ("acme/model", None, O200K_BASE),
])  # fmt: skip
def test_a_new_model_is_counted_in_its_own_encoding(slug: str, given_tokenizer: str | None, encoding: str) -> None:
    created = CreateModel(slug=slug, name="x", tokenizer=given_tokenizer)
    assert created.model(datetime(2026, 1, 1, tzinfo=UTC)).tokenizer == encoding
