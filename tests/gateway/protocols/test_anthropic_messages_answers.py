"""Answers to who speaks Anthropic Messages: passed from a provider of the same format, or written from another."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from anthropic._streaming import SSEDecoder
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as TheirMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.builders import a_receipt
from tests.gateway.conversations import ALL, Nuance, collected, completions, deltas_of, told
from tests.gateway.corpus import Entry, entries

from tollgate.gateway import wire
from tollgate.gateway.model import Request, Wire
from tollgate.gateway.neutral import (
    Choice,
    Completion,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Stop,
    StopDelta,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
)
from tollgate.gateway.protocols import anthropic_messages
from tollgate.gateway.protocols.anthropic_messages import conversation, decode
from tollgate.gateway.providers import anthropic
from tollgate.gateway.streams import EventSplitter, data_of, name_of
from tollgate.gateway.translation import ConversationalClient, Rendering
from tollgate.kit.errors import ProviderFailed
from tollgate.kit.tokens import Kind

CLIENT: ConversationalClient = anthropic_messages
CORPUS = entries(Wire.MESSAGES)
RECEIPT = a_receipt({
    Kind.PROMPT: 7, Kind.INPUT_CACHE_READ: 5, Kind.INPUT_CACHE_WRITE_5M: 2, Kind.INPUT_CACHE_WRITE_1H: 3,
    Kind.INPUT_CACHE_WRITE: 4, Kind.INPUT_AUDIO: 1, Kind.COMPLETION: 3, Kind.INTERNAL_REASONING: 6,
    Kind.WEB_SEARCH: 1,
})  # fmt: skip
COUNTED = {
    "input_tokens": 8, "cache_creation_input_tokens": 9, "cache_read_input_tokens": 5,
    "cache_creation": {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 3}, "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 6},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
}  # fmt: skip


def body(**fields: Any) -> bytes:
    given = {"model": "acme/model", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps(given).encode()


# Answers that are passed.


def a_request(**fields: Any) -> Request:
    return decode(body(**fields), {})


def events_of(written: bytes) -> list[dict[str, Any]]:
    """The events, each under the name that is its type."""
    splitter = EventSplitter()
    said = []
    for event in splitter.feed(written):
        data = json.loads(data_of(event), parse_float=Decimal)
        assert name_of(event).decode() == data["type"]
        said.append(data)
    assert splitter.rest() == b""
    return said


def their_message(written: bytes) -> TheirMessage:
    """What Anthropic's own client makes of a stream."""
    message: Any = None
    buffers: dict[int, bytes] = {}
    for sse in SSEDecoder().iter_bytes(iter([written])):
        if sse.event != "ping":
            message = accumulate_event(event=sse.json(), current_snapshot=message, json_bufs=buffers)
    assert isinstance(message, TheirMessage)
    return message


def test_an_answer_keeps_its_fields_and_gains_its_cost() -> None:
    whole = b'{"id":"x","model":"theirs","odd":1.10,"usage":{"input_tokens":7,"odd":[1.50]}}'
    assert anthropic_messages.passed_answer(whole, RECEIPT) == (
        b'{"id":"x","model":"acme/model","odd":1.10,"usage":{"input_tokens":7,"odd":[1.50],"cost":0.0000007,'
        b'"cost_details":[{"kind":"prompt","quantity":7,"unit":"per_million_tokens","unit_price":"0.1",'
        b'"amount":"0.0000007"}]},"provider":"acme"}'
    )


@pytest.mark.parametrize("usage", [b"", b',"usage":null', b',"usage":5', b',"usage":{"input_tokens":"many"}'])
def test_an_answer_without_usage_gets_our_count(usage: bytes) -> None:
    given = b'{"id":"x"' + usage + b"}"
    answer = json.loads(anthropic_messages.passed_answer(given, RECEIPT._replace(estimated=True)))
    assert answer["usage"] | COUNTED == answer["usage"]


