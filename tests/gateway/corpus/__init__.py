"""Answers of providers, written after their public documentation: data, one file for each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tollgate.gateway.model import Wire
from tollgate.kit.tokens import Kind

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer, whole and streamed, and what has to be read from either."""

    name: str
    """Its file's path below this folder, without the suffix."""
    source: str
    """The public documentation it was written after."""
    wire: Wire
    case: str
    dialect: str
    whole: bytes | None
    """The body; `None` where the answer can only be a stream."""
    stream: tuple[bytes, ...]
    """The data of each event; nothing where the answer cannot be a stream."""
    expected: Mapping[str, Any]
    """`finish_reason`, `native_finish_reason`, `service_tier`, `anomalous`, `text`: what is missing is not told."""

    @property
    def quantities(self) -> dict[Kind, int]:
        """The disjoint quantities to be billed."""
        return {Kind(kind): count for kind, count in self.expected["quantities"].items()}


def entries(wire: Wire | None = None) -> list[Entry]:
    """All of the corpus, or that of one wire format."""
    found = [_read(path) for path in sorted(_FOLDER.glob("*/*.json"))]
    return [entry for entry in found if wire is None or entry.wire is wire]


def _read(path: Path) -> Entry:
    said = json.loads(path.read_text())
    return Entry(
        name=path.relative_to(_FOLDER).with_suffix("").as_posix(),
        source=said["source"],
        wire=Wire(said["wire"]),
        case=said["case"],
        dialect=said["dialect"],
        whole=None if said.get("whole") is None else json.dumps(said["whole"]).encode(),
        stream=tuple(_data(event) for event in said.get("stream", ())),
        expected=said["expected"],
    )


def _data(event: Any) -> bytes:
    """An event's data: text as it is, anything else as JSON."""
    return event.encode() if isinstance(event, str) else json.dumps(event).encode()
