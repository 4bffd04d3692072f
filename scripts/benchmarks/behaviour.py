"""How a fake provider behaves: slow or quick, in how many events, what it says was used, and what goes wrong.

Each port of a provider has a behaviour, which may change while it runs; a request may change parts of it by the model
it asks for: `any-name,gap_ms=5,usage=cached`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class Usage(StrEnum):
    """What an answer says was used. Streams say it only if they were asked to, as OpenAI's do."""

    PLAIN = "plain"
    CACHED = "cached"
    """Some prompt tokens were read from a cache."""
    REASONING = "reasoning"
    """Some completion tokens were thought and not said."""
    ALWAYS = "always"
    """As `PLAIN`, and streams say it unasked."""
    NONE = "none"
    """Nothing, whoever asks."""


class Fault(StrEnum):
    """What can go wrong."""

    REFUSED = "refused"
    """Nobody listens: connections are refused at once. Of a single call, that nothing comes and its connection ends."""
    DEAD = "dead"
    """Nothing comes back at all: connections are waited for in vain. Of a single call, as `HANG`."""
    HANG = "hang"
    """It takes the question, and says nothing."""
    HANG_IN_BODY = "hang-in-body"
    """It begins to answer: half of a whole answer, or the head of a stream without any event."""
    CUT = "cut"
    """The connection is closed in the middle of the answer."""
    LIMITED = "limited"
    """It answers 429, and when to come back."""
    STORM = "storm"
    """It answers 500."""
    GARBAGE = "garbage"
    """It answers 200 with what is no answer."""


EVENTS_MIN = 4
"""What is said, why it ended, what was used, and `[DONE]`."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How calls are answered."""

    first_ms: float = 0
    """Before an answer begins."""
    events: int = 50
    """Of a stream, all told."""
    gap_ms: float = 0
    """Between two writes of a stream."""
    pack: int = 1
    """Events in one write."""
    usage: Usage = Usage.PLAIN
    prompt_tokens: int = 12
    """The least that an answer says its prompt has."""
    fault: Fault | None = None
    fault_rate: float = 1
    """The share of calls that meet the fault."""

    def of(self, model: str) -> "Behaviour":
        """The behaviour that a model's name asks for.

        Raises:
            ValueError: it cannot be understood.
        """
        parts = dict(part.split("=", 1) for part in model.split(",")[1:])
        return replace(self, **{name: _READ[name](text) for name, text in parts.items()}) if parts else self

    @property
    def is_dark(self) -> bool:
        """Whether nobody listens."""
        return self.fault in {Fault.REFUSED, Fault.DEAD} and self.fault_rate >= 1

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


_READ: Mapping[str, Callable[[str], Any]] = {
    "first_ms": float,
    "events": int,
    "gap_ms": float,
    "pack": int,
    "usage": Usage,
    "prompt_tokens": int,
    "fault": Fault,
    "fault_rate": float,
}


def read(told: Mapping[str, Any]) -> Behaviour:
    """The behaviour that was told so."""
    return Behaviour(**{name: _READ[name](str(value)) for name, value in told.items() if value is not None})
