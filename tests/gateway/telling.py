"""What an answer tells its reader: read from whole bodies and from streams, in every format.

Written without the gateway's translators, from the public documentation of each format: an opinion of their work. Of
streams meant for clients the grammar is checked as well.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tollgate.gateway.model import Wire


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    words: str
    """Text and refusals."""
    reasoning: str
    calls: tuple[tuple[str, Any], ...]
    """(function, arguments), in order."""
    finish: str | None
    """In the format's own word."""
    usage: Mapping[str, Any] | None
    model: str | None
    provider: str | None


def whole(wire: Wire, body: Any) -> Told:
    """An answer in one piece."""
    reading = {
        Wire.CHAT: _chat,
        Wire.RESPONSES: _responses,
        Wire.MESSAGES: _messages,
        Wire.GENERATE_CONTENT: _gemini,
    }
    return reading[wire](body)


def streamed(wire: Wire, data: Iterable[bytes]) -> Told:
    """An answer in events."""
    events = [json.loads(each, parse_float=Decimal) for each in data if each != b"[DONE]"]
    folding = {
        Wire.CHAT: _chat_stream,
        Wire.RESPONSES: _responses_stream,
        Wire.MESSAGES: _messages_stream,
        Wire.GENERATE_CONTENT: _gemini_stream,
    }
    return whole(wire, folding[wire](events))


def events(client: Wire, body: bytes) -> list[bytes]:
    """The data of a stream's events, once the stream obeys the grammar of its format."""
    assert body.endswith(b"\n\n")
    split = [event for event in body.replace(b"\r\n", b"\n").split(b"\n\n") if event and not event.startswith(b":")]
    data = [b"\n".join(line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")) for event in split]
    match client:
        case Wire.CHAT:
            assert data.count(b"[DONE]") == 1
            assert data[-1] == b"[DONE]"
            _check_chat([json.loads(each) for each in data[:-1]])
        case _:
            said = [json.loads(each) for each in data]
            assert [f"event: {each['type']}".encode() for each in said] == [event.split(b"\n")[0] for event in split]
            _check_responses(said) if client is Wire.RESPONSES else _check_messages(said)
    return data


def _check_chat(chunks: list[Any]) -> None:
    assert {chunk.get("object", "chat.completion.chunk") for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks if "id" in chunk}) <= 1


def _check_messages(said: list[Any]) -> None:
    kinds = [event["type"] for event in said if event["type"] != "ping"]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    open_block, blocks = None, 0
    for event in said:
        if event["type"] == "content_block_start":
            assert (open_block, event["index"]) == (None, blocks)
            open_block, blocks = blocks, blocks + 1
        elif event["type"] in {"content_block_delta", "content_block_stop"}:
            assert event["index"] == open_block
            open_block = None if event["type"] == "content_block_stop" else open_block
    assert open_block is None


def _check_responses(said: list[Any]) -> None:
    assert [event["sequence_number"] for event in said] == list(range(len(said)))
    kinds = [event["type"] for event in said]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in {"response.completed", "response.incomplete", "response.failed"}
    added = [event["item"]["id"] for event in said if event["type"] == "response.output_item.added"]
    done = [event["item"] for event in said if event["type"] == "response.output_item.done"]
    assert sorted(added) == sorted(item["id"] for item in done)
    assert said[-1]["response"]["output"] == done


def _chat(body: Any) -> Told:
    [choice] = body["choices"]
    message = choice["message"]
    content = message.get("content") or ""
    thoughts = message.get("reasoning_content") or message.get("reasoning") or ""
    if not isinstance(content, str):  # Mistral's parts
        thoughts = "".join(one["text"] for part in content if part["type"] == "thinking" for one in part["thinking"])
        content = "".join(part["text"] for part in content if part["type"] == "text")
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return Told(
        content + (message.get("refusal") or ""),
        thoughts,
        tuple((call["name"], json.loads(call["arguments"] or "{}")) for call in calls),
        choice["finish_reason"],
        body.get("usage"),
        body.get("model"),
        body.get("provider"),
    )


def _chat_stream(chunks: list[Any]) -> Any:
    message: dict[str, Any] = {"content": "", "refusal": "", "reasoning": ""}
    calls: dict[int, Any] = {}
    whole: dict[str, Any] = {}
    finish = None
    for chunk in chunks:
        # Groq tells its usage in an object of its own, Moonshot in the choice.
        told = [chunk.get("x_groq") or {}, *chunk.get("choices", ()), chunk]
        usage = next((each["usage"] for each in told if each.get("usage")), None)
        named = {**chunk, "choices": None, "usage": usage}
        whole |= {name: value for name, value in named.items() if value is not None}
        for choice in chunk.get("choices", ()):
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            content = delta.get("content") or ""
            if isinstance(content, str):
                message["content"] += content
            else:
                message["content"] += "".join(part["text"] for part in content if part["type"] == "text")
                thoughts = (one for part in content if part["type"] == "thinking" for one in part["thinking"])
                message["reasoning"] += "".join(one["text"] for one in thoughts)
            message["refusal"] += delta.get("refusal") or ""
            message["reasoning"] += delta.get("reasoning_content") or delta.get("reasoning") or ""
            for call in delta.get("tool_calls") or ():
                kept = calls.setdefault(call.get("index", len(calls)), {"name": "", "arguments": ""})
                function = call.get("function", {})
                kept["name"] += function.get("name") or ""
                kept["arguments"] += function.get("arguments") or ""
    message["tool_calls"] = [{"function": calls[place]} for place in sorted(calls)]
    return {**whole, "choices": [{"message": message, "finish_reason": finish}]}


def _responses(body: Any) -> Told:
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    thoughts = [item for item in body["output"] if item["type"] == "reasoning"]
    shown = [part for item in thoughts for part in (item.get("summary") or item.get("content") or ())]
    calls = [item for item in body["output"] if item["type"] == "function_call"]
    return Told(
        "".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in parts),
        "".join(part["text"] for part in shown),
        tuple((call["name"], json.loads(call["arguments"] or "{}")) for call in calls),
        (body.get("incomplete_details") or {}).get("reason") or body["status"],
        body.get("usage"),
        body.get("model"),
        body.get("provider"),
    )


