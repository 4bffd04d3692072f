"""Responses between a client and a neutral form: what a request means, and how an answer from elsewhere is told."""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from openai.types.responses import ResponseCompletedEvent, ResponseFailedEvent, ResponseFunctionToolCall
from tests.gateway.builders import a_candidate
from tests.gateway.conversations import (
    ALL,
    Nuance,
    asking,
    collected,
    completions,
    conversations,
    deltas_of,
    merged,
    told,
)
from tests.gateway.protocols.test_openai_responses import RECEIPT, body

from tollgate.gateway.model import Access, Wire
from tollgate.gateway.neutral import (
    Audio,
    Cache,
    Choice,
    Completion,
    Conversation,
    Delta,
    Feature,
    File,
    Image,
    Inline,
    Link,
    Message,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    ResponseFormat,
    Role,
    Stop,
    StopDelta,
    Text,
    TextDelta,
    Thinking,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolResult,
    Uploaded,
)
from tollgate.gateway.protocols import openai_responses
from tollgate.gateway.protocols.openai_responses import decode
from tollgate.gateway.providers import openai_responses as upstream
from tollgate.gateway.streams import EventSplitter, data_of, name_of
from tollgate.kit.errors import InvalidRequest, ProviderFailed

ACCESS = Access("https://acme.test/v1", None)
OURS = Wire.RESPONSES.value
SAYABLE = ALL - {Nuance.CACHE, Nuance.FAILURES, Nuance.CALL_SIGNATURES, Nuance.UNSIGNED, Nuance.BUDGETS, Nuance.SHOWN}


def meaning(**fields: Any) -> Conversation:
    return openai_responses.conversation(decode(body(**fields)))


def said(*items: Any) -> tuple[Message, ...]:
    return meaning(input=list(items)).messages


def field_at_fault(**fields: Any) -> str | None:
    with pytest.raises(InvalidRequest) as refused:
        meaning(**fields)
    return refused.value.field


@given(conversations(upstream.EXPRESSES, SAYABLE, origin=Wire.RESPONSES))
@settings(max_examples=100)
def test_a_conversation_sent_and_read_back_means_the_same(conversation: Conversation) -> None:
    request = upstream.translated_request(
        conversation, asking(conversation), a_candidate(context_length=10**6), access=ACCESS, output_cap=None
    )
    back = openai_responses.conversation(decode(request.body))
    # To be silent about it is to be strict here alone: it is said that a function is not.
    tools = tuple(replace(tool, strict=bool(tool.strict)) for tool in conversation.tools)
    assert merged(back) == merged(replace(conversation, tools=tools))
    assert back.others == ()


@given(completions(ALL - {Nuance.CALL_SIGNATURES}, origin=Wire.RESPONSES, logprobs=True))
@settings(max_examples=100)
def test_an_answer_told_and_read_back_means_the_same_whole_and_streamed(completion: Completion) -> None:
    request = decode(body(stream=True))
    whole = openai_responses.rendered_answer(completion, request, RECEIPT)
    assert told(upstream.completion(whole)) == told(completion)
    events = data_in(stream_of(deltas_of(completion)))
    reader = upstream.reader()
    assert told(collected(delta for data in events for delta in reader.deltas(data))) == told(completion)
    assert all(reader.look(data) for data in events)
    answer = upstream.read_answer(whole)
    assert answer is not None
    assert (reader.answer.usage, reader.answer.finish_reason) == (answer.usage, answer.finish_reason)
    assert sorted(upstream.text_of(events)) == sorted(answer.text)


@given(completions(origin=Wire.MESSAGES))
@settings(max_examples=50)
def test_what_a_client_was_told_it_can_send_back(completion: Completion) -> None:
    [choice] = completion.choices
    output = json.loads(openai_responses.rendered_answer(completion, decode(body()), RECEIPT))["output"]
    back = meaning(input=[{"role": "user", "content": "hi"}, *output]).messages[1:]
    assert tuple(part for message in back for part in message.parts) == choice.parts


def stream_of(deltas: Iterable[Delta], **fields: Any) -> bytes:
    request = decode(body(stream=True, **fields))
    rendering = openai_responses.rendering(request, model="acme/model", generation_id=RECEIPT.generation_id, created=5)
    return b"".join(map(rendering.render, deltas)) + rendering.end(RECEIPT)


def events_in(stream: bytes) -> list[bytes]:
    return list(EventSplitter().feed(stream))


def data_in(stream: bytes) -> list[bytes]:
    return [data_of(event) for event in events_in(stream)]


