"""Answers that are almost right, in every format for every client: nothing is raised, and what is told can be read."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from tests.gateway import asking, telling
from tests.gateway.builders import a_candidate
from tests.gateway.corpus import Entry, entries
from tests.gateway.fake_provider import event
from tests.gateway.matrix import CLIENTS
from tests.gateway.mutations import mutated, mutated_stream

from tollgate.gateway import formats, wire
from tollgate.gateway.crossing import Crossing, Speech
from tollgate.gateway.model import Access, Answer, Receipt, Wire
from tollgate.gateway.streams import EventSplitter
from tollgate.kit.errors import InvalidRequest, ProviderFailed
from tollgate.kit.tokens import UsageQuantities
from tollgate.pricing import rules as pricing

SPOKEN = [entry for entry in entries() if entry.wire is not Wire.EMBEDDINGS]
TIMES = 6
"""Mutations of each entry for each client, whole and streamed."""
REQUESTS = 40
"""Mutations of each request."""


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
    reader, lean = said.reader(), said.reader()
    outlet = said.outlet(reader, model="acme/model", generation_id="gen_1", created=1)
    leaner = said.outlet(lean, model="acme/model", generation_id="gen_1", created=1)
    pieces, has_begun = [], False
    for each in data:
        is_quiet = (
            has_begun and EventSplitter().whole_events(event(each)) > 0 and lean.find_telling(event(each), 0) == -1
        )
        before = reader.answer
        has_begun = reader.look(each) or has_begun
        if not is_quiet:
            lean.look(each)
        assert lean.answer == reader.answer
        assert not is_quiet or (reader.answer is before and not reader.is_last(each))
        if reader.answer.error is not None:
            break
        pieces.append(outlet.take(event(each), each))
        assert pieces[-1] == (leaner.pass_on(event(each)) if is_quiet else leaner.take(event(each), each))
        if reader.is_last(each):
            break
    said.text_of(data)
    if reader.answer.error is not None or reader.answer.finish_reason is None:
        error = ProviderFailed("It broke off.")
        assert outlet.fail(error, 502) == leaner.fail(error, 502)
        return
    sent = b"".join([*pieces, outlet.end(receipt(reader.answer))])
    assert sent == b"".join([*pieces, leaner.end(receipt(lean.answer))])
    if client is not entry.wire:
        telling.events(client, sent)


ASKED = {
    "plain": asking.PLAIN, "tools": asking.AFTER_TOOLS, "image": asking.IMAGE, "reasoning": asking.REASONING,
    "cached": asking.CACHED,
}  # fmt: skip
FORM: Any = {"name": "A", "schema": {"type": "object", "properties": {}}, "strict": True}
SETTINGS: Mapping[Wire, Any] = {
    Wire.CHAT: {
        "temperature": 1, "top_p": 1, "stop": ["x"], "tool_choice": "auto",
        "response_format": {"type": "json_schema", "json_schema": FORM}, "metadata": {"a": "b"}, "user": "u",
        "provider": {"order": ["a"], "max_price": {"prompt": 1}}, "parallel_tool_calls": True, "service_tier": "auto",
        "reasoning": {"effort": "low"}, "verbosity": "low", "logit_bias": {"5": 1}, "n": 1,
    },
    Wire.RESPONSES: {
        "temperature": 1, "top_p": 1, "tool_choice": {"type": "function", "name": "f"}, "store": False,
        "text": {"format": {"type": "json_schema", **FORM}, "verbosity": "low"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"}, "parallel_tool_calls": True, "service_tier": "auto", "truncation": "disabled",
    },
    Wire.MESSAGES: {
        "temperature": 1, "top_k": 5, "stop_sequences": ["x"], "tool_choice": {"type": "tool", "name": "f"},
        "metadata": {"user_id": "u"}, "service_tier": "auto",
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": FORM["schema"]}},
    },
}  # fmt: skip


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_request_that_is_almost_right_is_understood_or_refused(client: Wire, asked: str) -> None:
    random = Random(f"{client} {asked}")  # noqa: S311 - the same mutations each time
    right = {"model": "acme/model", **asking.body(client, ASKED[asked], stream=True), **SETTINGS[client]}
    candidate = a_candidate()
    for _ in range(REQUESTS):
        body = json.dumps(mutated(right, random)).encode()
        with suppress(InvalidRequest):
            crossing = Crossing(formats.CLIENTS[client].decode(body, {}))
            for provider in formats.ANSWERING:
                said = crossing.to(replace(candidate, wire=provider))
                with suppress(InvalidRequest):
                    json.loads(said.ask(candidate, access=Access("https://x.test", None), output_cap=None).body)
