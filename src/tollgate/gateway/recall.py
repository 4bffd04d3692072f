"""Recall: how many tokens the long texts of each organization were found to have: agents send theirs with every call.

Of a text only a digest and a number are kept. Whose it is belongs to the digest, so that how long a call takes tells
nobody what others have sent.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from tollgate.kit.ids import OrganizationId

TEXTS_MAX = 20_000
"""How many are kept of: some five megabytes. Those go first that nobody has sent for longest."""


class Recall:
    """What this process knows of it; texts are counted in threads, too."""

    def __init__(self, texts_max: int = TEXTS_MAX) -> None:
        self._texts_max = texts_max
        self._lengths: OrderedDict[bytes, int] = OrderedDict()
        self._lock = Lock()

    def of(self, organization_id: OrganizationId, encoding: str) -> "Recalled":
        """What is known of an organization's texts in one encoding."""
        return Recalled(self, organization_id, encoding)

    def find(self, digest: bytes) -> int | None:
        with self._lock:
            length = self._lengths.get(digest)
            if length is not None:
                self._lengths.move_to_end(digest)
            return length

    def keep(self, digest: bytes, length: int) -> None:
        with self._lock:
            self._lengths[digest] = length
            self._lengths.move_to_end(digest)
            while len(self._lengths) > self._texts_max:
                self._lengths.popitem(last=False)


class Recalled(NamedTuple):
    """The part of it that one organization's texts are in, in one encoding."""

    recall: Recall
    organization_id: OrganizationId
    encoding: str

    def find(self, text: bytes) -> int | None:
        """How long the text is, if it is known."""
        return self.recall.find(self._digest(text))

    def length(self, text: bytes, count: Callable[[], int]) -> int:
        """How long the text is: counted unless it is known, and known from then on."""
        digest = self._digest(text)
        known = self.recall.find(digest)
        if known is not None:
            return known
        counted = count()
        self.recall.keep(digest, counted)
        return counted

    def _digest(self, text: bytes) -> bytes:
        """What a text is found by."""
        digest = hashlib.sha256(self.organization_id.bytes + self.encoding.encode())
        digest.update(text)
        return digest.digest()
