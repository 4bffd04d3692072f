"""Kept pages: what was shown a moment ago is shown again, so that many who ask take little from those who call."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta

FRESH_FOR = timedelta(seconds=1)
_PAGES_MAX = 256


@dataclass(frozen=True, slots=True)
class Kept:
    """A page as bytes, and what it is recognised by."""

    content: bytes
    tag: str
    made_at: datetime


class KeptPages:
    """The pages of one process. One is made at a time, and some hundreds are kept."""

    def __init__(self) -> None:
        self._pages: OrderedDict[Hashable, Kept] = OrderedDict()
        self._making = asyncio.Lock()

    async def page(self, asked: Hashable, *, now: datetime, make: Callable[[], Awaitable[str]]) -> Kept:
        """The page that was asked for, as it was a second ago at most."""
        if (kept := self._current(asked, now)) is not None:
            return kept
        async with self._making:
            # Whoever waited may find that it was made meanwhile.
            if (kept := self._current(asked, now)) is not None:
                return kept
            content = (await make()).encode()
            kept = self._pages[asked] = Kept(content, tag_of(content), now)
            self._pages.move_to_end(asked)
            if len(self._pages) > _PAGES_MAX:
                self._pages.popitem(last=False)
            return kept

    def _current(self, asked: Hashable, now: datetime) -> Kept | None:
        kept = self._pages.get(asked)
        return kept if kept is not None and kept.made_at <= now < kept.made_at + FRESH_FOR else None


def tag_of(content: bytes) -> str:
    """What a browser says that it knows already, in the form of an ETag."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
