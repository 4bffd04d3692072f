"""A budget for k calls admits exactly k, and is granted once, however many ask and through however many processes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import a_copy
from tests.gateway.crowd import CHARGE, HOLD, Answer, Crowd, Party, crowding, send, within_a_minute
from tests.gateway.installation import installation

from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text

SCOPES = ("organization", "project", "key")
MONEY = ("total", "daily", "weekly", "monthly")
RATES = ("rpm", "tpm", "concurrency")
BALANCES = ("balance", "credit limit", "credit and credit limit")
PROCESSES = 3
SHORT_OF_ONE_MORE = Decimal("0.2")
SIZES = [(1, 1), (10, 3), (40, 14)]
THOUSAND = (1000, 360)
OF_MONEY = [f"{scope} {name}" for scope in SCOPES for name in MONEY]
OF_RATES = [f"{scope} {name}" for scope in SCOPES for name in RATES]


@pytest.fixture(scope="module")
async def crowd(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crowd]:
    """Three processes on a database of their own, whose providers may take their time."""
    environment = {
        "TOLLGATE_FIRST_BYTE_TIMEOUT_SECONDS": "100",
        "TOLLGATE_DATA_DIR": str(Path(tmp_path_factory.mktemp("crowd"))),
    }
    async with (
        a_copy(server_url, template, f"crowd_{template}") as url,
        installation(url, **environment) as gateway,
        crowding(gateway, others=PROCESSES - 1, **environment) as crowd,
    ):
        yield crowd


@pytest.fixture(scope="module")
async def tokens(crowd: Crowd) -> int:
    """What a call counts against tokens per minute."""
    answer = await crowd.call(await crowd.party(limits={"key": {"tpm": 0}}), 0)
    return int(answer.json["error"]["metadata"]["needed"])


async def bounded(crowd: Crowd, bound: str, fit: int, tokens: int) -> Party:
    """A party whose one bound is just short of carrying one call more than fit."""
    budget = fit * HOLD + SHORT_OF_ONE_MORE
    match bound:
        case "balance":
            return await crowd.party(grant=str(budget))
        case "credit limit":
            return await crowd.party(grant="0", credit_limit=str(budget))
        case "credit and credit limit":
            return await crowd.party(grant=str(budget / 2), credit_limit=str(budget / 2))
    scope, name = bound.split()
    sizes: Mapping[str, Any] = {**dict.fromkeys(MONEY, budget), "tpm": fit * tokens + tokens - 1}
    return await crowd.party(limits={scope: {name: sizes.get(name, fit)}})


async def assert_exactly(crowd: Crowd, bounds: Sequence[str], tokens: int, *, sizes: Sequence[tuple[int, int]]) -> None:
    """For each (K, k) of the sizes and each bound: of K calls at once, k are made and all others refused by it."""
    parties = {(bound, most): await bounded(crowd, bound, fit, tokens) for bound in bounds for most, fit in sizes}
    if any(name_of(bound) in {"rpm", "tpm"} for bound in bounds):
        await within_a_minute(10 + max(most for most, _ in sizes) // 200)
    async with crowd.monitor.watching():
        for most, fit in sizes:
            answers = await crowd.rush({bound: parties[bound, most] for bound in bounds}, most)
            for bound, heard in answers.items():
                assert counted(heard) == +Counter({"": fit, name_of(bound): most - fit}), bound
                assert_refused_rightly(bound, heard)
    expected = {(bound, most): (fit * CHARGE, Decimal(0), 0) for bound in bounds for most, fit in sizes}
    assert await crowd.rests(parties) == expected
    crowd.monitor.assert_never_less_than_nothing()


def name_of(bound: str) -> str:
    return "balance" if bound in BALANCES else bound.split()[1]


def counted(heard: Sequence[Answer]) -> Counter[str]:
    """How many calls were made, under "", and how many each bound refused."""
    return Counter(answer.refused_by for answer in heard)


def assert_refused_rightly(bound: str, heard: Sequence[Answer]) -> None:
    """Who is refused learns of the right scope, and that too little is left there for the call."""
    for answer in heard:
        if answer.refused_by:
            told = answer.json["error"]["metadata"]
            assert 0 <= Decimal(told["available"]) < Decimal(told["needed"])
            assert answer.status == (429 if name_of(bound) in RATES else 402)
            assert bound in BALANCES or told["scope"] == bound.split(maxsplit=1)[0]


async def test_every_amount_of_money_is_admitted_exactly(crowd: Crowd, tokens: int) -> None:
    await assert_exactly(crowd, [*BALANCES, *OF_MONEY], tokens, sizes=SIZES)


async def test_every_rate_is_admitted_exactly(crowd: Crowd, tokens: int) -> None:
    await assert_exactly(crowd, OF_RATES, tokens, sizes=SIZES)


async def test_a_thousand_at_once_are_admitted_exactly(crowd: Crowd, tokens: int) -> None:
    await assert_exactly(crowd, ["balance", "key rpm"], tokens, sizes=[THOUSAND])


@pytest.mark.long
@pytest.mark.parametrize("bound", [*BALANCES, *OF_MONEY, *OF_RATES])
async def test_a_thousand_at_once_are_admitted_exactly_by_every_bound(crowd: Crowd, tokens: int, bound: str) -> None:
    await assert_exactly(crowd, [bound], tokens, sizes=[THOUSAND])


async def test_what_calls_did_not_use_is_admitted_again_exactly(crowd: Crowd, tokens: int) -> None:
    """A call uses half of what it holds: of 11 there are 5.6 left after 36 calls, 2.9 after 18 more, 1.55 after 9."""
    bounds = ["balance", "key daily", "project monthly", "organization total", "organization concurrency"]
    parties = {bound: await bounded(crowd, bound, 36, tokens) for bound in bounds}
    async with crowd.monitor.watching():
        for fit in (36, 18, 9, 5):
            answers = await crowd.rush(parties, 60)
            made = {bound: counted(heard)[""] for bound, heard in answers.items()}
            assert made == {**dict.fromkeys(bounds, fit), "organization concurrency": 36}
    crowd.monitor.assert_never_less_than_nothing()


async def test_what_many_ask_for_at_once_under_one_idempotency_key_is_given_once(crowd: Crowd) -> None:
    """Through all processes at once: one makes the grant, the others repeat its answer or ask to wait for it."""
    party = await crowd.party(grant="0")
    path = f"/admin/organizations/{typed('org', party.organization_id)}/grants"
    operator, body = crowd.gateway.operator_key, {"amount": "5", "reason": "a top-up"}

    async def ask(turn: int, **other: str) -> Answer:
        process = crowd.processes[turn % PROCESSES]
        return await send(process, path, operator, {**body, **other}, idempotency_key=f"{party.organization_id}")

    answers = await asyncio.gather(*(ask(turn) for turn in range(90)))
    assert {answer.status for answer in answers} <= {201, 409}
    made = [answer for answer in answers if answer.status == 201]
    assert [answer.headers.get("idempotent-replayed") for answer in made].count(None) == 1
    for answer in answers:
        if answer.status == 409:
            assert (answer.json["error"]["type"], answer.headers["retry-after"]) == ("conflict", "1")
    repeats = [await ask(turn) for turn in range(PROCESSES)]
    assert {answer.json["data"]["id"] for answer in (*made, *repeats)} == {made[0].json["data"]["id"]}
    others = [await ask(turn, amount="6") for turn in range(PROCESSES)]
    assert {(answer.status, answer.json["error"]["type"]) for answer in others} == {(409, "idempotency_conflict")}
    grants = await crowd.gateway.pool.fetch(
        "SELECT amount FROM grants WHERE organization_id = $1", party.organization_id
    )
    assert [row["amount"] for row in grants] == [5]


async def test_different_writes_under_one_idempotency_key_at_once_leave_one_of_them(crowd: Crowd) -> None:
    party = await crowd.party(grant="0")
    path = f"/admin/organizations/{typed('org', party.organization_id)}/grants"
    answers = await asyncio.gather(
        *(
            send(
                crowd.processes[turn % PROCESSES],
                path,
                crowd.gateway.operator_key,
                {"amount": str(turn + 1)},
                idempotency_key=f"{party.organization_id}",
            )
            for turn in range(30)
        )
    )
    assert Counter(answer.status for answer in answers) == {201: 1, 409: 29}
    types = {answer.json["error"]["type"] for answer in answers if answer.status == 409}
    assert types <= {"conflict", "idempotency_conflict"}
    [grant] = await crowd.gateway.pool.fetch("SELECT * FROM grants WHERE organization_id = $1", party.organization_id)
    [told] = [answer.json["data"] for answer in answers if answer.status == 201]
    assert (typed("grt", grant["id"]), amount_text(grant["amount"])) == (told["id"], told["amount"])
