"""Journal: the last word on everything a process has under way, in a file that survives the process.

Entries are appended, never waited for: the kernel keeps what it was given when the process is killed, though not when
the machine is. An entry replaces the one before it of the same key; an empty one strikes it out.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

_HEAD = struct.Struct(">II16s")
"""Length of the text, checksum of key and text, key."""
_TEXT_BYTES_MAX = 1024 * 1024
_REWRITE_BYTES = 16 * 1024 * 1024
_NO_FILE = -1


class Journal:
    """Where a process writes. Not for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _appending(path)
        self._size = 0
        self._rewrite_at = _REWRITE_BYTES
        self._open: dict[bytes, bytes] = {}
        """The entries that were not struck out, by their keys."""

    def note(self, key: UUID, text: bytes) -> None:
        """Write down the latest on a key, a megabyte at most.

        Raises:
            OSError: the disk does not take it.
        """
        if len(text) > _TEXT_BYTES_MAX:
            raise OSError(f"a text of {len(text)} bytes is too long for the journal")
        raw = key.bytes
        self._open[raw] = entry = _entry(raw, text)
        self._append(entry)
        if self._size > self._rewrite_at:
            self._rewrite()

    def strike(self, keys: Iterable[UUID]) -> None:
        """Forget these keys: what they were about is safe elsewhere.

        Raises:
            OSError: the disk does not take it; after our death they would be found as they were.
        """
        known = [raw for key in keys if self._open.pop(raw := key.bytes, None) is not None]
        if known:
            self._append(b"".join(_entry(key, b"") for key in known))
        if self._size > self._rewrite_at:
            self._rewrite()

    def close(self) -> None:
        """Write no more: from here on whoever tries is told that the disk does not take it."""
        os.close(self._file)
        # The number may soon be that of another file, and the path a folder that is another's.
        self._file, self._size = _NO_FILE, 0

    def _append(self, entries: bytes) -> None:
        written = os.write(self._file, entries)
        if written < len(entries):
            # Half an entry would hide whatever comes after it.
            os.ftruncate(self._file, self._size)
            raise OSError("the journal's disk is full")
        self._size += written

    def _rewrite(self) -> None:
        """Begin a new file with what is still open."""
        # If that fails it is tried again, but not at every entry.
        self._rewrite_at = 2 * self._size
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        entries = b"".join(self._open.values())
        file = _appending(fresh)
        if os.write(file, entries) < len(entries):
            os.close(file)
            raise OSError("the journal's disk is full")
        fresh.replace(self._path)
        os.close(self._file)
        self._file, self._size = file, len(entries)
        # Where much is open, most of the file is worth keeping: it pays again only once half of it is not.
        self._rewrite_at = max(_REWRITE_BYTES, 2 * self._size)


def _appending(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _entry(key: bytes, text: bytes) -> bytes:
    return _HEAD.pack(len(text), zlib.crc32(text, zlib.crc32(key)), key) + text


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal says."""

    left: dict[UUID, bytes]
    """What was open when its process ended."""
    damaged_bytes: int
    """How much of it in between says nothing: whatever it was about is lost."""


def read(path: Path) -> Reading:
    """What was open when the journal's process ended; nothing if it never began one.

    An entry that was cut short by the end is as if it had not been begun. One that is damaged hides no other.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Reading({}, 0)
    left: dict[UUID, bytes] = {}
    position = read_to = damaged = 0
    while position + _HEAD.size <= len(content):
        length, checksum, key = _HEAD.unpack_from(content, position)
        end = position + _HEAD.size + length
        if length > _TEXT_BYTES_MAX or end > len(content) or zlib.crc32(key + content[end - length : end]) != checksum:
            position += 1
            continue
        damaged += position - read_to
        position = read_to = end
        if length:
            left[UUID(bytes=key)] = content[end - length : end]
        else:
            left.pop(UUID(bytes=key), None)
    rest = content[read_to:]
    return Reading(left, damaged if _is_cut_short(rest) else damaged + len(rest))


def _is_cut_short(rest: bytes) -> bool:
    """Whether this may be the beginning of an entry of which the end was not written."""
    if len(rest) < _HEAD.size:
        return True
    length = int(_HEAD.unpack_from(rest)[0])
    return len(rest) - _HEAD.size < length <= _TEXT_BYTES_MAX
