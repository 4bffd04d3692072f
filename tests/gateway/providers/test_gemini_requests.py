"""Conversations as Gemini's requests: what is asked is all there, where Gemini documents it, and means the same."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from tests.gateway.builders import a_candidate
from tests.gateway.conversations import Nuance, asking, conversations

from tollgate.catalog.model import Format
from tollgate.gateway.model import Access, UpstreamRequest, Wire
from tollgate.gateway.neutral import (
    Audio,
    Conversation,
    Feature,
    File,
    Image,
    Inline,
    Link,
    Message,
    Part,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tollgate.gateway.providers import gemini

ACCESS = Access("https://gemini.test/v1beta", "secret")
OURS = Wire.GENERATE_CONTENT.value
HELLO = (Message(Role.USER, (Text("Hello"),)),)
PIXEL = Inline("image/png", "QUJD")


def sent(
    conversation: Conversation, *, model: str = "gemini-2.5-flash", cap: int | None = None, **fields: Any
) -> UpstreamRequest:
    candidate = a_candidate(speaks=Format.GEMINI, upstream_model=model, context_length=1_000_000, max_output=65_536)
    return gemini.translated_request(
        conversation, asking(conversation, **fields), candidate, access=ACCESS, output_cap=cap
    )


def body_of(conversation: Conversation, **more: Any) -> Any:
    return json.loads(sent(conversation, **more).body)


def turns(*messages: Message, model: str = "gemini-2.5-flash") -> Any:
    return body_of(Conversation(messages), model=model)["contents"]


@pytest.mark.parametrize(("model", "path"), [
    ("gemini-2.5-flash", "models/gemini-2.5-flash"), ("models/gemini-2.5-flash", "models/gemini-2.5-flash"),
    ("tunedModels/mine-1", "tunedModels/mine-1"), ("a b/../c?d#e:f", "models/a%20b%2F..%2Fc%3Fd%23e%3Af"),
])  # fmt: skip
def test_the_model_is_in_the_address(model: str, path: str) -> None:
    assert sent(Conversation(HELLO), model=model).url == f"https://gemini.test/v1beta/{path}:generateContent"
    streamed = sent(Conversation(HELLO), model=model, stream=True)
    assert streamed.url == f"https://gemini.test/v1beta/{path}:streamGenerateContent?alt=sse"
    assert streamed.stream is True


def test_the_key_is_in_a_header_alone() -> None:
    request = sent(Conversation(HELLO))
    assert request.headers == {"x-goog-api-key": "secret", "content-type": "application/json"}
    assert b"secret" not in request.body
    assert "secret" not in request.url


def test_a_plain_conversation_asks_for_nothing_else() -> None:
    assert body_of(Conversation(HELLO)) == {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def test_instructions_stand_apart_unless_they_are_all_there_is() -> None:
    system = Message(Role.SYSTEM, (Text("Be brief."), Text("")))
    later = Message(Role.SYSTEM, (Text("Be kind."),))
    assert body_of(Conversation((system, *HELLO, later))) == {
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
    }
    assert body_of(Conversation((system,))) == {"contents": [{"role": "user", "parts": [{"text": "Be brief."}]}]}


def test_settings_go_by_geminis_names() -> None:
    conversation = Conversation(
        HELLO, max_tokens=50, temperature=0.5, top_p=0.9, top_k=40, stop=("a", "b"), choices=2, seed=2**31 + 7,
        presence_penalty=0.5, frequency_penalty=-0.5, logprobs=True, top_logprobs=3, service_tier="flex",
        response_format=ResponseFormat({"type": "object"}, name="n"), reasoning=Thinking(effort="low", shown=True),
    )  # fmt: skip
    body = body_of(conversation)
    assert body["serviceTier"] == "flex"
    assert body["generationConfig"] == {
        "maxOutputTokens": 50, "temperature": 0.5, "topP": 0.9, "topK": 40, "stopSequences": ["a", "b"],
        "candidateCount": 2, "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": -0.5, "responseLogprobs": True,
        "logprobs": 3, "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
    }  # fmt: skip


@pytest.mark.parametrize(("thinking", "config"), [
    (Thinking(effort="none"), {"thinkingBudget": 0}), (Thinking(effort="minimal"), {"thinkingBudget": 1024}),
    (Thinking(effort="medium"), {"thinkingBudget": 8192}), (Thinking(effort="high"), {"thinkingBudget": 24576}),
    (Thinking(effort="max"), {"thinkingBudget": 24576}), (Thinking(budget_tokens=2000), {"thinkingBudget": 2000}),
    (Thinking(effort="low", budget_tokens=0), {"thinkingBudget": 0}),
    (Thinking(shown=False), {"includeThoughts": False}),
])  # fmt: skip
def test_efforts_are_budgets(thinking: Thinking, config: dict[str, Any]) -> None:
    assert body_of(Conversation(HELLO, reasoning=thinking))["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize(("tier", "written"), [("auto", None), ("default", "standard"), ("priority", "priority")])
def test_service_tiers_have_geminis_names(tier: str, written: str | None) -> None:
    assert body_of(Conversation(HELLO, service_tier=tier)).get("serviceTier") == written


def test_the_output_is_bounded_by_what_the_hold_carries() -> None:
    assert body_of(Conversation(HELLO, max_tokens=50), cap=20)["generationConfig"] == {"maxOutputTokens": 20}
    assert "generationConfig" not in body_of(Conversation(HELLO))


@pytest.mark.parametrize(("choice", "config"), [
    (None, None), (ToolChoice("auto"), {"mode": "AUTO"}), (ToolChoice("none"), {"mode": "NONE"}),
    (ToolChoice("required"), {"mode": "ANY"}),
    (ToolChoice("named", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
])  # fmt: skip
def test_tools_and_their_choice(choice: ToolChoice | None, config: Any) -> None:
    tools = (Tool("f", "does f", {"type": "object"}), Tool("g", None, None, strict=True))
    body = body_of(Conversation(HELLO, tools=tools, tool_choice=choice))
    declared = [{"name": "f", "description": "does f", "parametersJsonSchema": {"type": "object"}}, {"name": "g"}]
    assert body["tools"] == [{"functionDeclarations": declared}]
    assert body.get("toolConfig") == (None if config is None else {"functionCallingConfig": config})
    assert "toolConfig" not in body_of(Conversation(HELLO, tool_choice=choice))


def test_media_come_inline_and_as_links() -> None:
    parts = (
        Image(PIXEL, detail="low"), Image(Link("https://x.test/a.PNG?b=c.pdf")), Image(Link("https://x.test/a")),
        Audio(Inline("audio/wav", "AAAA")), File(Inline("application/pdf", "AAAA"), name="a.pdf"),
        File(Link("https://x.test/a.pdf")), File(Link("http://[")),
    )  # fmt: skip
    assert turns(Message(Role.USER, parts)) == [{"role": "user", "parts": [
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.PNG?b=c.pdf"}},
        {"fileData": {"fileUri": "https://x.test/a"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.test/a.pdf"}},
        {"fileData": {"fileUri": "http://["}},
    ]}]  # fmt: skip


CALLS = Message(Role.ASSISTANT, (Text("Wait."), ToolCall("c1", "f", '{"a": 1.50}'), ToolCall("c2", "g", "")))


def test_results_of_calls_stand_together_under_their_functions_names() -> None:
    results = (
        Message(Role.TOOL, (ToolResult("c1", (Text("one"), Text("two"))),)),
        Message(Role.TOOL, (ToolResult("c2", (Text("no"),), failed=True), ToolResult("c9", ()))),
    )
    user, called, returned, after = turns(*HELLO, CALLS, *results, *HELLO)
    assert (user["role"], called["role"], returned["role"], after["role"]) == ("user", "model", "user", "user")
    assert called["parts"] == [
        {"text": "Wait."},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1.5}}},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
    ]
    assert [part["functionResponse"] for part in returned["parts"]] == [
        {"id": "c1", "name": "f", "response": {"result": "one\ntwo"}},
        {"id": "c2", "name": "g", "response": {"error": "no"}},
        {"id": "c9", "name": "c9", "response": {"result": ""}},
    ]


def test_an_id_used_twice_means_the_call_before() -> None:
    def round_of(name: str) -> tuple[Message, Message]:
        call = Message(Role.ASSISTANT, (ToolCall("c", name, "{}"),))
        return call, Message(Role.TOOL, (ToolResult("c", (Text("r"),)),))

    said = turns(*HELLO, *round_of("f"), *round_of("g"))
    assert [turn["parts"][0]["functionResponse"]["name"] for turn in said[2::2]] == ["f", "g"]


def test_arguments_keep_their_digits_and_what_is_no_object_is_wrapped() -> None:
    request = sent(Conversation((*HELLO, CALLS)))
    assert b'"args":{"a": 1.50}' in request.body
    calls = Message(Role.ASSISTANT, tuple(ToolCall("c", "f", text) for text in ("[1]", "{oops", "null")))
    assert [part["functionCall"]["args"] for part in turns(calls)[0]["parts"]] == [
        {"arguments": "[1]"}, {"arguments": "{oops"}, {"arguments": "null"},
    ]  # fmt: skip


def test_pictures_in_results_stand_inside_where_gemini_takes_them() -> None:
    link = Image(Link("https://x.test/a.png"))
    result = Message(Role.TOOL, (ToolResult("c1", (Text("see"), Image(PIXEL), link), "f"),))
    inline = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    linked = {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png"}}
    inside, beside = turns(result, model="gemini-3-flash-preview")
    assert inside["parts"][0]["functionResponse"]["parts"] == [inline]
    assert beside == {"role": "user", "parts": [linked]}
    inside, beside = turns(result)
    assert "parts" not in inside["parts"][0]["functionResponse"]
    assert beside == {"role": "user", "parts": [inline, linked]}


def test_geminis_own_signatures_go_back_where_they_were_and_nobody_elses() -> None:
    said = Message(Role.ASSISTANT, (
        Reasoning("Hm", "s1", OURS), Reasoning("unsigned"), Reasoning("theirs", "s", Wire.MESSAGES.value),
        Text("Well."), Reasoning("", "s2", OURS), Reasoning("", "s3", OURS), Refusal("No."),
        ToolCall("c1", "f", "{}", "s4"), ToolCall("c2", "g", "{}"),
    ))  # fmt: skip
    assert turns(*HELLO, said, model="gemini-3-pro")[1]["parts"] == [
        {"text": "Hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "Well.", "thoughtSignature": "s2"},
        {"text": "", "thoughtSignature": "s3"},
        {"text": "No."},
        {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "s4"},
        {"functionCall": {"id": "c2", "name": "g", "args": {}}},
    ]


STAND_IN = "skip_thought_signature_validator"


@pytest.mark.parametrize(("model", "mark"), [
    ("gemini-3-pro-preview", STAND_IN), ("models/gemini-3.5-flash", STAND_IN), ("gemini-10-pro", STAND_IN),
    ("gemini-2.5-pro", None), ("gemma-3", None),
])  # fmt: skip
def test_calls_that_no_gemini_made_are_marked_where_their_signature_is_missed(model: str, mark: str | None) -> None:
    parts = turns(*HELLO, CALLS, model=model)[1]["parts"]
    marks = [part.get("thoughtSignature") for part in parts if "functionCall" in part]
    assert marks == [mark, None]


def test_empty_turns_are_left_out() -> None:
    silent = (Message(Role.ASSISTANT, (Reasoning("Hm"),)), Message(Role.USER, (Text(""),)))
    assert turns(*HELLO, *silent) == [{"role": "user", "parts": [{"text": "Hello"}]}]


def test_an_answer_goes_back_as_it_came() -> None:
    parts = [
        {"text": "Hm", "thought": True, "thoughtSignature": "s1"},
        {"text": "Well.", "thoughtSignature": "s2"},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": [1, "ü"]}}, "thoughtSignature": "s3"},
    ]
    [choice] = gemini.completion(json.dumps({"candidates": [{"content": {"parts": parts}}]}).encode()).choices
    assert turns(*HELLO, Message(Role.ASSISTANT, choice.parts))[1]["parts"] == parts


NUANCES = frozenset(
    {Nuance.FAILURES, Nuance.CALL_SIGNATURES, Nuance.NO_LIMIT, Nuance.ANY_OBJECT, Nuance.BUDGETS, Nuance.SHOWN}
)
SAYABLE = gemini.EXPRESSES - {Feature.CHOICES}


@given(conversations(SAYABLE, NUANCES, origin=Wire.GENERATE_CONTENT))
@settings(max_examples=100)
def test_a_request_means_what_the_conversation_means(conversation: Conversation) -> None:
    body = body_of(conversation)
    messages = tuple(_messages(body))
    assert messages == tuple(_expected(conversation))
    config = body.get("generationConfig", {})
    assert config.get("maxOutputTokens") == conversation.max_tokens
    assert config.get("stopSequences", []) == list(conversation.stop)
    declared = [one for tool in body.get("tools", []) for one in tool["functionDeclarations"]]
    assert [(one["name"], one.get("description"), one["parametersJsonSchema"]) for one in declared] == [
        (tool.name, tool.description, tool.schema) for tool in conversation.tools
    ]


def _expected(conversation: Conversation) -> Iterator[Message]:
    """Instructions first; files without names, results without pieces: all that the format has no place for."""
    system = [part for message in conversation.messages if message.role is Role.SYSTEM for part in message.parts]
    if system:
        yield Message(Role.SYSTEM, tuple(system))
    for message in conversation.messages:
        if message.role is not Role.SYSTEM:
            yield Message(message.role, tuple(map(_plain, message.parts)))


def _plain(part: Part) -> Part:
    match part:
        case File():
            # A document and a picture are one kind of part: the media type tells them apart.
            return Image(part.source)
        case ToolResult():
            text = "\n".join(one.text for one in part.parts if isinstance(one, Text))
            return replace(part, parts=(Text(text),))
        case ToolCall():
            return replace(part, arguments=json.loads(part.arguments))
        case _:
            return part


def _messages(body: Any) -> Iterator[Message]:
    """The conversation, read by someone who never saw the translator."""
    if "systemInstruction" in body:
        yield Message(Role.SYSTEM, tuple(Text(part["text"]) for part in body["systemInstruction"]["parts"]))
    for turn in body["contents"]:
        parts = tuple(map(_part, turn["parts"]))
        returned = any(isinstance(part, ToolResult) for part in parts)
        yield Message(Role.TOOL if returned else {"user": Role.USER, "model": Role.ASSISTANT}[turn["role"]], parts)


def _part(part: Any) -> Part:
    match part:
        case {"functionCall": call}:
            return ToolCall(call["id"], call["name"], call["args"], part.get("thoughtSignature"))
        case {"functionResponse": result}:
            [(word, text)] = result["response"].items()
            return ToolResult(result["id"], (Text(text),), result["name"], failed=word == "error")
        case {"inlineData": {"mimeType": media_type, "data": data}}:
            source = Inline(media_type, data)
            return Audio(source) if media_type.startswith("audio/") else Image(source)
        case {"fileData": {"fileUri": uri}}:
            return Image(Link(uri))
        case {"text": text, "thought": True}:
            return Reasoning(text, part["thoughtSignature"], OURS)
        case _:
            return Text(part["text"])
