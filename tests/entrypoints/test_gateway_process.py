"""The gateway's processes stop in time, together, and with every call recorded that can be."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.gateway.fake_provider import WORDS, Behaviour, spoken, stream, streamed
from tests.gateway.installation import MESSAGES, Customer, Installation, installation

from tollgate.infra import children
from tollgate.infra.children import Child

SETTINGS = {"TOLLGATE_DRAIN_TIMEOUT_SECONDS": "2", "TOLLGATE_SETTLE_TIMEOUT_SECONDS": "1"}
WORKERS = 2
STOP_SECONDS_MAX = 2 + 1 + 10


@asynccontextmanager
async def served(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Installation, Child]]:
    """An installation, and the main process of its gateway."""
    started: list[Child] = []
    start = children.start

    async def start_and_tell(name: str, command: Sequence[str | Path], environment: Mapping[str, str]) -> Child:
        started.append(await start(name, command, environment))
        return started[0]

    monkeypatch.setattr(children, "start", start_and_tell)
    async with installation(database_url, WORKERS, **SETTINGS) as gateway:
        yield gateway, started[0]


@asynccontextmanager
async def streaming(customer: Customer, behaviour: Behaviour) -> AsyncIterator[httpx.Response]:
    """A streamed call of which something has arrived."""
    body = {"model": await customer.gateway.model(behaviour), "messages": MESSAGES, "stream": True}
    headers = {"authorization": f"Bearer {customer.key}"}
    async with customer.gateway.http.stream("POST", "/chat/completions", json=body, headers=headers) as answer:
        assert answer.status_code == httpx.codes.OK
        yield answer


def workers_of(process: Child) -> list[int]:
    """The processes that take its calls."""
    main = process._process.pid
    return [int(pid) for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split()]


async def stopped(process: Child) -> int:
    """Its exit code, after it was asked to stop and did so in the time that it gives itself."""
    await process.stop(patience_seconds=STOP_SECONDS_MAX)
    return await process.wait()


async def test_a_call_in_flight_is_answered_to_its_end(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(database_url, monkeypatch) as (gateway, process):
        customer = await gateway.customer()
        slowly = [*spoken(WORDS), b"data: [DONE]\n\n"]
        async with streaming(customer, stream(slowly, pause=0.1)) as answer:
            stopping = asyncio.create_task(stopped(process))
            said = (await answer.aread()).decode()
        assert await stopping == 0
        assert said.endswith("data: [DONE]\n\n")
        assert (await customer.call())["streamed"]


async def test_a_call_that_takes_longer_is_broken_off_told_so_and_recorded(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served(database_url, monkeypatch) as (gateway, process):
        customer = await gateway.customer()
        async with streaming(customer, stream(spoken(WORDS * 100), pause=0.1)) as answer:
            stopping = asyncio.create_task(stopped(process))
            said = (await answer.aread()).decode()
        assert await stopping == 0
        assert '"type":"overloaded"' in said.replace(": ", ":")
        assert said.endswith("data: [DONE]\n\n")
        call = await customer.call()
        assert call["amount"] > 0
        assert call["status"] == "failed"
        assert await customer.held() == 0
    assert "requests in flight are broken off" in capfd.readouterr().err


async def test_a_stop_asked_for_a_thousand_times_is_one(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(database_url, monkeypatch) as (_, process):
        for _ in range(1000):
            os.kill(process._process.pid, signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS_MAX):
            # The last of them may come when Python itself has done with them.
            assert await process.wait() in {0, -signal.SIGTERM}


async def test_a_call_that_cannot_be_recorded_is_left_to_the_next_process_when_the_time_is_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async with served(database_url, monkeypatch) as (gateway, process):
        customer = await gateway.customer()
        await gateway.pool.execute("ALTER TABLE calls RENAME TO lost")
        async with streaming(customer, streamed()) as answer:
            await answer.aread()
        assert await stopped(process) == 0
    assert '"calls": 1, "event": "calls are left for the next process to record"' in capfd.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
async def test_no_thread_of_a_worker_interrupts_another_and_none_outlives_the_main_process(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(database_url, monkeypatch) as (_, process):
        workers = workers_of(process)
        assert len(workers) == WORKERS
        threads = [thread for worker in workers for thread in Path(f"/proc/{worker}/task").iterdir()]
        assert {os.sched_getscheduler(int(thread.name)) for thread in threads} == {os.SCHED_BATCH}
        os.kill(process._process.pid, signal.SIGKILL)
        async with asyncio.timeout(STOP_SECONDS_MAX):
            while any(Path(f"/proc/{worker}/exe").exists() for worker in workers):  # noqa: ASYNC110 - a file system's event
                await asyncio.sleep(0.05)
