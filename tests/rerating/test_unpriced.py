"""Usage without a price gets one by a re-rate: its month closes again, and what is recorded later waits anew."""

from decimal import Decimal

import pytest
from tests.invoices.builders import AFTER, MODEL, NOVEMBER, at
from tests.pricing.builders import per_million
from tests.rerating.scene import DOUBLE, SEARCH, WHOLE, Past, cost

from tollgate.entrypoints import doctor
from tollgate.invoices.service import invoices
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import typed
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.metering import status, unpriced
from tollgate.pricing.model import PriceItem, Unit

WITH_SEARCH = (*DOUBLE, PriceItem(Kind.WEB_SEARCH, Decimal("0.01"), Unit.PER_COUNT))


async def unpriced_calls(past: Past) -> int:
    found = await status.in_ledger(past.books.database)
    assert found is not None
    return found.unpriced


async def test_what_keeps_a_month_from_being_closed_is_named_with_its_calls_and_the_way_out(past: Past) -> None:
    organization = await past.books.an_organization()
    call_ids = await past.books.record(organization, *(past.call(at(11, day), SEARCH) for day in range(1, 8)))

    with pytest.raises(Conflict, match=f"no price: 14 web_search of {MODEL}") as refusal:
        await past.books.close(organization, NOVEMBER, now=AFTER)

    told = [typed("gen", call_id) for call_id in call_ids[:5]]
    assert refusal.value.metadata["calls"] == told
    assert ", ".join(told) in refusal.value.message
    assert "tollgate rerate" in refusal.value.message


async def test_a_re_rate_with_its_price_charges_it_and_lets_the_month_close(past: Past) -> None:
    organization = await past.books.an_organization()
    used = [past.call(at(11, 5), SEARCH), past.call(at(11, 6))]
    (call_id, other_id) = await past.books.record(organization, *used)
    before = await unpriced_calls(past)

    rerate = await past.dry_run(WITH_SEARCH)
    await past.apply(rerate)

    (charge,) = await past.adjustments(organization)
    did_cost = cost(used, past.price.items)
    assert charge.amount == did_cost - cost(used, WITH_SEARCH)
    assert (before, await unpriced_calls(past)) == (1, 0)
    assert "unpriced calls" not in (await doctor.examine(past.books.database)).complaints
    november = await past.books.close(organization, NOVEMBER, now=AFTER)
    assert november.heading.totals.total_exact == did_cost
    async with past.books.database.read() as session:
        resolved = await unpriced.resolved_by(session, organization_id=organization.id, call_ids=[call_id, other_id])
    assert resolved[call_id] == rerate.id


async def test_what_is_free_is_resolved_by_saying_so(past: Past) -> None:
    organization = await past.books.an_organization()
    await past.books.record(organization, past.call(at(11, 5), SEARCH))

    changed = await past.rerated((*past.price.items, PriceItem(Kind.WEB_SEARCH, Decimal(0), Unit.PER_COUNT)))

    assert changed == 0
    assert await past.adjustments(organization) == []
    assert await unpriced_calls(past) == 0
    await past.books.close(organization, NOVEMBER, now=AFTER)


async def test_what_is_recorded_later_waits_anew(past: Past) -> None:
    organization = await past.books.an_organization()
    await past.books.record(organization, past.call(at(11, 5), SEARCH))
    await past.rerated(WITH_SEARCH)
    late = await past.books.record(organization, past.call(at(11, 5), SEARCH), settled_at=at(12, 2))

    with pytest.raises(Conflict, match="no price: 2 web_search") as refusal:
        await past.books.close(organization, NOVEMBER, now=AFTER)
    assert refusal.value.metadata["calls"] == [typed("gen", late[0])]

    await past.rerated(WITH_SEARCH)
    await past.books.close(organization, NOVEMBER, now=AFTER)


async def test_a_window_that_cuts_a_quarter_hour_resolves_only_its_calls(past: Past) -> None:
    organization = await past.books.an_organization()
    calls = [past.call(at(11, 5, 12, minute), SEARCH) for minute in (3, 4, 5, 10)]
    await past.books.record(organization, *calls)

    await past.rerated(WITH_SEARCH, Period(at(11, 5, 12, 4), at(11, 5, 12, 10)))

    assert await unpriced_calls(past) == 2
    async with past.books.database.read() as session:
        drafted = await invoices.draft(session, organization=organization, month=NOVEMBER)
    assert [(each.kind, each.quantity) for each in drafted.unpriced] == [(Kind.WEB_SEARCH, 4)]
    assert len(drafted.unpriced_calls) == 2
    await past.rerated(WITH_SEARCH, Period(at(11, 5, 12, 0), at(11, 5, 12, 4)))
    await past.rerated(WITH_SEARCH, Period(at(11, 5, 12, 10), at(11, 5, 12, 30)))
    assert await unpriced_calls(past) == 0


async def test_only_the_prices_that_a_re_rate_is_of_are_resolved(past: Past) -> None:
    organization = await past.books.an_organization()
    own = await past.an_own_price(organization, past.price.items)
    await past.books.record(organization, past.call(at(11, 5), SEARCH), past.call(at(11, 6), SEARCH, price=own))

    await past.rerated(WITH_SEARCH)
    assert await unpriced_calls(past) == 1
    await past.rerated(WITH_SEARCH, owner=organization.id)
    assert await unpriced_calls(past) == 0


async def test_a_month_of_nothing_else_does_not_hold_up_the_next(past: Past) -> None:
    organization = await past.books.an_organization()
    image_only = await past.an_own_price(
        organization, (PriceItem(Kind.IMAGE, Decimal(1), Unit.PER_COUNT), per_million(Kind.PROMPT, "0"))
    )
    await past.books.record(organization, past.call(at(10, 5), {Kind.WEB_SEARCH: 1}, price=image_only))
    await past.books.record(organization, past.call(at(11, 5)))
    with pytest.raises(Conflict, match="close the earlier months first"):
        await past.books.close(organization, NOVEMBER, now=AFTER)

    await past.rerated(WITH_SEARCH, WHOLE, owner=organization.id)

    assert (await past.books.close(organization, NOVEMBER, now=AFTER)).heading.month == NOVEMBER
