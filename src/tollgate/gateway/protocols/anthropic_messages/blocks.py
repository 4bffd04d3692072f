"""Content blocks in neutral form. What only Anthropic knows is noted by its path, for no other format can say it.

Wire format: https://platform.claude.com/docs/en/api/messages/create, `messages`
"""

import base64
from collections.abc import Iterator

import msgspec

from tollgate.gateway import signatures
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Cache,
    File,
    Image,
    Inline,
    Link,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    Uploaded,
)
from tollgate.gateway.protocols.anthropic_messages.reading import (
    FLAG,
    OBJECT,
    TEXT,
    Fields,
    asks,
    at,
    blocks,
    inside,
    text,
)
from tollgate.kit.errors import InvalidRequest

_EMPTY = msgspec.Raw(b"{}")


class Blocks:
    """The blocks of one request, read in order."""

    def __init__(self) -> None:
        self.foreign: list[str] = []
        """Paths of what has no meaning outside Anthropic's format."""
        self._names: dict[str, str] = {}
        """The function that each tool call called, by its id."""

    def parts(self, content: tuple[Fields, ...], path: str) -> Iterator[Part]:
        """What the blocks at this path say."""
        proof: str | None = None
        for index, block in enumerate(content):
            place = f"{path}[{index}]"
            following = content[index + 1] if index + 1 < len(content) else {}
            match part := self._part(block, place):
                case None:
                    continue
                case Reasoning(text="", signature=str(), origin=Wire.GENERATE_CONTENT, redacted=False) if (
                    at(following, "type", TEXT, path) == "tool_use"
                ):
                    # Gemini's proof belongs to the call itself.
                    proof = part.signature
                    continue
                case ToolCall(id=id, name=name, arguments=arguments):
                    yield ToolCall(id, name, arguments, proof)
                    proof = None
                case _:
                    yield part

    def _part(self, block: Fields, path: str) -> Part | None:
        part: Part | None = None
        match kind := text(block, "type", path):
            case "text":
                part = Text(text(block, "text", path), cache(block, path))
            case "image":
                part = Image(self._source(block, path), cache=cache(block, path))
            case "document":
                part = self._document(block, path)
            case "thinking":
                part = _thinking(block, path)
            case "redacted_thinking":
                part = Reasoning("", *_uncarried(text(block, "data", path)), redacted=True)
            case "tool_use":
                part = self._call(block, path)
            case "tool_result":
                part = self._result(block, path)
            case _:
                # A block of one of Anthropic's own tools, or a search result: no other format has its like.
                self.foreign.append(f"{path}.{kind[:100]}")
        return part

    def _document(self, block: Fields, path: str) -> File | None:
        self.foreign += [f"{path}.{name}" for name in ("context", "citations") if _is_set(block, name, path)]
        source = inside(block, "source", path)
        place = f"{path}.source"
        title = at(block, "title", TEXT, path)
        match at(source, "type", TEXT, place):
            case "text":
                plain = base64.b64encode(text(source, "data", place).encode()).decode()
                return File(Inline("text/plain", plain), title, cache(block, path))
            case "content":
                self.foreign.append(f"{place}.content")
                return None
            case _:
                return File(self._source(block, path), title, cache(block, path))

    def _source(self, block: Fields, path: str) -> Inline | Link | Uploaded:
        source, place = inside(block, "source", path), f"{path}.source"
        match kind := text(source, "type", place):
            case "base64":
                return Inline(text(source, "media_type", place), text(source, "data", place))
            case "url":
                return Link(text(source, "url", place))
            case "file":
                return Uploaded(text(source, "file_id", place))
            case _:
                raise InvalidRequest(f"{place}.type: {kind[:100]!r} is no source.", field=f"{place}.type")

    def _call(self, block: Fields, path: str) -> ToolCall:
        at(block, "input", OBJECT, path)
        call = ToolCall(text(block, "id", path), text(block, "name", path), bytes(block.get("input", _EMPTY)).decode())
        self._names[call.id] = call.name
        return call

    def _result(self, block: Fields, path: str) -> ToolResult:
        call_id = text(block, "tool_use_id", path)
        parts = self.parts(blocks(block, "content", path), f"{path}.content")
        return ToolResult(
            call_id,
            tuple(part for part in parts if isinstance(part, Text | Image | File)),
            self._names.get(call_id),
            failed=at(block, "is_error", FLAG, path) or False,
            cache=cache(block, path),
        )


def cache(block: Fields, path: str) -> Cache | None:
    """The mark up to which the prompt is to be remembered."""
    given = at(block, "cache_control", OBJECT, path)
    return None if given is None else Cache(at(given, "ttl", TEXT, f"{path}.cache_control"))


def _thinking(block: Fields, path: str) -> Reasoning:
    thoughts, signature = text(block, "thinking", path), at(block, "signature", TEXT, path)
    if not signature:
        return Reasoning(thoughts)
    return Reasoning(thoughts, *_uncarried(signature))


def _uncarried(text: str) -> tuple[str, str | None]:
    return signatures.uncarried(text, within=Wire.MESSAGES.value)


def _is_set(block: Fields, name: str, path: str) -> bool:
    """Whether an option is used: citations that are off are none."""
    if name != "citations":
        return asks(block, name)
    return at(inside(block, name, path), "enabled", FLAG, f"{path}.{name}") or False
