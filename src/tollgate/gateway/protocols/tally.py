"""Tally: what of a request counts as prompt, added up part by part, whatever format it came in.

Nothing hides: what is no text, no image and no data in base64 counts as the JSON that stands for it.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Annotated

import msgspec

from tollgate.gateway.model import Blob, BlobKind, Prompt
from tollgate.gateway.protocols.envelope import NULL
from tollgate.kit.errors import InvalidRequest

_PARTS_MAX = 10_000
_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_IMAGE_FIELDS = _IMAGES | {"type", "detail", "source", "file_id", "cache_control"}
"""What a lump stands for in a part that is an image."""
_TEXTS = frozenset({"text", "input_text", "output_text"})
_AUDIO = "input_audio"
_FILES = {_AUDIO: "data", "file": "file_data", "input_file": "file_data"}
"""Where OpenAI's formats have the data of a part that is a file: in its object of the same name, or in the part."""
_DOCUMENT = "document"
"""Anthropic's files: they have their data in a source."""
_UNREAD_IN_FILES = frozenset({"type", "cache_control", "prompt_cache_breakpoint"})
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=\r\n"
_TEXT_TYPES = ("json", "xml", "yaml", "javascript")
"""How media types end that are text without saying so."""
_KINDS = {"audio": BlobKind.AUDIO, "video": BlobKind.AUDIO, "text": BlobKind.TEXT, "image": BlobKind.IMAGE}


class _Part(msgspec.Struct, gc=False):
    """An object: what is in it is decoded once it is known that there are not too many."""


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SHAPE = msgspec.json.Decoder(Annotated[tuple[_Part | str, ...], msgspec.Meta(max_length=_PARTS_MAX)])
_PARTS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_STRING = msgspec.json.Decoder(str)


