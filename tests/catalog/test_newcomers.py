"""What a price list brings into the catalogue claims no more than is known."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import pytest
from openai.types.shared.chat_model import ChatModel
from openai.types.shared.responses_model import ResponsesModel

from tollgate.catalog import newcomers
from tollgate.catalog.known_providers import KNOWN, STOP_WHEN_CLOSED, provider_of
from tollgate.catalog.model import DataPolicy, Endpoint, Model
from tollgate.catalog.rules import PROTOCOLS, check_model
from tollgate.kit.ids import EndpointId

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def a_model(slug: str = "groq/llama-4") -> Model:
    return newcomers.model(slug, name="Llama 4", description="", now=NOW)


def an_endpoint(provider: str, upstream_model: str = "llama-4") -> Endpoint:
    return newcomers.endpoint(
        EndpointId(UUID(int=1)),
        model="groq/llama-4",
        provider=provider_of(provider, provider),
        upstream_model=upstream_model,
        context_length=8192,
    )


def test_what_a_model_reads_and_writes_is_not_known() -> None:
    model = a_model("groq/llama-4")

    assert (model.input_modalities, model.output_modalities) == ((), ())
    check_model(model)


def test_a_model_that_embeds_writes_vectors_alone() -> None:
    for slug in ("openai/text-embedding-3-large", "cohere/embed-v4.0", "doubleword/qwen3-embedding-8b"):
        model = a_model(slug)
        assert (model.input_modalities, model.output_modalities) == ((), ("embedding",))
    assert a_model("embedders/llama-4").output_modalities == ()


@pytest.mark.parametrize(
    ("provider", "name", "protocols"),
    [
        ("openai", "gpt-5.4", ("openai", "responses")),
        ("azure", "gpt-4o", ("openai", "responses")),
        ("openai", "text-embedding-3-small", ("embeddings",)),
        ("azure", "text-embedding-ada-002", ("embeddings",)),
        ("doubleword", "Qwen/Qwen3-Embedding-8B", ("embeddings",)),
        ("openai", "gpt-5-pro", ("responses",)),
        ("openai", "gpt-5.2-pro-2025-12-11", ("responses",)),
        ("openai", "gpt-5.1-codex-mini", ("responses",)),
        ("openai", "codex-mini-latest", ("responses",)),
        ("azure", "o4-mini-deep-research", ("responses",)),
        ("azure", "computer-use-preview", ("responses",)),
        ("openrouter", "openai/o3-pro", ("openai",)),
        ("groq", "llama-4", ("openai",)),
        ("anthropic", "claude-opus-5", ("anthropic",)),
        ("google", "gemini-3-pro", ("openai",)),
    ],
)
def test_an_endpoint_is_reached_as_its_provider_documents_for_the_model(
    provider: str, name: str, protocols: tuple[str, ...]
) -> None:
    assert an_endpoint(provider, name).protocols == protocols
    assert set(protocols) <= PROTOCOLS


def test_what_openai_lists_for_responses_alone_is_not_sent_to_chat() -> None:
    chat = set(get_args(ChatModel))
    alone = {name for part in get_args(ResponsesModel) for name in get_args(part)} - chat

    assert {name: an_endpoint("openai", name).protocols for name in alone} == dict.fromkeys(alone, ("responses",))
    for name in chat - {"gpt-5.2-pro", "gpt-5.2-pro-2025-12-11", "gpt-5.1-codex", "codex-mini-latest"}:
        assert an_endpoint("openai", name).protocols == ("openai", "responses"), name
    assert "o1-pro" in alone


def test_a_model_is_counted_in_the_vocabulary_of_its_name() -> None:
    assert a_model("openai/gpt-4-turbo").tokenizer == "cl100k_base"
    assert a_model("openai/gpt-5.4").tokenizer == a_model("groq/llama-4").tokenizer == "o200k_base"


def test_an_endpoint_claims_nothing_that_a_list_does_not_know() -> None:
    endpoint = an_endpoint("modal")

    assert (endpoint.max_output, endpoint.supported_parameters) == (None, ())
    assert endpoint.data_policy == DataPolicy()
    assert not endpoint.supports_cancel
    assert not endpoint.enabled


@pytest.mark.parametrize("provider", sorted(KNOWN))
def test_a_known_provider_is_ready_and_stops_only_if_that_is_known(provider: str) -> None:
    endpoint = an_endpoint(provider)

    assert endpoint.enabled
    assert endpoint.supports_cancel is (provider in STOP_WHEN_CLOSED)


@pytest.mark.parametrize("provider", ["aws", "google", "groq", "mistral", "perplexity", "nobody-knows"])
def test_a_provider_that_charges_on_is_not_said_to_stop(provider: str) -> None:
    assert not an_endpoint(provider).supports_cancel


def test_what_cannot_be_brought_in_has_a_reason() -> None:
    fine, at_google = an_endpoint("groq"), an_endpoint("google")

    assert newcomers.why_not(a_model(), fine, listed_as="llama-4") is None
    assert newcomers.why_not(a_model("openai/gpt-4.1-mini"), fine, listed_as="x") == "its page is kept by hand"
    assert newcomers.why_not(a_model(), at_google, listed_as="claude-5") == "another API of the provider serves it"
    assert newcomers.why_not(a_model(), at_google, listed_as="gemini-3") is None
    assert "author/name" in (newcomers.why_not(a_model("meta/llama:free"), fine, listed_as="llama:free") or "")
    unnamed = replace(fine, upstream_model="")
    assert "upstream_model" in (newcomers.why_not(a_model(), unnamed, listed_as="llama-4") or "")
