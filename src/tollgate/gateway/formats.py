"""Formats: which translators there are, and which wire formats an endpoint speaks. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from tollgate.catalog.model import Endpoint, Format, Provider
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import Feature
from tollgate.gateway.protocols import anthropic_messages, openai_chat, openai_embeddings, openai_responses
from tollgate.gateway.providers import anthropic, gemini
from tollgate.gateway.providers import openai_chat as upstream_chat
from tollgate.gateway.providers import openai_embeddings as upstream_embeddings
from tollgate.gateway.providers import openai_responses as upstream_responses
from tollgate.gateway.translation import (
    ClientFormat,
    ConversationalClient,
    ConversationalProvider,
    PassingProvider,
    ProviderFormat,
)

Named = TypeVar("Named", bound=ClientFormat | ProviderFormat)


def _by_wire(*modules: Named) -> Mapping[Wire, Named]:
    return {module.WIRE: module for module in modules}


CONVERSING: Mapping[Wire, ConversationalClient] = _by_wire(openai_chat, openai_responses, anthropic_messages)
"""What clients may speak whose calls stream, and can be translated."""
CLIENTS: Mapping[Wire, ClientFormat] = {**CONVERSING, **_by_wire(openai_embeddings)}
"""What clients may speak."""
PASSING: Mapping[Wire, PassingProvider] = _by_wire(
    upstream_chat, upstream_responses, anthropic, upstream_embeddings,
)  # fmt: skip
"""What providers speak that clients speak as well."""
ANSWERING: Mapping[Wire, ConversationalProvider] = _by_wire(upstream_chat, upstream_responses, anthropic, gemini)
"""What providers speak that conversations can be translated to."""

_NATIVE: Mapping[Format, tuple[Wire, ...]] = {
    Format.ANTHROPIC: (Wire.MESSAGES,),
    Format.GEMINI: (Wire.GENERATE_CONTENT,),
    Format.SANDBOX: (Wire.CHAT, Wire.EMBEDDINGS),
}
"""What providers of these formats speak, whatever their endpoints say."""
_OPENAI_OWN = frozenset({Format.OPENAI, Format.AZURE_OPENAI})


def wires_of(endpoint: Endpoint, provider: Provider) -> tuple[Wire, ...]:
    """The wire formats that an endpoint speaks; the first is the one to translate to.

    With OpenAI's formats the endpoint's `protocols` say which: `openai` is Chat Completions, and at OpenAI itself and
    Azure, which serve every model of theirs both ways, Responses as well. What is listed for embeddings alone holds no
    conversations, and speaks nothing where its provider's format has no embeddings here.
    """
    native = _NATIVE.get(provider.format)
    if native is not None:
        return tuple(wire for wire in native if wire is Wire.EMBEDDINGS or endpoint.writes)
    chat, responses = "openai" in endpoint.protocols, "responses" in endpoint.protocols
    spoken = (
        (Wire.CHAT, chat),
        (Wire.RESPONSES, responses or (chat and provider.format in _OPENAI_OWN)),
        (Wire.EMBEDDINGS, chat or "embeddings" in endpoint.protocols),
    )
    return tuple(wire for wire, applies in spoken if applies)


def expressed(wire: Wire, provider: Provider) -> frozenset[Feature]:
    """What can be said to a provider in a format; OpenAI's own servers refuse one setting that those like them take."""
    said = ANSWERING[wire].EXPRESSES
    return said - {Feature.TOP_K} if provider.format in _OPENAI_OWN else said
