"""A door to PostgreSQL: everything passes through it, until a test holds an answer back or shuts the door.

It reads along what is asked (PostgreSQL's frontend/backend protocol 3.0, extended query), so that it knows which
statement an answer is to.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from urllib.parse import parse_qs, urlsplit

_SOCKET = ".s.PGSQL.5432"
_PUT_AWAY = "away"
_CHUNK_BYTES = 65536
_IDLE, _ERROR, _READY, _PARSE, _BIND = b"I", b"E", b"Z", b"P", b"B"


@dataclass
class Moment:
    """The time between a statement's commit and its answer, as long as a test wants it to be; it comes once."""

    words: bytes
    """By which the statement is known."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the statement is committed and its answer is held back."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to let the answer go."""


class Door:
    """A Unix socket that stays where it is, wherever the server behind it goes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._server: asyncio.Server | None = None
        self._target: str | None = None
        self._passages: set[_Passage] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moments: list[Moment] = []

    def url(self, server_url: str) -> str:
        """The server's URL, through this door."""
        return f"{server_url.partition('?')[0]}?host={self._directory}"

    async def open(self, server_url: str) -> None:
        """Let everyone through to this server."""
        (directory,) = parse_qs(urlsplit(server_url).query)["host"]
        self._target = f"{directory}/{_SOCKET}"
        if self._server is None:
            self._server = await asyncio.start_unix_server(self._enter, self._directory / _SOCKET)
        else:
            (self._directory / _PUT_AWAY).rename(self._directory / _SOCKET)

    def shut(self) -> None:
        """Cut everyone off, and let nobody in: as if there were no server."""
        # The socket goes on listening where nobody finds it: closing one loses who is just coming in.
        (self._directory / _SOCKET).rename(self._directory / _PUT_AWAY)
        self._target = None
        self.cut()

    async def remove(self) -> None:
        """Leave nothing of it."""
        self.let_go()
        self._target = None
        self.cut()
        if self._server is not None:
            rmtree(self._directory)
            await asyncio.sleep(0.05)
            self._server.close()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Break every connection that there is now."""
        for passage in self._passages:
            passage.cut()

    def hold_back(self, words: str) -> Moment:
        """Hold back the answer to the next statement with these words, once it is committed."""
        moment = Moment(words.encode())
        self._moments.append(moment)
        return moment

    def let_go(self) -> None:
        """Hold nothing back any more."""
        for moment in self._moments:
            moment.over.set()
        self._moments.clear()

    def moment_of(self, statement: bytes) -> Moment | None:
        """The moment that waits for this statement, if one does."""
        for moment in self._moments:
            if not moment.came.is_set() and not moment.over.is_set() and moment.words in statement:
                return moment
        return None

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        beyond = await self._beyond()
        if beyond is None:
            writer.transport.abort()
            return
        passage = _Passage(self, (reader, writer), beyond)
        self._passages.add(passage)
        try:
            await passage.pass_on()
        finally:
            self._passages.discard(passage)

    async def _beyond(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the server, if there is one."""
        target = self._target
        if target is None:
            return None
        try:
            reader, writer = await asyncio.open_unix_connection(target)
        except OSError:
            return None
        if target != self._target:
            # The door was shut meanwhile.
            writer.transport.abort()
            return None
        return reader, writer


class _Passage:
    """One connection through the door."""

    def __init__(
        self,
        door: Door,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._door = door
        self._near_reader, self._near = near
        self._far_reader, self._far = far
        self._asked = _Messages(has_begun=False)
        self._answered = _Messages(has_begun=True)
        self._texts: dict[bytes, bytes] = {}
        self._moment: Moment | None = None
        self._failed = False

    async def pass_on(self) -> None:
        back = asyncio.ensure_future(self._back())
        try:
            with suppress(ConnectionError):
                while piece := await self._near_reader.read(_CHUNK_BYTES):
                    self._note(piece)
                    self._far.write(piece)
                    await self._far.drain()
        finally:
            self._far.close()
            if self._moment is not None:
                self._moment.over.set()
            await asyncio.wait([back])
            self._near.close()

    def cut(self) -> None:
        self._near.transport.abort()
        self._far.transport.abort()

    def _note(self, piece: bytes) -> None:
        for kind, body in self._asked.feed(piece):
            if kind == _PARSE:
                name, statement, _ = body.split(b"\0", 2)
                self._texts[name] = statement
            elif kind == _BIND and self._moment is None:
                name = body.split(b"\0", 2)[1]
                self._moment = self._door.moment_of(self._texts.get(name, b""))

    async def _back(self) -> None:
        held = b""
        with suppress(ConnectionError):
            while piece := await self._far_reader.read(_CHUNK_BYTES):
                if self._moment is not None:
                    held += piece
                    if not await self._may_go(self._moment, piece):
                        continue
                    piece, held = held, b""
                self._near.write(piece)
                await self._near.drain()
        self._near.transport.abort() if held else self._near.close()

    async def _may_go(self, moment: Moment, piece: bytes) -> bool:
        """Whether what was held back may go: an answer within a transaction, a refusal, or one that was let go."""
        for kind, body in self._answered.feed(piece):
            self._failed = self._failed or kind == _ERROR
            if kind != _READY:
                continue
            if self._failed:
                self._moment, self._failed = None, False
            elif body == _IDLE:
                moment.came.set()
                await moment.over.wait()
                self._moment = None
            return True
        return False


class _Messages:
    """Finds the messages in a stream of bytes."""

    def __init__(self, *, has_begun: bool) -> None:
        self._has_begun = has_begun
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The messages that are whole now: kind and body."""
        self._rest += piece
        if not self._has_begun:
            # The first message of a connection has no kind.
            size = int.from_bytes(self._rest[:4], "big")
            if len(self._rest) < max(size, 4):
                return
            self._rest, self._has_begun = self._rest[size:], True
        while len(self._rest) >= 5:
            end = 1 + int.from_bytes(self._rest[1:5], "big")
            if len(self._rest) < end:
                return
            message, self._rest = self._rest[:end], self._rest[end:]
            yield message[:1], message[5:]


@asynccontextmanager
async def doors(number: int) -> AsyncIterator[list[Door]]:
    """As many doors, each in a place of its own."""
    made = [Door(Path(tempfile.mkdtemp(prefix="tollgate-door-", dir="/tmp"))) for _ in range(number)]
    try:
        yield made
    finally:
        for door in made:
            await door.remove()
