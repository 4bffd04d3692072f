"""The input of a request in neutral form: items become messages.

Wire format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from tollgate.gateway import signatures
from tollgate.gateway.model import Wire
from tollgate.gateway.neutral import (
    Audio,
    Cache,
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
from tollgate.gateway.protocols import envelope, media
from tollgate.gateway.protocols.openai_responses.reading import read
from tollgate.kit.errors import InvalidRequest

_DETAILS = {"auto": None, "original": "high"}
"""The default, and what only models of OpenAI's know."""
_BETWEEN_PARAGRAPHS = "\n\n"
"""Each paragraph of a summary is a part of its own."""


class _Breakpoint(msgspec.Struct):
    ttl: str | None = None


class _InputText(msgspec.Struct, tag_field="type", tag="input_text"):
    text: str
    prompt_cache_breakpoint: _Breakpoint | None = None


class _PlainText(msgspec.Struct, tag_field="type", tag="text"):
    text: str


class _OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    text: str


class _Refusal(msgspec.Struct, tag_field="type", tag="refusal"):
    refusal: str


class _InputImage(msgspec.Struct, tag_field="type", tag="input_image"):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class _InputFile(msgspec.Struct, tag_field="type", tag="input_file"):
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None
    prompt_cache_breakpoint: _Breakpoint | None = None


class _Sound(msgspec.Struct):
    data: str
    format: str


class _InputAudio(msgspec.Struct, tag_field="type", tag="input_audio"):
    input_audio: _Sound


class _SummaryText(msgspec.Struct, tag_field="type", tag="summary_text"):
    text: str


