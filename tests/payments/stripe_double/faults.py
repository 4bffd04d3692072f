"""What may go wrong between Stripe and us, on demand and call by call."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum, auto

from tests.payments.stripe_double.wire import Thing


class Kind(StrEnum):
    """What happens to one call."""

    TOO_MANY = auto()
    """429, and nothing is done."""
    LOCKED = auto()
    """409 lock_timeout, and nothing is done."""
    FAILS = auto()
    """500, and nothing is done; Stripe keeps it as the key's answer."""
    FAILS_AFTER = auto()
    """500 after it was done; Stripe keeps it as the key's answer."""
    LOST = auto()
    """The connection breaks before anything is done."""
    LOST_AFTER = auto()
    """It is done, and the connection breaks before the answer."""
    SILENT_AFTER = auto()
    """It is done, and no answer ever comes."""
    GARBLED = auto()
    """It is done, and the answer is no JSON."""
    OTHER = auto()
    """It is done, and answered with something else: what `change` makes of the answer."""


@dataclass
class Fault:
    """One fault for the next calls that it is for."""

    kind: Kind
    at: str = ""
    """How the method and path begin, as in "POST /v1/invoices"; nothing is every call."""
    times: int = 1
    skip: int = 0
    """How many matching calls pass before."""
    change: Callable[[Thing], Thing] = field(default=lambda thing: thing)


class Faults:
    """Those that are still to come."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []

    def plan(self, kind: Kind, at: str = "", *, times: int = 1, skip: int = 0) -> None:
        """Have the next calls that begin like this go wrong, after some that do not."""
        self._planned.append(Fault(kind, at, times, skip))

    def answer_with(self, change: Callable[[Thing], Thing], at: str) -> None:
        """Have the next call that begins like this be answered with something else."""
        self._planned.append(Fault(Kind.OTHER, at, change=change))

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._planned.clear()

    def next(self, call: str) -> Fault | None:
        """The fault of this call, which is used up by it."""
        for fault in self._planned:
            if not call.startswith(fault.at):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.times -= 1
            if not fault.times:
                self._planned.remove(fault)
            return fault
        return None
