"""The conformance matrix: every client's format, every provider's, whole and streamed, every case of the corpus.

A provider answers with an entry of the corpus, a client asks through the running gateway. What is recorded are the
provider's figures, what the client is told is what is billed, and what either says reaches the other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest
from tests.gateway import asking, telling
from tests.gateway.asking import Asked
from tests.gateway.corpus import Entry, entries
from tests.gateway.fake_provider import Behaviour, body_of, stream
from tests.gateway.matrix import CLIENTS, FORMATS, PROVIDERS, Matrix, as_sent, cost_of
from tests.gateway.telling import Told

from tollgate.catalog.model import Format
from tollgate.gateway.model import Wire
from tollgate.kit import ids
from tollgate.kit.tokens import COMPLETION_KINDS, PROMPT_KINDS, Kind

WRITES = (Kind.INPUT_CACHE_WRITE, Kind.INPUT_CACHE_WRITE_5M, Kind.INPUT_CACHE_WRITE_1H)
ASKED = {
    "tools": asking.TOOLS,
    "parallel tools": asking.AFTER_TOOLS,
    "image": asking.IMAGE,
    "reasoning": asking.REASONING,
    "cached": asking.CACHED,
    "cache write": asking.CACHED,
    "length": asking.SHORT,
}
FINISH: Mapping[Wire, Mapping[str, str]] = {
    Wire.CHAT: {"pause": "stop"},
    Wire.RESPONSES: {
        "stop": "completed", "tool_calls": "completed", "length": "max_output_tokens", "pause": "completed",
    },
    Wire.MESSAGES: {
        "stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal",
        "pause": "pause_turn",
    },
}  # fmt: skip
"""The protocols' words for how an answer ended, where they differ from the normalised ones."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the matrix."""

    entry: Entry
    client: Wire
    streams: bool

    def __str__(self) -> str:
        return f"{self.client}-{self.entry.name}-{'stream' if self.streams else 'whole'}"

    @property
    def passes(self) -> bool:
        """Whether client and provider speak the same format."""
        return self.client is self.entry.wire

    @property
    def asked(self) -> Asked:
        return next((asked for case, asked in ASKED.items() if self.entry.case.startswith(case)), asking.PLAIN)

    @property
    def format(self) -> Format:
        """The provider's; OpenAI's own speaks Responses to who asks in it, others need not."""
        named = {"openai": Format.OPENAI, "azure": Format.AZURE_OPENAI}.get(self.entry.dialect)
        foreign = self.client is Wire.RESPONSES and self.entry.wire is Wire.CHAT
        return FORMATS[self.entry.wire] if named is None or foreign else named

    @property
    def body(self) -> dict[str, Any]:
        """The client's request."""
        return asking.body(self.client, self.asked, stream=self.streams)

    @property
    def behaviour(self) -> Behaviour:
        """The provider's part."""
        if self.streams:
            return stream([as_sent(self.entry.wire, self.entry.stream)])
        assert self.entry.whole is not None
        return body_of(self.entry.whole)


CELLS = [
    Cell(entry, client, streams)
    for entry in entries()
    for client in ((Wire.EMBEDDINGS,) if entry.wire is Wire.EMBEDDINGS else CLIENTS)
    for streams in (False, True)
    if (entry.stream if streams else entry.whole is not None)
]


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_call_is_billed_and_told_as_its_provider_counted(matrix: Matrix, cell: Cell) -> None:
    body = {"input": ["some words", "and more"]} if cell.client is Wire.EMBEDDINGS else cell.body
    answer = await matrix.post(cell.client, cell.entry.wire, cell.behaviour, body, speaks=cell.format)
    assert answer.status_code == 200, answer.text
    call = await matrix.record()
    assert answer.headers["x-generation-id"] == ids.typed("gen", call["id"])
    _is_billed(call, cell)
    if cell.client is Wire.EMBEDDINGS:
        body = json.loads(answer.text, parse_float=Decimal)
        assert body["usage"]["cost"] == call["amount"]
        assert len(body["data"]) == len(json.loads(cell.entry.whole or b"{}")["data"])
        return
    told = _told(answer, cell)
    _is_told(told, call, cell)
    _says_the_same(told, cell)
    _asks_the_same(matrix.served.json, cell)


def _told(answer: httpx.Response, cell: Cell) -> Told:
    if cell.streams:
        return telling.streamed(cell.client, telling.events(cell.client, answer.content))
    return telling.whole(cell.client, json.loads(answer.text, parse_float=Decimal))


def _is_billed(call: asyncpg.Record, cell: Cell) -> None:
    """One record, with the figures of the provider, at their price, and nothing held."""
    entry = cell.entry
    assert json.loads(call["quantities"]) == {kind.value: count for kind, count in entry.quantities.items() if count}
    assert call["amount"] == cost_of(entry.quantities)
    assert (call["status"], call["estimated"]) == ("settled", False)
    assert call["anomalous"] == entry.expected.get("anomalous", False)
    assert (call["api"], call["streamed"]) == (cell.client, cell.streams)
    assert call["finish_reason"] == entry.expected.get("finish_reason")
    assert call["native_finish_reason"] == entry.expected.get("native_finish_reason")
    assert (call["holds"], call["attempts"]) == (0, 1)


