"""Providers of public price lists that we know how to reach: facts from their own documentation, one line each.

A list names more providers than we speak to. Those enter the catalogue as placeholders, whose address and credential an
operator can supply through the environment; their endpoints are disabled until then.
"""

import re
from collections.abc import Mapping

from tollgate.catalog import seed
from tollgate.catalog.model import Format, Provider


def _compatible(slug: str, name: str, base_url: str, credential: str) -> Provider:
    return Provider(slug, name, Format.OPENAI_COMPATIBLE, base_url, f"env:{credential}")


KNOWN: Mapping[str, Provider] = {
    provider.slug: provider
    for provider in (
        seed.OPENAI,
        seed.AZURE,
        seed.ANTHROPIC,
        Provider(
            slug="google",
            name="Google",
            format=Format.GEMINI,
            base_url="https://generativelanguage.googleapis.com/v1beta",
            credential="env:GEMINI_API_KEY",
        ),
        _compatible("avian", "Avian", "https://api.avian.io/v1", "AVIAN_API_KEY"),
        _compatible("baseten", "Baseten", "https://inference.baseten.co/v1", "BASETEN_API_KEY"),
        _compatible("cerebras", "Cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        _compatible("cohere", "Cohere", "https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
        _compatible("deepseek", "DeepSeek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        _compatible("fireworks", "Fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        _compatible("groq", "Groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        _compatible("minimax", "MiniMax", "https://api.minimax.io/v1", "MINIMAX_API_KEY"),
        _compatible("mistral", "Mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        _compatible("moonshotai", "Moonshot AI", "https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
        _compatible("novita", "Novita", "https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
        _compatible("openrouter", "OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        _compatible("perplexity", "Perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
        _compatible("together", "Together AI", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        _compatible("x-ai", "xAI", "https://api.x.ai/v1", "XAI_API_KEY"),
        _compatible("zai", "Z.AI", "https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
        _compatible("zhipuai", "Zhipu AI", "https://open.bigmodel.cn/api/paas/v4", "ZHIPUAI_API_KEY"),
    )
}

PROTOCOLS: Mapping[Format, tuple[str, ...]] = {
    Format.OPENAI: ("openai", "responses"),
    Format.AZURE_OPENAI: ("openai", "responses"),
    Format.ANTHROPIC: ("anthropic",),
    Format.GEMINI: ("openai",),
    Format.OPENAI_COMPATIBLE: ("openai",),
}
"""The client protocols nearest to what each format speaks, but for the models that `protocols_of` knows better."""

_OPENAI_OWN = frozenset({Format.OPENAI, Format.AZURE_OPENAI})
_RESPONSES_ONLY = re.compile(
    r"(o[0-9]|gpt-[0-9.]+)-pro(-.+)?|.*codex.*|.*-deep-research.*|computer-use.*"
    r"|gpt-daybreak-.+|gpt-.+-(cyber|astra-law)|gpt-.*rosalind.*"
)
"""OpenAI's models for Responses alone, as its API specification sets them apart from those for Chat Completions."""

STOP_WHEN_CLOSED = frozenset(
    {"anthropic", "azure", "cohere", "deepseek", "deepinfra", "fireworks", "openai", "together", "x-ai"}
)
"""Providers that stop, and stop charging, when the connection of a stream closes, as lists of gateways publish them.

AWS Bedrock, Google, Groq, Mistral and Perplexity charge for the whole answer. Any other is taken to do so too: to wait
for an answer that nobody reads costs little, to charge a customer for half of what the provider charges costs the rest.
"""

_THINKING = re.compile(r"(^|/)(o[1-9]|gpt-[5-9]|gpt-oss|grok-[4-9])|think|reason|-r[1-9]\b|magistral|qwq")
"""As the houses name their thinking models in their documentation."""

_SERVES = {"google": ("gemini-", "gemma-")}
"""Where a list mixes several APIs of one house: the beginnings of the names that the known one serves."""


def serves(provider: str, model: str) -> bool:
    """Whether the API we know of the provider is the one that serves this model."""
    return model.startswith(_SERVES.get(provider, ""))


def is_embedding(name: str) -> bool:
    """Whether a model of this name, a provider's or ours, turns texts into vectors, which is all that it does."""
    return "embed" in name.rpartition("/")[2].lower()


def protocols_of(provider: Provider, name: str) -> tuple[str, ...]:
    """How a model can be reached that the provider knows by this name."""
    if is_embedding(name):
        return ("embeddings",)
    if provider.format in _OPENAI_OWN and _RESPONSES_ONLY.fullmatch(name):
        return ("responses",)
    return PROTOCOLS[provider.format]


def thinks_unseen(model: str) -> bool:
    """Whether a model, to go by its name, thinks before it speaks and is not known to show all of it.

    Its provider has charged for thoughts by the first word; only its usage tells how many, so it is read to the end.
    """
    return _THINKING.search(model.lower()) is not None


def provider_of(slug: str, name: str) -> Provider:
    """The provider as we know it, or a placeholder that reads its address and key from the environment."""
    variable = re.sub(r"[^A-Z0-9]", "_", slug.upper())
    placeholder = Provider(
        slug=slug,
        name=name,
        format=Format.OPENAI_COMPATIBLE,
        base_url=f"env:{variable}_BASE_URL",
        credential=f"env:{variable}_API_KEY",
    )
    return KNOWN.get(slug, placeholder)


def model_slug(provider: str, model: str) -> str:
    """Our slug for a provider's model: its own `author/name` if it has that form, else the provider is the author."""
    return (model if "/" in model else f"{provider}/{model}").lower()
