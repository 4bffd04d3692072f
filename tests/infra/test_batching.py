"""Calls that arrive together travel together, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from tollgate.infra.batching import Batcher, NoAnswerInTime, Pace, Patience


class Ferry:
    """Answers every item with its tenfold; waits at the pier while `closed`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.afloat = self.most_afloat = 0
        self.open = asyncio.Event()
        self.open.set()

    async def flush(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.afloat += 1
        self.most_afloat = max(self.most_afloat, self.afloat)
        await self.open.wait()
        self.afloat -= 1
        if -1 in items:
            raise LookupError("sunk")
        return [item * 10 for item in items]

    def batcher(
        self, *, size_max: int = 100, patience: Patience[int, int] | None = None, pace: Pace | None = None
    ) -> Batcher[int, int]:
        return Batcher(self.flush, size_max=size_max, patience=patience, pace=pace)


@pytest.fixture
def ferry() -> Ferry:
    return Ferry()


async def test_everyone_gets_the_answer_to_their_own_item(ferry: Ferry) -> None:
    batcher = ferry.batcher(size_max=7)
    answers = await asyncio.gather(*(batcher.submit(number) for number in range(100)))
    assert answers == [number * 10 for number in range(100)]
    assert [item for batch in ferry.batches for item in batch] == list(range(100))
    assert max(map(len, ferry.batches)) == 7


async def test_a_lone_item_leaves_at_once(ferry: Ferry) -> None:
    assert await ferry.batcher().submit(1) == 10
    assert ferry.batches == [[1]]


async def test_what_one_turn_of_the_loop_brings_in_leaves_together(ferry: Ferry) -> None:
    batcher = ferry.batcher()
    await asyncio.gather(*(batcher.submit(number) for number in range(5)))
    assert ferry.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_during_a_flight_forms_the_next_batch(ferry: Ferry) -> None:
    batcher = ferry.batcher()
    ferry.open.clear()
    answers = []
    for number in range(10):
        answers.append(batcher.submit(number))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert ferry.batches == [[0]]
    ferry.open.set()
    assert await asyncio.gather(*answers) == [number * 10 for number in range(10)]
    assert ferry.batches == [[0], [1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert ferry.most_afloat == 1


async def test_a_batch_that_is_overdue_holds_up_one_of_the_next_and_no_more(ferry: Ferry) -> None:
    seen: list[int] = []
    pace = Pace(0, 5, lambda: seen.append(ferry.afloat))
    batcher = ferry.batcher(size_max=1, pace=pace)
    ferry.open.clear()
    answers = [batcher.submit(number) for number in range(3)]
    while len(seen) < 2:
        await asyncio.wait(answers, timeout=0.005)
    assert ferry.batches == [[0], [1]]
    answers.append(batcher.submit(3))
    ferry.open.set()
    assert await asyncio.gather(*answers) == [0, 10, 20, 30]
    assert ferry.most_afloat == 2
    assert seen == [1, 2]


async def test_without_a_pace_none_is_overtaken(ferry: Ferry) -> None:
    batcher = ferry.batcher(size_max=1)
    ferry.open.clear()
    answers = [batcher.submit(number) for number in range(3)]
    await asyncio.wait(answers, timeout=0.01)
    ferry.open.set()
    assert await asyncio.gather(*answers) == [0, 10, 20]
    assert ferry.most_afloat == 1


async def test_what_comes_within_the_interval_leaves_together_after_it(ferry: Ferry) -> None:
    batcher = ferry.batcher(pace=Pace(20, 1000, lambda: None))
    assert await batcher.submit(1) == 10
    answers = [batcher.submit(2)]
    await asyncio.sleep(0.001)
    answers.append(batcher.submit(3))
    await batcher.drained()
    assert [answer.result() for answer in answers] == [20, 30]
    assert ferry.batches == [[1], [2, 3]]


async def test_an_exception_reaches_everyone_of_its_batch_and_no_one_else(ferry: Ferry) -> None:
    batcher = ferry.batcher(size_max=3)
    answers = await asyncio.gather(
        *(batcher.submit(number) for number in (1, 2, 3, 4, -1, 6, 7)), return_exceptions=True
    )
    assert [answer if isinstance(answer, int) else repr(answer) for answer in answers] == [
        *(10, 20, 30),
        *["LookupError('sunk')"] * 3,
        70,
    ]
    assert await batcher.submit(8) == 80


async def test_a_submitter_that_is_cancelled_does_not_take_its_item_back(ferry: Ferry) -> None:
    batcher = ferry.batcher()
    ferry.open.clear()
    under_way = batcher.submit(1)
    await asyncio.sleep(0)
    waiting, other = batcher.submit(2), batcher.submit(3)
    under_way.cancel()
    waiting.cancel()
    ferry.open.set()
    assert await other == 30
    assert ferry.batches == [[1], [2, 3]]


async def test_answers_that_do_not_match_the_items_reach_no_one_as_an_answer() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        return [0 for _ in items[1:]]

    batcher = Batcher(flush, size_max=10)
    answers = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["a batch of 2 got 1 answers"] * 2


async def test_a_flight_that_is_cancelled_cancels_its_passengers_and_makes_room() -> None:
    async def flush(items: Sequence[int]) -> Sequence[int]:
        if 1 in items:
            raise asyncio.CancelledError
        return items

    batcher = Batcher(flush, size_max=10)
    lost = batcher.submit(1)
    with pytest.raises(asyncio.CancelledError):
        await lost
    assert await batcher.submit(2) == 2


async def test_drained_returns_when_nothing_waits_or_is_under_way(ferry: Ferry) -> None:
    batcher = ferry.batcher(size_max=2)
    await batcher.drained()
    ferry.open.clear()
    answers = [batcher.submit(number) for number in range(9)]
    draining = asyncio.create_task(batcher.drained())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not draining.done()
    ferry.open.set()
    await draining
    assert all(answer.done() for answer in answers)


async def test_drained_waits_for_what_fails_too(ferry: Ferry) -> None:
    batcher = ferry.batcher()
    answer = batcher.submit(-1)
    await batcher.drained()
    assert isinstance(answer.exception(), LookupError)


async def test_what_has_no_answer_yet_is_counted_waiting_or_under_way(ferry: Ferry) -> None:
    batcher = ferry.batcher(size_max=2)
    ferry.open.clear()
    answers = [batcher.submit(number) for number in (1, 2, 3, -1)]
    assert (len(ferry.batches), batcher.unanswered) == (0, 4)
    await asyncio.sleep(0)
    assert (len(ferry.batches), batcher.unanswered) == (1, 4)
    ferry.open.set()
    await asyncio.gather(*answers, return_exceptions=True)
    assert batcher.unanswered == 0


async def test_an_item_that_nobody_waits_for_stays_ashore_if_somebody_takes_what_is_unclaimed(ferry: Ferry) -> None:
    unclaimed: list[tuple[int, int | None]] = []
    batcher = ferry.batcher(size_max=2, patience=Patience(60, lambda item, answer: unclaimed.append((item, answer))))
    ferry.open.clear()
    answers = [batcher.submit(number) for number in (0, -1, 2, 3, 4, 5)]
    await asyncio.sleep(0)
    for answer in answers[1:4]:
        answer.cancel()
    assert batcher.unanswered == 4
    ferry.open.set()
    assert [await answers[place] for place in (4, 5)] == [40, 50]
    assert isinstance(answers[0].exception(), LookupError)
    assert ferry.batches == [[0, -1], [4, 5]]
    assert unclaimed == [(-1, None)]


async def test_whoever_waits_too_long_is_told_so_and_the_answer_goes_to_whoever_takes_it(ferry: Ferry) -> None:
    unclaimed: list[tuple[int, int | None]] = []
    batcher = ferry.batcher(size_max=2, patience=Patience(0.02, lambda item, answer: unclaimed.append((item, answer))))
    ferry.open.clear()
    answers = [batcher.submit(number) for number in (1, 2, 3)]
    await asyncio.sleep(0.01)
    later = batcher.submit(4)
    failures = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(failure) for failure in failures] == [NoAnswerInTime] * 3
    assert not later.done()
    ferry.open.set()
    assert await later == 40
    assert ferry.batches == [[1, 2], [4]]
    assert unclaimed == [(1, 10), (2, 20)]


async def test_impatience_takes_nothing_back_where_nobody_takes_what_is_unclaimed(ferry: Ferry) -> None:
    batcher = ferry.batcher(patience=Patience(0))
    ferry.open.clear()
    first = batcher.submit(1)
    with pytest.raises(NoAnswerInTime):
        await first
    second = batcher.submit(2)
    with pytest.raises(NoAnswerInTime):
        await second
    ferry.open.set()
    await batcher.drained()
    assert ferry.batches == [[1], [2]]
