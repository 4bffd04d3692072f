"""Server-sent events: the same events come out however the bytes were cut, and not one byte is lost."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollgate.gateway import streams
from tollgate.gateway.streams import (
    EventSplitter,
    EventTooLarge,
    count_events,
    data_in,
    data_of,
    end_of_event,
    find_first,
    name_of,
    start_of_event,
)

LINES = st.sampled_from([
    "data: {}", "data:x", "data:  two", "data", "data: wörld 🌍\u2028\x0b", "data :x", " data: x", "database: x",
    ": comment", ":", "event: done", "event:ping", "event", "events: x", "id: 1", "retry: 10", "", "x: y",
])  # fmt: skip
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
GRAMMATICAL = st.lists(st.tuples(LINES, ENDS), max_size=12).map(lambda lines: "".join(map("".join, lines)).encode())
BYTES = st.lists(st.sampled_from([b"\r", b"\n", b"data:", b" ", b"x", b"\xff", b"\0"]), max_size=24).map(b"".join)
STREAMS = st.builds(bytes.__add__, st.sampled_from([b"", b"\xef\xbb\xbf"]), GRAMMATICAL | BYTES)

ORDINARY = st.builds(
    lambda name, data: name + b"data: " + data + b"\n\n",
    st.sampled_from([b"", b"event: message_start\n"]),
    st.sampled_from([b"{}", b"data: x", b"[DONE]", b'{"text":"\\n"}', b"{ }"]),
)

FOUND = st.text("ab:", max_size=12).map(str.encode)

LARGE = 12 * 1024 * 1024


def split(*pieces: bytes) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, splitter.rest()


@given(STREAMS, st.lists(st.integers(0, 200)))
@example(b"data: a\r\n\r\n\r\ndata: b\r\r\ndata: c\n\r\n\n", [8, 9, 10, 11])
def test_where_the_network_cuts_makes_no_difference(stream: bytes, cuts: list[int]) -> None:
    bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    events, rest = split(*(stream[start:end] for start, end in pairwise(bounds)))
    assert (events, rest) == split(stream) == split(*(bytes([byte]) for byte in stream))
    assert b"".join(events) + rest == stream
    assert [(name_of(event), data) for event in (*events, rest) if (data := data_of(event))] == reference(stream)


@given(STREAMS, st.lists(st.integers(0, 3), min_size=1))
def test_an_event_nobody_asked_for_comes_with_the_next_piece(stream: bytes, wanted: list[int]) -> None:
    """A reader that stops within a piece and one that goes on after it, as for a client who left, lose nothing."""
    splitter = EventSplitter()
    pieces = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    taken: list[bytes] = []
    for at, piece in enumerate(pieces):
        events = splitter.feed(piece)
        taken += [event for _, event in zip(range(wanted[at % len(wanted)]), events, strict=False)]
    assert b"".join(taken) + splitter.rest() == stream
    taken += splitter.feed(b"")
    assert (taken, splitter.rest()) == split(stream)


@given(STREAMS | st.lists(ORDINARY, min_size=1).map(b"".join))
def test_what_needs_no_splitting_is_whole_events_of_one_line_of_data_each(stream: bytes) -> None:
    splitter = EventSplitter()
    if whole := splitter.whole_events(stream):
        events, rest = split(stream)
        assert (len(events), rest) == (whole, b"")
        assert count_events(stream) == whole
        starts = [len(b"".join(events[:at])) for at in range(len(events) + 1)]
        for start, end in pairwise(starts):
            assert {start_of_event(stream, at) for at in range(start, end)} == {start}
            assert {end_of_event(stream, at) for at in range(start, end - 1)} == {end}
        assert all(event.count(b"data:") >= 1 and b"\n" not in data_of(event) for event in events)
        assert [*data_in(stream)] == [data_of(event) for event in events if data_of(event)]
        assert len([*data_in(stream)]) == len(events)
        splitter.feed(b"d")
        assert not splitter.whole_events(stream)
    assert [*data_in(stream)] == [data for _, data in reference(stream)]


@given(st.lists(ORDINARY, min_size=1))
def test_ordinary_events_need_no_splitting(events: list[bytes]) -> None:
    assert EventSplitter().whole_events(b"".join(events)) == len(events)
    assert not EventSplitter().whole_events(b"".join(events)[:-1])


def reference(stream: bytes) -> list[tuple[bytes, bytes]]:
    """The specification's own algorithm, line by line, but for a last event without its boundary, which counts."""
    found: list[tuple[bytes, bytes]] = []
    name = b""
    lines: list[bytes] = []
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in (*text.split(b"\n"), b""):
        field, _, value = line.partition(b":")
        if not line:
            found.append((name, b"\n".join(lines)))
            name, lines = b"", []
        elif field == b"data":
            lines.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return [(name, data) for name, data in found if data]


