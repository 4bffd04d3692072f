"""Answers that a test words itself, in any provider's format, whole or streamed as they are asked for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.gateway.fake_provider import Behaviour, Line, body_of, stream
from tests.gateway.matrix import as_sent

from tollgate.gateway.model import Wire

PROMPT_TOKENS, COMPLETION_TOKENS = 100, 20


@dataclass(frozen=True, slots=True)
class Saying:
    """What a model says: a thought, words, then calls, as (id, function, arguments)."""

    words: str = ""
    calls: tuple[tuple[str, str, Any], ...] = ()
    thought: str = ""
    signature: str = ""


def saying(wire: Wire, *turns: Saying) -> Behaviour:
    """A provider that says this, one turn after the other, the last one for ever."""
    left = list(turns)

    async def behave(line: Line) -> None:
        turn = left.pop(0) if len(left) > 1 else left[0]
        streams = "streamGenerateContent" in line.served.path or line.served.json.get("stream")
        whole, events = _WORDED[wire](turn)
        data = [each if isinstance(each, bytes) else _encoded(each) for each in events]
        await (stream([as_sent(wire, data)]) if streams else body_of(_encoded(whole)))(line)

    return behave


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _halves(text: str) -> list[str]:
    middle = (len(text) + 1) // 2
    return [half for half in (text[:middle], text[middle:]) if half]


def _chat(turn: Saying) -> tuple[Any, list[Any]]:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS,
             "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS}  # fmt: skip
    calls = [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for id_, name, arguments in turn.calls
    ]
    finish = "tool_calls" if calls else "stop"
    message: dict[str, Any] = {"role": "assistant", "content": turn.words or None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    if turn.thought:
        message["reasoning_content"] = turn.thought
    head = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": "upstream-name"}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    deltas: list[Any] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": half} for half in _halves(turn.thought)]
    deltas += [{"content": half} for half in _halves(turn.words)]
    for place, call in enumerate(calls):
        function: Any = call["function"]
        deltas.append({"tool_calls": [{"index": place, **call, "function": {**function, "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": place, "function": {"arguments": half}}]}
            for half in _halves(function["arguments"])
        ]
    chunk = {**head, "object": "chat.completion.chunk"}
    events = [{**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    events.append({**chunk, "choices": [], "usage": usage})
    return {**head, "object": "chat.completion", "choices": [choice], "usage": usage}, [*events, b"[DONE]"]


def _messages(turn: Saying) -> tuple[Any, list[Any]]:
    blocks: list[Any] = []
    if turn.thought:
        blocks.append({"type": "thinking", "thinking": turn.thought, "signature": turn.signature})
    if turn.words:
        blocks.append({"type": "text", "text": turn.words})
    blocks += [{"type": "tool_use", "id": id_, "name": name, "input": arguments} for id_, name, arguments in turn.calls]
    stop = {"stop_reason": "tool_use" if turn.calls else "end_turn", "stop_sequence": None}
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": COMPLETION_TOKENS}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "upstream-name"}
    unstopped: dict[str, Any] = dict.fromkeys(stop)
    begun = {**message, "content": [], **unstopped, "usage": {**usage, "output_tokens": 1}}
    events: list[Any] = [{"type": "message_start", "message": begun}]
    for place, block in enumerate(blocks):
        empty, deltas = _block_deltas(block)
        events.append({"type": "content_block_start", "index": place, "content_block": empty})
        events += [{"type": "content_block_delta", "index": place, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": place})
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": COMPLETION_TOKENS}})
    events.append({"type": "message_stop"})
    return {**message, "content": blocks, **stop, "usage": usage}, events


def _block_deltas(block: Any) -> tuple[Any, list[Any]]:
    match block["type"]:
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": half} for half in _halves(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "text":
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": half} for half in _halves(block["text"])
            ]
        case _:
            halves = _halves(json.dumps(block["input"]))
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": half} for half in halves]


def _gemini(turn: Saying) -> tuple[Any, list[Any]]:
    parts: list[Any] = []
    signed = {"thoughtSignature": turn.signature} if turn.signature else {}
    if turn.thought:
        parts.append({"text": turn.thought, "thought": True})
    if turn.words:
        parts.append({"text": turn.words, **({} if turn.calls else signed)})
    for place, (_, name, arguments) in enumerate(turn.calls):
        parts.append({"functionCall": {"name": name, "args": arguments}, **({} if place else signed)})
    usage = {"promptTokenCount": PROMPT_TOKENS, "candidatesTokenCount": COMPLETION_TOKENS,
             "totalTokenCount": PROMPT_TOKENS + COMPLETION_TOKENS}  # fmt: skip
    head = {"modelVersion": "upstream-name", "responseId": "r-1"}
    content = {"role": "model", "parts": parts}
    whole = {"candidates": [{"content": content, "finishReason": "STOP", "index": 0}], "usageMetadata": usage, **head}
    events: list[Any] = [
        {"candidates": [{"content": {"role": "model", "parts": [part]}, "index": 0}], **head} for part in parts[:-1]
    ]
    last = {"content": {"role": "model", "parts": parts[-1:]}, "finishReason": "STOP", "index": 0}
    return whole, [*events, {"candidates": [last], "usageMetadata": usage, **head}]


def _responses(turn: Saying) -> tuple[Any, list[Any]]:
    usage = {"input_tokens": PROMPT_TOKENS, "input_tokens_details": {"cached_tokens": 0},
             "output_tokens": COMPLETION_TOKENS, "output_tokens_details": {"reasoning_tokens": 0},
             "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS}  # fmt: skip
    items: list[Any] = []
    if turn.thought:
        summary = [{"type": "summary_text", "text": turn.thought}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": turn.signature})
    if turn.words:
        part = {"type": "output_text", "text": turn.words, "annotations": [], "logprobs": []}
        items.append({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]})
    items += [
        {"type": "function_call", "id": f"fc_{id_}", "call_id": id_, "name": name, "status": "completed",
         "arguments": json.dumps(arguments)}
        for id_, name, arguments in turn.calls
    ]  # fmt: skip
    response: dict[str, Any] = {
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": "upstream-name", "error": None,
        "incomplete_details": None, "instructions": None, "metadata": {}, "parallel_tool_calls": True, "tools": [],
        "tool_choice": "auto", "temperature": 1.0, "top_p": 1.0,
    }  # fmt: skip
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    whole = {**response, "status": "completed", "output": items, "usage": usage}
    events: list[Any] = [{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]
    for place, item in enumerate(items):
        events += ({**event, "output_index": place} for event in _item_events(item))
    events.append({"type": "response.completed", "response": whole})
    return whole, [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _item_events(item: Any) -> Iterator[Any]:
    at: dict[str, Any] = {"item_id": item["id"]}
    match item["type"]:
        case "message":
            [part] = item["content"]
            at["content_index"] = 0
            yield {"type": "response.output_item.added", "item": {**item, "status": "in_progress", "content": []}}
            yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
            for half in _halves(part["text"]):
                yield {"type": "response.output_text.delta", **at, "delta": half, "logprobs": []}
            yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **at, "part": part}
        case "reasoning":
            [part] = item["summary"]
            at["summary_index"] = 0
            yield {"type": "response.output_item.added", "item": {**item, "summary": []}}
            yield {"type": "response.reasoning_summary_part.added", **at, "part": {**part, "text": ""}}
            for half in _halves(part["text"]):
                yield {"type": "response.reasoning_summary_text.delta", **at, "delta": half}
            yield {"type": "response.reasoning_summary_text.done", **at, "text": part["text"]}
            yield {"type": "response.reasoning_summary_part.done", **at, "part": part}
        case _:
            begun = {**item, "status": "in_progress", "arguments": ""}
            yield {"type": "response.output_item.added", "item": begun}
            for half in _halves(item["arguments"]):
                yield {"type": "response.function_call_arguments.delta", **at, "delta": half}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield {"type": "response.function_call_arguments.done", **at, **done}
    yield {"type": "response.output_item.done", "item": item}


_WORDED = {
    Wire.CHAT: _chat,
    Wire.RESPONSES: _responses,
    Wire.MESSAGES: _messages,
    Wire.GENERATE_CONTENT: _gemini,
}
