"""What of a message request counts as prompt: everything the model reads."""

from collections.abc import Mapping, Sequence

import msgspec

from tollgate.gateway.model import Prompt
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.tally import Tally, first_byte, text_in
from tollgate.gateway.wire import UNREADABLE
from tollgate.kit.errors import InvalidRequest

_UNREAD = envelope.OWN_FIELDS | {
    "cache_control", "context_management", "diagnostics", "inference_geo", "max_tokens", "messages", "model",
    "service_tier", "speed", "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice", "tools",
    "top_k", "top_p",
}  # fmt: skip
"""What the model does not read, or what is counted apart. Any other field counts, or a prompt could hide in it."""
_KINDS = frozenset({"redacted_thinking", "thinking", "tool_result", "tool_use"})
"""Usual types of blocks, which count with what is in them."""
_PARTS = frozenset({"", "text", "image", "document"})
"""What counts alike in every format."""
_UNREAD_IN_BLOCKS = frozenset({"type", "cache_control"})
_MESSAGE_FIELDS_MAX = 100_000
_BLOCKS_MAX = 10_000
_ROLES = tuple(msgspec.Raw(b'"%s"' % role) for role in (b"user", b"assistant", b"system"))
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_OBJECTS = msgspec.json.Decoder(tuple[dict[str, msgspec.Raw], ...] | None)


def of(messages: Sequence[Mapping[str, msgspec.Raw]], fields: Mapping[str, msgspec.Raw]) -> Prompt:
    """Instructions, messages and tools, and whatever else is not known to be a setting.

    Raises:
        InvalidRequest: a part has no readable form, or there are too many.
    """
    if sum(map(len, messages)) > _MESSAGE_FIELDS_MAX:
        raise InvalidRequest(f"The messages have more than {_MESSAGE_FIELDS_MAX:,} fields.", field="messages")
    counting = _Counting()
    instructions = fields.get("system", envelope.NULL)
    try:
        counting.content(instructions)
        for message in messages:
            counting.message(message)
        for tool in envelope.field(fields, "tools", _OBJECTS) or ():
            counting.tool(tool)
        for name, value in fields.items():
            if name not in _UNREAD:
                counting.tally.value(value)
    except UNREADABLE as error:
        raise InvalidRequest(f"messages: {error}.", field="messages") from error
    return counting.tally.prompt(len(messages) + (instructions != envelope.NULL))


class _Counting:
    """A request's blocks, added up."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._blocks = 0

    def message(self, message: Mapping[str, msgspec.Raw]) -> None:
        """One turn; a usual role counts with the message itself."""
        self.content(message.get("content", envelope.NULL))
        for name, value in message.items():
            if name != "content" and not (name == "role" and value in _ROLES):
                self.tally.value(value)

    def content(self, content: msgspec.Raw) -> None:
        """A string, or blocks."""
        if first_byte(content) != b"[":
            self.tally.value(content)
            return
        blocks = _ITEMS.decode(content)
        self._blocks += len(blocks)
        if self._blocks > _BLOCKS_MAX:
            raise InvalidRequest(f"The messages have more than {_BLOCKS_MAX:,} content blocks.", field="messages")
        for block in blocks:
            self._block(block)

    def _block(self, block: msgspec.Raw) -> None:
        """Words, a lump for an image, data for a document, what a tool returned, and the JSON of anything else."""
        fields = _FIELDS.decode(block) if first_byte(block) == b"{" else {}
        kind = text_in(fields.get("type", envelope.NULL))
        if kind in _PARTS:
            self.tally.part(block)
            return
        if kind not in _KINDS:
            self.tally.words(kind)
        nested = {"content"} if kind == "tool_result" else {"signature"} if kind == "thinking" else set[str]()
        if kind == "tool_result":
            self.tally.content(fields.get("content", envelope.NULL))
        for name, value in fields.items():
            if name not in _UNREAD_IN_BLOCKS | nested:
                self.tally.value(value)

    def tool(self, tool: Mapping[str, msgspec.Raw]) -> None:
        """A function, as it is written."""
        read = {name: value for name, value in tool.items() if name not in _UNREAD_IN_BLOCKS}
        self.tally.words(msgspec.json.encode(read).decode())
