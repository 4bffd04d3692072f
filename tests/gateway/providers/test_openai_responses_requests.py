"""Requests for responses, as providers take them: a client's own, and conversations from other formats."""

import json
from typing import Any

import pytest
from tests.gateway.builders import MODEL, a_candidate
from tests.gateway.conversations import asking

from tollgate.catalog.model import Format
from tollgate.gateway.model import Access, Candidate, Wire
from tollgate.gateway.neutral import (
    Conversation,
    Message,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from tollgate.gateway.protocols.openai_responses import decode
from tollgate.gateway.providers import openai_responses as upstream

ACCESS = Access("https://acme.test/v1", "secret")
OURS = Wire.RESPONSES.value


def sent(candidate: Candidate, body: dict[str, Any], cap: int | None = None) -> dict[str, Any]:
    request = decode(json.dumps({"model": MODEL, "input": "hi", **body}).encode())
    return dict(json.loads(upstream.passed_request(request, candidate, access=ACCESS, output_cap=cap).body))


def translated(conversation: Conversation, **fields: Any) -> dict[str, Any]:
    asked = upstream.translated_request(
        conversation, asking(conversation, **fields), a_candidate(max_output=100), access=ACCESS, output_cap=None
    )
    return dict(json.loads(asked.body))


def test_a_passed_request_is_the_clients_own_under_the_providers_name() -> None:
    asked = upstream.passed_request(
        decode(b'{"model":"acme/model","input":[{"role":"user","content":"\\u00e9"}],"temperature":1.10,"user":"u"}'),
        a_candidate(max_output=100), access=ACCESS, output_cap=None,
    )  # fmt: skip
    assert asked.url == "https://acme.test/v1/responses"
    assert asked.headers["authorization"] == "Bearer secret"
    assert asked.body == (
        b'{"model":"upstream-name","input":[{"role":"user","content":"\\u00e9"}],"temperature":1.10,"store":false}'
    )


def test_azure_has_an_address_of_its_own() -> None:
    request = decode(b'{"model":"acme/model","input":"hi"}')
    azure = a_candidate(speaks=Format.AZURE_OPENAI)
    asked = upstream.passed_request(request, azure, access=ACCESS, output_cap=None)
    assert asked.url == "https://acme.test/v1/openai/v1/responses"
    assert asked.headers["api-key"] == "secret"


@pytest.mark.parametrize(("given_store", "stored"), [({}, False), ({"store": None}, False), ({"store": True}, True)])
def test_nothing_is_stored_unless_the_client_says_so(given_store: dict[str, Any], *, stored: bool) -> None:
    assert sent(a_candidate(max_output=9), given_store)["store"] is stored


def test_the_output_is_bounded_by_what_the_hold_carries() -> None:
    ample, scant = a_candidate(max_output=100), a_candidate(max_output=100, context_length=200)
    assert sent(ample, {"max_output_tokens": 50})["max_output_tokens"] == 50
    assert sent(ample, {"max_output_tokens": 50}, cap=20)["max_output_tokens"] == 20
    assert sent(scant, {}, cap=20)["max_output_tokens"] == 20
    assert "max_output_tokens" not in sent(scant, {})
    assert sent(a_candidate(), {})["max_output_tokens"] == 131_072


def test_thoughts_from_other_formats_are_not_shown_to_openai() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    foreign = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "tollgate:messages:proof"}
    unsigned = {"type": "reasoning", "id": "rs_tollgate_1_0", "summary": [{"type": "summary_text", "text": "Hm."}]}
    words = {"role": "user", "content": "What is tollgate:messages: for?"}
    assert sent(a_candidate(max_output=9), {"input": [own, foreign, unsigned, words]})["input"] == [own, words]
    assert sent(a_candidate(max_output=9), {"input": "tollgate"})["input"] == "tollgate"


def test_a_conversation_is_asked_without_leaving_anything_behind() -> None:
    body = translated(
        Conversation(
            (Message(Role.USER, (Text("hi"),)),), tools=(Tool("f", None, None),), reasoning=Thinking("low", shown=True),
            logprobs=True, service_tier="standard_only",
        ),
        stream=True,
    )  # fmt: skip
    assert body == {
        "model": "upstream-name",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "tools": [{"type": "function", "name": "f", "parameters": None, "strict": False}],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "service_tier": "default",
        "stream": True,
        "store": False,
    }


@pytest.mark.parametrize(("wanted", "effort", "thinks"), [
    (Thinking(budget_tokens=0), "none", False), (Thinking(budget_tokens=1024), "low", True),
    (Thinking(budget_tokens=5000), "medium", True), (Thinking(budget_tokens=50_000), "high", True),
    (Thinking("none"), "none", False), (Thinking("xhigh"), "xhigh", True),
])  # fmt: skip
def test_a_budget_amounts_to_an_effort(wanted: Thinking, effort: str, *, thinks: bool) -> None:
    body = translated(Conversation((Message(Role.USER, (Text("hi"),)),), reasoning=wanted))
    assert body["reasoning"] == {"effort": effort}
    assert ("include" in body) is thinks


def test_a_signature_goes_to_who_made_it_and_to_nobody_else() -> None:
    said = (
        Reasoning("Mine.", "sealed", OURS),
        Reasoning("", "hidden", OURS, redacted=True),
        Reasoning("Theirs.", "proof", Wire.MESSAGES.value),
        Reasoning("Unsigned."),
        ToolCall("call_1", "f", "", "gemini's"),
    )
    result = ToolResult("call_1", (Text("disk full"),), "f", failed=True)
    body = translated(Conversation((Message(Role.ASSISTANT, said), Message(Role.TOOL, (result,)))))
    assert body["input"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Mine."}], "encrypted_content": "sealed"},
        {"type": "reasoning", "summary": [], "encrypted_content": "hidden"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [
            {"type": "input_text", "text": "The tool failed."}, {"type": "input_text", "text": "disk full"},
        ]},
    ]  # fmt: skip
