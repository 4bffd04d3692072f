"""Messages of the neutral form as Gemini's contents: parts of a user's or a model's turn, and instructions apart.

Wire format: https://ai.google.dev/api/caching#Content
Signatures: https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from tollgate.gateway import wire
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Audio,
    File,
    Image,
    Inline,
    Link,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Uploaded,
)

_MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp", "gif": "image/gif",
    "heic": "image/heic", "heif": "image/heif", "pdf": "application/pdf", "txt": "text/plain", "html": "text/html",
    "csv": "text/csv", "json": "application/json", "xml": "text/xml",
}  # fmt: skip
"""By the end of a link's path. Of other links the type is left to who fetches them."""
_STAND_IN_SIGNATURE = "skip_thought_signature_validator"
"""What Google documents for calls that no Gemini model made, in place of the signature it would refuse to miss."""


def instructions(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """The parts of all instructions: Gemini knows one place for them, wherever in the conversation they stood."""
    said = (part for message in messages if message.role is Role.SYSTEM for part in message.parts)
    return [{"text": part.text} for part in said if isinstance(part, Text | Refusal) and part.text]


def contents(messages: Sequence[Message], *, signs: bool) -> list[dict[str, Any]]:
    """The turns. Results of calls made together stand together, and nothing else with them.

    `signs` is whether the model signs its thoughts: it then misses signatures, and takes media inside of results.
    """
    turns: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    spoken = (message for message in messages if message.role is not Role.SYSTEM)
    for role, neighbours in groupby(spoken, key=lambda message: message.role):
        parts = [part for message in neighbours for part in message.parts]
        match role:
            case Role.TOOL:
                results = [part for part in parts if isinstance(part, ToolResult)]
                turns.append({"role": "user", "parts": [_result(result, names, nests=signs) for result in results]})
                turns.append({"role": "user", "parts": list(_beside(results, nests=signs))})
            case Role.ASSISTANT:
                names |= {part.id: part.name for part in parts if isinstance(part, ToolCall)}
                turns.append({"role": "model", "parts": _model_parts(parts, signs=signs)})
            case _:
                turns.append({"role": "user", "parts": list(_user_parts(parts))})
    return [turn for turn in turns if turn["parts"]]


def _user_parts(parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                if text:
                    yield {"text": text}
            case Image(source=source) | Audio(source=source) | File(source=source):
                yield _media(source)
            case _:
                """Thoughts, calls and results are no user's."""


def _media(source: Inline | Link | Uploaded) -> dict[str, Any]:
    match source:
        case Inline(media_type=media_type, base64=data):
            return {"inlineData": {"mimeType": media_type, "data": data}}
        case Link(url=uri) | Uploaded(id=uri):
            guessed = _media_type(uri)
            return {"fileData": {**({} if guessed is None else {"mimeType": guessed}), "fileUri": uri}}


def _media_type(uri: str) -> str | None:
    try:
        path = urlsplit(uri).path
    except ValueError:
        return None
    return _MEDIA_TYPES.get(path.rpartition(".")[2].lower())


def _model_parts(parts: Iterable[Part], *, signs: bool) -> list[dict[str, Any]]:
    """What the model said, each signature on the part that it came with. Thoughts that nobody signed are left out."""
    said: list[dict[str, Any]] = []
    has_called = False
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                said += [{"text": text}] if text else []
            case Reasoning(origin=Wire.GENERATE_CONTENT.value):
                _append_thought(said, part.text, part.signature)
            case ToolCall():
                missing = _STAND_IN_SIGNATURE if signs and not has_called else None
                said.append({"functionCall": _call(part), **_signed(part.signature or missing)})
                has_called = True
            case _:
                """Media are no model's, and results have turns of their own."""
    return said


def _append_thought(said: list[dict[str, Any]], text: str, signature: str | None) -> None:
    """A signed thought; without words of its own it is the signature of the words before, if there are any."""
    if signature is None:
        return
    if text:
        said.append({"text": text, "thought": True, **_signed(signature)})
    elif said and said[-1].keys() == {"text"}:
        said[-1] |= _signed(signature)
    else:
        said.append({"text": "", **_signed(signature)})


def _signed(signature: str | None) -> dict[str, str]:
    return {} if signature is None else {"thoughtSignature": signature}


def _call(call: ToolCall) -> dict[str, Any]:
    """A function call; what a model wrote that is no JSON object goes in one."""
    arguments = wire.embedded(call.arguments.strip() or "{}")
    given: Any = {"arguments": call.arguments} if arguments is None else arguments
    return {"id": call.id, "name": call.name, "args": given}


def _result(result: ToolResult, names: Mapping[str, str], *, nests: bool) -> dict[str, Any]:
    text = "\n".join(part.text for part in result.parts if isinstance(part, Text))
    media = [_media(source) for source in _sources(result) if nests and isinstance(source, Inline)]
    return {"functionResponse": {
        "id": result.call_id,
        "name": result.name or names.get(result.call_id, result.call_id),
        "response": {"error" if result.failed else "result": text},
        **({"parts": media} if media else {}),
    }}  # fmt: skip


def _beside(results: Iterable[ToolResult], *, nests: bool) -> Iterator[dict[str, Any]]:
    """The media that cannot stand inside of their results: links, and all of them before Gemini 3."""
    for result in results:
        for source in _sources(result):
            if not (nests and isinstance(source, Inline)):
                yield _media(source)


def _sources(result: ToolResult) -> list[Inline | Link | Uploaded]:
    return [part.source for part in result.parts if not isinstance(part, Text)]
