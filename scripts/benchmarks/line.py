"""A connection of a load generator, with at most one call in flight, and what comes back over it."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

_HEAD_END = b"\r\n\r\n"
_CHUNKS_END = b"\r\n0\r\n\r\n"
_EVENT = b"data: "
_PIECES_KEPT = 4
"""The first piece of an answer, and so many of its last: what it says of itself is in them."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_GENERATION = re.compile(rb"\r\nx-generation-id: gen_([0-9a-f-]{36})")
_PROVIDER = re.compile(rb"\r\nx-tollgate-provider: ([^\r]*)")
_UPSTREAM = re.compile(rb'"id": ?"(chatcmpl-[^"]+)"')
_COST = re.compile(rb'"cost": ?([0-9.eE+-]+)')
_OK = b"HTTP/1.1 200"
_DONE = b"data: [DONE]"
_CHOICES = b'"choices"'
_SHOWN_BYTES = 200


@dataclass(slots=True)
class Answer:
    """An answer, or what came instead."""

    pieces: list[bytes]
    at: float
    """When its last byte was there, in seconds of `time.perf_counter`."""
    events: int
    first_at: float
    gap: float
    """The longest time between two pieces with events."""

    @property
    def problem(self) -> str | None:
        """What is wrong with it."""
        last = b"".join(self.pieces[-_PIECES_KEPT:])
        is_whole = _DONE in last if self.events else _CHOICES in self.pieces[0] or _CHOICES in last
        if self.pieces[0].startswith(_OK) and is_whole:
            return None
        shown = self.pieces[0][:_SHOWN_BYTES].decode(errors="replace"), last[-_SHOWN_BYTES:].decode(errors="replace")
        return " … ".join(shown)

    @property
    def closes(self) -> bool:
        """Whether the connection cannot be used again."""
        return _CLOSES.search(self.pieces[0], 0, self.pieces[0].find(_HEAD_END) + 2) is not None

    def ids(self) -> tuple[str | None, str | None, str | None, str | None]:
        """Its generation id, the provider's own id of it, the provider, and its cost, as far as it tells them."""
        text = b"".join((self.pieces[0], *self.pieces[1:][-_PIECES_KEPT:]))
        found = [pattern.search(text) for pattern in (_GENERATION, _UPSTREAM, _PROVIDER, _COST)]
        generation_id, upstream_id, provider, cost = (match[1].decode() if match else None for match in found)
        return generation_id, upstream_id, provider, cost


class Line(asyncio.Protocol):
    """The connection. Whoever asks over it is told when there is an answer, and when the other end closes it."""

    def __init__(self, answered: "Callable[[Line, Answer], None]", closed: "Callable[[Line, str], None]") -> None:
        self.answered = answered
        self.closed = closed
        self._transport: asyncio.WriteTransport = asyncio.WriteTransport()
        self._pieces: list[bytes] = []
        self._left: int | None = None
        """Bytes of the answer that are to come; unknown for one in chunks."""
        self._carry = b""
        """The end of the last piece: what it is the beginning of may be in the next one."""
        self._events = 0
        self._first_at = self._last_at = self._gap = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    @property
    def is_open(self) -> bool:
        """Whether a call can go over it."""
        return not self._transport.is_closing()

    def ask(self, request: bytes) -> None:
        """Send a call."""
        self._pieces, self._left, self._carry = [], None, b""
        self._events, self._first_at, self._gap = 0, 0.0, 0.0
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now, pieces = time.perf_counter(), self._pieces
        if not pieces or (len(pieces) == 1 and _HEAD_END not in pieces[0]):
            data = b"".join((*pieces, data))
            pieces.clear()
            self._begin(data)
        elif self._left is not None:
            self._left -= len(data)
        pieces.append(data)
        if self._left is None:
            self._look(data, now)
        elif self._left <= 0:
            self._end(now)

    def _begin(self, data: bytes) -> None:
        head_end = data.find(_HEAD_END)
        length = _LENGTH.search(data, 0, head_end + 2) if head_end >= 0 else None
        if length is not None:
            self._left = int(length[1]) - (len(data) - head_end - len(_HEAD_END))

    def _look(self, data: bytes, now: float) -> None:
        """Count events, and find the end, of an answer in chunks."""
        count = (self._carry[-len(_EVENT) + 1 :] + data).count(_EVENT)
        if count:
            self._events += count
            if not self._first_at:
                self._first_at = now
            elif now - self._last_at > self._gap:
                self._gap = now - self._last_at
            self._last_at = now
        is_whole = (self._carry + data).endswith(_CHUNKS_END)
        self._carry = (self._carry + data)[-len(_CHUNKS_END) :]
        if is_whole:
            self._end(now)

    def _end(self, now: float) -> None:
        self.answered(self, Answer(self._pieces, now, self._events, self._first_at, self._gap))

    def connection_lost(self, exc: Exception | None) -> None:
        begun = b"".join(self._pieces)[-_SHOWN_BYTES:].decode(errors="replace")
        self.closed(self, f"the connection was closed {exc or ''} after {begun!r}")

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()
