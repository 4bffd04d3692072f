"""Price import: what the public price list would change here, shown first and then done, all of it or nothing.

The catalogue is only ever added to, and prices are only superseded. A price that an operator published by hand is left
alone, as are the models whose page is kept by hand; what the list says about them is shown as a conflict or skipped.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from genai_prices.data import providers as price_list

from tollgate.catalog import known_providers, newcomers
from tollgate.catalog import service as catalogue
from tollgate.catalog.model import Catalogue, Endpoint, Model, Provider
from tollgate.infra.changes import Act
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.identity import new_id
from tollgate.kit.ids import EndpointId
from tollgate.pricing import genai_prices, rules
from tollgate.pricing import service as pricing
from tollgate.pricing.comparison import Action, Comparison, compare
from tollgate.pricing.genai_prices import ListedModel, Unlisted
from tollgate.pricing.model import PriceDraft, Publication, Source

_HISTORIES_AT_ONCE = 250

Progress = Callable[[int], None]
"""Called with how many more versions have been published."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One line of the diff: a price of the list, by model, provider and service tier, against the one here."""

    action: Action
    model: str
    provider: str
    service_tier: str | None
    detail: str


@dataclass(slots=True)
class Plan:
    """What an import would do. Drafts belong to endpoints that are there or among those to add."""

    differences: list[Difference] = field(default_factory=list)
    providers: dict[str, Provider] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    endpoints: list[Endpoint] = field(default_factory=list)
    histories: list[list[PriceDraft]] = field(default_factory=list)
    successors: list[PriceDraft] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """The models and providers compared so far."""

    @property
    def version_count(self) -> int:
        """How many versions would be published."""
        return len(self.successors) + sum(len(history) for history in self.histories)

    @property
    def changes_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.version_count or self.providers or self.models or self.endpoints)


@dataclass(frozen=True, slots=True)
class _Here:
    """What is here already."""

    catalogue: Catalogue
    endpoints: Mapping[tuple[str, str], Endpoint]
    published: Mapping[tuple[EndpointId, str], Sequence[Publication]]
    """By endpoint and service tier, oldest first."""


async def plan(session: ReadSession, *, only: frozenset[str], now: datetime) -> Plan:
    """Compare the list, or only these providers of it, with what is here."""
    here = await _what_is_here(session)
    planned = Plan()
    for entry in genai_prices.read(provider for provider in price_list if not only or provider.id in only):
        slug = known_providers.model_slug(entry.provider, entry.id)
        reason = entry.reason if isinstance(entry, Unlisted) else _plan_model(planned, here, entry, slug, now)
        if reason is not None:
            planned.differences.append(Difference(Action.SKIPPED, slug, entry.provider, None, reason))
    return planned


def listed_providers() -> list[str]:
    """The names of the list's providers."""
    return [provider.id for provider in price_list]


async def _what_is_here(session: ReadSession) -> _Here:
    snapshot = await catalogue.load_catalogue(session)
    published: defaultdict[tuple[EndpointId, str], list[Publication]] = defaultdict(list)
    for publication in reversed(await pricing.general_publications(session)):
        published[publication.version.endpoint_id, publication.version.service_tier].append(publication)
    endpoints = {
        (endpoint.model, endpoint.provider): endpoint for shelf in snapshot.endpoints.values() for endpoint in shelf
    }
    return _Here(snapshot, endpoints, published)


def _plan_model(planned: Plan, here: _Here, entry: ListedModel, slug: str, now: datetime) -> str | None:
    """Plan to bring in a model with its prices, or answer why it has to be skipped."""
    provider = here.catalogue.providers.get(entry.provider) or known_providers.provider_of(
        entry.provider, entry.provider_name
    )
    model = here.catalogue.models.get(slug) or planned.models.get(slug) or _model(entry, slug, now)
    endpoint = here.endpoints.get((slug, entry.provider)) or _endpoint(entry, slug, provider, now)
    reason = newcomers.why_not(model, endpoint, listed_as=entry.id)
    if slug in here.catalogue.aliases:
        reason = f"it is an alias of {here.catalogue.aliases[slug]} here"
    if reason is None and (slug, entry.provider) in planned.pairs:
        reason = "the list has this model of the provider twice"
    if reason is not None:
        return reason
    planned.pairs.add((slug, entry.provider))
    if provider.slug not in here.catalogue.providers:
        planned.providers[provider.slug] = provider
    if slug not in here.catalogue.models:
        planned.models[slug] = model
    if (slug, provider.slug) not in here.endpoints:
        planned.endpoints.append(endpoint)
    for tier, listed in entry.prices.items():
        compared = compare(listed, here.published.get((endpoint.id, tier), ()), now)
        _plan_tier(planned, endpoint, tier, compared)
    for remark in entry.remarks:
        planned.differences.append(Difference(Action.LEFT_OUT, slug, entry.provider, None, remark))
    return None


def _model(entry: ListedModel, slug: str, now: datetime) -> Model:
    return newcomers.model(slug, name=entry.name, description=entry.description, now=now)


def _endpoint(entry: ListedModel, slug: str, provider: Provider, now: datetime) -> Endpoint:
    return newcomers.endpoint(
        EndpointId(new_id(now)),
        model=slug,
        provider=provider,
        upstream_model=entry.upstream_model,
        context_length=entry.context_length,
    )


def _plan_tier(planned: Plan, endpoint: Endpoint, tier: str, compared: Comparison) -> None:
    drafts = [PriceDraft(endpoint.id, None, tier, dated.effective_from, dated.items) for dated in compared.to_publish]
    if compared.action is Action.ADDED:
        planned.histories.append(drafts)
    else:
        planned.successors.extend(drafts)
    planned.differences.append(Difference(compared.action, endpoint.model, endpoint.provider, tier, compared.detail))
    if endpoint.writes and drafts and rules.lacks_output(drafts[-1].items):
        detail = "without a price of completion it can be called for embeddings alone"
        planned.differences.append(Difference(Action.INPUT_ONLY, endpoint.model, endpoint.provider, tier, detail))


async def apply(session: WriteSession, planned: Plan, *, now: datetime, progress: Progress) -> None:
    """Carry out a plan that was made in this same transaction."""
    act = Act(now)
    await catalogue.add_all(
        session,
        providers=list(planned.providers.values()),
        models=list(planned.models.values()),
        endpoints=planned.endpoints,
        act=act,
    )
    for start in range(0, len(planned.histories), _HISTORIES_AT_ONCE):
        histories = planned.histories[start : start + _HISTORIES_AT_ONCE]
        progress(len(await pricing.publish_histories(session, histories, act=act, source=Source.IMPORT)))
    for draft in planned.successors:
        await pricing.publish(session, draft, act=act, source=Source.IMPORT)
        progress(1)
