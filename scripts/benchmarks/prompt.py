"""Long prompts: what one costs of a gateway's CPU, and how much later small calls are answered beside some.

Fresh prompts were never sent before; those of a conversation are what was sent before, and a little more.
"""

import asyncio
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from scripts.benchmarks import goals, machine, proof, tables
from scripts.benchmarks.arena import Arena, asked, open_arena
from scripts.benchmarks.behaviour import Behaviour
from scripts.benchmarks.contestants import Served
from scripts.benchmarks.generator import Generator
from scripts.benchmarks.group import BenchFailed, Group
from scripts.benchmarks.ours import PRICES, PROVIDER, UPSTREAM_MODEL, Tollgate
from scripts.benchmarks.progress import Told
from scripts.benchmarks.requests import address
from scripts.benchmarks.traffic import Borne, Load
from scripts.benchmarks.turns import in_turns, quantile

from tollgate.gateway import tokenizer

KINDS = ("fresh", "conversation")
PROMPTS_PER_SECOND_GOAL = 100
"""Of one CPU."""
MOVED_MS_GOAL = 5

_MODEL = "bench/long"
_CONTEXT_TOKENS_PER_PROMPT = 2
_MESSAGES = 150
"""Of a conversation, when it begins."""
_DOCUMENTS = Path(__file__).parents[2] / "docs"
_PARAGRAPH = "\n\n"
_MIXED = 2_654_435_761
"""Numbers in order, multiplied by it, are in none."""
_SMALL_CONNECTIONS = 32
_WIDTH = 130


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of what to send."""

    tokens: int
    kinds: Sequence[str]
    rounds: int
    seconds: float
    """How long each half of a round lasts."""
    rate: float
    """Long prompts a second."""
    small_rate: float
    connections: int
    """Of those who send long prompts."""


@dataclass(frozen=True, slots=True)
class Half:
    """One half of a round: small calls, the long ones beside them, if any, and what they took of the gateway's CPU."""

    small: Borne
    long: Borne
    cpu_seconds: float


@dataclass(slots=True)
class Texts:
    """Paragraphs of our own documents, in another order whenever one asks."""

    characters: int
    """Of a prompt."""
    paragraphs: Sequence[str] = ()
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def fresh(self, calls: int) -> list[list[dict[str, str]]]:
        """Conversations of two messages that nobody has sent before."""
        return [[_said(0, "Be brief."), _said(1, self._text(self.characters))] for _ in range(calls)]

    def conversation(self, calls: int) -> list[list[dict[str, str]]]:
        """The same conversation, two messages longer each time; another one whenever one asks."""
        each = self.characters // _MESSAGES
        spoken = [_said(at, self._text(each)) for at in range(_MESSAGES + 2 * calls)]
        return [spoken[: _MESSAGES + 2 * at + 1] for at in range(calls)]

    def _text(self, characters: int) -> str:
        """So many characters of paragraphs, with a number before them of which there is no other."""
        parts = [f"{next(self._numbers)}."]
        while sum(map(len, parts)) < characters:
            parts.append(self.paragraphs[next(self._numbers) * _MIXED % 2**32 % len(self.paragraphs)])
        return _PARAGRAPH.join(parts)[:characters]


def _said(at: int, text: str) -> dict[str, str]:
    return {"role": "assistant" if at and at % 2 == 0 else "user", "content": text}


