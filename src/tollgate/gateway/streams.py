"""Server-sent events: pieces of bytes become whole events, however the network cut them.

The bytes of an event are passed on as they came; only its data is looked at. Grammar:
https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from collections.abc import Iterator

EVENT_BYTES_MAX = 16 * 1024 * 1024
"""An event larger than this is no event: the provider is not speaking the protocol."""

_BOUNDARY = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOUNDARY_LENGTH_MAX = 4
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An event exceeds `EVENT_BYTES_MAX`."""


class EventSplitter:
    """Collects pieces and hands out whole events, boundary included, each exactly as received."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The events that this piece completes.

        Raises:
            EventTooLarge: no boundary came for too long.
        """
        self._buffer += piece
        start = 0
        while (match := _BOUNDARY.search(self._buffer, max(self._searched, start))) is not None:
            if match.end() == len(self._buffer) and self._buffer.endswith(b"\r"):
                break  # The boundary may go on with the next piece: "\r\r" is one, and so is "\r\r\n".
            yield bytes(self._buffer[start : match.end()])
            start = self._searched = match.end()
        del self._buffer[:start]
        self._searched = max(0, len(self._buffer) - _BOUNDARY_LENGTH_MAX)
        if len(self._buffer) > EVENT_BYTES_MAX:
            raise EventTooLarge

    def rest(self) -> bytes:
        """What came after the last boundary: an event without its end, if the stream ended."""
        return bytes(self._buffer)


def data_of(event: bytes) -> bytes:
    """The event's data: its `data` lines joined; empty for comments and events without data."""
    if event.startswith(b"data: ") and (end := event.find(b"\n")) != -1 and not event[end:].strip(b"\r\n"):
        line = event[6:end].removesuffix(b"\r")
        if b"\r" not in line:
            return line
    return b"\n".join(
        line[5:].removeprefix(b" ")
        for line in _LINE_END.split(event.removeprefix(_BYTE_ORDER_MARK))
        if line.startswith(b"data:")
    )
