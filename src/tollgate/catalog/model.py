"""The catalogue as values: models, providers, endpoints, and the snapshot of them all that routing reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from tollgate.kit.ids import EndpointId


class Format(StrEnum):
    """What a provider's API speaks; each has a translator in the gateway."""

    OPENAI = "openai"
    AZURE_OPENAI = "azure_openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    OPENAI_COMPATIBLE = "openai_compatible"
    SANDBOX = "sandbox"
    """Served inside the gateway; there is nothing to connect to."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Who serves models. A credential is never stored, only the name of the variable that holds it."""

    slug: str
    name: str
    format: Format
    base_url: str | None
    """What precedes an operation's path, as in `https://api.openai.com/v1`; or `env:…_BASE_URL` or `env:…_ENDPOINT`;
    `None` for the sandbox."""
    credential: str | None = None
    """`env:…_API_KEY` or `env:…_API_TOKEN`, the variable that holds the key; `None` if the provider asks for none."""
    status_page: str | None = None
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """What callers ask for. The slug is `author/name` and never changes."""

    slug: str
    name: str
    description: str
    input_modalities: tuple[str, ...]
    """In the words of `rules.MODALITIES`; empty if it is not known what it reads."""
    output_modalities: tuple[str, ...]
    """Empty if it is not known what it writes."""
    tokenizer: str
    created_at: datetime
    deprecated_at: datetime | None = None
    """From when on callers are told to move on; it serves as before."""
    retires_at: datetime | None = None
    """From when on it serves no more, and what replaces it serves in its place."""
    replaced_by: str | None = None
    """The slug of another model; following it from model to model never leads back."""

    @property
    def author(self) -> str:
        """Who made the model: the first part of its slug."""
        return self.slug.partition("/")[0]

    def is_retired(self, at: datetime) -> bool:
        """Whether it serves no more."""
        return self.retires_at is not None and self.retires_at <= at

    def is_deprecated(self, at: datetime) -> bool:
        """Whether callers are told to move on."""
        return self.deprecated_at is not None and self.deprecated_at <= at


@dataclass(frozen=True, slots=True)
class Alias:
    """Another slug of a model. No model has it for its own."""

    slug: str
    model: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """What an endpoint does with prompts. `None` is not known, and must be taken for the worst."""

    training: bool | None = None
    logging: str | None = None
    """How long prompts are kept: `zero`, `30 days`, …"""
    moderation: str | None = None
    """Who must moderate: `developer`, `provider`, …"""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for an endpoint, in seconds; `None` is as long as the installation waits for any."""

    connect_seconds: int | None = None
    first_byte_seconds: int | None = None
    """For its answer to begin."""
    idle_seconds: int | None = None
    """Between two pieces of an answer."""


NO_TIMEOUTS = Timeouts()
_EMBEDDINGS_ALONE = ("embeddings",)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one provider; of each pair there is at most one."""

    id: EndpointId
    model: str
    provider: str
    upstream_model: str
    """The name by which the provider knows the model."""
    context_length: int | None
    max_output: int | None
    protocols: tuple[str, ...]
    """How it can be reached, in the words of `rules.PROTOCOLS`: what the provider speaks, and what we list besides."""
    supported_parameters: tuple[str, ...]
    data_policy: DataPolicy
    supports_cancel: bool
    """Whether the provider stops, and stops charging, when its connection closes."""
    enabled: bool
    ignorable_parameters: tuple[str, ...] = ()
    """What a call may name in another wire format's words that is left out where the endpoint cannot express it;
    anything else it cannot express refuses the call."""
    timeouts: Timeouts = NO_TIMEOUTS

    @property
    def writes(self) -> bool:
        """Whether it holds conversations; what is listed for embeddings alone only reads."""
        return self.protocols != _EMBEDDINGS_ALONE


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that can be called, at one revision. Disabled endpoints are in it: they are listed, not routed to."""

    revision: int
    models: Mapping[str, Model]
    providers: Mapping[str, Provider]
    endpoints: Mapping[str, tuple[Endpoint, ...]]
    """By model slug, each in order of provider; a model without any has none."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """From alias to model slug."""

    def named(self, slug: str) -> Model | None:
        """The model that has this slug, or this alias."""
        return self.models.get(self.aliases.get(slug, slug))

    def resolve(self, slug: str, at: datetime) -> Model | None:
        """The model that serves who asks for this slug: the one so named or, once that is retired, what replaces it.

        `None` if there is no such model, or the last one in the line is retired too.
        """
        model = self.named(slug)
        for _ in self.models:  # a line is no longer than that, for it never leads back
            if model is None or not model.is_retired(at):
                return model
            model = None if model.replaced_by is None else self.models.get(model.replaced_by)
        return None

    def why_not(self, wanted: str, at: datetime) -> str:
        """Why nothing serves who asks for this model, be it pinned to a provider, as in `author/name:provider`."""
        model = self.named(wanted.partition(":")[0])
        if model is None or model.retires_at is None or not model.is_retired(at):
            return f"There is no model {wanted!r}; GET /models lists them."
        retired = f"{model.slug} was retired on {model.retires_at.isoformat()}"
        if model.replaced_by is None:
            return f"{retired}, and nothing replaces it; GET /models lists the others."
        return f"{retired}, and so is what replaced it, {model.replaced_by}; GET /models lists the others."

    def endpoints_of(self, model: str) -> tuple[Endpoint, ...]:
        """The endpoints of a model, disabled ones too; none if there is no such model."""
        return self.endpoints.get(model, ())