def sent_by(entry: Entry) -> list[tuple[bytes, bytes]]:
    return [(wire.event(data, json.loads(data)["type"]), data) for data in entry.stream]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_stream_passes_byte_by_byte_but_for_its_ends(entry: Entry) -> None:
    passage = anthropic_messages.passage(a_request(), model="acme/model")
    events = sent_by(entry)
    passed = [passage.take(event, data) for event, data in events]
    begin = events[0][0].replace(json.loads(events[0][1])["message"]["model"].encode(), b"acme/model")
    assert passed[0].replace(b'"model":"', b'"model": "') == begin
    assert passed[1:] == [event for event, _ in events[1:-2]] + [b"", b""]
    written = b"".join(passed) + passage.end(RECEIPT)
    theirs, whole = their_message(written), json.loads(entry.whole or b"")
    assert theirs.stop_reason == whole["stop_reason"]
    assert [block.type for block in theirs.content] == [block["type"] for block in whole["content"]]
    delta, stop = events_of(written)[-2:]
    assert (delta["model"], delta["provider"], stop) == ("acme/model", "acme", {"type": "message_stop"})
    assert delta["usage"]["cost"] == Decimal("0.0000007")
    assert delta["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert "usage" not in delta["delta"]


def test_a_beginning_that_names_several_models_is_told_ours_in_the_right_place() -> None:
    message = {"usage": {"iterations": [{"model": "inner"}]}, "model": "theirs", "text": '"model":"x"'}
    data = json.dumps({"type": "message_start", "message": message}, indent=1).encode()
    event = b"event: message_start\n" + b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"
    [told] = events_of(anthropic_messages.passage(a_request(), model="acme/m").take(event, data_of(event)))
    assert told["message"] == {**message, "model": "acme/m"}


def test_the_end_of_a_stream_is_told_once_whatever_the_provider_repeats() -> None:
    passage = anthropic_messages.passage(a_request(), model="m")
    ends: list[dict[str, Any]] = [
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"a": 1}},
        {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 5}, "odd": True},
        {"type": "error", "error": {"message": "no"}},
    ]
    assert all(passage.take(wire.event(bytes(wire.raw(end))), bytes(wire.raw(end))) == b"" for end in ends)
    delta, _ = events_of(passage.end(RECEIPT._replace(estimated=True)))
    assert (delta["delta"], delta["odd"]) == ({"stop_reason": "end_turn", "stop_sequence": None}, True)
    assert delta["usage"] | COUNTED | {"a": 1} == delta["usage"]


def test_usage_that_stands_inside_the_delta_is_told_beside_it() -> None:
    passage = anthropic_messages.passage(a_request(), model="m")
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": {"output_tokens": 80}}}
    passage.take(wire.event(bytes(wire.raw(end))), bytes(wire.raw(end)))
    delta, _ = events_of(passage.end(RECEIPT))
    assert delta["delta"] == {"stop_reason": "end_turn"}
    assert (delta["usage"]["output_tokens"], delta["usage"]["cost"]) == (80, Decimal("0.0000007"))


@pytest.mark.parametrize("data", [
    b"not json", b'{"type":"message_stop"', b'{"type":"content_block_start","content_block":{"type":"error"}}', b"{}",
    b'{"type":"ping"}',
])  # fmt: skip
def test_what_a_passage_does_not_know_passes(data: bytes) -> None:
    event = wire.event(data)
    assert anthropic_messages.passage(a_request(), model="m").take(event, data) == event


def test_an_error_in_a_stream_ends_it() -> None:
    error = ProviderFailed("No.", metadata={"generation_id": "gen_9"})
    [passed] = events_of(anthropic_messages.passage(a_request(), model="m").fail(error, 503))
    assert passed == {
        "type": "error", "error": {"type": "overloaded_error", "message": "No."}, "request_id": "gen_9",
    }  # fmt: skip
    [rendered] = events_of(a_rendering().fail(ProviderFailed("No."), 502))
    assert (rendered["error"]["type"], rendered["request_id"]) == ("api_error", "gen_1")


# Answers that came in another format.


def a_rendering() -> Rendering:
    return anthropic_messages.rendering(a_request(), model="acme/model", generation_id="gen_1", created=1)


def rendered(deltas: Any) -> bytes:
    rendering = a_rendering()
    return b"".join(map(rendering.render, deltas)) + rendering.end(RECEIPT)


