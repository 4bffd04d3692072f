"""What is applied is what was looked at: one adjustment each, once, and what was issued before keeps its bytes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
import pytest
from tests.invoices.builders import AFTER, DECEMBER, NOVEMBER, OCTOBER, at
from tests.ledger.books import assert_balanced, assert_grants_add_up
from tests.pricing.builders import per_million
from tests.rerating.scene import DOUBLE, WHOLE, Past, cost, difference
from tests.rerating.test_measuring import PRICES, UNEVEN, charged, three

from tollgate.accounts.model import BillingMode, Organization
from tollgate.kit.errors import Conflict, NotFound
from tollgate.kit.ids import RerateId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import Adjustment
from tollgate.rerating import service, tasks
from tollgate.rerating.model import RerateState

Adjust: TypeAlias = Callable[..., Awaitable[Adjustment]]
CALL = Decimal("0.00082")
"""What the ordinary call costs at the seed's price."""
HALF = (
    per_million(Kind.PROMPT, "0.2"),
    per_million(Kind.INPUT_CACHE_READ, "0.05"),
    per_million(Kind.COMPLETION, "0.8"),
)


class TestThereAndBack:
    async def test_twice_is_once_and_back_undoes_it(self, past: Past) -> None:
        parties, items = await three(past), PRICES["crossing tiers"]

        there = await past.rerated(items, UNEVEN)
        again = await past.rerated(items, UNEVEN)
        back = await past.rerated(past.price.items, UNEVEN)

        assert there != 0
        assert (again, back) == (Decimal(0), -there)
        for organization, _ in parties:
            assert sum(each.amount for each in await past.adjustments(organization)) == 0
        await assert_balanced(past.books.pool)

    async def test_from_one_to_another_and_a_third_is_from_the_first_to_the_third(self, past: Past) -> None:
        parties = await three(past)
        inner = Period(at(10, 29, 3, 7), at(11, 3, 3, 8))

        steps = [
            await past.rerated(PRICES["with requests"], UNEVEN),
            await past.rerated(PRICES["crossing tiers"], inner),
            await past.rerated(DOUBLE, WHOLE),
        ]

        did_cost, would_cost = Decimal(0), Decimal(0)
        for _, used in parties:
            general = [each for each in charged(used, WHOLE) if each.price.organization_id is None]
            discounted = [each for each in charged(used, WHOLE) if each.price.base is not None]
            did_cost += sum(cost([each], each.price.items) for each in general + discounted)
            would_cost += cost(general, DOUBLE) + Decimal("0.875") * cost(discounted, DOUBLE)
        assert sum(steps) == would_cost - did_cost

    async def test_the_same_prices_change_nothing(self, past: Past) -> None:
        parties = await three(past)

        assert await past.rerated(past.price.items) == 0

        assert [await past.adjustments(organization) for organization, _ in parties] == [[], [], []]

    async def test_a_price_of_its_own_is_left_alone_by_a_general_one(self, past: Past) -> None:
        mine, other = await past.books.an_organization(), await past.books.an_organization()
        for organization in (mine, other):
            await past.books.record(organization, past.call(at(11, 5)))

        own = await past.rerated(HALF, owner=mine.id)
        general = await past.rerated(DOUBLE)
        back = await past.rerated(past.price.items, owner=mine.id)

        assert (own, general, back) == (-CALL / 2, CALL, CALL / 2)

    async def test_parts_that_were_looked_at_together_are_applied_one_after_the_other(self, past: Past) -> None:
        await three(past)
        whole = difference(await past.tally(await past.dry_run(PRICES["with requests"], UNEVEN)))
        at_all = at(10, 30, 1, 1)
        parts = [
            await past.dry_run(PRICES["with requests"], part)
            for part in (Period(UNEVEN.start, at_all), Period(at_all, UNEVEN.end))
        ]

        for part in parts:
            await past.apply(part)

        assert sum([difference(await past.tally(part)) for part in parts]) == whole
        assert await past.rerated(PRICES["with requests"], UNEVEN) == 0


class TestTheAdjustment:
    async def test_charges_what_was_too_cheap_on_the_next_invoice(self, past: Past) -> None:
        organization = await past.books.an_organization()
        await past.books.record(organization, past.call(at(10, 5)), past.call(at(11, 5)))
        issued = [await past.books.close(organization, month, now=AFTER) for month in (OCTOBER, NOVEMBER)]

        rerate = await past.dry_run(DOUBLE)
        await past.apply(rerate)

        (charge,) = await past.adjustments(organization)
        assert charge.amount == -2 * CALL
        assert charge.reason == "the wrong list price (openai/gpt-4.1-mini at openai, 2026-10, 2026-11)"
        told = (await past.results(rerate))[organization.id]
        assert [month.invoice_number for month in told.months] == [each.heading.number for each in issued]
        assert told.result.adjustment_id == charge.id
        stored = await past.books.pool.fetch("SELECT document FROM invoices ORDER BY month")
        assert [row["document"] for row in stored] == [each.document for each in issued]
        december = await past.books.close(organization, DECEMBER, now=at(12, 20))
        assert [(line.type.value, line.amount_exact) for line in december.lines] == [("adjustment", 2 * CALL)]
        await assert_balanced(past.books.pool)

    async def test_gives_back_what_was_too_dear_as_credit(self, past: Past) -> None:
        organization = await past.books.an_organization()
        await past.books.record(organization, past.call(at(11, 5)))

        await past.rerated(HALF)

        (favour,) = await past.adjustments(organization)
        assert (favour.amount, favour.grant_id is not None) == (CALL / 2, True)
        november = await past.books.close(organization, NOVEMBER, now=AFTER)
        assert november.heading.totals.total_exact == CALL / 2
        await assert_balanced(past.books.pool)
        await assert_grants_add_up(past.books.pool)

    async def test_burns_the_credit_of_who_pays_before(self, past: Past) -> None:
        organization = await past.books.an_organization(billing_mode=BillingMode.PREPAID, credit="5")
        await past.books.record(organization, past.call(at(11, 5)))

        await past.rerated(DOUBLE)

        (charge,) = await past.adjustments(organization)
        assert charge.credits_amount == CALL
        assert (await past.books.balances(organization))[0] == "0"
        await assert_grants_add_up(past.books.pool)

    async def test_is_told_to_the_organization_once(self, past: Past) -> None:
        organization, other = await past.books.an_organization(), await past.books.an_organization()
        await past.books.record(organization, past.call(at(11, 5)))
        await past.books.record(other, past.call(at(11, 5), {Kind.PROMPT: 0}))

        rerate = await past.apply(await past.dry_run(DOUBLE))
        await past.apply(rerate)

        (event,) = await past.books.pool.fetch("SELECT organization_id, data FROM events WHERE type = 'rerate.applied'")
        data = json.loads(event["data"])
        assert event["organization_id"] == organization.id
        assert (data["difference"], data["months"], data["from"]) == ("0.00082", ["2026-11"], "2026-10-01T00:00:00Z")


