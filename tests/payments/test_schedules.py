"""Whatever order things come in, however often, and wherever they break: the same end, and one charge.

A schedule is a row of turns: workers that stop in the middle, answers that are lost, webhooks that are lost, come twice
and out of order, days that pass. After that everything works again, and the books are looked at.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, cast

import pytest
from tests.builders import seeded
from tests.payments.builders import Desk, days
from tests.payments.stripe_double import Kind, Problem

from tollgate.invoices.model import Heading, InvoiceStatus
from tollgate.payments.states import CollectionState
from tollgate.payments.stripe_client import StripeClient

KINDS = [
    Kind.TOO_MANY, Kind.LOCKED, Kind.FAILS, Kind.FAILS_AFTER, Kind.LOST, Kind.LOST_AFTER, Kind.GARBLED,
]  # fmt: skip
BEHAVIOURS = ["good", "good", "declines_once", "declining", "needs_confirmation"]
PLACES = ["POST /v1/invoices", "POST /v1/invoiceitems", "POST /v1/invoices/", "POST /v1/customers", "GET /v1/", ""]


class Stopped(BaseException):
    """The process is gone."""


class Mortal:
    """A door whose user stops existing around one of its calls: before it, or before its answer comes."""

    def __init__(self, door: StripeClient, calls: Iterator[int], *, before: bool) -> None:
        self._door = door
        self._calls = calls
        self._before = before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._door, name)

        async def call(*given: Any, **named: Any) -> Any:
            is_last = next(self._calls, 1) == 0
            if is_last and self._before:
                raise Stopped
            answer = await found(*given, **named)
            if is_last:
                raise Stopped
            return answer

        return call


async def one_turn(desk: Desk, heading: Heading, chance: Random) -> None:
    """Something happens."""
    kinds: list[Callable[[Desk, Heading, Random], Any]] = [work, work, work, stop, break_down, hear, wait, pay, ask]
    await chance.choice(kinds)(desk, heading, chance)


async def work(desk: Desk, heading: Heading, chance: Random) -> None:
    del heading, chance
    await desk.sweep()


async def stop(desk: Desk, heading: Heading, chance: Random) -> None:
    calls = iter(range(chance.randrange(1, 9), -1, -1))
    mortal = Mortal(cast("StripeClient", desk.door), calls, before=chance.random() < 0.5)
    try:
        await replace(desk, door=cast("StripeClient", mortal)).collect(heading)
    except Stopped:
        desk.pass_time(timedelta(minutes=chance.choice([1, 6])))


async def break_down(desk: Desk, heading: Heading, chance: Random) -> None:
    desk.double.faults.plan(chance.choice(KINDS), chance.choice(PLACES), skip=chance.randrange(3))
    await work(desk, heading, chance)


async def hear(desk: Desk, heading: Heading, chance: Random) -> None:
    """Some webhooks arrive, some of them twice; the others never do."""
    del heading
    told = [event for event in desk.double.world.events if chance.random() < 0.6]
    chance.shuffle(told)
    await desk.hear([*told, *told[:3]])


async def wait(desk: Desk, heading: Heading, chance: Random) -> None:
    del heading
    desk.pass_time(timedelta(minutes=chance.choice([1, 10, 60, 1500])))


async def pay(desk: Desk, heading: Heading, chance: Random) -> None:
    """The customer pays on the page of an open invoice."""
    del heading
    if chance.random() < 0.3:
        pay_what_is_open(desk)


def pay_what_is_open(desk: Desk) -> None:
    for mirror in desk.double.every("invoice"):
        if mirror["status"] == "open":
            desk.double.pay_hosted(mirror["id"])


async def ask(desk: Desk, heading: Heading, chance: Random) -> None:
    del chance
    await desk.ask(heading)


async def mend(desk: Desk, heading: Heading) -> None:
    """Nothing goes wrong any more, and in the end the customer pays by hand if the card does not."""
    desk.double.faults.clear()
    for day in range(12):
        desk.pass_time(days(1))
        await desk.sweep()
        if day > 8:
            pay_what_is_open(desk)
        if (await desk.collection(heading)).state is CollectionState.DONE:
            return


async def assert_whole(desk: Desk, heading: Heading) -> None:
    desk.pass_time(days(3))
    desk.double.pay_out()
    report = await desk.reconcile()
    assert report.differences == ()
    paid = await desk.heading(heading)
    assert (paid.status, paid.amount_paid) == (InvoiceStatus.PAID, paid.totals.total)
    charges = [each for each in desk.double.every("charge") if each["status"] == "succeeded"]
    assert [each["amount"] for each in charges] == [1000]
    for account in ("stripe_clearing", "receivable"):
        assert await desk.balance(heading, account) == "0", account
    assert await desk.balance(heading, "cash") == "9.41"
    told = await desk.told(heading)
    assert told.count("invoice.paid") == 1


async def run(desk: Desk, seed: int) -> None:
    chance = seeded(seed)
    heading = await desk.invoiced(method=chance.choice([*BEHAVIOURS, None]))
    for _ in range(chance.randrange(3, 14)):
        try:
            await one_turn(desk, heading, chance)
        except Problem:
            continue  # the customer came too late
    await mend(desk, heading)
    await assert_whole(desk, heading)


@pytest.mark.parametrize("seed", [2])
async def test_every_schedule_ends_with_one_charge_and_whole_books(desk: Desk, seed: int) -> None:
    await run(desk, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 300))
async def test_hundreds_of_schedules_end_with_one_charge_and_whole_books(desk: Desk, seed: int) -> None:
    await run(desk, seed)
