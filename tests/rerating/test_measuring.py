"""A dry run says exactly what rating every call anew would give, whoever's calls they are, however summed up."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from tests.builders import seeded
from tests.invoices.builders import BORN, Used, at
from tests.pricing.builders import per_million, tiers
from tests.rerating.scene import DOUBLE, SEARCH, WHOLE, Past, cost, difference

from tollgate.accounts.model import Organization
from tollgate.kit.errors import Conflict, InvalidRequest, NotFound
from tollgate.kit.ids import OrganizationId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceItem, PriceVersion, Unit
from tollgate.rerating import service, tasks
from tollgate.rerating.model import Answer

ZONES = ("Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu")
OUTPUT = per_million(Kind.COMPLETION, "3.2")
PRICES: dict[str, tuple[PriceItem, ...]] = {
    "with requests": (*DOUBLE, PriceItem(Kind.REQUEST, Decimal("0.0001"), Unit.PER_COUNT)),
    "crossing tiers": (
        *tiers(Kind.PROMPT, "1", "2", boundary=700),
        *tiers(Kind.INPUT_CACHE_READ, "0", "9", boundary=1500),
        OUTPUT,
    ),
}
UNEVEN = Period(at(10, 27, 4, 7), at(11, 6, 17, 52))
"""Neither end is on a quarter-hour."""


def some_calls(seed: int, prices: Sequence[PriceVersion]) -> list[Used]:
    """Calls of two weeks around the end of a month, many of them at the uneven ends."""
    chance = seeded(seed)
    instants = [at(10, 25) + timedelta(minutes=chance.randrange(15 * 24 * 60)) for _ in range(20)]
    instants += [
        end + timedelta(minutes=chance.randrange(-9, 9)) for end in (UNEVEN.start, UNEVEN.end) for _ in range(9)
    ]
    kinds = (Kind.PROMPT, Kind.INPUT_CACHE_READ, Kind.COMPLETION)
    return [
        Used(
            instant,
            {kind: chance.randrange(1, 900) for kind in kinds},
            price=chance.choice(prices),
            insured=chance.random() < 0.1,
        )
        for instant in sorted(instants)
    ]


def charged(used: Sequence[Used], window: Period) -> list[Used]:
    return [each for each in used if each.at in window and not each.insured]


async def three(past: Past) -> list[tuple[Organization, list[Used]]]:
    """Three organizations in three zones: at the general price, at a discount, and at a price of its own as well."""
    found = []
    for number, zone in enumerate(ZONES):
        organization = await past.books.an_organization(timezone=zone)
        prices = [past.price]
        if number:
            prices.append(await past.a_discount(organization, "-12.5"))
        if number == len(ZONES) - 1:
            items = (*tiers(Kind.PROMPT, "5", "7", boundary=1000), OUTPUT)
            prices.append(await past.an_own_price(organization, items))
        used = some_calls(number, prices)
        await past.books.record(organization, *used)
        found.append((organization, used))
    return found


@pytest.mark.parametrize("wanted", PRICES)
async def test_it_is_what_rating_every_call_anew_gives(past: Past, wanted: str) -> None:
    items = PRICES[wanted]
    parties = await three(past)

    found = await past.results(await past.dry_run(items, UNEVEN))

    assert len(found) == len(parties)
    for organization, used in parties:
        general = [each for each in charged(used, UNEVEN) if each.price.organization_id is None]
        discounted = [each for each in charged(used, UNEVEN) if each.price.base is not None]
        result = found[organization.id].result
        assert result.calls == len(general) + len(discounted)
        assert result.calls_spared == len([each for each in used if each.at in UNEVEN and each.insured])
        assert result.amount == sum(cost([each], each.price.items) for each in general + discounted)
        # An eighth less of every price, none of which needs rounding.
        full = Decimal(1)
        assert result.new_amount == full * cost(general, items) + Decimal("0.875") * cost(discounted, items)
        assert result.percents == (("-12.5",) if discounted else ())
        months = found[organization.id].months
        assert sum(month.new_amount for month in months) == result.new_amount
        assert sum(month.calls for month in months) == result.calls


@pytest.mark.parametrize("wanted", PRICES)
async def test_it_does_not_depend_on_the_size_of_the_pages(past: Past, wanted: str) -> None:
    parties = await three(past)

    sizes = (timedelta(hours=30, minutes=45), timedelta(days=400))
    found = [await past.results(await past.dry_run(PRICES[wanted], UNEVEN, stretch=size)) for size in sizes]

    for organization, _ in parties:
        first, *others = [(each[organization.id].result, each[organization.id].months) for each in found]
        for result, months in others:
            assert (result.amount, result.new_amount, result.calls) == (
                first[0].amount,
                first[0].new_amount,
                first[0].calls,
            )
            assert months == first[1]


async def test_it_is_additive_over_a_split_of_the_interval(past: Past) -> None:
    await three(past)
    items = PRICES["crossing tiers"]
    ends = (UNEVEN.start, at(10, 28, 3, 11), at(11, 1, 0), at(11, 4, 7, 59), UNEVEN.end)

    whole = await past.tally(await past.dry_run(items, UNEVEN))
    parts = [await past.tally(await past.dry_run(items, Period(*each))) for each in pairwise(ends)]

    for name in ("calls", "calls_spared", "amount", "new_amount"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name), name


async def test_calls_are_of_the_months_of_their_organization(past: Past) -> None:
    organization = await past.books.an_organization(timezone="Pacific/Kiritimati")  # 14 hours before UTC
    await past.books.record(organization, past.call(at(10, 31, 9, 59)), past.call(at(10, 31, 10)))

    found = (await past.results(await past.dry_run(DOUBLE)))[organization.id]

    assert [(month.month.name, month.calls) for month in found.months] == [("2026-10", 1), ("2026-11", 1)]


async def test_an_own_price_is_for_all_calls_of_its_organization_and_nobody_elses(past: Past) -> None:
    parties = await three(past)
    organization, used = parties[-1]

    rerate = await past.dry_run(DOUBLE, owner=organization.id)

    assert set(await past.results(rerate)) == {organization.id}
    tally = await past.tally(rerate)
    assert tally.new_amount == cost(charged(used, WHOLE), DOUBLE)
    assert tally.calls == len(charged(used, WHOLE))


async def test_late_calls_are_in_the_next_dry_run_and_not_in_the_one_before(past: Past) -> None:
    organization = await past.books.an_organization()
    await past.books.record(organization, past.call(at(11, 5)))
    begun = await past.dry_run(DOUBLE)
    await past.books.record(organization, past.call(at(11, 6)), settled_at=at(12, 2))

    await past.apply(begun)
    second = await past.dry_run(DOUBLE)

    assert (await past.tally(begun)).calls == 1
    assert difference(await past.tally(second)) == Decimal("0.00082")
    assert (await past.tally(second)).calls == 2


async def test_what_nobody_used_takes_nothing(past: Past) -> None:
    await past.books.an_organization()

    rerate = await past.dry_run(DOUBLE)

    assert (await past.tally(rerate)).organizations == 0
    assert (await past.apply(rerate)).finished_at is not None


async def test_kinds_that_are_left_without_a_price_are_told_and_keep_it_from_being_applied(past: Past) -> None:
    organization = await past.books.an_organization()
    await past.books.record(organization, past.call(at(11, 5), SEARCH))

    rerate = await past.dry_run(DOUBLE)

    assert (await past.results(rerate))[organization.id].result.unpriced == {Kind.WEB_SEARCH}
    with pytest.raises(Conflict, match="used web_search, which the corrected prices do not price"):
        await past.apply(rerate)


@pytest.mark.parametrize(
    ("window", "told"),
    [
        (Period(at(11, 2), at(11, 1)), "ends after it begins"),
        (Period(at(11, 2), at(11, 2)), "ends after it begins"),
        (Period(at(11, 2), at(12, 3)), "is of the past"),
    ],
)
async def test_a_window_that_cannot_be_is_refused(past: Past, window: Period, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told) as refusal:
        await past.begin(DOUBLE, window)
    assert refusal.value.field == "to"


async def test_prices_that_cannot_rate_are_refused(past: Past) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await past.begin([per_million(Kind.INPUT_CACHE_READ, "1")])
    assert refusal.value.field == "items[0].kind"


async def test_an_organization_that_is_not_there_is_refused(past: Past) -> None:
    with pytest.raises(NotFound):
        await past.begin(DOUBLE, organization_id=OrganizationId(past.price.id))


async def test_a_measurement_that_was_given_up_is_taken_up_when_its_lease_is_over(past: Past) -> None:
    organization = await past.books.an_organization(now=BORN)
    await past.books.record(organization, past.call(at(11, 5)))
    begun = await past.begin(DOUBLE)
    # A process took it up, and died.
    await past.books.pool.execute("UPDATE rerate_results SET next_at = $1, attempts = 3", at(12, 2, 9, 10))

    waiting = await tasks.go_on(past.books.database, past.clock, begun.id)
    later = past.later(at(12, 2, 9, 11))
    done = await tasks.go_on(later.books.database, later.clock, begun.id)

    assert (waiting.state, done.state) == ("measuring", "measured")
    assert difference(await past.tally(begun)) == Decimal("0.00082")


async def test_a_measurement_that_somebody_else_took_up_is_given_up(past: Past) -> None:
    organization = await past.books.an_organization()
    await past.books.record(organization, past.call(at(11, 5)))
    begun = await past.begin(DOUBLE)
    async with past.books.database.write() as session:
        taken = await service.take(session, begun, now=past.clock.now())
    async with past.books.database.write() as session:
        again = await service.take(session, begun, now=at(12, 2, 10))
    assert taken is not None
    assert again is not None

    async with past.books.database.write() as session:
        kept = [await service.renew(session, result, now=at(12, 2, 10)) for result, _ in (taken, again)]
        saved = [await service.save(session, result, Answer({}), now=at(12, 2, 10)) for result, _ in (taken, again)]

    assert (kept, saved) == ([False, True], [False, True])