class TestApplying:
    async def test_takes_what_was_looked_at_or_nothing(self, past: Past) -> None:
        organization = await past.books.an_organization()
        await past.books.record(organization, past.call(at(11, 5)))
        first, second = await past.dry_run(DOUBLE), await past.dry_run(HALF)
        apart = await past.dry_run(HALF, Period(at(9, 1), at(9, 20)))

        await past.apply(second)

        with pytest.raises(Conflict, match="was applied to some of these calls after this one was measured"):
            await past.apply(first)
        assert (await past.apply(apart)).state is RerateState.APPLIED
        assert [each.amount for each in await past.adjustments(organization)] == [CALL / 2]

    async def test_waits_until_all_is_measured(self, past: Past) -> None:
        organization = await past.books.an_organization()
        await past.books.record(organization, past.call(at(11, 5)))

        begun = await past.begin(DOUBLE)

        with pytest.raises(Conflict, match="0 of 1 organizations are"):
            await past.apply(begun)
        with pytest.raises(NotFound):
            await tasks.go_on(past.books.database, past.clock, RerateId(begun.terms.endpoint_id))

    async def test_goes_on_where_it_was_interrupted_and_posts_each_once(
        self, past: Past, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owners = [await past.books.an_organization() for _ in range(6)]
        for owner in owners:
            await past.books.record(owner, past.call(at(11, 5)))
        measured = await past.dry_run(DOUBLE)
        async with past.books.database.write() as session:
            await service.apply(session, rerate_id=measured.id, by=None, now=past.clock.now())

        with monkeypatch.context() as broken:
            broken.setattr(ledger, "adjust", _dies_at(ledger.adjust, 3))
            with pytest.raises(_Killed):
                await tasks.go_on(past.books.database, past.clock, measured.id)
        assert (await past.tally(measured)).posted == 2

        later = past.later(at(12, 2, 9, 2))
        both = await asyncio.gather(*(tasks.go_on(past.books.database, later.clock, measured.id) for _ in range(2)))

        assert RerateState.APPLIED in {each.state for each in both}
        assert [[each.amount for each in await past.adjustments(owner)] for owner in owners] == [[-CALL]] * 6
        await assert_balanced(past.books.pool)

    async def test_of_one_is_not_stopped_by_the_failure_of_another(
        self, past: Past, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owners = [await past.books.an_organization() for _ in range(3)]
        for owner in owners:
            await past.books.record(owner, past.call(at(11, 5)))
        measured = await past.dry_run(DOUBLE)
        async with past.books.database.write() as session:
            await service.apply(session, rerate_id=measured.id, by=None, now=past.clock.now())

        with monkeypatch.context() as broken:
            broken.setattr(ledger, "adjust", _fails_for(ledger.adjust, owners[0]))
            await tasks.go_on(past.books.database, past.clock, measured.id)
        assert (await past.tally(measured)).posted == 2

        later = past.later(at(12, 2, 9, 2))
        assert (await tasks.go_on(later.books.database, later.clock, measured.id)).state is RerateState.APPLIED

    async def test_leaves_what_was_found_as_it_was_found(self, past: Past) -> None:
        organization = await past.books.an_organization()
        await past.books.record(organization, past.call(at(11, 5)))
        await past.rerated(DOUBLE)

        for change in (
            "UPDATE rerates SET reason = 'another'",
            "DELETE FROM rerates",
            "UPDATE rerate_items SET unit_price = 0",
            "UPDATE rerate_results SET new_amount = 0",
            "UPDATE rerate_results SET posted_at = now()",
            "UPDATE rerate_months SET calls = 0",
            "TRUNCATE rerate_months",
        ):
            with pytest.raises(asyncpg.PostgresError, match=r"never change|append-only"):
                await past.books.pool.execute(change)


class _Killed(BaseException):
    """The process is gone."""


def _dies_at(real: Adjust, count: int) -> Adjust:
    left = iter(range(1, count))

    async def adjust(*given: Any, **named: Any) -> Adjustment:
        if next(left, None) is None:
            raise _Killed
        return await real(*given, **named)

    return adjust


def _fails_for(real: Adjust, owner: Organization) -> Adjust:
    async def adjust(*given: Any, **named: Any) -> Adjustment:
        if named["organization_id"] == owner.id:
            raise Conflict
        return await real(*given, **named)

    return adjust
