"""Small calls with and without a prompt of a million tokens in flight: how much longer the small ones take."""

import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from scripts.benchmarks.group import BenchFailed, Caller, Group, grant, running
from scripts.benchmarks.turns import in_turns, quantile

_WORDS = (
    "the of and to in is that it was for on are as with his they at be this from have or by one had not but what all"
)


@dataclass(frozen=True, slots=True)
class Used:
    """Calls, and what they used by their own answers, or by the ledger's report."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cost + other.cost,
        )

    def figures(self) -> dict[str, int | str]:
        """For JSON."""
        return {
            "calls": self.calls,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cost": str(self.cost),
        }


@dataclass(slots=True)
class Timed:
    """Calls of one kind: how long each took, and what they used."""

    milliseconds: list[float] = field(default_factory=list)
    used: Used = Used(0, 0, 0, Decimal(0))


def _reported(group: Group) -> Used:
    """What the ledger says was used."""
    total = group.get("/usage", key=group.management_key)["total"]
    return Used(total["calls"], total["prompt_tokens"], total["completion_tokens"], Decimal(total["amount"]))


def _chat_body(system: str) -> bytes:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "What is said above?"}]
    return json.dumps({"model": "sandbox/echo", "messages": messages, "max_tokens": 16}).encode()


def _prose(tokens: int) -> str:
    """Words of a token each, in no order that repeats soon."""
    words = _WORDS.split()
    return " ".join([words[(at * at * 2_654_435_761 >> 7) % len(words)] for at in range(tokens)])


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what to send."""

    rounds: int
    seconds: float
    """How long each half of a round lasts."""
    connections: int
    calls_max: int
    """Small calls in each half of a round."""
    small: bytes
    large: bytes


@dataclass(frozen=True, slots=True)
class Half:
    """One half of a round: small calls, and the large ones beside them, if any."""

    small: Timed
    large: Timed


def _half(group: Group, plan: Plan, *, beside_large: bool) -> Half:
    """Small calls for a while, alone or with always one large call in flight."""
    deadline = time.monotonic() + plan.seconds
    enough = threading.Event()
    each = plan.calls_max // plan.connections
    with ThreadPoolExecutor(plan.connections + 1) as pool:
        large = pool.submit(_calls, group, plan.large, enough.is_set) if beside_large else None
        try:
            small = [
                pool.submit(_calls, group, plan.small, lambda: time.monotonic() > deadline, calls_max=each)
                for _ in range(plan.connections)
            ]
            timed = [future.result() for future in small]
        finally:
            enough.set()
        return Half(_together(timed), large.result() if large is not None else Timed())


def _calls(group: Group, body: bytes, is_enough: Callable[[], bool], *, calls_max: int | None = None) -> Timed:
    """One call after the other over one connection; at least one."""
    caller, timed = Caller(group, group.inference_key), Timed()
    while not timed.milliseconds or not (is_enough() or len(timed.milliseconds) == calls_max):
        started = time.perf_counter()
        usage = caller.ask("POST", "/chat/completions", body)["usage"]
        timed.milliseconds.append((time.perf_counter() - started) * 1000)
        timed.used += Used(1, usage["prompt_tokens"], usage["completion_tokens"], Decimal(usage["cost"]))
    return timed


def _together(parts: Sequence[Timed]) -> Timed:
    together = Timed()
    for part in parts:
        together.milliseconds += part.milliseconds
        together.used += part.used
    return together


@click.command()
@click.option(
    "--tokens", type=click.IntRange(1, 4_000_000), default=1_000_000, show_default=True, help="Of the prompt."
)
@click.option("--rounds", type=click.IntRange(1, 100), default=7, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.1, 60), default=3, show_default=True, help="Of each half of a round."
)
@click.option("--connections", type=click.IntRange(1, 64), default=2, show_default=True, help="That make small calls.")
@click.option(
    "--calls", type=click.IntRange(64, 100_000), default=2_000, show_default=True, help="At most, in each half."
)
@click.option("--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Gateway processes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prompt(*, tokens: int, workers: int, as_json: bool, calls: int, **shape: Any) -> None:
    """Small calls with and without a prompt of a million tokens in flight.

    Ends with an error if not every call that was answered is in the usage report, to the token and the cent.
    """
    plan = Plan(calls_max=calls, small=_chat_body("Be brief."), large=_chat_body(_prose(tokens)), **shape)
    with running(workers, TOLLGATE_BODY_BYTES_MAX=str(2 * len(plan.large))) as group:
        grant(group)
        warm = [_half(group, plan, beside_large=True)]
        rounds = _rounds(group, plan)
        reported = _reported(group)
    halves = [*warm, *(half for pair in rounds for half in pair)]
    sent = sum((half.small.used + half.large.used for half in halves), Used(0, 0, 0, Decimal(0)))
    result = _result(rounds) | {"sent": sent.figures(), "reported": reported.figures(), "recorded": sent == reported}
    click.echo(json.dumps(result)) if as_json else _show(result)
    if sent != reported:
        raise BenchFailed("Not every call was recorded as it was answered.")


def _rounds(group: Group, plan: Plan) -> list[tuple[Half, Half]]:
    """Each round's halves, alone and beside large calls."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Measuring", total=plan.rounds)
        return in_turns(
            plan.rounds,
            lambda: _half(group, plan, beside_large=False),
            lambda: _half(group, plan, beside_large=True),
            done=lambda: progress.advance(task),
        )


def _result(rounds: Sequence[tuple[Half, Half]]) -> dict[str, Any]:
    alone = [alone.small for alone, _ in rounds]
    beside = [beside.small for _, beside in rounds]
    large = _together([beside.large for _, beside in rounds])
    result: dict[str, Any] = {"rounds": len(rounds)}
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        without, within = (
            statistics.median(quantile(timed.milliseconds, share) for timed in kind) for kind in (alone, beside)
        )
        result[name] = {
            "alone": round(without, 2),
            "beside_large": round(within, 2),
            "ratio": round(within / without, 2),
        }
    return result | {
        "small_calls": {
            name: len(_together(kind).milliseconds) for name, kind in (("alone", alone), ("beside_large", beside))
        },
        "large_calls": large.used.calls,
        "large_prompt_tokens": large.used.prompt_tokens // large.used.calls,
        "large_ms": round(statistics.median(large.milliseconds)),
    }


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"Small calls, medians of {result['rounds']} rounds")
    for column in ("", "alone", "beside large calls", "ratio"):
        table.add_column(column, justify="right")
    for name in ("p50_ms", "p99_ms"):
        row = result[name]
        table.add_row(name.replace("_", " "), *(str(row[column]) for column in ("alone", "beside_large", "ratio")))
    table.add_row("calls", *(str(count) for count in result["small_calls"].values()), "")
    console = Console()
    console.print(table)
    large, sent, reported = result["large_calls"], result["sent"], result["reported"]
    console.print(f"{large} large calls of {result['large_prompt_tokens']:,} tokens, {result['large_ms']:,} ms each.")
    console.print(f"{sent['calls']:,} calls answered, {reported['calls']:,} recorded, for {reported['cost']} USD.")