TELLING: tuple[Delta, ...] = (
    ReasoningDelta("Hm"),
    ReasoningDelta("m."),
    ReasoningDelta("", "proof", Wire.MESSAGES.value),
    ReasoningDelta("", "hidden", Wire.MESSAGES.value, redacted=True),
    TextDelta("Hel", logprobs=(TokenLogprob("Hel", -0.5, (72,), (TokenLogprob("Hal", -2.0),)),)),
    TextDelta("lo"),
    RefusalDelta("No."),
    ToolCallDelta(0, "call_1", "f", signature="gemini's"),
    ToolCallDelta(1, "call_2", "g"),
    ToolCallDelta(0, arguments='{"a"'),
    ToolCallDelta(1, arguments="{}"),
    ToolCallDelta(0, arguments=":1}"),
    TextDelta("another choice", choice=1),
    StopDelta(Stop.TOOL_CALLS, "tool_use"),
)


def test_a_stream_is_told_in_numbered_events_that_say_what_they_are() -> None:
    events = events_in(stream_of(TELLING))
    told_events = [json.loads(data_of(event)) for event in events]
    assert [event["sequence_number"] for event in told_events] == list(range(len(events)))
    assert [event["type"].encode() for event in told_events] == [name_of(event) for event in events]
    kinds = [event["type"].removeprefix("response.") for event in told_events]
    summary = ["reasoning_summary_part.added", *["reasoning_summary_text.delta"] * 2, "reasoning_summary_text.done",
               "reasoning_summary_part.done"]  # fmt: skip
    assert kinds == [
        "created", "in_progress", "output_item.added", *summary, "output_item.done", "output_item.added",
        "output_item.done", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "content_part.added", "refusal.delta", "refusal.done",
        "content_part.done", "output_item.done", "output_item.added", "output_item.done", "output_item.added",
        "output_item.added", *["function_call_arguments.delta"] * 3, "function_call_arguments.done",
        "output_item.done", "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    done = [event["item"] for event in told_events if event["type"] == "response.output_item.done"]
    assert told_events[-1]["response"]["output"] == done
    assert [item.get("encrypted_content") for item in done] == [
        "tollgate:messages:proof", "tollgate:messages:hidden", None, "tollgate:generate_content:gemini's", None, None,
    ]  # fmt: skip


def test_what_follows_a_call_ends_after_it() -> None:
    stream = stream_of([ToolCallDelta(0, "c", "f"), TextDelta("Wait."), ToolCallDelta(0, arguments="{}")])
    events = [json.loads(data) for data in data_in(stream)]
    done = [event["item"]["type"] for event in events if event["type"] == "response.output_item.done"]
    assert done == ["function_call", "message"]


@pytest.mark.parametrize(("stop", "status", "reason", "item_status"), [
    (Stop.STOP, "completed", None, "completed"), (Stop.TOOL_CALLS, "completed", None, "completed"),
    (Stop.PAUSE, "completed", None, "completed"), (Stop.LENGTH, "incomplete", "max_output_tokens", "incomplete"),
    (Stop.CONTENT_FILTER, "incomplete", "content_filter", "incomplete"), (Stop.ERROR, "failed", None, "completed"),
    (None, "completed", None, "completed"),
])  # fmt: skip
def test_each_end_has_its_status(stop: Stop | None, status: str, reason: str | None, item_status: str) -> None:
    whole = json.loads(
        openai_responses.rendered_answer(
            Completion((Choice((Text("a"),), stop, "native"),)), decode(body()), RECEIPT
        )
    )  # fmt: skip
    ends = [] if stop is None else [StopDelta(stop, "native")]
    last = json.loads(data_in(stream_of([TextDelta("a"), *ends]))[-1])
    assert last["type"] == f"response.{status}"
    for response in (whole, last["response"]):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == reason
        assert response["output"][0]["status"] == item_status
        assert (response["error"] is not None) == (status == "failed")


def test_a_whole_answer_tells_what_was_asked_and_billed() -> None:
    request = decode(
        body(instructions="Be brief.", temperature=1.10, tools=[{"type": "function", "name": "f"}], metadata={"a": "b"})
    )
    written = openai_responses.rendered_answer(Completion(()), request, RECEIPT)
    assert b'"temperature":1.1' in written
    response = json.loads(written)
    assert (response["instructions"], response["metadata"]) == ("Be brief.", {"a": "b"})
    assert (response["tools"][0]["name"], response["output"], response["store"]) == ("f", [], False)
    assert (response["model"], response["provider"]) == ("acme/model", "acme")
    assert response["id"] == "resp_01939d2f-3a00-7000-8000-000000000000"
    assert response["created_at"] == 0x01939D2F3A00 // 1000
    usage = response["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (7, 3, 10)
    assert usage["input_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 1}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert b'"cost":0.0000007' in written


def client_of(answer: bytes, content_type: str) -> openai.OpenAI:
    def served(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=answer, headers={"content-type": content_type})

    transport = httpx2.MockTransport(served)
    return openai.OpenAI(api_key="k", base_url="https://x.test/v1", http_client=httpx2.Client(transport=transport))


def test_openais_own_client_reads_a_stream_made_from_another_format() -> None:
    with client_of(stream_of(TELLING), "text/event-stream") as client:
        with client.responses.create(model="m", input="hi", stream=True) as plain:
            *_, last = plain
        assert isinstance(last, ResponseCompletedEvent)
        assert last.response.output_text == "Hello"
        with client.responses.stream(model="m", input="hi") as stream:
            words = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            final = stream.get_final_response()
    assert words == final.output_text == "Hello"
    calls = [item for item in final.output if isinstance(item, ResponseFunctionToolCall)]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("call_1", "f", '{"a":1}'), ("call_2", "g", "{}"),
    ]  # fmt: skip
    assert final.usage is not None
    assert (final.usage.input_tokens, final.usage.input_tokens_details.cached_tokens) == (7, 2)


def test_openais_own_client_reads_a_whole_answer_made_from_another_format() -> None:
    completion = Completion((Choice((Text("Hello"), Refusal("No.")), Stop.STOP, "end_turn"),))
    answer = openai_responses.rendered_answer(completion, decode(body()), RECEIPT)
    with client_of(answer, "application/json") as client:
        response = client.responses.create(model="m", input="hi")
    assert (response.output_text, response.status, response.model) == ("Hello", "completed", "acme/model")


@pytest.mark.parametrize("begun", [(), (TextDelta("Hel"),)], ids=["at once", "later"])
def test_openais_own_client_is_told_that_a_stream_failed(begun: tuple[Delta, ...]) -> None:
    request = decode(body(stream=True))
    rendering = openai_responses.rendering(request, model="acme/model", generation_id="gen_1", created=5)
    failed = b"".join(map(rendering.render, begun)) + rendering.fail(ProviderFailed("It broke."), 502)
    passage = openai_responses.passage(request, model="acme/model")
    broken = passage.fail(ProviderFailed("It broke."), 502)
    for stream in (failed, broken):
        with client_of(stream, "text/event-stream") as client:
            *_, last = client.responses.create(model="m", input="hi", stream=True)
        assert isinstance(last, ResponseFailedEvent)
        assert last.response.error is not None
        assert last.response.error.message == "It broke."
    assert json.loads(data_in(failed)[-1])["error_type"] == "provider_error"


def test_a_conversation_is_read_from_items() -> None:
    png = "data:image/png;base64,AAAA"
    assert said(
        {"type": "message", "role": "developer", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "input_text", "text": "Look", "prompt_cache_breakpoint": {"mode": "explicit"}},
            {"type": "input_image", "image_url": png, "detail": "auto"},
            {"type": "input_image", "image_url": "https://x.test/a", "detail": "original"},
            {"type": "input_image", "file_id": "file-1", "detail": "low"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            {"type": "input_file", "file_data": "AAAA", "prompt_cache_breakpoint": {"ttl": "12h"}},
            {"type": "input_file", "file_url": "https://x.test/b"}, {"type": "input_file", "file_id": "file-2"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "reasoning", "id": "rs_2", "summary": []},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "Hi", "annotations": []}, {"type": "refusal", "refusal": "No"},
        ]},
        {"type": "reasoning", "summary": [], "encrypted_content": "tollgate:generate_content:proof"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [
            {"type": "input_text", "text": "Done"}, {"type": "input_image", "image_url": png},
        ]},
        {"type": "function_call_output", "call_id": "call_9", "output": ""},
    ) == (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (
            Text("Look", Cache()), Image(Inline("image/png", "AAAA")), Image(Link("https://x.test/a"), "high"),
            Image(Uploaded("file-1"), "low"), File(Inline("application/pdf", "AAAA"), "a.pdf"),
            File(Inline("application/pdf", "AAAA"), None, Cache("1h")), File(Link("https://x.test/b")),
            File(Uploaded("file-2")), Audio(Inline("audio/mpeg", "AAAA")),
        )),
        Message(Role.ASSISTANT, (
            Reasoning("Hm."), Text("Hi"), Refusal("No"), ToolCall("call_1", "f", "{}", "proof"),
        )),
        Message(Role.TOOL, (
            ToolResult("call_1", (Text("Done"), Image(Inline("image/png", "AAAA"))), "f"), ToolResult("call_9", ()),
        )),
    )  # fmt: skip


