"""Chat completions in neutral form: what a provider's answer means, whole or chunk by chunk."""

from collections.abc import Iterable, Mapping
from typing import Any

from tollgate.gateway.neutral import Completion, Delta


def completion(body: bytes) -> Completion:
    """What a whole chat completion means."""
    raise NotImplementedError


def deltas(chunk: Mapping[str, Any]) -> Iterable[Delta]:
    """What a chunk adds to the answer."""
    raise NotImplementedError