def _is_told(told: Told, call: asyncpg.Record, cell: Cell) -> None:
    """The client is told what is billed: the object that says one says the other."""
    quantities = cell.entry.quantities
    assert told.usage is not None
    assert told.usage["cost"] == call["amount"]
    items = {item["kind"]: item["quantity"] for item in told.usage["cost_details"]}
    assert items == json.loads(call["quantities"])
    assert (told.model, told.provider) == (call["model"], call["provider"])
    if cell.passes:
        # The provider's own object is the one that is billed: its names and details are its own.
        assert _without_cost(told.usage) == _without_cost(_said(cell).usage or {})
        return
    for path, count in _figures(cell.client, quantities).items():
        at: Any = told.usage
        for name in path.split("."):
            at = (at or {}).get(name)
        assert (at or 0) == count, path


def _without_cost(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a usage object says but for money: some providers tell theirs, but a client is told ours."""
    return {name: figure for name, figure in usage.items() if name not in {"cost", "cost_details"}}


def _figures(client: Wire, quantities: Mapping[Kind, int]) -> dict[str, int]:
    """What a usage object of this format has to say, by path."""
    read = quantities.get(Kind.INPUT_CACHE_READ, 0)
    written = sum(quantities.get(kind, 0) for kind in WRITES)
    prompt = sum(quantities.get(kind, 0) for kind in PROMPT_KINDS)
    completion = sum(quantities.get(kind, 0) for kind in COMPLETION_KINDS)
    reasoning = quantities.get(Kind.INTERNAL_REASONING, 0)
    match client:
        case Wire.CHAT:
            return {
                "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
                "prompt_tokens_details.cached_tokens": read, "prompt_tokens_details.cache_write_tokens": written,
                "completion_tokens_details.reasoning_tokens": reasoning,
            }  # fmt: skip
        case Wire.RESPONSES:
            return {
                "input_tokens": prompt, "output_tokens": completion, "total_tokens": prompt + completion,
                "input_tokens_details.cached_tokens": read, "output_tokens_details.reasoning_tokens": reasoning,
            }  # fmt: skip
        case _:
            return {
                "input_tokens": prompt - read - written, "output_tokens": completion, "cache_read_input_tokens": read,
                "cache_creation_input_tokens": written,
                "cache_creation.ephemeral_1h_input_tokens": quantities.get(Kind.INPUT_CACHE_WRITE_1H, 0),
            }  # fmt: skip


def _said(cell: Cell) -> Told:
    """What the provider told."""
    if cell.streams:
        return telling.streamed(cell.entry.wire, cell.entry.stream)
    return telling.whole(cell.entry.wire, json.loads(cell.entry.whole or b"null", parse_float=Decimal))


def _says_the_same(told: Told, cell: Cell) -> None:
    """Words, thoughts and calls arrive, and the protocol's word for how it ended."""
    entry, said = cell.entry, _said(cell)
    assert (told.words, told.reasoning, told.calls) == (said.words, said.reasoning, said.calls)
    reason = entry.expected["finish_reason"]
    if cell.passes:
        assert told.finish == said.finish
    elif cell.client is Wire.MESSAGES and entry.case == "refusal":
        assert told.finish == "refusal"
    else:
        assert told.finish == FINISH[cell.client].get(reason, reason)


def _asks_the_same(request: Any, cell: Cell) -> None:
    """What reached the provider is what the client asked."""
    asked, heard = cell.asked, asking.read(cell.entry.wire, request)
    assert (heard.system, heard.said, heard.tools) == (asked.system, asked.said, asked.tools)
    assert heard.thinks == asked.thinks
    if asked.limit is not None:
        assert heard.limit == asked.limit


CASES = {"plain", "tools", "parallel tools", "image", "reasoning", "cached", "refusal", "length"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_corpus_has_every_case_of_every_format(provider: Wire) -> None:
    wanted = CASES | ({"cache write 5m", "cache write 1h"} if provider is Wire.MESSAGES else set())
    both = [entry.case for entry in entries(provider) if entry.whole is not None and entry.stream]
    assert wanted <= set(both)


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_a_stream_tells_what_the_whole_tells(entry: Entry) -> None:
    if entry.whole is None or not entry.stream:
        pytest.skip("the answer comes in one form alone")
    told, streamed = telling.whole(entry.wire, json.loads(entry.whole)), telling.streamed(entry.wire, entry.stream)
    assert (told.words, told.reasoning, told.calls, told.finish) == (
        streamed.words, streamed.reasoning, streamed.calls, streamed.finish,
    )  # fmt: skip
