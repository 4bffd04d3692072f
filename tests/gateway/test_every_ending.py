"""Wherever a stream ends, for whatever reason and in whatever formats: one record, nothing held, what was had is paid.

The gateway is the real one with its database; providers and callers follow scripts, so that there is no moment at which
they do not hang up or break off once.
"""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from tests.gateway.fake_provider import event
from tests.gateway.installation import Installation
from tests.gateway.matrix import CLIENTS, GRANT, PROVIDERS
from tests.gateway.scripted import OUTPUT_TOKENS, PROMPT_TOKENS, WORDS, Script, events
from tests.gateway.stage import Stage, staged

from tollgate.gateway import streams
from tollgate.gateway.model import Wire
from tollgate.kit.errors import ProviderFailed, ProviderTimedOut

PAIRS = [pytest.param(client, provider, id=f"{client}-{provider}") for client in CLIENTS for provider in PROVIDERS]
BOTH = pytest.mark.parametrize("cancels", [True, False], ids=["cancelling", "draining"])
FIRST_WORD = {Wire.CHAT: 1, Wire.RESPONSES: 3, Wire.MESSAGES: 2, Wire.GENERATE_CONTENT: 0}
"""The place of the event with the first word."""
COST = (Decimal(3) * PROMPT_TOKENS + Decimal(15) * OUTPUT_TOKENS) / 1_000_000
"""What the provider's figures cost."""
ERROR = "Overloaded: the engine died, and this is none of the words it was asked for. " * 20
ERRORS = {
    Wire.CHAT: event({"error": {"message": ERROR, "code": 500}}),
    Wire.RESPONSES: event({"type": "error", "message": ERROR, "sequence_number": 99}, "error"),
    Wire.MESSAGES: event({"type": "error", "error": {"type": "overloaded_error", "message": ERROR}}, "error"),
    Wire.GENERATE_CONTENT: event({"error": {"code": 503, "message": ERROR, "status": "UNAVAILABLE"}}),
}
TOKENS = [0, 2, 3, 5, 6]
"""Of the first words, in o200k_base."""


@pytest.fixture(scope="module")
async def stage(gateway: Installation) -> AsyncIterator[Stage]:
    async with staged(gateway) as opened:
        yield opened


@BOTH
@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_who_hangs_up_anywhere_pays_what_was_had(
    stage: Stage, client: Wire, provider: Wire, cancels: Any
) -> None:
    told = events(provider)
    scripts = [
        *(Script(client, told, leaves_at_send=sent) for sent in range(len(told) + 4)),
        *(Script(client, told, leaves_at_read=read) for read in range(len(told) + 1)),
        *(Script(client, [b"".join(told)], leaves_at_send=sent) for sent in range(len(told) + 4)),
    ]
    records = await stage.play(await stage.model(provider, cancels=cancels), scripts)
    for script, record in records.items():
        _is_fair(script, record)
        if script.caller.finished:
            assert (record["status"], record["amount"]) == ("settled", COST)
        elif not cancels:
            assert (record["status"] in {"cancelled", "settled"}, record["amount"]) == (True, COST)
            assert script.read == len(script.pieces)
        else:
            assert record["status"] in {"cancelled", "settled"}
    assert {record["status"] for record in records.values()} == {"cancelled", "settled"}
    assert any(script.read < len(script.pieces) for script in records) is cancels


BREAKS: dict[str, tuple[bytes | None, ProviderFailed | None]] = {
    "cut": (None, ProviderFailed("The provider's answer broke off.")),
    "stalled": (None, ProviderTimedOut("The provider's answer stalled.")),
    "ended too soon": (None, None),
    "in the middle of an event": (b'data: {"choices": [{"del', None),
    "said it failed": (b"", None),
    "too large": (b"x" * 20_000, None),
}


@BOTH
@pytest.mark.parametrize(("client", "provider"), PAIRS)
async def test_a_stream_that_breaks_off_anywhere_charges_what_was_delivered(
    stage: Stage, client: Wire, provider: Wire, cancels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "EVENT_BYTES_MAX", 10_000)
    told = events(provider)
    scripts = {
        Script(client, [*told[:place], *_breaking(provider, breaks)], BREAKS[breaks][1]): (place, breaks)
        for place in range(len(told))
        for breaks in BREAKS
    }
    records = await stage.play(await stage.model(provider, cancels=cancels), list(scripts))
    for script, record in records.items():
        place, _ = scripts[script]
        _is_fair(script, record)
        is_whole = record["status"] == "settled"
        assert is_whole or record["status"] == "failed"
        assert not is_whole or record["finish_reason"] == "stop"
        if place <= FIRST_WORD[provider]:
            assert record["amount"] == 0
        else:
            assert record["amount"] > 0
        if place:
            assert script.caller.finished
        else:
            assert (record["provider"], script.caller.sent) == (None, b"")


def _breaking(provider: Wire, breaks: str) -> list[bytes]:
    piece = BREAKS[breaks][0]
    return [] if piece is None else [piece or ERRORS[provider]]


def _is_fair(script: Script, record: asyncpg.Record) -> None:
    """What was delivered is charged and no more than that was told: of the provider's figures, or of its words."""
    attempts = json.loads(record["attempts"])
    assert len(attempts) == 1
    if attempts == ["failed"]:
        assert (record["status"], record["amount"], record["quantities"]) == ("failed", 0, "{}")
        return
    quantities = json.loads(record["quantities"])
    prompt, completion = quantities.get("prompt", 0), quantities.get("completion", 0)
    delivered, spoken = _words(script.caller.sent), _words(b"".join(script.pieces[: script.read]))
    assert TOKENS[delivered] <= completion <= OUTPUT_TOKENS
    assert 1 <= prompt <= PROMPT_TOKENS
    if record["estimated"]:
        assert completion <= TOKENS[spoken] or b"candidatesTokenCount" in script.pieces[0]
    price = (3 * Decimal(prompt) + 15 * Decimal(completion)) / 1_000_000
    is_spared = record["status"] == "failed" and completion == 0
    assert record["amount"] == (0 if is_spared else price)


def _words(sent: bytes) -> int:
    """How many of the words are in it; they come in order."""
    return sum(f'"{word}"'.encode() in sent for word in WORDS)


async def test_all_that_was_charged_was_taken_from_the_grant(stage: Stage) -> None:
    [(rolled, number)] = await stage.customer.rollups()
    assert number == len([call for call in await stage.customer.calls() if call["provider"] is not None])
    assert await stage.customer.balance() == GRANT - rolled
