"""Price import: what the public price list would change here, shown first and then done, all of it or nothing.

The catalogue is only ever added to, and prices are only superseded. A price that an operator published by hand is left
alone, as are the models whose page is kept by hand; what the list says about them is shown as a conflict or skipped.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from genai_prices.data import providers as price_list

from tollgate.catalog import known_providers, rules
from tollgate.catalog import service as catalogue
from tollgate.catalog.model import Catalogue, DataPolicy, Endpoint, Model, Provider
from tollgate.catalog.seed import GPT_4_1_MINI, SANDBOX_ECHO
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.infra.identity import new_id
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import EndpointId
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.pricing import genai_prices
from tollgate.pricing import service as pricing
from tollgate.pricing.genai_prices import DatedItems, ListedModel, Unlisted
from tollgate.pricing.model import PriceDraft, PriceItem, PriceVersion, Publication, Source

KEPT_BY_HAND = frozenset({GPT_4_1_MINI.slug, SANDBOX_ECHO.slug})

_HISTORIES_AT_ONCE = 250

Progress = Callable[[int], None]
"""Called with how many more versions have been published."""


class Action(StrEnum):
    """What importing one price would do."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    SKIPPED = "skipped"
    LEFT_OUT = "left out"


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
    reason = _reason_to_skip(entry, model, endpoint, planned)
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
        _plan_tier(planned, endpoint, tier, listed, here.published.get((endpoint.id, tier), ()), now)
    for remark in entry.remarks:
        planned.differences.append(Difference(Action.LEFT_OUT, slug, entry.provider, None, remark))
    return None


def _reason_to_skip(entry: ListedModel, model: Model, endpoint: Endpoint, planned: Plan) -> str | None:
    if model.slug in KEPT_BY_HAND:
        return "its page is kept by hand"
    if not known_providers.serves(entry.provider, entry.id):
        return "another API of the provider serves it"
    if (model.slug, entry.provider) in planned.pairs:
        return "the list has this model of the provider twice"
    try:
        rules.check_model(model)
        rules.check_endpoint(endpoint)
    except InvalidRequest as refusal:
        return refusal.message
    return None


def _model(entry: ListedModel, slug: str, now: datetime) -> Model:
    """Modalities are those that are priced, and text; the list knows no others."""
    kinds = {item.kind for history in entry.prices.values() for dated in history for item in dated.items}
    return Model(
        slug=slug,
        name=entry.name,
        description=entry.description,
        input_modalities=_modalities(kinds, image=Kind.INPUT_IMAGE, audio=Kind.INPUT_AUDIO),
        output_modalities=_modalities(kinds, image=Kind.OUTPUT_IMAGE, audio=Kind.OUTPUT_AUDIO),
        tokenizer="o200k_base",
        created_at=now,
    )


def _modalities(kinds: Iterable[Kind], *, image: Kind, audio: Kind) -> tuple[str, ...]:
    return ("text", *(name for name, kind in (("image", image), ("audio", audio)) if kind in kinds))


def _endpoint(entry: ListedModel, slug: str, provider: Provider, now: datetime) -> Endpoint:
    return Endpoint(
        id=EndpointId(new_id(now)),
        model=slug,
        provider=provider.slug,
        upstream_model=entry.upstream_model,
        context_length=entry.context_length,
        max_output=None,
        protocols=known_providers.PROTOCOLS[provider.format],
        supported_parameters=(),
        data_policy=DataPolicy(),
        supports_cancel=provider.slug in known_providers.STOP_WHEN_CLOSED,
        enabled=provider.slug in known_providers.KNOWN,
    )


def _plan_tier(
    planned: Plan,
    endpoint: Endpoint,
    tier: str,
    listed: Sequence[DatedItems],
    published: Sequence[Publication],
    now: datetime,
) -> None:
    action, dated, detail = _compare(listed, published, now)
    drafts = [PriceDraft(endpoint.id, None, tier, each.effective_from, each.items) for each in dated]
    if action is Action.ADDED:
        planned.histories.append(drafts)
    else:
        planned.successors.extend(drafts)
    planned.differences.append(Difference(action, endpoint.model, endpoint.provider, tier, detail))


def _compare(
    listed: Sequence[DatedItems], published: Sequence[Publication], now: datetime
) -> tuple[Action, Sequence[DatedItems], str]:
    """What to publish so that from now on the list holds here: nothing, its whole history, or successors."""
    if not published:
        return Action.ADDED, listed, describe(listed[-1].items)
    wanted = _from_now(listed, now)
    here = [publication for publication in published if _lasts(publication.version, now)]
    present = _from_now([DatedItems(each.version.effective_from, each.version.items) for each in here], now)
    if wanted == present:
        return Action.UNCHANGED, (), ""
    detail = f"{describe(present[-1].items)} → {describe(wanted[-1].items)}" if present else describe(wanted[-1].items)
    if any(publication.source is not Source.IMPORT for publication in here):
        return Action.CONFLICT, (), f"published by hand: {detail}"
    if wanted[: len(present)] == present:
        return Action.CHANGED, wanted[len(present) :], detail
    if len(present) > 1:
        return Action.CONFLICT, (), f"a later price is published already: {detail}"
    return Action.CHANGED, wanted, detail


def _lasts(version: PriceVersion, now: datetime) -> bool:
    return version.effective_to is None or version.effective_to > now


def _from_now(history: Sequence[DatedItems], now: datetime) -> list[DatedItems]:
    """The price in force, as if it began now, and those to come."""
    begun = [dated for dated in history if dated.effective_from <= now]
    to_come = [dated for dated in history if dated.effective_from > now]
    return [*(DatedItems(now, dated.items) for dated in begun[-1:]), *to_come]


def describe(items: Sequence[PriceItem]) -> str:
    """The prices in short, as in `prompt 0.4, completion 1.6`; a tier's beginning in brackets."""
    return ", ".join(_described(item) for item in items)


def _described(item: PriceItem) -> str:
    tier = f" [from {item.prompt_tokens_from:,}]" if item.prompt_tokens_from else ""
    return f"{item.kind} {amount_text(item.unit_price)}{tier}"


async def apply(session: WriteSession, planned: Plan, *, now: datetime, progress: Progress) -> None:
    """Carry out a plan that was made in this same transaction."""
    await catalogue.add_all(
        session,
        providers=list(planned.providers.values()),
        models=list(planned.models.values()),
        endpoints=planned.endpoints,
    )
    for start in range(0, len(planned.histories), _HISTORIES_AT_ONCE):
        histories = planned.histories[start : start + _HISTORIES_AT_ONCE]
        progress(len(await pricing.publish_histories(session, histories, now=now, source=Source.IMPORT)))
    for draft in planned.successors:
        await pricing.publish(session, draft, now=now, by=None, source=Source.IMPORT)
        progress(1)
