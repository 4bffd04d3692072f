"""Which characters fonts can show, and texts without the others: those are named instead, as in `[U+0007]`.

A font says what it has in its `cmap` table (OpenType specification, "cmap": formats 4 and 12 are read here).
"""

import struct
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Any

_SPACES = frozenset("\t\n\v\f\r\x85\u2028\u2029")
"""What ends lines or columns elsewhere, and is a space on paper."""
_JOINERS = frozenset("\u00ad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f")
"""What has no shape of its own, and belongs to how words are written."""
_NEVER_SHOWN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
"""Unicode categories: controls, formats that turn text around or hide it, and what is no character to anybody."""
_PLAIN = range(0x20, 0x7F)
_COLLECTION = b"ttcf"
_LAST = 0xFFFF


def legible(text: str, fonts: Sequence[Collection[int]]) -> str:
    """The text, with the names of characters that no font has, that hide something, or that turn others around.

    A mark belongs to the letter before it, and is named too where no single font has both: setting them in two would
    lose the letter. `fonts` are the code points that each font has.
    """
    told: list[str] = []
    having = fonts
    for character in text:
        if character in _SPACES:
            told.append(" ")
        elif character in _JOINERS:
            told.append(character)
        else:
            category = unicodedata.category(character)
            among = having if category.startswith("M") else fonts
            can = [font for font in among if ord(character) in font] if category not in _NEVER_SHOWN else []
            told.append(character if can else _name(character))
            having = can or having
    return "".join(told)


def plain(text: str) -> str:
    """The text in letters that every font has, with the names of all others."""
    return "".join(each if ord(each) in _PLAIN else " " if each in _SPACES else _name(each) for each in text)


def _name(character: str) -> str:
    return f"[U+{ord(character):04X}]"


def characters(font: Any) -> set[int]:
    """The code points that a font file has shapes for; of a collection, its first font's.

    `font` is whatever `struct.unpack_from` reads.
    """
    start = struct.unpack_from(">I", font, 12)[0] if font[:4] == _COLLECTION else 0
    cmap = _table(font, start, b"cmap")
    (count,) = struct.unpack_from(">H", font, cmap + 2)
    found: set[int] = set()
    for place in range(count):
        (offset,) = struct.unpack_from(">I", font, cmap + 8 + 8 * place)
        for first, last in _ranges(font, cmap + offset):
            found.update(range(first, last + 1))
    return found


def _table(font: Any, start: int, tag: bytes) -> int:
    (count,) = struct.unpack_from(">H", font, start + 4)
    for place in range(count):
        name, _, offset, _ = struct.unpack_from(">4sIII", font, start + 12 + 16 * place)
        if name == tag:
            return int(offset)
    raise ValueError(f"The font has no table {tag!r}")


def _ranges(font: Any, table: int) -> Iterator[tuple[int, int]]:
    (form,) = struct.unpack_from(">H", font, table)
    if form == 4:  # noqa: PLR2004 - as the specification numbers them
        (twice,) = struct.unpack_from(">H", font, table + 6)
        segments = f">{twice // 2}H"
        lasts = struct.unpack_from(segments, font, table + 14)
        firsts = struct.unpack_from(segments, font, table + 16 + twice)
        yield from ((first, last) for first, last in zip(firsts, lasts, strict=True) if first != _LAST)
    elif form == 12:  # noqa: PLR2004 - as above
        (groups,) = struct.unpack_from(">I", font, table + 12)
        flat = struct.unpack_from(f">{3 * groups}I", font, table + 16)
        yield from zip(flat[::3], flat[1::3], strict=True)
