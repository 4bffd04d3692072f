"""Worlds for plans: endpoints in whatever condition, and what is planned among them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.gateway.builders import MODEL, a_catalogue, a_price, a_provider, a_request, an_endpoint
from tests.pricing.builders import JANUARY

from tollgate.catalog.model import DataPolicy, Format
from tollgate.gateway import routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import Plan, PromptTokens
from tollgate.gateway.routing import Situation
from tollgate.health.model import Circuit, Condition, Fault
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.kit.principal import KeyKind, Principal, RoutingPolicy
from tollgate.pricing.model import PriceBook
from tollgate.statistics.model import Standing, Tally

OTHER = "acme/other"
PICTURE = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
SHORT = PromptTokens(likely=10, most=10)
ZERO = DataPolicy(training=False, logging="zero")
KEEPS = DataPolicy(training=False, logging="30 days")


def saying(*parts: Any) -> Any:
    """A user's message of these parts."""
    return [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]


def circuit(fault: Fault, *, seconds: int = 60, told: bool = False) -> Condition:
    """Opened a second ago, and open for so long from now; less than nothing means that it is on trial."""
    return Condition(Circuit(fault, JANUARY - timedelta(seconds=1), JANUARY + timedelta(seconds=seconds), is_told=told))


def doing(ok: int = 1000, failed: int = 0, latency: int | None = None, throughput: int | None = None) -> Condition:
    return Condition(standing=Standing(Tally(ok, failed), latency, throughput))


@dataclass(frozen=True)
class Place:
    """One endpoint, named after its provider."""

    name: str
    price: str | None = "1"
    """Of a million tokens, read or written; `None` is no price."""
    model: str = MODEL
    condition: Condition = field(default_factory=Condition)
    format: Format = Format.OPENAI
    routable: bool = True
    parts: Mapping[str, Any] = field(default_factory=dict)


def a(**rest: Any) -> Place:
    return place("a", **{"price": "1", **rest})


def b(**rest: Any) -> Place:
    return place("b", **{"price": "2", **rest})


def c(**rest: Any) -> Place:
    return place("c", **{"price": "3", **rest})


def place(name: str, **rest: Any) -> Place:
    own = {key: rest.pop(key) for key in ("price", "model", "condition", "format", "routable") if key in rest}
    return Place(name, **own, parts=rest)


def plan(
    places: Sequence[Place],
    fields: Mapping[str, Any],
    *,
    policies: Sequence[RoutingPolicy] = (),
    prompt: PromptTokens = SHORT,
    sticky: str | None = None,
    modalities: tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
) -> Plan:
    """The plan among these endpoints; `modalities` are what the models read and write, where that is known."""
    reads, writes = modalities
    endpoints = {(each.name, each.model): an_endpoint(each.name, each.model, **each.parts) for each in places}
    by_place = [(each, endpoints[each.name, each.model]) for each in places]
    routable = {each.name for each in places if each.routable}
    catalogue = a_catalogue([a_provider(each.name, format=each.format) for each in places], endpoints.values())
    models = {
        slug: replace(model, input_modalities=reads, output_modalities=writes)
        for slug, model in catalogue.models.items()
    }
    situation = Situation(
        catalogue=replace(catalogue, models=models),
        book=PriceBook.of(a_price(end, each.price, each.price) for each, end in by_place if each.price is not None),
        is_routable=lambda provider: provider.slug in routable,
        at=JANUARY,
        conditions={end.id: each.condition for each, end in by_place if each.condition != Condition()},
        sticky=None if sticky is None else endpoints[sticky, MODEL].id,
    )
    request = a_request(**fields)
    ours = OrganizationId(UUID(int=7))
    principal = Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), ours, None, None, None, tuple(policies))
    return routing.fitting(routing.plan(Crossing(request), principal, situation), request, prompt)


def order_of(planned: Plan) -> str:
    return "".join(candidate.provider.slug for candidate in planned.candidates)
