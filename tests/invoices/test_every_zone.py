"""Months in every zone, and wherever an organization moves: each instant in one month, each call on one invoice."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.builders import seeded
from tests.control_plane import ControlPlane, shared_control_plane
from tests.invoices.builders import Books, Used

from tollgate.accounts import service as accounts
from tollgate.accounts.model import Organization
from tollgate.invoices import tasks
from tollgate.invoices.model import Invoice, Month
from tollgate.invoices.service import invoices as service
from tollgate.kit import ids
from tollgate.kit.clock import FixedClock
from tollgate.kit.money import EXACT, amount_text
from tollgate.kit.tokens import Kind

ZONES = sorted(available_timezones() - {"localtime"})
MONTHS = [Month(year, number) for year in range(2020, 2036) for number in range(1, 13)]
INSTANT, HOUR = timedelta(microseconds=1), timedelta(hours=1)
GRACE = HOUR
CHANGING = {
    "Europe/Berlin": Month(2026, 3),
    "America/St_Johns": Month(2025, 11),
    "Australia/Lord_Howe": Month(2026, 4),  # half an hour
    "Pacific/Chatham": Month(2026, 4),  # a zone of 12:45
    "Pacific/Apia": Month(2020, 9),
    "Asia/Kathmandu": Month(2026, 2),  # 5:45, and no change at all
    "Asia/Beirut": Month(2026, 3),  # midnight is skipped
    "America/Havana": Month(2025, 11),  # midnight comes twice, on the first of the month
    "Africa/Casablanca": Month(2026, 3),
    "Antarctica/Troll": Month(2025, 10),  # two hours
}
"""A month in which the clocks of each zone change, most of them."""
FAR_APART = ("UTC", "Pacific/Kiritimati", "Etc/GMT+12", "America/St_Johns", "Asia/Kathmandu")


def behaviours() -> Iterator[ZoneInfo]:
    """One of the zones that have the same offsets around the beginnings of all these months."""
    around = [datetime(month.year, month.number, 1, tzinfo=UTC) for month in MONTHS]
    instants = [at + timedelta(hours=hours) for at in around for hours in (-15, 0, 15)]
    alike: dict[tuple[timedelta | None, ...], ZoneInfo] = {}
    for zone in map(ZoneInfo, ZONES):
        alike.setdefault(tuple(at.astimezone(zone).utcoffset() for at in instants), zone)
    yield from alike.values()


def assert_in_one_month_alone(at: datetime, month: Month, zone: ZoneInfo) -> None:
    assert Month.at(at, zone) == month, (zone, at)
    assert at in month.instants(zone), (zone, at)


def test_each_instant_is_in_exactly_one_month_of_its_zone() -> None:
    for zone in behaviours():
        for month in MONTHS:
            instants = month.instants(zone)
            assert instants.end == month.following.instants(zone).start, (zone, month)
            assert_in_one_month_alone(instants.start, month, zone)
            assert_in_one_month_alone(instants.end - INSTANT, month, zone)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_hour_around_every_boundary_is_in_exactly_one_month_of_every_zone() -> None:
    for zone in map(ZoneInfo, ZONES):
        for month, following in pairwise(MONTHS):
            boundary = month.instants(zone).end
            for quarters in range(1, 27 * 4, 3):
                passed = timedelta(minutes=15) * quarters
                assert_in_one_month_alone(boundary - passed, month, zone)
                assert_in_one_month_alone(boundary + passed, following, zone)


@pytest.fixture(scope="module")
async def plane(server_url: str, template: str) -> AsyncIterator[ControlPlane]:
    async with shared_control_plane(server_url, template, "zones") as opened:
        yield opened


@pytest.fixture(scope="module")
def books(plane: ControlPlane) -> Books:
    return Books(plane.database, plane.pool)


async def assert_every_sum_is_the_same(plane: ControlPlane, zone: str, month: Month, *, calls: int, seed: int) -> None:
    """Quarter-hours, hours, days and the month add up to the invoice and to the ledger, exactly."""
    books, dice, period = Books(plane.database, plane.pool), seeded(seed), month.instants(ZoneInfo(zone))
    organization = await books.an_organization(now=period.start - HOUR, name=zone, timezone=zone)
    moments = [period.start, period.end - INSTANT, *changes(month, ZoneInfo(zone))]
    moments += [period.start + dice.random() * (period.end - period.start) for _ in range(calls)]
    used = [Used(at, {Kind.PROMPT: dice.randint(1, 9_999), Kind.COMPLETION: dice.randint(1, 999)}) for at in moments]
    await books.record(organization, *used)
    outside = [Used(at, {Kind.PROMPT: 1_000_000}) for at in (period.start - INSTANT, period.end)]
    await books.record(organization, *outside)
    amount = await books.pool.fetchval(
        "SELECT sum(amount) FROM calls WHERE organization_id = $1 AND accepted_at >= $2 AND accepted_at < $3",
        organization.id,
        period.start,
        period.end,
    )

    manager = await plane.a_key(ids.typed("org", organization.id))
    for granularity in ("15m", "hour", "day", "month", "total"):
        path = f"/usage?month={month.name}&granularity={granularity}"
        answer = (await plane.call("GET", path, key=manager)).json()
        summed = Decimal(0)
        for row in answer["data"]:
            summed = EXACT.add(summed, Decimal(row["amount"]))
        assert summed == Decimal(answer["total"]["amount"]) == amount, (zone, granularity)
        assert sum(row["calls"] for row in answer["data"]) == len(used)

    await books.close(organization, month.preceding, now=period.end + HOUR)
    invoice = await books.close(organization, month, now=period.end + HOUR)
    assert invoice.heading.totals.total_exact == amount
    posted = await books.pool.fetchval(
        "SELECT sum(amount) FROM transfers WHERE cause = 'invoice' AND cause_id = $1 AND credit_account = 'unbilled'",
        invoice.heading.id,
    )
    assert posted == amount


def changes(month: Month, zone: ZoneInfo) -> list[datetime]:
    """The quarter-hours at which the zone's clocks change in the month, and the ones before."""
    period = month.instants(zone)
    quarters = [period.start + timedelta(minutes=15) * n for n in range((period.end - period.start) // (HOUR / 4))]
    pairs = [pair for pair in pairwise(quarters) if len({at.astimezone(zone).utcoffset() for at in pair}) > 1]
    return [at for pair in pairs for at in pair]


async def test_quarter_hours_days_month_invoice_and_ledger_are_the_same_where_clocks_change(
    plane: ControlPlane,
) -> None:
    for seed, (zone, month) in enumerate(CHANGING.items()):
        await assert_every_sum_is_the_same(plane, zone, month, calls=12, seed=seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_they_are_the_same_in_all_months_of_a_year(plane: ControlPlane) -> None:
    for zone in (*CHANGING, "Pacific/Apia"):
        for number in range(1, 11):
            await assert_every_sum_is_the_same(plane, zone, Month(2026, number), calls=100, seed=number)


@dataclass(frozen=True, slots=True)
class Life:
    """What happens to an organization, in hours after 2026 began."""

    moves: list[tuple[int, str]]
    calls: list[tuple[int, int]]
    """When they are accepted, and how many hours later they are recorded."""
    looks: list[int]
    """When a worker looks for what is due."""


BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
NEAR_AN_END = st.builds(
    lambda month, hours: (datetime(2026, month, 1, tzinfo=UTC) - BEGINNING) // HOUR + hours,
    st.integers(2, 4),
    st.integers(-30, 30),
)
HOURS = NEAR_AN_END | st.integers(0, 24 * 100)
LIVES = st.builds(
    Life,
    moves=st.lists(st.tuples(HOURS, st.sampled_from(FAR_APART)), min_size=1, max_size=4),
    calls=st.lists(st.tuples(HOURS, st.sampled_from((0, 0, 1, 40))), min_size=1, max_size=12),
    looks=st.lists(NEAR_AN_END, max_size=6),
)


async def live(books: Books, life: Life) -> None:
    """Let it happen, in order, and then have every month closed: each call is on one invoice, and periods tile."""
    organization = await books.an_organization(now=BEGINNING, timezone="UTC")
    happens: list[tuple[int, int, object]] = [(at, 0, zone) for at, zone in life.moves]
    happens += [(at + later, 1, at) for at, later in life.calls]
    happens += [(at, 2, None) for at in life.looks]
    recorded: Counter[object] = Counter()
    for hour, what, detail in sorted(happens, key=lambda each: each[:2]):
        now = BEGINNING + hour * HOUR
        if what == 0:
            await move(books, organization, str(detail))
        elif what == 1 and isinstance(detail, int):
            used = Used(BEGINNING + detail * HOUR + timedelta(minutes=1), {Kind.PROMPT: 1_000_000})
            recorded.update(await books.record(organization, used, settled_at=now))
        else:
            await close_due(books, organization, now)
    await close_due(books, organization, datetime(2026, 6, 2, tzinfo=UTC))

    invoices = await all_invoices(books, organization)
    for earlier, later in pairwise(invoices):
        assert later.heading.window.previous_end == earlier.heading.window.period.end
        assert later.heading.window.period.start >= earlier.heading.window.period.end
    found: Counter[object] = Counter()
    for invoice in invoices:
        for line in invoice.lines:
            found.update([part.call.id for part in await books.explained(invoice, line.n, page=100)])
    assert found == recorded
    assert await books.balances(organization) == ("0", amount_text(Decimal("0.4") * recorded.total()), "0")


async def move(books: Books, organization: Organization, zone: str) -> None:
    async with books.database.write() as session:
        await accounts.change_organization(
            session, organization_id=organization.id, edit=lambda before: replace(before, timezone=zone)
        )


async def close_due(books: Books, organization: Organization, now: datetime) -> None:
    outcomes = await tasks.close_due(books.database, FixedClock(now), GRACE, ids.typed("org", organization.id))
    assert [outcome.failure for outcome in outcomes if outcome.failure] == []


async def all_invoices(books: Books, organization: Organization) -> list[Invoice]:
    async with books.database.read() as session:
        headings = await service.list_invoices(session, organization_id=organization.id, before=None, count=100)
        return [
            await service.get(session, organization_id=organization.id, invoice_id=heading.id, now=BEGINNING)
            for heading in reversed(headings)
        ]


quietly = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(quietly, max_examples=5)
@given(LIVES)
async def test_each_call_is_on_one_invoice_wherever_its_organization_moves(books: Books, life: Life) -> None:
    await live(books, life)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(quietly, max_examples=300, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # shrinking takes long
@given(LIVES)
async def test_each_call_is_on_one_invoice_in_many_lives(books: Books, life: Life) -> None:
    await live(books, life)


async def test_a_month_that_a_move_ends_early_is_closed_and_what_follows_is_of_the_next(books: Books) -> None:
    """At noon of 31 January in UTC it is 1 February in Kiritimati: January is over there since ten o'clock."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    organization = await books.an_organization(now=BEGINNING, timezone="Etc/GMT+12")
    await books.record(organization, Used(noon - 3 * HOUR), Used(noon - HOUR))
    await close_due(books, organization, noon)
    assert await all_invoices(books, organization) == []

    await move(books, organization, "Pacific/Kiritimati")
    await close_due(books, organization, noon)

    [january] = await all_invoices(books, organization)
    assert january.heading.window.period.end == noon - 2 * HOUR
    assert january.heading.totals.total_exact == Decimal("0.00082")
    february = await books.current(organization, now=noon)
    assert (february.heading.month, february.heading.totals.total_exact) == (Month(2026, 2), Decimal("0.00082"))


async def test_a_month_that_was_closed_stays_closed_when_a_move_brings_it_back(books: Books) -> None:
    """An hour and a half after January ended in Kiritimati, it has half a day to go in UTC."""
    closed = datetime(2026, 1, 31, 11, 30, tzinfo=UTC)
    organization = await books.an_organization(now=BEGINNING, timezone="Pacific/Kiritimati")
    await books.record(organization, Used(closed - 3 * HOUR))
    await close_due(books, organization, closed)
    await move(books, organization, "UTC")
    await books.record(organization, Used(closed + HOUR))

    current = await books.current(organization, now=closed + 2 * HOUR)
    assert (current.heading.month, current.heading.window.period.start) == (Month(2026, 2), closed - 1.5 * HOUR)
    assert [line.usage.origin for line in current.lines if line.usage] == [None] * 3
