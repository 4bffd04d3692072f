"""What a client asks: written in each client's own words, and read again from what reached a provider.

Written without the gateway's translators, from the public documentation of each format: an opinion of their work.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tollgate.gateway.model import Wire

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
MEDIA_TYPE = "image/png"


@dataclass(frozen=True, slots=True)
class Function:
    """A function the model may call."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: instructions, then turns, each (role, kind of part, what it says)."""

    system: str = ""
    said: tuple[tuple[str, str, Any], ...] = ()
    """`text`: words; `image`: (media type, base64); `call`: (function, arguments); `result`: (function, text)."""
    tools: tuple[Function, ...] = ()
    thinks: bool = False
    limit: int | None = None
    cached: bool = field(default=False, compare=False)
    """Whether the client marks its instructions to be remembered for an hour, if its format can."""


WEATHER = Function(
    "get_weather",
    "Tells the weather.",
    {"type": "object", "properties": {"location": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
     "required": ["location"], "additionalProperties": False},
)  # fmt: skip
CLOCK = Function("get_time", "Tells the time.", {"type": "object", "properties": {"zone": {"type": "string"}}})
PLAIN = Asked("Be brief.", (("user", "text", "Say hello, wörld 🌍."),), limit=900)
TOOLS = Asked("", (("user", "text", "What is the weather in Paris?"),), (WEATHER,))
AFTER_TOOLS = Asked(
    "Be brief.",
    (
        ("user", "text", "What is the weather in Paris, and the time?"),
        ("assistant", "call", ("get_weather", {"location": "Paris", "unit": "c"})),
        ("assistant", "call", ("get_time", {"zone": "Europe/Paris"})),
        ("tool", "result", ("get_weather", "18 degrees")),
        ("tool", "result", ("get_time", "noon")),
        ("user", "text", "Well?"),
    ),
    (WEATHER, CLOCK),
)
IMAGE = Asked("", (("user", "text", "What is this?"), ("user", "image", (MEDIA_TYPE, PIXEL))))
REASONING = Asked("", (("user", "text", "How many roads?"),), thinks=True, limit=4000)
CACHED = Asked("A long story. " * 40, (("user", "text", "Sum it up."),), cached=True)
SHORT = Asked("", (("user", "text", "Tell a story."),), limit=16)


def body(client: Wire, asked: Asked, *, stream: bool = False) -> dict[str, Any]:
    """The request body of a client who speaks this format, but for the model."""
    written = {Wire.CHAT: _chat, Wire.RESPONSES: _responses, Wire.MESSAGES: _messages}[client](asked)
    if stream:
        written["stream"] = True
        written["stream_options"] = {"include_usage": True} if client is Wire.CHAT else None
    return {name: value for name, value in written.items() if value not in (None, [], "")}


def _ids(asked: Asked) -> Mapping[str, str]:
    """The id of each function's call."""
    calls = [content[0] for _, kind, content in asked.said if kind == "call"]
    return {name: f"call_{number}" for number, name in enumerate(calls)}


def _chat(asked: Asked) -> dict[str, Any]:
    messages: list[Any] = [{"role": "system", "content": asked.system}] if asked.system else []
    ids = _ids(asked)
    for role, kind, content in asked.said:
        if kind == "result":
            messages.append({"role": "tool", "tool_call_id": ids[content[0]], "content": content[1]})
            continue
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": None if kind == "call" else []})
        if kind == "call":
            function = {"name": content[0], "arguments": json.dumps(content[1])}
            call = {"id": ids[content[0]], "type": "function", "function": function}
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == "image":
            url = f"data:{content[0]};base64,{content[1]}"
            messages[-1]["content"].append({"type": "image_url", "image_url": {"url": url}})
        else:
            messages[-1]["content"].append({"type": "text", "text": content})
    functions = [{"name": one.name, "description": one.description, "parameters": one.schema} for one in asked.tools]
    return {
        "messages": messages,
        "tools": [{"type": "function", "function": function} for function in functions],
        "max_completion_tokens": asked.limit,
        "reasoning_effort": "low" if asked.thinks else None,
    }


def _responses(asked: Asked) -> dict[str, Any]:
    items: list[Any] = []
    ids = _ids(asked)
    for role, kind, content in asked.said:
        if kind == "call":
            call = {"call_id": ids[content[0]], "name": content[0], "arguments": json.dumps(content[1])}
            items.append({"type": "function_call", **call})
        elif kind == "result":
            items.append({"type": "function_call_output", "call_id": ids[content[0]], "output": content[1]})
        else:
            if not items or items[-1].get("role") != role:
                items.append({"role": role, "content": []})
            image = {"type": "input_image", "image_url": f"data:{content[0]};base64,{content[1]}"}
            items[-1]["content"].append(image if kind == "image" else {"type": "input_text", "text": content})
    return {
        "instructions": asked.system,
        "input": items,
        "tools": [
            {"type": "function", "name": one.name, "description": one.description, "parameters": one.schema,
             "strict": False}
            for one in asked.tools
        ],
        "max_output_tokens": asked.limit,
        "reasoning": {"effort": "low"} if asked.thinks else None,
    }  # fmt: skip


def _messages(asked: Asked) -> dict[str, Any]:
    messages: list[Any] = []
    ids = _ids(asked)
    for said_by, kind, content in asked.said:
        role = "user" if said_by == "tool" else said_by
        if not messages or messages[-1]["role"] != role:
            messages.append({"role": role, "content": []})
        match kind:
            case "call":
                block = {"type": "tool_use", "id": ids[content[0]], "name": content[0], "input": content[1]}
            case "result":
                block = {"type": "tool_result", "tool_use_id": ids[content[0]], "content": content[1]}
            case "image":
                source = {"type": "base64", "media_type": content[0], "data": content[1]}
                block = {"type": "image", "source": source}
            case _:
                block = {"type": "text", "text": content}
        messages[-1]["content"].append(block)
    marked = [{"type": "text", "text": asked.system, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    return {
        "system": marked if asked.cached else asked.system,
        "messages": messages,
        "tools": [
            {"name": one.name, "description": one.description, "input_schema": one.schema} for one in asked.tools
        ],
        "max_tokens": asked.limit or 5000,
        "thinking": {"type": "enabled", "budget_tokens": 1024} if asked.thinks else None,
    }


def read(provider: Wire, body: Any) -> Asked:
    """What a request in a provider's format asks."""
    reading = {
        Wire.CHAT: _read_chat,
        Wire.RESPONSES: _read_responses,
        Wire.MESSAGES: _read_messages,
        Wire.GENERATE_CONTENT: _read_gemini,
    }
    return reading[provider](body)


def _data(url: str) -> tuple[str, str]:
    head, _, data = url.partition(";base64,")
    return head.removeprefix("data:"), data


def _read_chat(body: Any) -> Asked:
    said: list[tuple[str, str, Any]] = []
    system = ""
    names: dict[str, str] = {}
    for message in body["messages"]:
        role, content = message["role"], message.get("content")
        parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        if role in {"system", "developer"}:
            system += "".join(part["text"] for part in parts)
        elif role == "tool":
            text = "".join(part["text"] for part in parts)
            said.append(("tool", "result", (names[message["tool_call_id"]], text)))
        else:
            for part in parts:
                if part["type"] == "image_url":
                    said.append((role, "image", _data(part["image_url"]["url"])))
                else:
                    said.append((role, "text", part["text"]))
        for call in message.get("tool_calls") or []:
            names[call["id"]] = call["function"]["name"]
            said.append((role, "call", (call["function"]["name"], json.loads(call["function"]["arguments"]))))
    tools = [tool["function"] for tool in body.get("tools", [])]
    return Asked(
        system,
        tuple(said),
        tuple(Function(tool["name"], tool["description"], tool["parameters"]) for tool in tools),
        body.get("reasoning_effort") is not None or body.get("reasoning") is not None,
        body.get("max_completion_tokens") or body.get("max_tokens"),
    )


def _read_responses(body: Any) -> Asked:
    said: list[tuple[str, str, Any]] = []
    system = body.get("instructions") or ""
    names: dict[str, str] = {}
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "function_call":
            names[item["call_id"]] = item["name"]
            said.append(("assistant", "call", (item["name"], json.loads(item["arguments"]))))
        elif kind == "function_call_output":
            output = item["output"]
            text = output if isinstance(output, str) else "".join(part["text"] for part in output)
            said.append(("tool", "result", (names[item["call_id"]], text)))
        elif item["role"] in {"system", "developer"}:
            content = item["content"]
            system += content if isinstance(content, str) else "".join(part["text"] for part in content)
        else:
            said += _read_input(item["role"], item["content"])
    return Asked(
        system,
        tuple(said),
        tuple(Function(tool["name"], tool["description"], tool["parameters"]) for tool in body.get("tools", [])),
        body.get("reasoning") is not None,
        body.get("max_output_tokens"),
    )


def _read_input(role: str, content: Any) -> Iterator[tuple[str, str, Any]]:
    for part in [{"type": "input_text", "text": content}] if isinstance(content, str) else content:
        if part["type"] == "input_image":
            yield role, "image", _data(part["image_url"])
        else:
            yield role, "text", part["text"]


def _read_messages(body: Any) -> Asked:
    said: list[tuple[str, str, Any]] = []
    names: dict[str, str] = {}
    for message in body["messages"]:
        content = message["content"]
        blocks: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for block in blocks:
            match block["type"]:
                case "tool_use":
                    names[block["id"]] = block["name"]
                    said.append((message["role"], "call", (block["name"], block["input"])))
                case "tool_result":
                    inner = block["content"]
                    text = inner if isinstance(inner, str) else "".join(part["text"] for part in inner)
                    said.append(("tool", "result", (names[block["tool_use_id"]], text)))
                case "image":
                    said.append((message["role"], "image", (block["source"]["media_type"], block["source"]["data"])))
                case _:
                    said.append((message["role"], "text", block["text"]))
    system = body.get("system") or ""
    return Asked(
        system if isinstance(system, str) else "".join(block["text"] for block in system),
        tuple(said),
        tuple(Function(tool["name"], tool["description"], tool["input_schema"]) for tool in body.get("tools", [])),
        body.get("thinking", {}).get("type") in {"enabled", "adaptive"},
        body["max_tokens"],
    )


def _read_gemini(body: Any) -> Asked:
    said: list[tuple[str, str, Any]] = []
    for content in body["contents"]:
        role = {"model": "assistant", "user": "user"}[content["role"]]
        for part in content["parts"]:
            if (call := part.get("functionCall")) is not None:
                said.append((role, "call", (call["name"], call.get("args", {}))))
            elif (result := part.get("functionResponse")) is not None:
                [text] = result["response"].values()
                said.append(("tool", "result", (result["name"], text)))
            elif (data := part.get("inlineData")) is not None:
                said.append((role, "image", (data["mimeType"], data["data"])))
            else:
                said.append((role, "text", part["text"]))
    tools = [one for tool in body.get("tools", []) for one in tool["functionDeclarations"]]
    settings = body.get("generationConfig", {})
    return Asked(
        "".join(part["text"] for part in body.get("systemInstruction", {}).get("parts", [])),
        tuple(said),
        tuple(
            Function(one["name"], one["description"], one.get("parametersJsonSchema") or one["parameters"])
            for one in tools
        ),
        "thinkingConfig" in settings,
        settings.get("maxOutputTokens"),
    )
