"""Server-sent events: pieces of bytes become whole events, however the network cut them.

The bytes of an event are passed on as they came; only its fields are looked at. Grammar:
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator

EVENT_BYTES_MAX = 16 * 1024 * 1024
"""An event larger than this is no event: the provider is not speaking the protocol."""

_BOUNDARY = re.compile(rb"\n(?:\n|\r\n?)|\r\r\n?")
"""The end of a line and an empty line. What ends the first is CRLF, LF or CR: its last byte is enough to know it by."""
_BOUNDARY_LENGTH_MAX = 3
_DATA = b"data: "
_END = b"\n\n"
"""How an event ends as nearly every provider writes it."""
_ORDINARY = re.compile(rb"(?:(?:event: .+\n)?data: .+\n\n)+")
"""Whole events as nearly every provider writes them, with one line of data each, if there is no CR in them."""
_CARRIAGE_RETURN = 0x0D
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event exceeds `EVENT_BYTES_MAX`."""


class EventSplitter:
    """Collects pieces and hands out whole events, boundary included, each exactly as received.

    The events and the rest, in order, are the stream, whatever its pieces were. Time is in proportion to its length.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._start = 0
        """Where the first event begins that is not handed out."""
        self._searched = 0
        """Up to here there is no boundary left."""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Take a piece; the events that are complete with it. Those that nobody asks for come with the next piece.

        Raises:
            EventTooLarge: on asking for the next event, that it or what there is of it is too large.
        """
        self._buffer += piece
        return self._complete()

    def _complete(self) -> Iterator[bytes]:
        while (match := _BOUNDARY.search(self._buffer, self._searched)) is not None:
            start, end = self._start, match.end()
            if end == len(self._buffer) and self._buffer[-1] == _CARRIAGE_RETURN:
                break  # A line feed may follow, which would belong to the boundary.
            if end - start > EVENT_BYTES_MAX:
                raise EventTooLarge
            self._start = self._searched = end
            yield bytes(self._buffer[start:end])
        del self._buffer[: self._start]
        self._start, self._searched = 0, max(0, len(self._buffer) - _BOUNDARY_LENGTH_MAX)
        if len(self._buffer) > EVENT_BYTES_MAX:
            raise EventTooLarge

    def whole_events(self, piece: bytes) -> int:
        """How many events a piece is that need no splitting, as nearly every provider writes them; 0 if it has to."""
        size = len(piece)
        # A number is looked for four times as fast as a byte.
        if self._buffer or size > EVENT_BYTES_MAX or _CARRIAGE_RETURN in piece or not piece.endswith(_END):
            return 0
        if len(_DATA) < piece.find(b"\n") == size - len(_END) and piece.startswith(_DATA):
            return 1  # Most pieces are one event: this is the quicker way to tell.
        return count_events(piece) if _ORDINARY.fullmatch(piece) is not None else 0

    def rest(self) -> bytes:
        """What is not handed out: once the stream has ended, an event without its boundary, or nothing."""
        return bytes(self._buffer[self._start :])


def count_events(events: bytes) -> int:
    """How many these are, of those that need no splitting."""
    return events.count(_END)


def start_of_event(events: bytes, at: int) -> int:
    """Where the event begins in which this is, of those that need no splitting."""
    before = events.rfind(_END, 0, at)
    return 0 if before == -1 else before + len(_END)


def end_of_event(events: bytes, at: int) -> int:
    """Where it ends."""
    return events.index(_END, at) + len(_END)


def find_first(pattern: re.Pattern[bytes], words: bytes, events: bytes, start: int) -> int:
    """Where from the start on the pattern or the words first stand; -1 if neither does."""
    found = pattern.search(events, start)
    end = len(events) if found is None else found.start()
    # Most often there are no words: in a large piece that is three times as quick to see from behind.
    at = -1 if events.rfind(words, start, end) == -1 else events.find(words, start, end)
    return end if at == -1 and found is not None else at


def data_of(event: bytes) -> bytes:
    """The event's data: its `data` lines joined; empty for comments and events without data."""
    if event.startswith(b"data: ") and (end := event.find(b"\n")) != -1 and not event[end:].strip(b"\r\n"):
        line = event[6:end].removesuffix(b"\r")
        if b"\r" not in line:
            return line
    return b"\n".join(_values(event, b"data"))


def data_in(events: bytes) -> Iterator[bytes]:
    """The data of each of these events that has any; the last one may lack its boundary."""
    if b"\r" not in events and _ORDINARY.fullmatch(events) is not None:
        yield from (line[len(_DATA) :] for line in events.split(b"\n") if line.startswith(_DATA))
        return
    splitter = EventSplitter()
    for event in splitter.feed(events):
        if data := data_of(event):
            yield data
    if data := data_of(splitter.rest()):
        yield data


def name_of(event: bytes) -> bytes:
    """What the event calls itself: the last of its `event` lines; empty if it has none."""
    return next(reversed(_values(event, b"event")), b"")


def _values(event: bytes, field: bytes) -> list[bytes]:
    """What each line of the event with this field says; bytes, unlike text, have no other ends of lines than these."""
    lines = event.removeprefix(_BYTE_ORDER_MARK).splitlines()
    prefix = field + b":"
    return [line[len(prefix) :].removeprefix(b" ") for line in lines if line.startswith(prefix) or line == field]
