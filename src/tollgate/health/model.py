"""The health of endpoints as values: what they are unfit for, for how long, and what a process has seen of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto

from tollgate.kit.ids import EndpointId, OrganizationId
from tollgate.statistics.model import Standing


class Fault(StrEnum):
    """What an endpoint is unfit for."""

    UNREACHABLE = "unreachable"
    """No connection comes about."""
    SILENT = "silent"
    """It is connected to, and does not begin to answer in time."""
    LIMITED = "limited"
    """It limits our rate."""
    DENIED = "denied"
    """It refuses our credential."""
    GONE = "gone"
    """It does not know its model any more."""
    FAILING = "failing"
    """It answers with errors, breaks off, or says what is no answer."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """An open circuit: why, since when, until when, and how often it has opened since the endpoint last served."""

    fault: Fault
    opened_at: datetime
    until: datetime
    openings: int = 1
    is_told: bool = False
    """Whether the provider itself has said until when."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of an endpoint's health at one instant."""

    circuit: Circuit | None = None
    """`None` while it is closed."""
    tried_since: datetime | None = None
    """Since when a call has its trial; `None` if none has."""
    standing: Standing | None = None
    """Its last hour; `None` without samples."""


HEALTHY = Condition()


@dataclass(frozen=True, slots=True)
class Trouble:
    """An endpoint whose circuit is open, for people."""

    endpoint_id: EndpointId
    model: str
    provider: str
    circuit: Circuit


class Fitness(Enum):
    """Whether a call may try an endpoint."""

    FIT = auto()
    ON_TRIAL = auto()
    """One call at a time."""
    DOUBTFUL = auto()
    """After everything else."""
    UNFIT = auto()
    """Not at all: it is known to fail."""


@dataclass(frozen=True, slots=True)
class Track:
    """What one process has seen of an endpoint lately."""

    circuit: Circuit | None = None
    in_a_row: int = 0
    """Failures since it last served."""
    history: int = 0
    """The latest outcomes, the last one in the lowest bit: 1 is a failure."""
    suspects: frozenset[OrganizationId] = frozenset()
    """Whose calls failed since it last served."""
    users: tuple[tuple[OrganizationId, datetime], ...] = ()
    """Who has called it lately and when last, the latest first; no more than a few."""


UNSEEN = Track()
