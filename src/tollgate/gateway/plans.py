"""Plans: what was planned for a call is planned for the next one that asks the same, while all it depends on stays.

Calls of one caller differ in their words, and words decide nothing. What does: catalogue and prices, which come as a
whole new snapshot; the instants at which a price begins or ends, or a model retires; and the condition of endpoints.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import BlobKind, Plan, Preferences, Wire
from tollgate.gateway.snapshot import Snapshot
from tollgate.health.model import Condition
from tollgate.kit.ids import EndpointId, OrganizationId
from tollgate.kit.principal import Principal, RoutingPolicy

KEPT_MAX = 4096
_NAMES_CHARACTERS_MAX = 2_000
"""Of the names that a call is asked with: callers may invent them, and what is kept has to fit."""


class Question(NamedTuple):
    """All that a plan depends on of a call and of who makes it."""

    organization_id: OrganizationId
    allowed: tuple[str, ...] | None
    policies: tuple[RoutingPolicy, ...]
    wire: Wire
    models: tuple[str, ...]
    parameters: frozenset[str]
    max_tokens: int | None
    choices: int
    searches: int
    service_tier: str | None
    preferences: Preferences
    has_images: bool
    blobs: frozenset[BlobKind] | None
    sticky: EndpointId | None


@dataclass(frozen=True, slots=True)
class _Kept:
    plan: Plan
    conditions: tuple[tuple[EndpointId, Condition | None], ...]
    """Of every endpoint that was considered, as it was then."""


class Plans:
    """The plans of one snapshot that still hold."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._instants: list[datetime] = []
        self._since: datetime | None = None
        self._until: datetime | None = None
        self._kept: dict[Question, _Kept] = {}

    def find(
        self, question: Question, snapshot: Snapshot, conditions: Mapping[EndpointId, Condition], at: datetime
    ) -> Plan | None:
        """The plan for this question at this instant, if it is known."""
        if snapshot is not self._snapshot or not self._is_within(at):
            self._turn_to(snapshot, at)
        kept = self._kept.get(question)
        if kept is None:
            return None
        for endpoint_id, then in kept.conditions:
            # The very same value: conditions are replaced when they change.
            if conditions.get(endpoint_id) is not then:
                return None
        return kept.plan

    def keep(self, question: Question, plan: Plan, conditions: Mapping[EndpointId, Condition]) -> None:
        """Remember a plan of the snapshot that was asked about last, unless it holds for this very instant alone."""
        if self._snapshot is None or _names_characters(question) > _NAMES_CHARACTERS_MAX:
            return
        slugs = {candidate.endpoint.model for candidate in plan.candidates} | plan.asked_for.keys()
        considered = [endpoint.id for slug in slugs for endpoint in self._snapshot.catalogue.endpoints_of(slug)]
        found = tuple((endpoint_id, conditions.get(endpoint_id)) for endpoint_id in considered)
        if any(condition is not None and condition.circuit is not None for _, condition in found):
            return
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        self._kept[question] = _Kept(plan, found)

    def _is_within(self, at: datetime) -> bool:
        """Whether nothing of the snapshot begins or ends between then and now; clocks may step back."""
        return (self._since is None or self._since <= at) and (self._until is None or at < self._until)

    def _turn_to(self, snapshot: Snapshot, at: datetime) -> None:
        if snapshot is not self._snapshot:
            self._snapshot, self._instants = snapshot, sorted(set(_instants(snapshot)))
        self._kept.clear()
        following = bisect_right(self._instants, at)
        self._since = self._instants[following - 1] if following else None
        self._until = self._instants[following] if following < len(self._instants) else None


def question(crossing: Crossing, principal: Principal, sticky: EndpointId | None) -> Question | None:
    """What a call asks, as far as its plan depends on it; `None` if that cannot be told without looking into it."""
    request, prompt = crossing.request, crossing.request.prompt
    if "modalities" in request.fields:
        # What a model has to write decides (`eligibility`), and is read out of the field's own bytes for each endpoint.
        return None
    return Question(
        organization_id=principal.organization_id,
        allowed=principal.models,
        policies=principal.policies,
        wire=request.wire,
        models=request.models,
        parameters=request.parameters,
        max_tokens=request.max_tokens,
        choices=request.choices,
        searches=request.searches,
        service_tier=request.service_tier,
        preferences=request.preferences,
        has_images=prompt.images > 0,
        blobs=frozenset([blob.kind for blob in prompt.blobs]) if prompt.blobs else None,
        sticky=sticky,
    )


def _names_characters(question: Question) -> int:
    wishes = question.preferences
    names = (question.parameters, question.models, wishes.order, wishes.only, wishes.ignore)
    return sum(len(name) for each in names for name in each)


def _instants(snapshot: Snapshot) -> Iterator[datetime]:
    """When something of a snapshot begins or ends."""
    versions = [version for shelf in snapshot.book.by_endpoint.values() for version in shelf]
    adjustments = [each for scopes in snapshot.book.by_owner.values() for kept in scopes.values() for each in kept]
    ends = (
        *(version.effective_to for version in versions),
        *(adjustment.effective_to for adjustment in adjustments),
        *(model.retires_at for model in snapshot.catalogue.models.values()),
    )
    yield from (version.effective_from for version in versions)
    yield from (adjustment.effective_from for adjustment in adjustments)
    yield from (end for end in ends if end is not None)
