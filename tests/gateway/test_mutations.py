"""Answers that are almost right, in every format for every client: nothing is raised, and what is told can be read."""

import json
from dataclasses import replace
from random import Random

import pytest
from tests.gateway import asking, telling
from tests.gateway.builders import a_candidate
from tests.gateway.corpus import Entry, entries
from tests.gateway.fake_provider import event
from tests.gateway.matrix import CLIENTS
from tests.gateway.mutations import mutated, mutated_stream

from tollgate.gateway import formats, wire
from tollgate.gateway.crossing import Crossing, Speech
from tollgate.gateway.model import Answer, Receipt, Wire
from tollgate.kit.errors import ProviderFailed
from tollgate.kit.tokens import UsageQuantities
from tollgate.pricing import rules as pricing

SPOKEN = [entry for entry in entries() if entry.wire is not Wire.EMBEDDINGS]
TIMES = 6
"""Mutations of each entry for each client, whole and streamed."""


def speech(client: Wire, entry: Entry) -> Speech:
    """How a plain request of this client is spoken with a provider of the entry's format."""
    body = {"model": "acme/model", **asking.body(client, asking.TOOLS, stream=True)}
    request = formats.CLIENTS[client].decode(json.dumps(body).encode(), {})
    candidate = a_candidate()
    return Crossing(request).to(replace(candidate, wire=entry.wire))


def receipt(answer: Answer) -> Receipt:
    """What the client is told of an answer that says this of itself."""
    told = UsageQuantities() if answer.usage is None else answer.usage.quantities
    charge = pricing.rate(told, a_candidate().price)
    return Receipt("gen_1", "acme/model", "acme", told, answer.usage is None, charge)


@pytest.mark.parametrize("entry", SPOKEN, ids=lambda entry: entry.name)
def test_a_whole_answer_that_is_almost_right_can_be_told(entry: Entry) -> None:
    random = Random(entry.name)  # noqa: S311 - the same mutations each time
    for client in CLIENTS * (TIMES if entry.whole else 0):
        body = wire.mended(json.dumps(mutated(json.loads(entry.whole or b""), random)).encode())
        said = speech(client, entry)
        answer = said.read_answer(body)
        if answer is not None and answer.error is None:
            json.loads(said.answer(body, receipt(answer)))


@pytest.mark.parametrize("entry", SPOKEN, ids=lambda entry: entry.name)
def test_a_stream_that_is_almost_right_can_be_told(entry: Entry) -> None:
    random = Random(entry.name)  # noqa: S311 - the same mutations each time
    for client in CLIENTS * (TIMES if entry.stream else 0):
        _stream(client, entry, mutated_stream(entry.stream, random))


def _stream(client: Wire, entry: Entry, data: list[bytes]) -> None:
    said = speech(client, entry)
    reader = said.reader()
    outlet = said.outlet(reader, model="acme/model", generation_id="gen_1", created=1)
    pieces = []
    for each in data:
        reader.look(each)
        if reader.answer.error is not None:
            break
        pieces.append(outlet.take(event(each), each))
        if reader.is_last(each):
            break
    said.text_of(data)
    if reader.answer.error is not None or reader.answer.finish_reason is None:
        outlet.fail(ProviderFailed("It broke off."), 502)
        return
    sent = b"".join([*pieces, outlet.end(receipt(reader.answer))])
    if client is not entry.wire:
        telling.events(client, sent)
