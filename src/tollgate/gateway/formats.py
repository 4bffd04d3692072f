"""Formats: which translators there are, and which wire formats an endpoint speaks. Pure."""

from collections.abc import Mapping

from tollgate.catalog.model import Endpoint, Format, Provider
from tollgate.gateway.model import Wire
from tollgate.gateway.protocols import anthropic_messages, openai_chat, openai_embeddings, openai_responses
from tollgate.gateway.providers import anthropic, gemini
from tollgate.gateway.providers import openai_chat as upstream_chat
from tollgate.gateway.providers import openai_embeddings as upstream_embeddings
from tollgate.gateway.providers import openai_responses as upstream_responses
from tollgate.gateway.translation import ClientFormat, ConversationalClient, ConversationalProvider, PassingProvider

CLIENTS: Mapping[Wire, ClientFormat] = {
    Wire.CHAT: openai_chat,
    Wire.RESPONSES: openai_responses,
    Wire.MESSAGES: anthropic_messages,
    Wire.EMBEDDINGS: openai_embeddings,
}
"""What clients may speak."""
CONVERSING: Mapping[Wire, ConversationalClient] = {
    Wire.CHAT: openai_chat,
    Wire.RESPONSES: openai_responses,
    Wire.MESSAGES: anthropic_messages,
}
"""Those of them whose calls stream, and can be translated."""
PASSING: Mapping[Wire, PassingProvider] = {
    Wire.CHAT: upstream_chat,
    Wire.RESPONSES: upstream_responses,
    Wire.MESSAGES: anthropic,
    Wire.EMBEDDINGS: upstream_embeddings,
}
"""What providers speak that clients speak as well."""
ANSWERING: Mapping[Wire, ConversationalProvider] = {
    Wire.CHAT: upstream_chat,
    Wire.RESPONSES: upstream_responses,
    Wire.MESSAGES: anthropic,
    Wire.GENERATE_CONTENT: gemini,
}
"""What providers speak that conversations can be translated to."""

_NATIVE: Mapping[Format, tuple[Wire, ...]] = {
    Format.ANTHROPIC: (Wire.MESSAGES,),
    Format.GEMINI: (Wire.GENERATE_CONTENT,),
    Format.SANDBOX: (Wire.CHAT, Wire.EMBEDDINGS),
}
"""What providers of these formats speak, whatever their endpoints say."""
_EMBEDDINGS_ALONE = ("embeddings",)
_OPENAI_OWN = frozenset({Format.OPENAI, Format.AZURE_OPENAI})


def wires_of(endpoint: Endpoint, provider: Provider) -> tuple[Wire, ...]:
    """The wire formats that an endpoint speaks; the first is the one to translate to.

    With OpenAI's formats the endpoint's `protocols` say which: `openai` is Chat Completions, and at OpenAI itself and
    Azure, which serve every model of theirs both ways, Responses as well. What is listed for embeddings alone holds no
    conversations, and speaks nothing where its provider's format has no embeddings here.
    """
    native = _NATIVE.get(provider.format)
    if native is not None:
        return tuple(wire for wire in native if wire is Wire.EMBEDDINGS or endpoint.protocols != _EMBEDDINGS_ALONE)
    chat, responses = "openai" in endpoint.protocols, "responses" in endpoint.protocols
    spoken = (
        (Wire.CHAT, chat),
        (Wire.RESPONSES, responses or (chat and provider.format in _OPENAI_OWN)),
        (Wire.EMBEDDINGS, chat or "embeddings" in endpoint.protocols),
    )
    return tuple(wire for wire, applies in spoken if applies)