def _responses_stream(said: list[Any]) -> Any:
    """The last event holds it all; what the deltas told must be the same."""
    last = said[-1]["response"]
    told = _responses(last)
    pieces = ("response.output_text.delta", "response.refusal.delta")
    assert "".join(event["delta"] for event in said if event["type"] in pieces) == told.words
    thoughts = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
    assert "".join(event["delta"] for event in said if event["type"] in thoughts) == told.reasoning
    arguments = [event["delta"] for event in said if event["type"] == "response.function_call_arguments.delta"]
    calls = [item for item in last["output"] if item["type"] == "function_call"]
    assert "".join(arguments) == "".join(call["arguments"] for call in calls)
    return last


def _messages(body: Any) -> Told:
    blocks = body["content"]
    return Told(
        "".join(block["text"] for block in blocks if block["type"] == "text"),
        "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        tuple((block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"),
        body["stop_reason"],
        body.get("usage"),
        body.get("model"),
        body.get("provider"),
    )


def _messages_stream(said: list[Any]) -> Any:
    blocks: list[Any] = []
    message: dict[str, Any] = {}
    for event in said:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                blocks.append({"partial": "", **event["content_block"]})
            case "content_block_delta":
                _continue(blocks[event["index"]], event["delta"])
            case "message_delta":
                usage = {**message.get("usage", {}), **event["delta"].get("usage", {}), **event.get("usage", {})}
                named = {name: event[name] for name in ("model", "provider") if name in event}
                message = {**message, **named, "usage": usage, "stop_reason": event["delta"]["stop_reason"]}
            case _:
                pass
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["partial"] or "{}")
    return {**message, "content": blocks}


def _continue(block: Any, delta: Any) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "input_json_delta":
            block["partial"] += delta["partial_json"]
        case _:
            pass


def _gemini(body: Any) -> Told:
    if not body.get("candidates"):
        return Told("", "", (), body["promptFeedback"]["blockReason"], body.get("usageMetadata"), None, None)
    [candidate] = body["candidates"]
    parts = candidate.get("content", {}).get("parts", [])
    texts = [part for part in parts if "text" in part]
    return Told(
        "".join(part["text"] for part in texts if not part.get("thought")),
        "".join(part["text"] for part in texts if part.get("thought")),
        tuple((part["functionCall"]["name"], part["functionCall"].get("args", {})) for part in parts
              if "functionCall" in part),
        candidate.get("finishReason"),
        body.get("usageMetadata"),
        body.get("modelVersion"),
        None,
    )  # fmt: skip


def _gemini_stream(said: list[Any]) -> Any:
    whole: dict[str, Any] = {}
    parts: list[Any] = []
    finish = None
    for chunk in said:
        whole |= chunk
        for candidate in chunk.get("candidates", ()):
            parts += candidate.get("content", {}).get("parts", [])
            finish = candidate.get("finishReason") or finish
    if not any("candidates" in chunk for chunk in said):
        return whole
    return {**whole, "candidates": [{"content": {"parts": parts}, "finishReason": finish}]}
