"""The API shapes of providers, models and endpoints. A credential goes in by reference and never comes out."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs

from tollgate.catalog import encodings, rules
from tollgate.catalog.model import Alias, DataPolicy, Endpoint, Format, Model, Provider, Timeouts
from tollgate.infra import web
from tollgate.infra.changes import Action, Change, Facts, Wanted
from tollgate.infra.web import Body, Instant, Paging
from tollgate.kit.ids import EndpointId, KeyId, typed, typed_or_none


def _given(body: Body) -> dict[str, Any]:
    """The fields a change names."""
    return {name: value for name, value in structs.asdict(body).items() if value is not UNSET}


class CreateProvider(Body, kw_only=True, frozen=True):
    """A new provider. `base_url` precedes an operation's path.

    It may be `env:NAME` of a variable that ends in `_BASE_URL` or `_ENDPOINT`; `credential` always is `env:NAME`, of
    one that ends in `_API_KEY` or `_API_TOKEN`. Variables that begin with `TOLLGATE_` cannot be named.
    """

    slug: str
    name: str
    format: Format
    base_url: str | None = None
    credential: str | None = None
    status_page: str | None = None
    regions: tuple[str, ...] | None = None

    def provider(self) -> Provider:
        return Provider(**structs.asdict(self) | {"regions": self.regions or ()})


class ChangeProvider(Body, kw_only=True, frozen=True):
    """What to change of a provider; its slug stays."""

    name: str | UnsetType = UNSET
    format: Format | UnsetType = UNSET
    base_url: str | UnsetType | None = UNSET
    credential: str | UnsetType | None = UNSET
    status_page: str | UnsetType | None = UNSET
    regions: tuple[str, ...] | UnsetType = UNSET

    def applied_to(self, provider: Provider) -> Provider:
        return replace(provider, **_given(self))


class ProviderView(Struct, kw_only=True, frozen=True):
    """A provider as operators see it."""

    slug: str
    name: str
    format: Format
    base_url: str | None
    has_credential: bool
    """Whether a credential is named, which is not to say that the environment holds it."""
    routable: bool
    """Whether calls can be sent to it from here."""
    status_page: str | None
    regions: tuple[str, ...]

    @classmethod
    def of(cls, provider: Provider, environment: Mapping[str, str]) -> "ProviderView":
        return cls(
            slug=provider.slug,
            name=provider.name,
            format=provider.format,
            base_url=provider.base_url,
            has_credential=provider.credential is not None,
            routable=rules.is_routable(provider, environment),
            status_page=provider.status_page,
            regions=provider.regions,
        )


class CreateModel(Body, kw_only=True, frozen=True):
    """A new model; what is `null` or left out takes its default.

    Modalities that are left out, as those of an empty list, are not known.
    """

    slug: str
    name: str
    description: str | None = None
    input_modalities: tuple[str, ...] | None = None
    output_modalities: tuple[str, ...] | None = None
    tokenizer: str | None = None
    deprecated_at: Instant | None = None
    retires_at: Instant | None = None
    replaced_by: str | None = None

    def model(self, now: datetime) -> Model:
        return Model(
            slug=self.slug,
            name=self.name,
            description=self.description or "",
            input_modalities=self.input_modalities or (),
            output_modalities=self.output_modalities or (),
            tokenizer=self.tokenizer or encodings.encoding_of(self.slug),
            created_at=now,
            deprecated_at=self.deprecated_at,
            retires_at=self.retires_at,
            replaced_by=self.replaced_by,
        )


class ChangeModel(Body, kw_only=True, frozen=True):
    """What to change of a model; its slug stays."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    input_modalities: tuple[str, ...] | UnsetType = UNSET
    output_modalities: tuple[str, ...] | UnsetType = UNSET
    tokenizer: str | UnsetType = UNSET
    deprecated_at: Instant | UnsetType | None = UNSET
    """From when on callers are told to move on."""
    retires_at: Instant | UnsetType | None = UNSET
    """From when on it serves no more."""
    replaced_by: str | UnsetType | None = UNSET
    """The model that serves in its place once it is retired."""

    def applied_to(self, model: Model) -> Model:
        return replace(model, **_given(self))


class ModelView(Struct, kw_only=True, frozen=True):
    """A model as operators see it."""

    slug: str
    name: str
    author: str
    description: str
    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]
    tokenizer: str
    created_at: datetime
    deprecated_at: datetime | None
    retires_at: datetime | None
    replaced_by: str | None

    @classmethod
    def of(cls, model: Model) -> "ModelView":
        return cls(
            slug=model.slug,
            name=model.name,
            author=model.author,
            description=model.description,
            input_modalities=model.input_modalities,
            output_modalities=model.output_modalities,
            tokenizer=model.tokenizer,
            created_at=model.created_at,
            deprecated_at=model.deprecated_at,
            retires_at=model.retires_at,
            replaced_by=model.replaced_by,
        )


class CreateAlias(Body, kw_only=True, frozen=True):
    """Another slug for a model."""

    slug: str
    model: str

    def alias(self, now: datetime) -> Alias:
        return Alias(self.slug, self.model, now)


class AliasView(Struct, kw_only=True, frozen=True):
    """An alias."""

    slug: str
    model: str
    created_at: datetime

    @classmethod
    def of(cls, alias: Alias) -> "AliasView":
        return cls(slug=alias.slug, model=alias.model, created_at=alias.created_at)


class DataPolicyBody(Body, kw_only=True, frozen=True):
    """What an endpoint does with prompts; `null` is not known."""

    training: bool | None = None
    logging: str | None = None
    moderation: str | None = None

    def policy(self) -> DataPolicy:
        return DataPolicy(self.training, self.logging, self.moderation)