def read_again(written: bytes) -> Completion:
    reader = anthropic.reader()
    return collected(delta for event in EventSplitter().feed(written) for delta in reader.deltas(data_of(event)))


def plainly(completion: Completion) -> Completion:
    """The answer as this format can say it: refusals are words, and what it is called by comes first."""
    [choice] = completion.choices
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    parts = tuple(Text(part.text) if isinstance(part, Refusal) else part for part in choice.parts)
    stop = Stop.CONTENT_FILTER if refused and choice.stop is Stop.STOP else choice.stop
    return told(Completion((replace(choice, parts=parts, stop=stop),)))


NUANCES = ALL - {Nuance.CALL_SIGNATURES}
STOPS = (Stop.STOP, Stop.LENGTH, Stop.CONTENT_FILTER, Stop.PAUSE)


@settings(max_examples=100, deadline=None)
@given(completions(NUANCES, origin=Wire.MESSAGES, stops=STOPS))
def test_an_answer_survives_there_and_back(completion: Completion) -> None:
    whole = anthropic_messages.rendered_answer(completion, a_request(), RECEIPT)
    assert told(anthropic.completion(whole)) == plainly(completion)


@settings(max_examples=100, deadline=None)
@given(completions(NUANCES, origin=Wire.MESSAGES, stops=STOPS))
def test_a_stream_tells_what_the_whole_answer_tells(completion: Completion) -> None:
    written = rendered(deltas_of(completion))
    assert told(read_again(written)) == plainly(completion)
    theirs = their_message(written).to_dict()
    whole = json.loads(anthropic_messages.rendered_answer(completion, a_request(), RECEIPT))
    assert theirs["content"] == whole["content"]
    assert theirs["stop_reason"] == whole["stop_reason"]


@settings(max_examples=50, deadline=None)
@given(completions(ALL, origin=Wire.GENERATE_CONTENT))
def test_foreign_proofs_come_back_with_the_next_turn(completion: Completion) -> None:
    [choice] = completion.choices
    answer = json.loads(anthropic_messages.rendered_answer(completion, a_request(), RECEIPT))
    for content in (answer["content"], their_message(rendered(deltas_of(completion))).to_dict()["content"]):
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": content}]
        said = conversation(decode(json.dumps({"model": "m", "max_tokens": 1, "messages": messages}).encode(), {}))
        parts = said.messages[1].parts if content else ()
        expected = [Text(part.text) if isinstance(part, Refusal) else part for part in choice.parts]
        assert [_compact(part) for part in parts] == [_compact(part) for part in expected]


def _compact(part: Any) -> Any:
    return replace(part, arguments=json.dumps(json.loads(part.arguments))) if isinstance(part, ToolCall) else part


def test_a_whole_answer_tells_what_was_billed() -> None:
    completion = Completion((Choice((Text("Hi."),), Stop.STOP, "stop"),))
    answer = json.loads(anthropic_messages.rendered_answer(completion, a_request(), RECEIPT), parse_float=Decimal)
    usage = answer.pop("usage")
    assert usage | COUNTED == usage
    assert (usage["cost"], usage["cost_details"][0]["quantity"]) == (Decimal("0.0000007"), 7)
    assert answer == {
        "id": "msg_gen_1", "type": "message", "role": "assistant", "model": "acme/model", "provider": "acme",
        "content": [{"type": "text", "text": "Hi."}], "stop_reason": "end_turn", "stop_sequence": None,
    }  # fmt: skip
    TheirMessage.model_validate(json.loads(anthropic_messages.rendered_answer(completion, a_request(), RECEIPT)))