class Tally:
    """What of a request counts as prompt, so far.

    Every method may raise one of `wire.UNREADABLE`, which is the caller's fault.
    """

    def __init__(self, field: str = "messages") -> None:
        self._field = field
        """Where the messages stand, for who sends too much."""
        self._texts: list[str] = []
        self._blobs: list[Blob] = []
        self._images = 0
        self._parts = 0
        self._elsewhere = False

    def content(self, value: msgspec.Raw, *, within_document: bool = False) -> None:
        """A message's content: a string, or an array of parts. A document has its own, and no other documents in it."""
        if first_byte(value) != b"[":
            self.value(value)
            return
        _SHAPE.decode(value)
        for part in _PARTS.decode(value):
            self.part(part, within_document=within_document)

    def part(self, part: msgspec.Raw, *, within_document: bool = False) -> None:
        """One content part: a text's words, a lump for an image, data for a file, and the JSON of anything else."""
        self._parts += 1
        if self._parts > _PARTS_MAX:
            raise InvalidRequest(f"{self._field}: there are more than {_PARTS_MAX:,} content parts.", field=self._field)
        fields = _FIELDS.decode(part) if first_byte(part) == b"{" else {}
        kind = text_in(fields.get("type", NULL))
        if kind in _IMAGES:
            self._image(fields)
        elif kind in _FILES:
            self._file(kind, fields)
        elif kind == _DOCUMENT and not within_document:
            self._document(fields)
        else:
            words = words_of(part)
            self.words(text_in(part) if words is None else words)

    def value(self, value: msgspec.Raw) -> None:
        """A string's words, or the JSON itself of anything else."""
        self.words(text_in(value))

    def words(self, text: str) -> None:
        """Words as they are."""
        if text:
            self._texts.append(text)

    def prompt(self, messages: int) -> Prompt:
        """All of it, in this many messages."""
        return Prompt(tuple(self._texts), messages, self._images, blobs=tuple(self._blobs), elsewhere=self._elsewhere)

    def _image(self, fields: Mapping[str, msgspec.Raw]) -> None:
        """A lump, whatever stands for it: but data that says it is something else is that."""
        self._values(fields, _IMAGE_FIELDS)
        head, data = _picture(fields)
        if not head or media_kind(head) is BlobKind.IMAGE:
            self._images += 1
        else:
            self._data(head, data, media_kind(head))

    def _file(self, kind: str, fields: Mapping[str, msgspec.Raw]) -> None:
        """Sound or a file, in OpenAI's formats: its data; its name, and whatever else there is, as text."""
        inner, holder = fields.get(kind, NULL), fields
        if first_byte(inner) == b"{":
            self._values(fields, _UNREAD_IN_FILES | {kind})
            holder = _FIELDS.decode(inner)
        self._values(holder, _UNREAD_IN_FILES | {_FILES[kind]})
        head, data = _data_url(text_in(holder.get(_FILES[kind], NULL)))
        self._elsewhere |= not data
        self._data(head, data, BlobKind.AUDIO if kind == _AUDIO else media_kind(head))

    def _document(self, fields: Mapping[str, msgspec.Raw]) -> None:
        """A file, in Anthropic's format: its data, text or parts; its title, and whatever else there is, as text."""
        self._values(fields, _UNREAD_IN_FILES | {"source"})
        given = fields.get("source", NULL)
        source = _FIELDS.decode(given) if first_byte(given) == b"{" else {}
        match text_in(source.get("type", NULL)):
            case "base64":
                self._values(source, {"type", "data"})
                self._data("", text_in(source.get("data", NULL)), media_kind(text_in(source.get("media_type", NULL))))
            case "content":
                self._values(source, {"type", "content"})
                self.content(source.get("content", NULL), within_document=True)
            case "text":
                self._values(source, {"type"})
            case _:
                self._elsewhere = True
                self.value(given)

    def _data(self, head: str, data: str, kind: BlobKind) -> None:
        """Data in base64; anything else that stands in its place is text."""
        self.words(head)
        if data and data.isascii() and not data.encode().translate(None, _BASE64):
            self._blobs.append(Blob(kind, -(-len(data) * 3 // 4)))
        else:
            self.words(data)

    def _values(self, fields: Mapping[str, msgspec.Raw], apart: AbstractSet[str]) -> None:
        """Every field as text, but for those that count apart."""
        for name, value in fields.items():
            if name not in apart:
                self.value(value)


def media_kind(media_type: str) -> BlobKind:
    """What data of this type is; the type may stand in the head of a data URL, and there may be none."""
    name = media_type.lower().removeprefix("data:").partition(";")[0].strip()
    if name.endswith(_TEXT_TYPES):
        return BlobKind.TEXT
    return _KINDS.get(name.partition("/")[0], BlobKind.DOCUMENT)


def _data_url(url: str) -> tuple[str, str]:
    """A data URL's head and its base64; no head, if it is none."""
    head, comma, data = url.partition(",") if url[:5].lower() == "data:" else ("", "", url)
    return (head, data) if comma and head.lower().endswith(";base64") else ("", url)


def _picture(fields: Mapping[str, msgspec.Raw]) -> tuple[str, str]:
    """The media type and the data of an image that comes with it; no type, where there is none."""
    url, source = fields.get("image_url", NULL), fields.get("source", NULL)
    if first_byte(url) == b"{":
        url = _FIELDS.decode(url).get("url", NULL)
    if first_byte(url) == b'"':
        return _data_url(text_in(url))
    inline = _FIELDS.decode(source) if first_byte(source) == b"{" else {}
    return text_in(inline.get("media_type", NULL)), text_in(inline.get("data", NULL))


def words_of(part: msgspec.Raw) -> str | None:
    """The words of a part that is text; `None` for any other part."""
    if first_byte(part) != b"{":
        return text_in(part)
    fields = _FIELDS.decode(part)
    text = fields.get("text", NULL)
    is_text = text_in(fields.get("type", NULL)) in _TEXTS and first_byte(text) == b'"'
    return text_in(text) if is_text else None


def text_in(value: msgspec.Raw) -> str:
    """A JSON string's text; nothing for null; the JSON itself of anything else."""
    first = first_byte(value)
    if first == b"n":
        return ""
    return _STRING.decode(value) if first == b'"' else bytes(value).decode()


def first_byte(value: msgspec.Raw) -> bytes:
    """What tells a string from an array and an object: texts of megabytes need not be copied for that."""
    return bytes(memoryview(value)[:1])
