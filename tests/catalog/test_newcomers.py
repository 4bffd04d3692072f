"""What a price list brings into the catalogue claims no more than is known."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tollgate.catalog import newcomers
from tollgate.catalog.known_providers import KNOWN, STOP_WHEN_CLOSED, provider_of
from tollgate.catalog.model import DataPolicy, Endpoint, Model
from tollgate.kit.ids import EndpointId
from tollgate.kit.tokens import Kind

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def a_model(slug: str = "groq/llama-4", *priced: Kind) -> Model:
    return newcomers.model(slug, name="Llama 4", description="", priced=priced, now=NOW)


def an_endpoint(provider: str) -> Endpoint:
    return newcomers.endpoint(
        EndpointId(UUID(int=1)),
        model="groq/llama-4",
        provider=provider_of(provider, provider),
        upstream_model="llama-4",
        context_length=8192,
    )


def test_a_model_reads_and_writes_text_and_what_is_priced() -> None:
    model = a_model("groq/llama-4", Kind.PROMPT, Kind.INPUT_IMAGE, Kind.OUTPUT_AUDIO)

    assert (model.input_modalities, model.output_modalities) == (("text", "image"), ("text", "audio"))


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
