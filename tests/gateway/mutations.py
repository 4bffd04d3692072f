"""Answers that are almost right: the corpus with one thing in it changed, left out, doubled or put elsewhere."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**30, "", "junk", "\x00", [], {}, [None], [[]], ["junk"], [5], {"a": 1}, {"type": "junk"},
)  # fmt: skip
_Path = tuple[str | int, ...]


def paths(value: Any, at: _Path = ()) -> Iterator[_Path]:
    """The way to every value inside this one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*at, key)
        yield from paths(each, (*at, key))


def mutated(value: Any, random: Random) -> Any:
    """The same with one value in it replaced by junk, or left out."""
    changed = copy.deepcopy(value)
    every = list(paths(changed))
    if not every:
        return random.choice(JUNK)
    *way, last = random.choice(every)
    at = changed
    for key in way:
        at = at[key]
    if random.random() < 0.2:
        del at[last]
    else:
        at[last] = copy.deepcopy(random.choice(JUNK))
    return changed


def mutated_stream(events: tuple[bytes, ...], random: Random) -> list[bytes]:
    """The same with one event changed, left out, doubled, moved, or cut."""
    changed = list(events)
    place = random.randrange(len(changed))
    match random.randrange(10):
        case 0:
            del changed[place]
        case 1:
            changed.insert(random.randrange(len(changed)), changed[place])
        case 2:
            changed.insert(random.randrange(len(changed)), changed.pop(place))
        case 3:
            changed[place] = changed[place][: random.randrange(len(changed[place]) + 1)] or b"x"
        case _ if changed[place] != b"[DONE]":
            changed[place] = json.dumps(mutated(json.loads(changed[place]), random)).encode()
        case _:
            changed[place] = b"null"
    return changed