class TimeoutsBody(Body, kw_only=True, frozen=True):
    """How long to wait for an endpoint, in seconds; `null` is as long as for any."""

    connect_seconds: int | None = None
    first_byte_seconds: int | None = None
    idle_seconds: int | None = None

    def timeouts(self) -> Timeouts:
        return Timeouts(self.connect_seconds, self.first_byte_seconds, self.idle_seconds)


class CreateEndpoint(Body, kw_only=True, frozen=True):
    """A model to offer at a provider; what is `null` or left out takes its default."""

    model: str
    provider: str
    upstream_model: str | None = None
    """The name part of the model's slug, unless given."""
    context_length: int | None = None
    max_output: int | None = None
    protocols: tuple[str, ...] | None = None
    """`openai`, unless given."""
    supported_parameters: tuple[str, ...] | None = None
    data_policy: DataPolicyBody | None = None
    supports_cancel: bool | None = None
    enabled: bool | None = None
    ignorable_parameters: tuple[str, ...] | None = None
    """What to leave out of calls in other wire formats where the endpoint cannot express it; nothing, unless given."""
    timeouts: TimeoutsBody | None = None

    def endpoint(self, endpoint_id: EndpointId) -> Endpoint:
        return Endpoint(
            id=endpoint_id,
            model=self.model,
            provider=self.provider,
            upstream_model=self.model.partition("/")[2] if self.upstream_model is None else self.upstream_model,
            context_length=self.context_length,
            max_output=self.max_output,
            protocols=("openai",) if self.protocols is None else self.protocols,
            supported_parameters=self.supported_parameters or (),
            data_policy=(self.data_policy or DataPolicyBody()).policy(),
            supports_cancel=self.supports_cancel is not False,
            enabled=self.enabled is not False,
            ignorable_parameters=self.ignorable_parameters or (),
            timeouts=(self.timeouts or TimeoutsBody()).timeouts(),
        )


class ChangeEndpoint(Body, kw_only=True, frozen=True):
    """What to change of an endpoint; its model and provider stay."""

    upstream_model: str | UnsetType = UNSET
    context_length: int | UnsetType | None = UNSET
    max_output: int | UnsetType | None = UNSET
    protocols: tuple[str, ...] | UnsetType = UNSET
    supported_parameters: tuple[str, ...] | UnsetType = UNSET
    data_policy: DataPolicyBody | UnsetType = UNSET
    supports_cancel: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    ignorable_parameters: tuple[str, ...] | UnsetType | None = UNSET
    timeouts: TimeoutsBody | UnsetType | None = UNSET

    def applied_to(self, endpoint: Endpoint) -> Endpoint:
        given = _given(self)
        if self.ignorable_parameters is None:
            given["ignorable_parameters"] = ()
        if self.data_policy is not UNSET:
            given["data_policy"] = self.data_policy.policy()
        if self.timeouts is not UNSET:
            given["timeouts"] = (self.timeouts or TimeoutsBody()).timeouts()
        return replace(endpoint, **given)


class EndpointView(Struct, kw_only=True, frozen=True):
    """An endpoint as operators see it."""

    id: str
    model: str
    provider: str
    upstream_model: str
    context_length: int | None
    max_output: int | None
    protocols: tuple[str, ...]
    supported_parameters: tuple[str, ...]
    data_policy: DataPolicy
    supports_cancel: bool
    enabled: bool
    ignorable_parameters: tuple[str, ...]
    timeouts: Timeouts

    @classmethod
    def of(cls, endpoint: Endpoint) -> "EndpointView":
        return cls(
            id=typed("ep", endpoint.id),
            model=endpoint.model,
            provider=endpoint.provider,
            upstream_model=endpoint.upstream_model,
            context_length=endpoint.context_length,
            max_output=endpoint.max_output,
            protocols=endpoint.protocols,
            supported_parameters=endpoint.supported_parameters,
            data_policy=endpoint.data_policy,
            supports_cancel=endpoint.supports_cancel,
            enabled=endpoint.enabled,
            ignorable_parameters=endpoint.ignorable_parameters,
            timeouts=endpoint.timeouts,
        )


class ListEndpoints(Paging, kw_only=True, frozen=True):
    """The endpoints of one model, or at one provider."""

    model: str | None = None
    provider: str | None = None


class ListChanges(Paging, kw_only=True, frozen=True):
    """Which changes; what is left out restricts nothing."""

    kind: Literal["provider", "model", "endpoint", "alias", "price", "price_adjustment"] | None = None
    subject: str | None = None
    by: str | None = None
    after: Instant | None = None
    """At this instant or later."""
    before_time: Instant | None = msgspec.field(default=None, name="before")
    """Before this instant."""

    def wanted(self) -> Wanted:
        return Wanted(
            kind=self.kind,
            subject=self.subject,
            by=None if self.by is None else KeyId(web.parse_id("key", self.by, "by")),
            since=self.after,
            until=self.before_time,
        )


class ChangeView(Struct, kw_only=True, frozen=True):
    """One change: what was done to what, and the subject's public fields before and after."""

    id: str
    at: datetime
    by: str | None
    """The operator's key; `null` for the first start, the command line and imports."""
    address: str | None
    """Where from; `null` where there was no connection."""
    action: Action
    kind: str
    subject: str
    before: Facts | None
    after: Facts | None

    @classmethod
    def of(cls, change: Change) -> "ChangeView":
        return cls(
            id=typed("change", change.id),
            at=change.act.at,
            by=typed_or_none("key", change.act.by),
            address=change.act.address,
            action=change.deed.action,
            kind=change.deed.kind,
            subject=change.deed.subject,
            before=change.deed.before,
            after=change.deed.after,
        )
