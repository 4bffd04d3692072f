"""Statements compiled once for all databases of a process of tests: else each test would compile its own anew."""

from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


class Compiled:
    """What engines have in common that speak to the same server."""

    def __init__(self) -> None:
        self._dialect: Dialect | None = None
        self._statements: dict[Any, Any] = {}

    def engine(self, url: str, **options: Any) -> AsyncEngine:
        """An engine as it would be made otherwise, with connections of its own."""
        made = create_async_engine(url, **options)
        if self._dialect is None or self._dialect.server_version_info is None:
            self._dialect = made.sync_engine.dialect  # until one is there that has seen the server
        made.sync_engine.dialect = self._dialect
        return made.execution_options(compiled_cache=self._statements)