def test_settings_that_say_their_default_say_nothing() -> None:
    plain = Conversation((Message(Role.USER, (Text("hi"),)),))
    assert meaning() == plain
    defaults = meaning(
        instructions="", parallel_tool_calls=True, tool_choice="auto", tools=[], top_logprobs=0, truncation="disabled",
        text={"format": {"type": "text"}, "verbosity": "medium"}, service_tier="auto", store=False, background=False,
        reasoning={"effort": None, "summary": None, "context": "auto", "mode": "standard"}, prompt_cache_key=None,
        include=["reasoning.encrypted_content"], stream_options={"include_obfuscation": False}, stream=True,
    )  # fmt: skip
    assert (defaults, defaults.others) == (plain, ())


def test_every_setting_has_its_meaning() -> None:
    schema = {"type": "object", "properties": {}}
    given_format = {"type": "json_schema", "name": "a", "schema": schema, "description": "d", "strict": True}
    function = {"type": "function", "name": "f", "description": "d", "parameters": schema, "strict": False}
    read = meaning(
        instructions="Be brief.", parallel_tool_calls=False, tool_choice={"type": "function", "name": "f"},
        tools=[function], temperature=0.5, top_p=0.25, top_logprobs=2, text={"format": given_format},
        reasoning={"effort": "low", "summary": "auto"}, service_tier="flex", max_output_tokens=9,
    )  # fmt: skip
    assert read == Conversation(
        (Message(Role.SYSTEM, (Text("Be brief."),)), Message(Role.USER, (Text("hi"),))),
        tools=(Tool("f", "d", schema, strict=False),), tool_choice=ToolChoice("named", "f"), parallel_tool_calls=False,
        max_tokens=9, temperature=0.5, top_p=0.25, logprobs=True, top_logprobs=2,
        response_format=ResponseFormat(schema, "a", "d", strict=True), reasoning=Thinking("low", shown=True),
        service_tier="flex",
    )  # fmt: skip
    assert meaning(text={"format": {"type": "json_object"}, "verbosity": "low"}).response_format == ResponseFormat()
    assert meaning(tool_choice="required").tool_choice == ToolChoice("required")