@click.command(short_help="Prompts of 75,000 tokens, and calls beside them.")
@click.option(
    "--tokens", type=click.IntRange(20_000, 1_000_000), default=75_000, show_default=True, help="Of a prompt."
)
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only these; both, if none is given.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.5, 60), default=5, show_default=True, help="Of each half of a round."
)
@click.option("--rate", type=click.FloatRange(0.1, 1_000), default=20, show_default=True, help="Long prompts a second.")
@click.option(
    "--small-rate", type=click.FloatRange(1, 5_000), default=50, show_default=True, help="Small calls a second."
)
@click.option("--connections", type=click.IntRange(1, 64), default=4, show_default=True, help="For long prompts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prompt(*, as_json: bool, kinds: Sequence[str], **shape: Any) -> None:
    """Small calls with and without prompts of 75,000 tokens in flight, and what each of these costs.

    Ends with an error if not every call that was answered is in the ledger as its provider told it.
    """
    result = _measured(Plan(kinds=kinds or KINDS, **shape))
    click.echo(json.dumps(result)) if as_json else _show(result)


def _measured(plan: Plan) -> dict[str, Any]:
    tollgate, texts, others = Tollgate(), _texts(plan.tokens), machine.Others()
    borne: list[Borne] = []
    with (
        open_arena([tollgate.contestant], Behaviour()) as arena,
        Generator() as second,
        Told() as progress,
        others.watched() as look,
    ):
        [entrant] = arena.entrants
        if entrant.served is None or tollgate.group is None:
            raise BenchFailed(f"Tollgate did not start: {entrant.absent}")
        _offer(tollgate.group, plan.tokens)
        bench = _Bench(plan, arena, entrant.served, second, texts)
        task = progress.begin("Measuring", plan.rounds * len(plan.kinds))

        def done() -> None:
            look()
            progress.step(task)

        result = {"tokens": plan.tokens, "rate": plan.rate, "small_rate": plan.small_rate, "rounds": plan.rounds}
        kinds = {}
        for kind in plan.kinds:
            warm = bench.half(replace(plan, seconds=1), kind)
            rounds = in_turns(
                plan.rounds,
                lambda: bench.half(plan, None),
                lambda kind=kind: bench.half(plan, kind),  # type: ignore[misc]  # mypy cannot infer a default's type
                done=done,
            )
            kinds[kind] = _figures(rounds)
            borne += [each for half in [warm, *(half for pair in rounds for half in pair)] for each in _loads(half)]
        provided = [each for each in arena.provider.provided() if each.model.startswith(UPSTREAM_MODEL)]
        told = [each for one in borne for each in one.told]
        failed = sum(one.failed for one in borne)
        recorded = proof.ledger(tollgate.group)
        recorded.check(told, provided, {PROVIDER: PRICES})
        ledger = {"recorded": len(recorded.records), "amount": str(recorded.amount.normalize())}
    problems = [problem for one in borne for problem in one.problems]
    return (
        result
        | {
            "kinds": kinds,
            "goals": _goals(kinds),
            "failed": failed,
            "problems": problems[:1],
            "ledger": ledger,
        }
        | others.told
    )


def _loads(half: Half) -> tuple[Borne, Borne]:
    return half.small, half.long


def _texts(tokens: int) -> Texts:
    """Texts that make prompts of so many tokens, or nearly."""
    documents = [path.read_text() for path in sorted(_DOCUMENTS.glob("*.md"))]
    paragraphs = [paragraph for document in documents for paragraph in document.split(_PARAGRAPH)]
    sample = Texts(100_000, paragraphs).fresh(1)[0][1]["content"]
    return Texts(tokens * len(sample) // asyncio.run(tokenizer.count(sample, tokenizer.DEFAULT_ENCODING)), paragraphs)


def _offer(group: Group, tokens: int) -> None:
    """A second model, whose provider says that prompts are so long."""

    def admin(path: str, body: object) -> None:
        group.post(f"/admin{path}", body, key=group.operator_key)

    admin("/models", {"slug": _MODEL, "name": "Long prompts"})
    context = {"context_length": max(_CONTEXT_TOKENS_PER_PROMPT * tokens, 200_000)}
    upstream = {"upstream_model": f"{UPSTREAM_MODEL}-long,prompt_tokens={tokens}"}
    admin("/endpoints", {"model": _MODEL, "provider": PROVIDER, **upstream, **context})
    items = [{"kind": kind, "price": str(price), "unit": "per_million_tokens"} for kind, price in PRICES.items()]
    admin("/prices", {"model": _MODEL, "provider": PROVIDER, "items": items})


@dataclass(frozen=True, slots=True)
class _Bench:
    """Everything that is needed to measure."""

    plan: Plan
    arena: Arena
    served: Served
    second: Generator
    texts: Texts

    def half(self, plan: Plan, kind: str | None) -> Half:
        """Small calls for a while, alone or with long ones beside them."""
        where, small = [address(self.served.base_url)], asked(self.served, streamed=False)
        loads = [(self.arena.generator, Load(where, [small], plan.seconds, _SMALL_CONNECTIONS, plan.small_rate))]
        if kind is not None:
            calls = max(int(plan.rate * plan.seconds), 1)
            conversations = self.texts.fresh(calls) if kind == "fresh" else self.texts.conversation(calls)
            long = [
                asked(replace(self.served, model=_MODEL), streamed=False, messages=messages)
                for messages in conversations
            ]
            loads.append((self.second, Load(where, long, plan.seconds, plan.connections, plan.rate, len(long))))
        before = machine.cpu_seconds(self.served.pid or 0)
        with ThreadPoolExecutor(len(loads)) as pool:
            borne = list(pool.map(lambda each: each[0].bear(each[1]), loads))
        return Half(
            borne[0], borne[1] if kind is not None else Borne(), machine.cpu_seconds(self.served.pid or 0) - before
        )


def _figures(rounds: Sequence[tuple[Half, Half]]) -> dict[str, Any]:
    """Of one kind of prompt: medians over the rounds."""
    cost = statistics.median(_cost_ms(alone, beside) for alone, beside in rounds)
    figures: dict[str, Any] = {
        "prompts": sum(len(beside.long.told) for _, beside in rounds),
        "due": sum(beside.long.due for _, beside in rounds),
        "cpu_ms_per_prompt": round(cost, 2),
        "prompts_per_cpu_second": round(1000 / cost) if cost > 0 else None,
        "prompt_p50_ms": round(statistics.median(quantile(beside.long.milliseconds, 0.5) for _, beside in rounds), 1),
    }
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        alone, beside = (
            statistics.median(quantile(half.small.milliseconds, share) for half in halves)
            for halves in zip(*rounds, strict=True)
        )
        figures[name] = {"alone": round(alone, 2), "beside": round(beside, 2), "moved": round(beside - alone, 2)}
    return figures


def _goals(kinds: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        goal
        for kind, found in kinds.items()
        for goal in (
            goals.told(
                f"long prompts a second of one CPU, {kind}",
                found["prompts_per_cpu_second"],
                least=PROMPTS_PER_SECOND_GOAL,
            ),
            goals.told(
                f"ms that the p99 of small calls moves, {kind}",
                found["p99_ms"]["moved"],
                most=MOVED_MS_GOAL,
                decimals=2,
            ),
        )
    ]


def _cost_ms(alone: Half, beside: Half) -> float:
    """What a long prompt took of the CPU, beyond what the small calls did."""
    small = alone.cpu_seconds / max(len(alone.small.told), 1) * len(beside.small.told)
    return 1000 * (beside.cpu_seconds - small) / max(len(beside.long.told), 1)


def _show(result: dict[str, Any]) -> None:
    table = Table(title=f"Prompts of {result['tokens']:,} tokens, medians of {tables.rounds(result['rounds'])}")
    columns = (
        "answered",
        "gateway CPU ms each",
        "so many a CPU second",
        "p50 ms",
        "small calls: p50 ms",
        "p99 ms",
        "moves by, ms",
    )
    for column in ("long prompts", *columns):
        table.add_column(column, justify="right")
    for kind, told in result["kinds"].items():
        smalls = (f"{told[name]['alone']:.1f} → {told[name]['beside']:.1f}" for name in ("p50_ms", "p99_ms"))
        table.add_row(
            kind,
            f"{told['prompts']} of {told['due']}",
            f"{told['cpu_ms_per_prompt']:.1f}",
            "-" if told["prompts_per_cpu_second"] is None else f"{told['prompts_per_cpu_second']:,}",
            f"{told['prompt_p50_ms']:.0f}",
            *smalls,
            f"{told['p99_ms']['moved']:+.1f}",
        )
    console = tables.console(_WIDTH)
    console.print(table)
    console.print(
        f"{result['rate']:g} long prompts and {result['small_rate']:g} small calls are due each second. Of small "
        "calls: alone → beside long prompts, and by how much the p99 moves."
    )
    console.print(
        "So many a CPU second is 1,000 over the CPU ms of each: what a core of the gateway could carry, not a rate "
        "that was reached."
    )
    console.print(
        f"{result['ledger']['recorded']:,} calls are recorded as they were answered, {result['failed']} failed."
    )
    for problem in result["problems"]:
        console.print(problem)
    click.echo("\n" + tables.busy(result))
    click.echo("\n" + tables.goals(result["goals"]), nl=False)
