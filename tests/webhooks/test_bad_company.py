"""Endpoints that are silent, rude or in the way, and workers that die: nobody else suffers, and nothing is lost."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from tests.webhooks.post_office import PostOffice, states_of, until
from tests.webhooks.receiver import Receiver, dropping, endless, receiver, saying, silent

from tollgate.infra.http_client import HttpClient
from tollgate.infra.names import Reach
from tollgate.kit.ids import typed
from tollgate.webhooks import tasks
from tollgate.webhooks.model import DeliveryState
from tollgate.webhooks.tasks import LEASE


class TestBadCompany:
    async def test_a_silent_endpoint_delays_nobody_else(self, office: PostOffice, server: Receiver) -> None:
        async with receiver() as bad:
            bad.answering = silent
            dead = await office.an_owner()
            for _ in range(5):
                await office.a_webhook(dead, bad.url)
            for _ in range(20):  # a hundred deliveries that all hang, and were there first
                await office.tell(dead)
            owner = await office.an_owner()
            await office.a_webhook(owner, server.url)
            for _ in range(8):
                await office.tell(owner)

            patient = replace(office.post, seconds_max=60)  # whoever waits for the silent ones, waits in vain
            turn = asyncio.create_task(office.send(patient))
            await until(lambda: len(server.arrived) == 8)
            assert len(bad.arrived) <= tasks.EACH_MAX * 5
            turn.cancel()
            await asyncio.gather(turn, return_exceptions=True)

    async def test_hostile_answers_are_kept_short_and_do_no_harm(self, office: PostOffice) -> None:
        async with receiver() as rude, receiver() as huge, receiver() as inside, receiver() as away:
            rude.answering, huge.answering = dropping, endless
            away.answering = saying(307, b"", f"Location: {inside.url}")
            owner = await office.an_owner()
            minted = [await office.a_webhook(owner, each.url) for each in (rude, huge, away)]
            await office.tell(owner)
            assert await office.send() == 3

        outcomes = [(await office.deliveries(each))[0] for each in minted]
        assert [each.state for each in outcomes] == [
            DeliveryState.PENDING,
            DeliveryState.DELIVERED,
            DeliveryState.PENDING,
        ]
        assert [len(each.last.answer) if each.last else None for each in outcomes] == [0, 500, 0]
        assert inside.arrived == []

    async def test_what_breaks_on_our_side_breaks_for_itself_alone_and_not_for_ever(
        self, office: PostOffice, server: Receiver
    ) -> None:
        async def breaking(name: str) -> tuple[str, ...]:
            if name == "broken.test":
                raise RuntimeError(name)
            return ("127.0.0.1",)

        owner = await office.an_owner()
        minted = [await office.a_webhook(owner, url) for url in ("http://broken.test/", server.url)]
        await office.tell(owner)
        post = replace(office.post, client=HttpClient(Reach(breaking, private=True)))
        assert await office.send(post) == 2
        assert [await states_of(office, each) for each in minted] == [
            [(DeliveryState.PENDING, 1)],
            [(DeliveryState.DELIVERED, 1)],
        ]
        office.clock.at += timedelta(hours=74)
        assert await office.send(post) == 0
        assert await states_of(office, minted[0]) == [(DeliveryState.FAILED, 1)]

    async def test_one_that_failed_is_asked_one_thing_at_a_time(self, office: PostOffice, server: Receiver) -> None:
        owner = await office.an_owner()
        minted = await office.a_webhook(owner, server.url)
        for _ in range(6):
            await office.tell(owner)
        server.answers = [500] * 4
        await office.send()
        assert len(server.arrived) >= 6
        assert sorted(state for state, _ in await states_of(office, minted)) == ["delivered"] * 2 + ["pending"] * 4


class TestCrashes:
    async def test_a_worker_that_dies_after_sending_leaves_it_to_the_next(
        self, office: PostOffice, server: Receiver
    ) -> None:
        owner = await office.an_owner()
        minted = await office.a_webhook(owner, server.url)
        event = await office.tell(owner)
        heard = asyncio.Event()

        async def hold_back(writer: asyncio.StreamWriter) -> None:
            heard.set()
            await silent(writer)

        server.answering = hold_back
        dying = asyncio.create_task(office.send())
        await heard.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)

        server.answering = None
        assert await office.later(LEASE - timedelta(seconds=1)) == 0
        assert await office.later(timedelta(seconds=1)) == 1
        assert [each.headers["tollgate-event-id"] for each in server.arrived] == [typed("evt", event.id)] * 2
        assert await states_of(office, minted) == [(DeliveryState.DELIVERED, 2)]

    async def test_two_workers_send_everything_once(self, office: PostOffice, server: Receiver) -> None:
        owner = await office.an_owner()
        minted = [await office.a_webhook(owner, server.url) for _ in range(3)]
        for _ in range(20):
            await office.tell(owner)

        sent = await asyncio.gather(office.send(), office.send())

        assert sum(sent) == len(server.arrived) == 60
        assert len({(each.headers["tollgate-signature"], each.body) for each in server.arrived}) == 60
        for each in minted:
            assert await states_of(office, each) == [(DeliveryState.DELIVERED, 1)] * 20

    async def test_who_was_thought_lost_does_not_undo_what_came_after(
        self, office: PostOffice, server: Receiver
    ) -> None:
        owner = await office.an_owner()
        minted = await office.a_webhook(owner, server.url)
        await office.tell(owner)
        heard, let_go = asyncio.Event(), asyncio.Event()

        async def fail_late(writer: asyncio.StreamWriter) -> None:
            heard.set()
            await let_go.wait()
            await saying(500)(writer)

        server.answering = fail_late
        slow = asyncio.create_task(office.send())
        await heard.wait()
        server.answering = None
        assert await office.later(LEASE) == 1
        let_go.set()
        await slow
        assert await states_of(office, minted) == [(DeliveryState.DELIVERED, 2)]