@pytest.mark.parametrize(("fields", "names"), [
    ({"store": True}, ("store",)),
    ({"truncation": "auto"}, ("truncation",)),
    ({"prompt_cache_key": "k", "safety_identifier": "s", "max_tool_calls": 3, "novel": 0},
     ("prompt_cache_key", "safety_identifier", "max_tool_calls", "novel")),
    ({"include": ["file_search_call.results"]}, ()),
    ({"include": ["novel"]}, ("include",)),
    ({"stream": True, "stream_options": {"include_obfuscation": True}}, ("stream_options",)),
    ({"reasoning": {"context": "all_turns", "mode": "pro"}}, ("reasoning.context", "reasoning.mode")),
    ({"tools": [{"type": "web_search"}, {"type": "custom", "name": "c"}]}, ("tools.web_search", "tools.custom")),
    ({"tools": [{"type": "function", "name": "f", "defer_loading": True, "async": False}]}, ("tools.defer_loading",)),
    ({"tool_choice": {"type": "web_search_preview"}}, ("tool_choice",)),
    ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, ("tool_choice",)),
    ({"input": [{"role": "user", "content": "hi"}, {"type": "web_search_call", "id": "ws_1"}]},
     ("input.web_search_call",)),
])  # fmt: skip
def test_what_means_nothing_elsewhere_is_named(fields: dict[str, Any], names: tuple[str, ...]) -> None:
    assert meaning(**fields).others == names


@pytest.mark.parametrize(("fields", "field"), [
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}, "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "novel"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "owner", "content": "hi"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/svg+xml,<svg/>"}]}]},
     "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [{"type": "refusal", "refusal": "No"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "system", "content": [{"type": "input_image", "file_id": "f"}]}]},
     "input[0].content[0].type"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0]"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": 5}]}, "input[0].output"),
    ({"tools": [{"type": "function"}]}, "tools[0]"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"reasoning": {"effort": "immense"}}, "reasoning.effort"),
    ({"temperature": "hot"}, "temperature"),
    ({"include": "all"}, "include"),
])  # fmt: skip
def test_a_form_that_means_nothing_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(**fields) == field


def test_every_name_is_one_of_a_feature() -> None:
    assert set(openai_responses.NAMES) <= set(Feature)
