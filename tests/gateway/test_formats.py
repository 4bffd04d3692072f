"""Formats: an endpoint speaks what its provider's format and its own protocols say."""

import pytest
from tests.gateway.builders import a_provider, an_endpoint

from tollgate.catalog.model import Format
from tollgate.gateway.formats import wires_of
from tollgate.gateway.model import Wire

CHAT, RESPONSES, EMBEDDINGS = Wire.CHAT, Wire.RESPONSES, Wire.EMBEDDINGS


@pytest.mark.parametrize(("speaks", "protocols", "wires"), [
    (Format.OPENAI, ("openai",), (CHAT, RESPONSES, EMBEDDINGS)),
    (Format.OPENAI_COMPATIBLE, ("openai",), (CHAT, EMBEDDINGS)),
    (Format.OPENAI_COMPATIBLE, ("responses",), (RESPONSES,)),
    (Format.OPENAI, ("embeddings",), (EMBEDDINGS,)),
    (Format.AZURE_OPENAI, ("embeddings",), (EMBEDDINGS,)),
    (Format.ANTHROPIC, ("anthropic",), (Wire.MESSAGES,)),
    (Format.GEMINI, ("gemini",), (Wire.GENERATE_CONTENT,)),
    (Format.SANDBOX, ("openai", "anthropic"), (CHAT, EMBEDDINGS)),
])  # fmt: skip
def test_an_endpoint_speaks_what_is_listed(speaks: Format, protocols: tuple[str, ...], wires: tuple[Wire, ...]) -> None:
    assert wires_of(an_endpoint(protocols=protocols), a_provider(format=speaks)) == wires


@pytest.mark.parametrize(("speaks", "wires"), [
    (Format.GEMINI, ()), (Format.ANTHROPIC, ()), (Format.SANDBOX, (EMBEDDINGS,)), (Format.OPENAI, (EMBEDDINGS,)),
])  # fmt: skip
def test_what_is_for_embeddings_alone_holds_no_conversation(speaks: Format, wires: tuple[Wire, ...]) -> None:
    assert wires_of(an_endpoint(protocols=("embeddings",)), a_provider(format=speaks)) == wires
