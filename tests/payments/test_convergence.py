"""Whatever is lost, late, doubled or out of order: what is paid at Stripe is credited once, and nothing else is."""

import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.payments.shop import Shop, act_on_events
from tests.payments.stripe_double import Kind, Problem

from tollgate.accounts.model import Organization
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.payments.records import TopUp, TopUpStatus

WRITES = ("POST /v1/customers", "POST /v1/checkout/sessions")
READS = ("GET /v1/customers", "GET /v1/checkout/sessions", "GET /v1/payment_intents")
TROUBLES = (Kind.TOO_MANY, Kind.LOCKED, Kind.FAILS, Kind.FAILS_AFTER, Kind.LOST, Kind.LOST_AFTER, Kind.GARBLED)
SCHEDULES = 100
HABITS = ("good", "good", "slow", "declining")


class Schedule:
    """One course of events, which follows from a number."""

    def __init__(self, shop: Shop, organizations: list[Organization], seed: int) -> None:
        self.shop = shop
        self.organizations = organizations
        self.chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self.top_ups: list[TopUp] = []

    async def run(self, steps: int) -> None:
        """So many things happen; then nothing goes wrong any more, and two days pass without any webhook."""
        moves = (self._buy, self._buy, self._pay, self._pay, self._arrive, self._hear, self._wait, self._lose_customer)
        for _ in range(steps):
            if self.chance.random() < 0.5:
                kind, at = self.chance.choice(TROUBLES), self.chance.choice((*WRITES, *READS))
                self.shop.double.faults.plan(kind, at)
            await self.chance.choice(moves)()
        self.shop.double.faults.clear()
        for _ in range(12):
            await self._arrive()
            await self.shop.pass_time(timedelta(hours=4))

    async def _buy(self) -> None:
        try:
            asked = await self.shop.ask(self.chance.choice(self.organizations), f"{self.chance.randint(1, 99)}.25")
        except Conflict:
            return
        self.top_ups.append(await self.shop.look(asked))

    async def _pay(self) -> None:
        """Somebody pays, or tries to, on a page that they were shown."""
        shown = [top_up for top_up in self.top_ups if (await self.shop.now(top_up)).url]
        if not shown:
            return
        page = (await self.shop.now(self.chance.choice(shown))).session_id or ""
        try:
            self.shop.double.complete(page, self.chance.choice(HABITS))
        except Problem:
            return  # declined, over, or nobody's any more

    async def _arrive(self) -> None:
        """A slow payment arrives, or does not."""
        slow = [each["id"] for each in self.shop.double.every("payment_intent") if each["status"] == "processing"]
        for intent in slow:
            self.chance.choice((self.shop.double.confirm, self.shop.double.bounce))(intent)

    async def _hear(self) -> None:
        """Some webhooks come, of now or long ago, some twice, in any order."""
        events = self.shop.double.world.events
        some = self.chance.choices(events, k=min(len(events), 6)) if events else []
        await self.shop.double.deliver(self.shop.receive, some)
        await act_on_events(self.shop.at)

    async def _wait(self) -> None:
        await self.shop.pass_time(timedelta(minutes=self.chance.choice((1, 10, 120))))

    async def _lose_customer(self) -> None:
        living = [each["id"] for each in self.shop.double.every("customer") if not each.get("deleted")]
        if living and self.chance.random() < 0.2:
            self.shop.double.delete_customer(self.chance.choice(living))


async def check(schedule: Schedule) -> None:
    """Books and Stripe agree: one page paid for each top-up that is paid, one grant, and the money in between."""
    shop = schedule.shop
    pages = [page for page in shop.double.every("checkout.session") if page["payment_status"] == "paid"]
    paid = Counter(page["client_reference_id"] for page in pages)
    ended = [await shop.now(top_up) for top_up in schedule.top_ups]

    assert {top_up.status for top_up in ended} <= {TopUpStatus.PAID, TopUpStatus.EXPIRED, TopUpStatus.FAILED}
    assert paid == Counter(typed("tup", each.id) for each in ended if each.status is TopUpStatus.PAID)
    for organization in schedule.organizations:
        own = {typed("tup", each.id): each for each in ended if each.organization_id == organization.id}
        bought = [top_up.amount for reference, top_up in own.items() if paid[reference]]
        grants = await shop.grants(organization)
        assert sorted(grant.amount for grant in grants) == sorted(bought)
        assert await shop.balances(organization) == (amount_text(sum(bought, Decimal(0))), "0")
        assert len(await shop.told(organization)) == len(bought)


async def run(shop: Shop, seed: int, steps: int) -> Schedule:
    schedule = Schedule(shop, [await shop.an_organization() for _ in range(2)], seed)
    await schedule.run(steps)
    await check(schedule)
    return schedule


async def test_a_course_of_events_ends_in_what_stripe_says(shop: Shop) -> None:
    schedule = await run(shop, seed=6, steps=20)

    assert len(schedule.top_ups) > 3


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_every_course_of_events_ends_in_what_stripe_says(shop: Shop) -> None:
    ends: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        schedule = await run(shop, seed, steps=40)
        ends.update([(await shop.now(top_up)).status.value for top_up in schedule.top_ups])
        shop.double.world.objects.clear()
        shop.double.world.events.clear()
    print(f"{SCHEDULES} schedules: {dict(ends)}")  # noqa: T201 - what the figure is
