"""Before a price is published it is shown what last month's calls would have cost: what rating each would give."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import seeded
from tests.pricing.builders import a_price, per_million, tiers
from tests.reports.scene import MODEL, Scene, Used

from tollgate.infra.changes import Act
from tollgate.kit.ids import OrganizationId, PriceVersionId, typed
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import CallStatus
from tollgate.pricing import effects
from tollgate.pricing import service as pricing
from tollgate.pricing.effects import NO_EFFECT, Bulk
from tollgate.pricing.model import STANDARD, PriceDraft, PriceItem, PriceVersion, Unit
from tollgate.pricing.rules import rate

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
USED = (Kind.PROMPT, Kind.INPUT_CACHE_READ, Kind.COMPLETION)
OUTPUT = per_million(Kind.COMPLETION, "20")
REQUEST = PriceItem(Kind.REQUEST, Decimal("0.0001"), Unit.PER_COUNT)
FLAT = (per_million(Kind.PROMPT, "3"), OUTPUT)
PRICES: dict[str, tuple[PriceItem, ...]] = {
    "flat": FLAT,
    "with requests and reads": (*FLAT, REQUEST, per_million(Kind.INPUT_CACHE_READ, "0.3")),
    "the same tiers": (*tiers(Kind.PROMPT, "1", "2", boundary=1000), OUTPUT),
    "other tiers": (
        *tiers(Kind.PROMPT, "1", "2", boundary=700),
        *tiers(Kind.INPUT_CACHE_READ, "0", "9", boundary=1500),
    ),
}


def body(items: Sequence[PriceItem], **rest: Any) -> dict[str, Any]:
    shown = [
        {
            "kind": item.kind,
            "price": str(item.unit_price),
            "unit": item.unit,
            "prompt_tokens": {"gte": item.prompt_tokens_from, "lt": item.prompt_tokens_below},
        }
        for item in items
    ]
    return {"model": MODEL, "provider": "openai", "items": shown, **rest}


async def previewed(scene: Scene, items: Sequence[PriceItem], **rest: Any) -> Any:
    answer = await scene.client.post("/admin/prices/preview", json=body(items, **rest))
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def a_version(scene: Scene, items: tuple[PriceItem, ...], **rest: Any) -> PriceVersion:
    """Another version that charged calls, published long ago."""
    given = {"service_tier": STANDARD, "organization_id": None, **rest}
    draft = PriceDraft(scene.endpoint_id, effective_from=scene.clock.now(), items=items, **given)
    async with scene.database.write() as session:
        return (await pricing.publish(session, draft, act=Act(scene.clock.now()))).version


async def some_calls(scene: Scene, prices: Sequence[PriceVersion], *, seed: int) -> list[Used]:
    """Calls of October at these prices, from one end of the month to the other."""
    chance, key = seeded(seed), await scene.a_key()
    used = [
        Used(
            at=OCTOBER + timedelta(minutes=chance.randrange(31 * 24 * 60)),
            key=key,
            price=chance.choice(prices),
            counts={Kind.REQUEST: 1} | {kind: chance.randrange(1, 900) for kind in USED},
        )
        for _ in range(60)
    ]
    await scene.record(used)
    return used


def cost(used: Sequence[Used], items: tuple[PriceItem, ...]) -> Decimal:
    return sum((rate(UsageQuantities(each.counts), a_price(*items)).amount for each in used), Decimal(0))


@pytest.mark.parametrize("wanted", PRICES)
async def test_it_is_what_rating_every_call_anew_would_give(scene: Scene, wanted: str) -> None:
    other = await scene.another_organization()
    tiered = await a_version(scene, (*tiers(Kind.PROMPT, "5", "7", boundary=1000), OUTPUT, REQUEST))
    calls = {each: await some_calls(each, [scene.price, tiered], seed=n) for n, each in enumerate((scene, other))}

    shown = await previewed(scene, PRICES[wanted])

    assert (shown["start"], shown["end"], shown["currency"]) == ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", "USD")
    by_organization = {each["organization"]: each for each in shown["organizations"]}
    for owner, used in [*calls.items(), (None, [*calls[scene], *calls[other]])]:
        found = shown if owner is None else by_organization[typed("org", owner.organization.id)]
        did_cost = sum((cost([each], (each.price or scene.price).items) for each in used), Decimal(0))
        would_cost = cost(used, PRICES[wanted])
        assert found["calls"] == len(used)
        assert Decimal(found["amount"]) == did_cost
        assert Decimal(found["new_amount"]) == would_cost
        assert Decimal(found["difference"]) == would_cost - did_cost
        assert found["unpriced"] == ([] if OUTPUT in PRICES[wanted] else ["completion"])


async def test_it_covers_the_calls_that_the_price_would_have_charged(scene: Scene) -> None:
    other = await scene.another_organization()
    own = await a_version(scene, FLAT, organization_id=scene.organization.id)
    flex = await a_version(scene, FLAT, service_tier="flex")
    key, others = await scene.a_key(), await other.a_key()
    at = OCTOBER + timedelta(days=3)
    await scene.record(
        [
            *(Used(at=at, key=key, price=price) for price in (scene.price, own, own, flex)),
            Used(at=at, key=key, status=CallStatus.INSURED),
            Used(at=at, key=key, provider=None),
            Used(at=OCTOBER - timedelta(seconds=1), key=key),
            Used(at=OCTOBER + timedelta(days=31), key=key),
        ]
    )
    await other.record([Used(at=at, key=others)])
    ours = typed("org", scene.organization.id)

    assert (await previewed(scene, FLAT))["calls"] == 2
    assert (await previewed(scene, FLAT, organization=ours))["calls"] == 3
    assert (await previewed(scene, FLAT, service_tier="flex"))["calls"] == 1
    assert (await previewed(scene, FLAT, month="2026-09"))["calls"] == 1
    cut = (*tiers(Kind.PROMPT, "1", "2", boundary=500), OUTPUT)
    assert (await previewed(scene, cut))["new_amount"] == "0.016"  # two of 1,000 at 2 and 300 at 20
    assert (await previewed(scene, cut, organization=ours))["new_amount"] == "0.024"


async def test_calls_with_a_discount_are_among_those_of_the_general_price(scene: Scene) -> None:
    key, discount = await scene.a_key(), await scene.an_adjustment("-10")
    call = Used(at=OCTOBER, key=key)
    await scene.record([call, Used(at=OCTOBER, key=key, adjustment=discount)])

    for items in (FLAT, (*tiers(Kind.PROMPT, "1", "2", boundary=500), OUTPUT)):
        for owner in (None, typed("org", scene.organization.id)):
            shown = await previewed(scene, items, organization=owner)
            assert (shown["calls"], Decimal(shown["amount"])) == (2, 2 * cost([call], scene.price.items))
            assert Decimal(shown["new_amount"]) == 2 * cost([call], items)


async def test_of_a_month_without_calls_it_is_nothing(scene: Scene) -> None:
    shown = await previewed(scene, FLAT)
    assert (shown["calls"], shown["amount"], shown["new_amount"], shown["organizations"]) == (0, "0", "0", [])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": []}, "items"),
        ({"model": "a/b"}, "model"),
        ({"service_tier": "Fast"}, "service_tier"),
        ({"month": "2026-13"}, "month"),
        ({"day": "1"}, "day"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(scene: Scene, change: dict[str, Any], field: str) -> None:
    answer = await scene.client.post("/admin/prices/preview", json=body(FLAT) | change)
    assert (answer.status_code, answer.json()["error"]["metadata"]) == (400, {"field": field})


async def test_it_publishes_nothing(scene: Scene) -> None:
    before = await scene.pool.fetchval("SELECT count(*) FROM price_versions")
    await previewed(scene, FLAT)
    assert await scene.pool.fetchval("SELECT count(*) FROM price_versions") == before


BOUNDARIES = st.lists(st.integers(1, 50), unique=True, max_size=4).map(sorted)


def stairs(boundaries: Sequence[int]) -> tuple[PriceItem, ...]:
    starts, ends = [0, *boundaries], [*boundaries, None]
    return tuple(per_million(Kind.PROMPT, str(n + 1), *step) for n, step in enumerate(zip(starts, ends, strict=True)))


@given(old=BOUNDARIES, new=BOUNDARIES, prompts=st.lists(st.integers(0, 60), min_size=1))
def test_sums_are_only_rated_where_that_is_what_the_calls_come_to(
    old: list[int], new: list[int], prompts: list[int]
) -> None:
    price, items = a_price(*stairs(old)), stairs(new)
    whole = NO_EFFECT
    for tier in effects.steps(price.items):
        calls = [
            UsageQuantities({Kind.PROMPT: prompt, Kind.REQUEST: 1})
            for prompt in prompts
            if rate(UsageQuantities({Kind.PROMPT: prompt}), price).tier == tier
        ]
        steps = [tier] if effects.fits(tier, price, items) else [*effects.steps(items)]
        if not effects.fits(tier, price, items):
            assert len({rate(UsageQuantities({Kind.PROMPT: n}), a_price(*items)).tier for n in range(70)}) > 1
        for step in steps:
            together = [each for each in calls if len(steps) == 1 or rate(each, a_price(*items)).tier == step]
            bulk = Bulk(OURS, VERSION, step, sum(together, UsageQuantities()), Decimal(0))
            whole += effects.effect(bulk, items)

    expected = [rate(UsageQuantities({Kind.PROMPT: prompt}), a_price(*items)).amount for prompt in prompts]
    assert (whole.calls, whole.new_amount) == (len(prompts), sum(expected))


OURS, VERSION = OrganizationId(a_price().endpoint_id), PriceVersionId(a_price().id)
