"""Relays without a network or a database: what is read from a reply, however it comes and wherever it ends."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway import matrix
from tests.gateway.builders import a_provider, an_endpoint
from tests.gateway.corpus import Entry, entries
from tests.gateway.fake_provider import DONE, chunk
from tests.gateway.matrix import CLIENTS, FORMATS, PROVIDERS
from tests.gateway.scripted import OUTPUT_TOKENS, PROMPT_TOKENS, WORDS, Script, ScriptedReply, events
from tests.pricing.builders import JANUARY

from tollgate.gateway import endings, formats, relay, tokenizer
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.endings import Call, Ending
from tollgate.gateway.model import Attempt, Candidate, ClientGone, Plan, PromptTokens, Receipt, Wire
from tollgate.gateway.relay import Relay
from tollgate.kit.errors import ProviderFailed
from tollgate.kit.ids import AttemptId, CallId, KeyId, OrganizationId, PriceVersionId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.kit.tokens import TOKEN_KINDS, Kind
from tollgate.metering.model import AttemptStatus, CallRecord, CallStatus
from tollgate.pricing.model import STANDARD, PriceItem, PriceVersion, Unit

STREAMS = [entry for entry in entries() if entry.stream]
PRICES = tuple(
    PriceItem(
        Kind(kind), Decimal(price), Unit.PER_MILLION_TOKENS if Kind(kind) in TOKEN_KINDS else Unit.PER_COUNT
    )
    for kind, price in matrix.PRICES.items()
)  # fmt: skip
ALL_WORDS = 6
"""The tokens of all words, in o200k_base."""


@dataclass
class Played:
    """What became of a call."""

    record: CallRecord
    sent: bytes
    relay: Relay
    reply: ScriptedReply

    @property
    def quantities(self) -> Any:
        return json.loads(self.record.quantities)


async def play(script: Script, provider: Wire, *, cancels: bool = True, drain_seconds: int = 1) -> Played:
    """Make the call, up to its record and the last byte for its caller."""
    call = a_call(script, provider)
    reply = ScriptedReply(script)
    speech = call.crossing.to(call.attempts[0].candidate)
    under_way = Relay(reply, speech, supports_cancel=cancels, drain_seconds=drain_seconds)
    await under_way.open()
    outlet = under_way.outlet(model="acme/model", generation_id="gen_1", created=1)
    await under_way.run(script.caller, {}, outlet)
    await under_way.close()
    call.ending = under_way.ending
    call.attempts[-1].answer = answer = under_way.answer
    is_doubtful = endings.is_doubtful(answer, events=under_way.events)
    counted = await tokenizer.count(under_way.written(), call.vocabulary) if is_doubtful else None
    usage = endings.usage_of(call, counted)
    settlement, charge = endings.settlement(call, usage)
    if call.ending is not Ending.CLIENT_LEFT:
        receipt = Receipt("gen_1", "acme/model", "acme", usage.quantities, usage.estimated, charge)
        with suppress(ClientGone):
            last = outlet.end(receipt) if under_way.error is None else outlet.fail(under_way.error, 502)
            await script.caller.finish(last)
    script.caller.rest()
    assert reply.closed
    assert sum(each.amount for each in settlement.charges) == settlement.call.amount
    return Played(settlement.call, script.caller.sent, under_way, reply)


def a_call(script: Script, provider: Wire) -> Call:
    """The call that is asked so, of an endpoint that speaks this format."""
    endpoint = an_endpoint()
    price = PriceVersion(PriceVersionId(UUID(int=1)), endpoint.id, None, STANDARD, JANUARY, None, PRICES)
    candidate = Candidate(endpoint, a_provider(format=FORMATS[provider]), price, "a test", provider)
    return Call(
        id=CallId(UUID(int=5)),
        principal=Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OrganizationId(UUID(int=2)), None, None, None),
        crossing=Crossing(formats.CLIENTS[script.client].decode(script.body("acme/model"), {})),
        accepted_at=JANUARY,
        plan=Plan((candidate,), ()),
        vocabulary="o200k_base",
        prompt=PromptTokens(50, 50),
        attempts=[Attempt(AttemptId(UUID(int=9)), candidate, JANUARY, AttemptStatus.SERVED, 200)],
    )


def pieces_of(entry: Entry) -> list[bytes]:
    """The events of an entry as its provider sends them."""
    return [matrix.as_sent(entry.wire, [data]) for data in entry.stream]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_provider_that_charges_on_is_billed_as_it_says_whenever_its_client_left(
    provider: Wire, client: Wire
) -> None:
    for entry in (each for each in STREAMS if each.wire is provider):
        pieces = pieces_of(entry)
        figures = {kind.value: count for kind, count in entry.quantities.items() if count}
        for sent in range(1, len(pieces), 1 if client is provider else 4):
            for said in (pieces, [b"".join(pieces)]):
                played = await play(Script(client, said, leaves_at_send=sent), provider, cancels=False)
                assert (entry.name, played.quantities, played.record.estimated) == (entry.name, figures, False)
                assert played.record.status in {CallStatus.CANCELLED, CallStatus.SETTLED}
                assert played.record.amount == matrix.cost_of(entry.quantities)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STREAMS), st.sampled_from(CLIENTS), st.data())
async def test_however_a_stream_is_cut_its_record_and_what_its_client_reads_are_the_same(
    entry: Entry, client: Wire, data: st.DataObject
) -> None:
    pieces = pieces_of(entry)
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=40)))
    cut = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    length = data.draw(st.none() | st.integers(len(pieces[0]), len(whole)))
    one = await play(Script(client, _cut_off([whole], length), number=1), entry.wire)
    other = await play(Script(client, _cut_off(cut, length), number=1), entry.wire)
    assert (one.record, one.sent) == (other.record, other.sent)


def _cut_off(pieces: Sequence[bytes], length: int | None) -> list[bytes]:
    """The pieces up to so many bytes."""
    kept: list[bytes] = []
    for piece in pieces:
        kept.append(piece if length is None else piece[: length - len(b"".join(kept))])
    return kept


def _without(wire: Wire, *names: bytes) -> list[bytes]:
    """The stream with its usage hidden under other names."""
    pieces = events(wire)
    for name in names:
        pieces = [piece.replace(b'"' + name + b'"', b'"x_' + name + b'"') for piece in pieces]
    return pieces


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_what_a_provider_does_not_count_is_counted_here(provider: Wire) -> None:
    played = await play(Script(Wire.CHAT, _without(provider, b"usage", b"usageMetadata")), provider)
    assert (played.record.status, played.record.estimated) == (CallStatus.SETTLED, True)
    assert played.quantities == {"prompt": 50, "completion": ALL_WORDS}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_zero_that_is_told_stays_zero(provider: Wire) -> None:
    pieces = [piece.replace(b":%d" % OUTPUT_TOKENS, b":0") for piece in events(provider)]
    pieces = [
        re.sub(rb'"(candidatesTokenCount|totalTokenCount|output_tokens)":\d+', rb'"\1":0', each) for each in pieces
    ]
    pieces = [piece.replace(b'"totalTokenCount":0', b'"totalTokenCount":%d' % PROMPT_TOKENS) for piece in pieces]
    played = await play(Script(Wire.CHAT, pieces), provider)
    assert (played.record.status, played.record.estimated) == (CallStatus.SETTLED, False)
    assert played.quantities == {"prompt": PROMPT_TOKENS}


EMPTY: dict[str, tuple[list[bytes], CallStatus, Decimal]] = {
    "no output and no finish reason": ([chunk(), DONE], CallStatus.INSURED, Decimal(0)),
    "no output, and a finish reason": ([chunk(), chunk(finish="stop"), DONE], CallStatus.SETTLED, Decimal("0.00015")),
    "the finish reason error": (
        [chunk({"content": "alpha "}), chunk(finish="error"), DONE],
        CallStatus.INSURED,
        Decimal(0),
    ),
    "nothing but its prompt counted": (
        [chunk(), chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 0}), DONE],
        CallStatus.INSURED,
        Decimal(0),
    ),
}


@pytest.mark.parametrize("answer", EMPTY)
@pytest.mark.parametrize("client", CLIENTS)
async def test_an_answer_that_is_none_costs_nothing(answer: str, client: Wire) -> None:
    pieces, status, amount = EMPTY[answer]
    played = await play(Script(client, pieces), Wire.CHAT)
    assert (played.record.status, played.record.amount) == (status, amount)
    assert played.record.provider_cost is not None
    assert played.record.provider_cost > 0


async def test_an_error_at_the_end_is_not_charged_because_nobody_waited_for_it() -> None:
    pieces = [chunk({"content": "alpha "}), chunk({"content": "bravo "}), chunk(finish="error"), DONE]
    played = await play(Script(Wire.CHAT, pieces, leaves_at_send=1), Wire.CHAT, cancels=False)
    assert (played.record.status, played.record.amount) == (CallStatus.INSURED, Decimal(0))


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_provider_that_does_not_come_to_an_end_is_charged_as_counted(provider: Wire) -> None:
    pieces = events(provider)[:-3] if provider is not Wire.GENERATE_CONTENT else events(provider)[:-1]
    script = Script(Wire.MESSAGES, pieces, hangs=True, leaves_at_send=1)
    played = await play(script, provider, cancels=False, drain_seconds=0)
    assert (played.record.status, played.relay.ending) == (CallStatus.CANCELLED, Ending.CLIENT_LEFT)
    assert played.record.estimated is (provider is not Wire.GENERATE_CONTENT)
    words = "".join(WORDS) if provider is not Wire.GENERATE_CONTENT else "alpha bravo charlie "
    assert played.relay.written() == words


EARLY = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": 1}
FINAL = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": OUTPUT_TOKENS}
ONCE = [chunk({"content": ""}, usage=EARLY), *(chunk({"content": word}) for word in WORDS)]
ALWAYS = [chunk({"content": word}, usage={**EARLY, "completion_tokens": 2 + place}) for place, word in enumerate(WORDS)]
ENDED = [*ONCE, chunk(finish="stop", usage=FINAL)]


@pytest.mark.parametrize("broken", [None, ProviderFailed("The provider's answer broke off.")], ids=["left", "cut"])
@pytest.mark.parametrize(("pieces", "completion", "estimated"), [
    (ONCE, ALL_WORDS, True), (ALWAYS, 5, False),
    (ENDED, OUTPUT_TOKENS, False), ([*ENDED, chunk()], OUTPUT_TOKENS, False),
])  # fmt: skip
async def test_usage_told_before_the_last_words_is_the_least_of_what_is_charged(
    pieces: list[bytes], completion: int, estimated: Any, broken: ProviderFailed | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(relay, "_EPILOGUE_SECONDS", 0)
    leaves = len(pieces) if broken is None else None
    script = Script(Wire.CHAT, pieces, broken, hangs=broken is None, leaves_at_read=leaves)
    played = await play(script, Wire.CHAT)
    assert played.record.status is (CallStatus.CANCELLED if broken is None else CallStatus.FAILED)
    assert (played.quantities, played.record.estimated) == (
        {"prompt": PROMPT_TOKENS, "completion": completion}, estimated,
    )  # fmt: skip


async def test_a_provider_that_has_finished_may_still_tell_its_usage_to_who_is_gone() -> None:
    pieces = [chunk({"content": "alpha "}), chunk(finish="stop"), chunk(choices=[], usage=FINAL), DONE]
    for left in (1, 2, 3):
        played = await play(Script(Wire.CHAT, pieces, leaves_at_read=left), Wire.CHAT)
        assert played.record.estimated is (left == 1)
        assert played.relay.ending is Ending.CLIENT_LEFT
