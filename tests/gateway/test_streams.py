"""Server-sent events: the same events come out however the bytes were cut, and not one byte is lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway import streams
from tollgate.gateway.streams import EventSplitter, EventTooLarge, data_of

LINES = st.sampled_from([
    "data: {}", "data:x", "data:  two", "data", "data: wörld 🌍", ": comment", "event: done", "id: 1", "", "x: y",
])  # fmt: skip
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: "".join(map("".join, lines)).encode())


def split(*pieces: bytes) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, splitter.rest()


@given(STREAMS, st.lists(st.integers(0, 200)))
def test_where_the_network_cuts_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    events, rest = split(*(stream[start:end] for start, end in pairwise(bounds)))
    bytewise, bytewise_rest = split(*(bytes([byte]) for byte in stream))
    assert b"".join(events) + rest == stream == b"".join(bytewise) + bytewise_rest
    assert seen(events, rest) == seen(bytewise, bytewise_rest) == reference(stream)


def seen(events: list[bytes], rest: bytes) -> list[bytes]:
    return [data for event in (*events, rest) if (data := data_of(event))]


def reference(stream: bytes) -> list[bytes]:
    """The specification's own algorithm, line by line, but for a last event without its boundary, which counts."""
    found: list[bytes] = []
    lines: list[bytes] = []
    text = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in text.split(b"\n"):
        if not line:
            found.append(b"\n".join(lines))
            lines = []
        elif line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
    return [data for data in (*found, b"\n".join(lines)) if data]


@pytest.mark.parametrize(("event", "data"), [
    (b"data: x\n\n", b"x"),
    (b"data: x\r\n\r\n", b"x"),
    (b"data:x\r\r", b"x"),
    (b"data:  x\n\n", b" x"),
    (b"data: {\ndata: }\n\n", b"{\n}"),
    (b"event: a\ndata: x\nid: 1\n\n", b"x"),
    (b": comment\n\n", b""),
    (b"data:\n\n", b""),
    (b"\n\n", b""),
    (b"\xef\xbb\xbfdata: x\n\n", b"x"),
    (b"data: x", b"x"),
    (b"data: \n\n", b""),
])  # fmt: skip
def test_the_data_of_an_event(event: bytes, data: bytes) -> None:
    assert data_of(event) == data


def test_a_boundary_may_come_in_two_pieces() -> None:
    assert split(b"data: a\r\n\r", b"\ndata: b\n", b"\n") == ([b"data: a\r\n\r\n", b"data: b\n\n"], b"")


def test_an_event_without_an_end_is_refused() -> None:
    with pytest.raises(EventTooLarge):
        split(*[b"x" * 1024 * 1024] * 17)


def test_large_events_take_time_in_proportion() -> None:
    pieces = [b"x" * 1000] * (streams.EVENT_BYTES_MAX // 1000 - 1)
    events, rest = split(b"data: ", *pieces, b"\n\n")
    assert (len(events), rest) == (1, b"")