def test_a_stream_ends_with_what_was_billed() -> None:
    begin, *_, delta, stop = events_of(rendered([TextDelta("Hi."), StopDelta(Stop.STOP, "stop", "x")]))
    assert begin["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
    assert delta["usage"] | COUNTED == delta["usage"]
    assert (delta["model"], delta["provider"]) == ("acme/model", "acme")
    assert delta["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": "x"}
    assert stop == {"type": "message_stop"}


def test_nothing_said_is_a_message_all_the_same() -> None:
    assert [event["type"] for event in events_of(rendered([]))] == ["message_start", "message_delta", "message_stop"]
    assert json.loads(anthropic_messages.rendered_answer(Completion(()), a_request(), RECEIPT))["content"] == []


@pytest.mark.parametrize(("parts", "stop", "reason"), [
    ((Refusal("No."),), Stop.STOP, "refusal"),
    ((ToolCall("a", "f", "{}"),), Stop.STOP, "tool_use"),
    ((ToolCall("a", "f", "{}"),), Stop.LENGTH, "max_tokens"),
    ((Text("a"),), Stop.PAUSE, "pause_turn"),
    ((Text("a"),), Stop.CONTENT_FILTER, "refusal"),
    ((Text("a"),), None, "end_turn"),
])  # fmt: skip
def test_why_it_ended_has_anthropics_word(parts: Any, stop: Stop | None, reason: str) -> None:
    completion = Completion((Choice(parts, stop, None),))
    assert json.loads(anthropic_messages.rendered_answer(completion, a_request(), RECEIPT))["stop_reason"] == reason
    assert events_of(rendered(deltas_of(completion)))[-2]["delta"]["stop_reason"] == reason


def test_a_tool_call_streams_as_it_comes() -> None:
    rendering = a_rendering()
    rendering.render(ToolCallDelta(0, "a", "f"))
    [delta] = events_of(rendering.render(ToolCallDelta(0, arguments='{"x":')))
    assert delta["delta"] == {"type": "input_json_delta", "partial_json": '{"x":'}
    rendering.render(ToolCallDelta(0, arguments="1}"))
    # The arguments are whole: nothing of the first call can come any more, and the second streams at once.
    kinds = [event["type"] for event in events_of(rendering.render(ToolCallDelta(1, "b", "g", '{"y"')))]
    assert kinds == ["content_block_stop", "content_block_start", "content_block_delta"]


def test_calls_that_mix_are_told_one_after_the_other() -> None:
    deltas = [
        ToolCallDelta(0, "a", "f"), ToolCallDelta(1, "b", "g"), ToolCallDelta(0, arguments='{"x"'),
        TextDelta("Both."), ToolCallDelta(1, arguments='{"y"'), ToolCallDelta(0, arguments=":1}"),
        ReasoningDelta("Hm.", "sig", "messages"), ToolCallDelta(1, arguments=":2}"), ToolCallDelta(2, None, "h"),
        RefusalDelta("", 0), TextDelta("Elsewhere.", choice=1), StopDelta(Stop.TOOL_CALLS, "tool_calls"),
    ]  # fmt: skip
    content = their_message(rendered(deltas)).to_dict()["content"]
    assert content == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"y": 2}},
        {"type": "text", "text": "Both."},
        {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
        {"type": "tool_use", "id": "toolu_gen_1_2", "name": "h", "input": {}},
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_order_of_pieces_no_argument_is_lost(data: st.DataObject) -> None:
    arguments = ['{"a":1}', '{"b":[2,"}"]}', "{}"]
    left = dict(enumerate(arguments))
    deltas = [ToolCallDelta(slot, f"t{slot}", "f") for slot in left]
    while left:
        slot = data.draw(st.sampled_from(sorted(left)))
        size = data.draw(st.integers(1, 4))
        deltas.append(ToolCallDelta(slot, arguments=left[slot][:size]))
        left[slot] = left[slot][size:]
        left = {slot: text for slot, text in left.items() if text}
    content = their_message(rendered(deltas)).to_dict()["content"]
    assert isinstance(content, list)
    assert [block["input"] for block in content] == [json.loads(text) for text in arguments]


def test_a_long_call_beside_others_takes_time_in_proportion_to_its_length() -> None:
    deltas = [ToolCallDelta(0, "a", "f"), ToolCallDelta(1, "b", "g")]
    deltas += [ToolCallDelta(0, arguments=piece) for piece in ['{"x":"', *["word "] * 20_000, '"}']]
    written = rendered(deltas)
    assert len(written) > 20_000 * len("word ")
