"""Calls as they go over a connection."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

_USAGE_TOLD = {"stream": True, "stream_options": {"include_usage": True}}


def address(base_url: str) -> tuple[str, int]:
    """Where to connect to."""
    parts = urlsplit(base_url)
    return parts.hostname or "127.0.0.1", parts.port or 80


def call(base_url: str, question: Mapping[str, Any], headers: Mapping[str, str], *, streamed: bool = False) -> bytes:
    """A call of an OpenAI interface; one that streams is told what was used as well."""
    parts = urlsplit(base_url)
    body = json.dumps({**question, **(_USAGE_TOLD if streamed else {})})
    lines = [
        f"POST {parts.path}/chat/completions HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
