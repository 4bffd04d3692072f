"""The line between a process and its ledger, which a test can cut, or have fall silent, or lose answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.metering.scene import Pool


class Line:
    """Stands in for a pool; what is asked through it reaches the real one while the line is up."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._up = asyncio.Event()
        self._up.set()
        self._is_silent = False
        self._fails_at = self._loses_answers_to = ""
        self.asked: list[str] = []
        """Every statement that was tried, whatever became of it."""

    def cut(self) -> None:
        """From now on whoever asks is refused."""
        self._up.clear()

    def silence(self) -> None:
        """From now on whoever asks waits, until the line is mended, and is then told that it broke."""
        self._up.clear()
        self._is_silent = True

    def fail(self, at: str) -> None:
        """From now on statements with this text do not get through."""
        self._fails_at = at

    def lose_answers(self, to: str) -> None:
        """From now on statements with this text are carried out, and their answers lost."""
        self._loses_answers_to = to

    def mend(self) -> None:
        self._up.set()
        self._is_silent = False
        self._fails_at = self._loses_answers_to = ""

    async def fetch(self, query: str, *given: Any) -> Any:
        return await self._ask(self._pool.fetch, query, *given)

    async def fetchval(self, query: str, *given: Any, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as the pool has it
        async with asyncio.timeout(timeout):
            return await self._ask(self._pool.fetchval, query, *given)

    async def execute(self, query: str, *given: Any) -> Any:
        return await self._ask(self._pool.execute, query, *given)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["_Connection"]:
        await self._get_through()
        async with self._pool.acquire() as connection:
            yield _Connection(connection, self._ask)

    async def _ask(self, ask: Callable[..., Awaitable[Any]], query: str, *given: Any) -> Any:
        self.asked.append(query)
        await self._get_through()
        if self._fails_at and self._fails_at in query:
            raise ConnectionResetError("the line broke")
        answer = await ask(query, *given)
        if self._loses_answers_to and self._loses_answers_to in query:
            raise ConnectionResetError("the answer was lost")
        return answer

    async def _get_through(self) -> None:
        if self._up.is_set():
            return
        if self._is_silent:
            await self._up.wait()
        raise ConnectionRefusedError("the line is cut")


class _Connection:
    """One connection of the pool, whose statements take the same line."""

    def __init__(self, connection: Any, ask: Callable[..., Awaitable[Any]]) -> None:
        self._connection = connection
        self._ask = ask
        self.transaction = connection.transaction

    async def fetch(self, query: str, *given: Any) -> Any:
        return await self._ask(self._connection.fetch, query, *given)

    async def fetchval(self, query: str, *given: Any) -> Any:
        return await self._ask(self._connection.fetchval, query, *given)

    async def execute(self, query: str, *given: Any) -> Any:
        return await self._ask(self._connection.execute, query, *given)
