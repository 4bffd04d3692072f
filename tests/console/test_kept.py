"""Kept pages: made once for all who ask within a second, one at a time, and no more than some hundreds of them."""

import asyncio
from datetime import timedelta

from tests.conftest import NOON

from tollgate.console.kept import KeptPages


class Maker:
    """Makes pages, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.at_once = 0
        self.most_at_once = 0

    async def make(self) -> str:
        self.made += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return f"page {self.made}"


async def test_all_who_ask_within_a_second_are_shown_the_same() -> None:
    pages, maker = KeptPages(), Maker()
    shown = await asyncio.gather(*(pages.page("a", now=NOON, make=maker.make) for _ in range(20)))
    assert {page.content for page in shown} == {b"page 1"}
    later = await pages.page("a", now=NOON + timedelta(seconds=0.999), make=maker.make)
    assert later.content == b"page 1"
    new = await pages.page("a", now=NOON + timedelta(seconds=1), make=maker.make)
    assert (new.content, new.tag != later.tag) == (b"page 2", True)


async def test_many_different_ones_are_made_one_at_a_time_and_the_oldest_forgotten() -> None:
    pages, maker = KeptPages(), Maker()
    await asyncio.gather(*(pages.page(number, now=NOON, make=maker.make) for number in range(300)))
    assert (maker.made, maker.most_at_once, len(pages._pages)) == (300, 1, 256)


async def test_a_clock_that_steps_back_shows_nothing_from_ahead() -> None:
    pages, maker = KeptPages(), Maker()
    await pages.page("a", now=NOON, make=maker.make)
    assert (await pages.page("a", now=NOON - timedelta(seconds=5), make=maker.make)).content == b"page 2"


async def test_a_page_that_is_made_anew_is_not_the_oldest_any_more() -> None:
    pages, maker = KeptPages(), Maker()
    later = NOON + timedelta(seconds=2)
    for number in range(256):
        await pages.page(number, now=NOON, make=maker.make)
    again = await pages.page(0, now=later, make=maker.make)
    await pages.page("one more", now=later, make=maker.make)
    assert await pages.page(0, now=later, make=maker.make) == again
    assert 1 not in pages._pages
