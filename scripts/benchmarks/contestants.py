"""Contestants: whoever answers a measurement: where to ask, what to say, and whose CPU it takes."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass


class NotStarted(Exception):
    """A contestant does not run here; its table says why."""


@dataclass(frozen=True, slots=True)
class Served:
    """A contestant that answers."""

    base_url: str
    """Of its OpenAI interface, up to `/v1` or what stands for it: `/chat/completions` follows."""
    headers: Mapping[str, str]
    """What it has to be sent: its key, and whatever else it wants."""
    model: str
    """By which name it is asked for the provider's model."""
    pid: int | None
    """The root of its process tree, whose CPU and memory are the gateway's; none if there is no gateway."""
    database_pid: int | None = None
    """The root of its PostgreSQL, if it has one of its own; counted apart, and not part of the tree above."""
    group_pid: int | None = None
    """The root of everything that is started for it, if that is more than the trees above."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who may take part."""

    name: str
    version: str
    records: str
    """What it keeps of a call when the call has been answered, in a few words."""
    running: Callable[[str, int], AbstractContextManager[Served]]
    """Starts it in front of the provider at this base URL (`http://127.0.0.1:PORT/v1`), on this CPU; its database
    runs on any other. It has ended, and left nothing but what was installed, when the block does.

    Raises:
        NotStarted: it cannot be had here, or does not answer.
    """