class _ReasoningText(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str


_Said = _InputText | _PlainText | _OutputText | _Refusal | _InputImage | _InputFile | _InputAudio


class _Message(msgspec.Struct):
    role: Literal["user", "system", "developer", "assistant"]
    content: str | tuple[_Said, ...]


class _FunctionCall(msgspec.Struct):
    call_id: str
    name: str
    arguments: str


class _FunctionCallOutput(msgspec.Struct):
    call_id: str
    output: str | tuple[_InputText | _InputImage | _InputFile, ...]


class _Reasoning(msgspec.Struct):
    summary: tuple[_SummaryText | _ReasoningText, ...] | None = None
    content: tuple[_ReasoningText | _SummaryText, ...] | None = None
    encrypted_content: str | None = None


_INPUT = msgspec.json.Decoder(str | tuple[dict[str, msgspec.Raw], ...])
_KIND = msgspec.json.Decoder(str | None)
_MESSAGE = msgspec.json.Decoder(_Message)
_FUNCTION_CALL = msgspec.json.Decoder(_FunctionCall)
_FUNCTION_CALL_OUTPUT = msgspec.json.Decoder(_FunctionCallOutput)
_REASONING = msgspec.json.Decoder(_Reasoning)
_SPEAKABLE: Mapping[Role, tuple[type, ...]] = {
    Role.SYSTEM: (Text,),
    Role.USER: (Text, Image, File, Audio),
    Role.ASSISTANT: (Text, Refusal),
}


def messages(given: msgspec.Raw) -> tuple[tuple[Message, ...], list[str]]:
    """The messages, and the names of what else there is in the input. Items of the model's one turn become one message.

    Raises:
        InvalidRequest: an item means nothing in this format.
    """
    found = read(given, _INPUT, "input")
    if isinstance(found, str):
        return (Message(Role.USER, (Text(found),)),), []
    turns = _Turns()
    for number, item in enumerate(found):
        where = f"input[{number}]"
        kind = read(item.get("type", envelope.NULL), _KIND, f"{where}.type")
        turns.add(kind or "message", msgspec.Raw(msgspec.json.encode(item)), where)
    return turns.finished(), turns.others


class _Turns:
    """Items on their way to messages."""

    def __init__(self) -> None:
        self.others: list[str] = []
        self._messages: list[tuple[Role, list[Part]]] = []
        self._names: dict[str, str] = {}
        """The functions' names, by call."""

    def add(self, kind: str, item: msgspec.Raw, where: str) -> None:
        """The next item."""
        match kind:
            case "message":
                self._add_message(read(item, _MESSAGE, where), where)
            case "function_call":
                call = read(item, _FUNCTION_CALL, where)
                self._names[call.call_id] = call.name
                signature = self._awaiting_signature()
                self._append(Role.ASSISTANT, ToolCall(call.call_id, call.name, call.arguments, signature))
            case "function_call_output":
                result = read(item, _FUNCTION_CALL_OUTPUT, where)
                parts = tuple(_result_parts(result, where))
                self._append(Role.TOOL, ToolResult(result.call_id, parts, self._names.get(result.call_id)))
            case "reasoning":
                thought = _thought(read(item, _REASONING, where))
                if thought is not None:
                    self._append(Role.ASSISTANT, thought)
            case _:
                self.others.append(f"input.{kind[:100]}")

    def _add_message(self, message: _Message, where: str) -> None:
        role = Role.SYSTEM if message.role == "developer" else Role(message.role)
        contents = (_InputText(message.content),) if isinstance(message.content, str) else message.content
        parts = [_part(content, f"{where}.content[{number}]") for number, content in enumerate(contents)]
        for number, part in enumerate(parts):
            if not isinstance(part, _SPEAKABLE[role]):
                place = f"{where}.content[{number}].type"
                raise InvalidRequest(f"{place}: no message of the {message.role} has such a part.", field=place)
        if role is Role.ASSISTANT:
            self._append(role, *parts)
        else:
            self._messages.append((role, parts))

    def _append(self, role: Role, *parts: Part) -> None:
        """More of what the model said in its turn, or of what its tools returned."""
        if self._messages and self._messages[-1][0] is role:
            self._messages[-1][1].extend(parts)
        else:
            self._messages.append((role, list(parts)))

    def _awaiting_signature(self) -> str | None:
        """The signature that was carried right before the call it belongs to: see `output.Output`."""
        if not self._messages or not self._messages[-1][1]:
            return None
        match self._messages[-1][1][-1]:
            case Reasoning(text="", signature=signature, origin=Wire.GENERATE_CONTENT.value):
                self._messages[-1][1].pop()
                return signature
            case _:
                return None

    def finished(self) -> tuple[Message, ...]:
        """All messages."""
        return tuple(Message(role, tuple(parts)) for role, parts in self._messages if parts)


def _part(content: _Said, where: str) -> Part:
    match content:
        case _InputText():
            return Text(content.text, _cache(content.prompt_cache_breakpoint))
        case _PlainText() | _OutputText():
            return Text(content.text)
        case _Refusal():
            return Refusal(content.refusal)
        case _InputImage():
            return _image(content, where)
        case _InputFile():
            return _file(content, where)
        case _InputAudio(input_audio=sound):
            return media.sound(sound.data, sound.format)


def _cache(mark: _Breakpoint | None) -> Cache | None:
    """A lifetime is asked for in half hours at least, which is more than the shorter of the two there are elsewhere."""
    if mark is None:
        return None
    return Cache() if mark.ttl is None else Cache("1h")


def _image(image: _InputImage, where: str) -> Image:
    detail = _DETAILS.get(image.detail or "auto", image.detail)
    cache = _cache(image.prompt_cache_breakpoint)
    if image.image_url is not None:
        return Image(_source(image.image_url, f"{where}.image_url"), detail, cache)
    if image.file_id is not None:
        return Image(Uploaded(image.file_id), detail, cache)
    raise InvalidRequest(f"{where}: give an image_url or a file_id.", field=where)


def _file(file: _InputFile, where: str) -> File:
    cache = _cache(file.prompt_cache_breakpoint)
    if file.file_data is not None:
        is_url = media.is_data_url(file.file_data)
        data = _source(file.file_data, f"{where}.file_data") if is_url else Inline(media.FILE_TYPE, file.file_data)
        return File(data, file.filename, cache)
    if file.file_url is not None:
        return File(_source(file.file_url, f"{where}.file_url"), file.filename, cache)
    if file.file_id is not None:
        return File(Uploaded(file.file_id), file.filename, cache)
    raise InvalidRequest(f"{where}: give file_data, a file_url or a file_id.", field=where)


def _source(url: str, where: str) -> Inline | Link:
    if not media.is_data_url(url):
        return Link(url)
    found = media.inline(url)
    if found is None:
        raise InvalidRequest(f"{where}: a data URL names its media type and has its data in base64 here.", field=where)
    return found


def _result_parts(result: _FunctionCallOutput, where: str) -> Iterator[Text | Image | File]:
    if isinstance(result.output, str):
        if result.output:
            yield Text(result.output)
        return
    for number, content in enumerate(result.output):
        place = f"{where}.output[{number}]"
        match content:
            case _InputText():
                yield Text(content.text, _cache(content.prompt_cache_breakpoint))
            case _InputImage():
                yield _image(content, place)
            case _InputFile():
                yield _file(content, place)


def _thought(item: _Reasoning) -> Reasoning | None:
    """Earlier thoughts; `None` where there is nothing left of them but an id at a provider that has forgotten them."""
    texts = [part.text for part in (*(item.summary or ()), *(item.content or ()))]
    text = _BETWEEN_PARAGRAPHS.join(texts)
    if item.encrypted_content is None:
        return Reasoning(text) if text else None
    signature, origin = signatures.uncarried(item.encrypted_content, within=Wire.RESPONSES.value)
    return Reasoning(text, signature, origin, redacted=not texts)
