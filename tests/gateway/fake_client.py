"""A caller without a network: it keeps what it is sent, and hangs up when a test says so."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tollgate.gateway.model import ClientGone


class FakeClient:
    """Honours the port `gateway.model.Client`."""

    def __init__(self, *, leaves_after: int | None = None) -> None:
        self.status: int | None = None
        self.headers: Mapping[str, str] = {}
        self.pieces: list[bytes] = []
        self.finished = asyncio.Event()
        self._leaves_after = leaves_after

    @staticmethod
    def staying() -> AbstractContextManager[None]:
        return nullcontext()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.status, self.headers = status, headers

    async def write(self, piece: bytes) -> None:
        if self._leaves_after is not None and len(self.pieces) >= self._leaves_after:
            raise ClientGone
        self.pieces.append(piece)

    async def finish(self, piece: bytes = b"") -> None:
        self.pieces.append(piece)
        self.finished.set()

    @property
    def answer(self) -> Any:
        """The whole answer, its numbers as text."""
        return json.loads(b"".join(self.pieces), parse_float=str)
