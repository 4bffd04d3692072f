"""The fake provider answers as it is told to and logs what it served; the load generator tells what it was answered."""

import multiprocessing
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from scripts.benchmarks import requests
from scripts.benchmarks.behaviour import Behaviour, Fault, Usage
from scripts.benchmarks.generator import Generator
from scripts.benchmarks.provided import Provider, providing
from scripts.benchmarks.traffic import Borne, Load

QUESTION = {"messages": [{"role": "user", "content": "call 7"}]}
WELL = Behaviour(events=9)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with providing(WELL, WELL) as running:
        yield running


@pytest.fixture(scope="module")
def generator() -> Iterator[Generator]:
    with Generator() as running:
        yield running


def load(provider: Provider, model: str, *, streamed: bool = False, calls: int = 5) -> Load:
    asked = requests.call(provider.base_url, {"model": model} | QUESTION, {}, streamed=streamed)
    return Load([requests.address(provider.base_url)], [asked], seconds=20, connections=2, calls_max=calls)


def test_every_answer_has_an_id_of_its_own_which_is_in_the_log(provider: Provider, generator: Generator) -> None:
    borne = generator.bear(load(provider, "whole", calls=40))

    served = [each for each in provider.provided() if each.model == "whole"]
    assert borne.answered == len(borne.milliseconds) == 40
    assert Counter(told.upstream_id for told in borne.told) == Counter(each.id for each in served)
    assert {(each.call, each.streamed, each.ended) for each in served} == {("call 7", False, "served")}
    assert len({tuple(each.quantities.items()) for each in served}) == 16


def test_the_events_of_streams_are_counted_one_by_one(provider: Provider, generator: Generator) -> None:
    for model in ("streamed", "streamed,pack=4", "streamed,gap_ms=1,first_ms=1"):
        borne = generator.bear(load(provider, model, streamed=True))

        assert (borne.answered, borne.events, len(borne.first_ms)) == (5, 5 * 9, 5)
        assert all(first <= last for first, last in zip(borne.first_ms, borne.milliseconds, strict=True))


def test_an_interrupt_ends_neither_of_them(provider: Provider, generator: Generator) -> None:
    for pid in (provider.pid, *(each.pid for each in multiprocessing.active_children() if each.pid)):
        os.kill(pid, signal.SIGINT)

    assert generator.bear(load(provider, "interrupted")).answered == 5


@pytest.mark.parametrize(
    ("usage", "kinds"),
    [
        (Usage.PLAIN, {"prompt", "completion"}),
        (Usage.CACHED, {"prompt", "input_cache_read", "completion"}),
        (Usage.REASONING, {"prompt", "completion", "internal_reasoning"}),
        (Usage.NONE, set()),
    ],
)
def test_what_was_used_is_logged_as_it_was_told(
    provider: Provider, generator: Generator, usage: Usage, kinds: set[str]
) -> None:
    model = f"used,usage={usage}"
    generator.bear(load(provider, model))

    assert {frozenset(each.quantities) for each in provider.provided() if each.model == model} == {frozenset(kinds)}


@pytest.mark.parametrize("fault", [Fault.STORM, Fault.LIMITED, Fault.GARBAGE, Fault.CUT, Fault.REFUSED])
def test_a_share_of_the_calls_meets_a_fault_and_the_others_do_not(
    provider: Provider, generator: Generator, fault: Fault
) -> None:
    model = f"faulty,fault={fault},fault_rate=0.5"
    borne = generator.bear(load(provider, model, calls=20))

    ended = Counter(each.ended for each in provider.provided() if each.model == model)
    assert ended == Counter({"served": borne.answered, str(fault): borne.failed})
    assert 8 <= borne.failed <= 12
    assert len(borne.problems) == 5


def test_nobody_listens_at_a_port_that_refuses_until_it_is_well_again(provider: Provider) -> None:
    provider.behave(WELL, replace(WELL, fault=Fault.REFUSED))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", provider.ports[1]), timeout=5)

    provider.behave(WELL, WELL)
    socket.create_connection(("127.0.0.1", provider.ports[1]), timeout=5).close()


def at_a_rate(provider: Provider, generator: Generator, connections: int, *, calls: int | None = None) -> Borne:
    slow = load(provider, "slow,first_ms=40")
    # What is counted has all the time it needs; what is not is sent for a moment.
    seconds = 0.3 if calls is None else slow.seconds
    return generator.bear(replace(slow, connections=connections, rate=100, calls_max=calls, seconds=seconds))


def test_calls_that_found_no_connection_are_told_apart_from_those_that_were_sent(
    provider: Provider, generator: Generator
) -> None:
    borne = at_a_rate(provider, generator, connections=1)

    assert borne.due == borne.answered + borne.unsent
    assert borne.unsent > 0


def test_every_call_is_sent_that_finds_a_connection(provider: Provider, generator: Generator) -> None:
    borne = at_a_rate(provider, generator, connections=64, calls=30)

    assert (borne.due, borne.answered, borne.unsent) == (30, 30, 0)


def test_a_behaviour_that_a_name_asks_for_and_nobody_knows_is_an_error() -> None:
    assert WELL.of("any-name") == WELL
    assert WELL.of("any-name,events=4,fault=storm") == replace(WELL, events=4, fault=Fault.STORM)
    with pytest.raises(KeyError):
        WELL.of("any-name,speed=4")