@pytest.mark.parametrize(("event", "data"), [
    (b"data: x\n\n", b"x"),
    (b"data: x\r\n\r\n", b"x"),
    (b"data:x\r\r", b"x"),
    (b"data:  x\n\n", b" x"),
    (b"data: {\ndata: }\n\n", b"{\n}"),
    (b"data: {\rdata: }\n\n", b"{\n}"),
    (b"data: x\ndata\n\n", b"x\n"),
    (b"event: a\ndata: x\nid: 1\n\n", b"x"),
    (b": comment\n\n", b""),
    (b": comment\ndata: x\n\n", b"x"),
    (b"data:\n\n", b""),
    (b"\n\n", b""),
    (b"", b""),
    (b"\xef\xbb\xbfdata: x\n\n", b"x"),
    (b"data: x", b"x"),
    (b"data: x\r", b"x"),
    (b"data: \n\n", b""),
    ("data: \u2028\x85\n\n".encode(), "\u2028\x85".encode()),
])  # fmt: skip
def test_the_data_of_an_event(event: bytes, data: bytes) -> None:
    assert data_of(event) == data


@pytest.mark.parametrize(("event", "name"), [
    (b"event: message_start\ndata: {}\n\n", b"message_start"),
    (b"data: {}\r\nevent:ping\r\n\r\n", b"ping"),
    (b"event: a\nevent: b\n\n", b"b"),
    (b"\xef\xbb\xbfevent: a\n\n", b"a"),
    (b"data: event: x\n\n", b""),
    (b"event\n\n", b""),
    (b"", b""),
])  # fmt: skip
def test_the_name_of_an_event(event: bytes, name: bytes) -> None:
    assert name_of(event) == name


def test_a_boundary_may_come_in_two_pieces() -> None:
    assert split(b"data: a\r\n\r", b"\ndata: b\n", b"\n") == ([b"data: a\r\n\r\n", b"data: b\n\n"], b"")


def test_an_event_is_handed_out_when_its_boundary_is_there_and_not_later() -> None:
    assert split(b"data: a\n\n") == ([b"data: a\n\n"], b"")
    assert split(b"data: a\r\n\r\n") == ([b"data: a\r\n\r\n"], b"")
    assert split(b"data: a\r\rd") == ([b"data: a\r\r"], b"d")


@pytest.mark.parametrize("size", [1024 * 1024, 17 * 1024 * 1024])
def test_an_event_without_an_end_is_refused(size: int) -> None:
    with pytest.raises(EventTooLarge):
        split(*[b"x" * size] * (17 * 1024 * 1024 // size))


@pytest.mark.parametrize("size", [1_000, streams.EVENT_BYTES_MAX * 2])
def test_the_largest_event_is_as_large_whatever_its_pieces(size: int) -> None:
    largest = b"data: a\n\n" + b"x" * (streams.EVENT_BYTES_MAX - 2) + b"\n\n"
    assert [len(event) for event in split(*cut(largest, size))[0]] == [9, streams.EVENT_BYTES_MAX]

    with pytest.raises(EventTooLarge):
        split(*cut(b"data: a\n\nx" + largest[9:], size))


@pytest.mark.parametrize("content", [b"a" * 1023, "é".encode() * 511 + b"\n", b"\r\n:" * 341], ids=["1", "2", "3"])
def test_a_large_event_takes_time_in_proportion(content: bytes) -> None:
    event = b"data: " + content * (LARGE // len(content)) + b"x\n\n"
    pieces = cut(event, 1024)
    splitter = EventSplitter()
    started = time.process_time()
    events = [found for piece in pieces for found in splitter.feed(piece)]
    spent = time.process_time() - started
    assert (events, splitter.rest()) == ([event], b"")
    assert spent < 1


def test_many_events_at_once_take_time_in_proportion() -> None:
    stream = b"data: x\n\n" * 100_000
    started = time.process_time()
    events, rest = split(stream)
    assert (len(events), rest) == (100_000, b"")
    assert time.process_time() - started < 1


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


@given(FOUND, st.integers(0, 12))
def test_what_stands_first_is_found_whichever_it_is(events: bytes, start: int) -> None:
    places = [at for at in range(start, len(events)) if events.startswith((b"a:", b"bb"), at)]
    assert find_first(re.compile(b"a:"), b"bb", events, start) == min(places, default=-1)
