"""The model is worth something only if it notices: the database's functions, each with one mistake in it."""

from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from tests.books.machine import Books
from tests.books.test_state_machine import run
from tests.books.world import World

from tollgate.infra import identity

MISTAKES = {
    "burns the paid before the given": (
        "ledger_charge_calls",
        "g.category = 'paid'",
        "g.category = 'promotional'",
    ),
    "burns what never expires first": (
        "ledger_charge_calls",
        "g.expires_at NULLS LAST",
        "g.expires_at NULLS FIRST",
    ),
    "burns later priorities first": (
        "ledger_charge_calls",
        "g.priority, ",
        "g.priority DESC, ",
    ),
    "burns a grant at the instant it ends": (
        "ledger_charge_calls",
        "v_grant.ends_at <= v_charge.accepted_at",
        "v_grant.ends_at < v_charge.accepted_at",
    ),
    "burns by the time of one call for all of a batch": (
        "ledger_charge_calls",
        "v_grant.ends_at <= v_charge.accepted_at",
        "v_grant.ends_at <= (p_charges[1]).accepted_at",
    ),
    "admits on a grant at the instant it ends": ("admit", "g.expires_at > p_now", "g.expires_at >= p_now"),
    "refuses what fits exactly": ("admit", "v_room < v_request.hold_least", "v_room <= v_request.hold_least"),
    "admits one request more": (
        "admit",
        "least(l.rpm - c.minute_requests, ",
        "least(l.rpm - c.minute_requests + 1, ",
    ),
    "forgets what is held": (
        "admit",
        "coalesce(o.credit_limit, 'infinity') - c.total_held",
        "coalesce(o.credit_limit, 'infinity')",
    ),
    "forgets what is held in a window": ("admit", "l.daily - c.day_used - c.day_held", "l.daily - c.day_used"),
    "forgets what others of a batch hold": (
        "admit",
        "v_organization.room - v_held[v_organization_at]",
        "v_organization.room",
    ),
    "forgets in a refusal what others of a batch took": (
        "taken_from",
        "p_counter.minute_requests + p_requests",
        "p_counter.minute_requests",
    ),
    "passes over the limit that refuses": (
        "refusal",
        "v_counter.minute_requests + 1 > v_limit.rpm",
        "v_counter.minute_requests > v_limit.rpm",
    ),
    "forgets concurrent calls": ("admit", "n.concurrent + v_requests[n.ordinality]", "n.concurrent"),
    "holds though it is only asked": ("admit", "IF NOT v_request.only_asks THEN", "IF true THEN"),
    "takes a key for valid at the instant it expires": ("admit", "k.expires_at <= p_now", "k.expires_at < p_now"),
    "opens a window again when the clock steps back": (
        "rolled_forward",
        "greatest(k.day_start, w.day_start)",
        "w.day_start",
    ),
    "begins a day in another zone": (
        "windows_at",
        "date_trunc('day', p_at AT TIME ZONE p_timezone)",
        "date_trunc('day', p_at AT TIME ZONE 'UTC')",
    ),
    "ends a week after eight days": (
        "following_window",
        "('1 ' || p_unit)::interval",
        "('1 ' || p_unit)::interval + CASE p_unit WHEN 'week' THEN interval '1 day' ELSE interval '0' END",
    ),
    "keeps calls that ended concurrent": ("move_counters", "n.concurrent - v_ended[n.ordinality]", "n.concurrent"),
    "gives back to a window what another held": (
        "move_counters",
        "v_counter.day_held := v_counter.day_held + v_given_back;",
        "",
    ),
    "counts in a window what another used": (
        "move_counters",
        "v_counter.day_used := v_counter.day_used - v_amount;",
        "",
    ),
    "charges what is told twice": (
        "settle",
        "ledger_charge_calls(v_calls, p_now)",
        "ledger_charge_calls(p_calls, p_now)",
    ),
    "counts what is told twice": (
        "settle",
        "move_counters(v_counters, v_scope_ids, v_calls, v_holds)",
        "move_counters(v_counters, v_scope_ids, p_calls, holds_of(p_calls, v_holds))",
    ),
    "closes a grant that a call may still burn": (
        "is_held_since_before",
        "SELECT EXISTS (",
        "SELECT false AND EXISTS (",
    ),
    "takes the void of a grant for its expiry": (
        "end_grants",
        "v_expired := coalesce(",
        "v_expired := true OR coalesce(",
    ),
    "forgets what was charged beyond the hold": (
        "settle",
        "greatest(v_call.amount - coalesce((v_holds[cardinality(v_cuts)]).amount, v_call.amount), 0)",
        "0::numeric",
    ),
    "forgets tokens of holds given back": (
        "move_counters",
        "coalesce((p_calls[v_number]).tokens, 0) - v_hold.tokens",
        "coalesce((p_calls[v_number]).tokens - v_hold.tokens, 0)",
    ),
}
"""What is wrong then: the function, a part that it has once, and what stands in its place."""
NOTICED_AT_ONCE = ("forgets concurrent calls", "refuses what fits exactly")
EXAMPLES_MAX = 200


async def source_of(connection: Any, function: str) -> str:
    """The function as it is in force."""
    return str(await connection.fetchval("SELECT pg_get_functiondef($1::regproc)", function))


async def mistaken(database_url: str, function: str, right: str, wrong: str) -> None:
    """Put the mistake into the function."""
    connection = await asyncpg.connect(database_url)
    try:
        source = await source_of(connection, function)
        assert right in source, f"{function} does not say {right!r}"
        await connection.execute(source.replace(right, wrong))
    finally:
        await connection.close()


@pytest.fixture
async def mistaken_url(request: pytest.FixtureRequest, database_url: str) -> str:
    await mistaken(database_url, *MISTAKES[request.param])
    return database_url


@pytest.fixture
def mistaken_world(mistaken_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    opened = World(mistaken_url)
    monkeypatch.setattr(identity, "_entropy", opened.id_bytes)
    yield opened
    opened.close()


def assert_noticed(world: World) -> None:
    without_shrinking = settings(
        max_examples=EXAMPLES_MAX,
        stateful_step_count=50,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises((AssertionError, asyncpg.PostgresError)):
        run(lambda: Books(world), without_shrinking)


async def test_every_mistake_can_be_made_and_in_one_place(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    sources = {function: await source_of(pool, function) for function, _, _ in MISTAKES.values()}
    elsewhere = {name: n for name, (of, right, _) in MISTAKES.items() if (n := sources[of].count(right)) != 1}
    assert elsewhere == {}


@pytest.mark.long
@pytest.mark.parametrize("mistaken_url", NOTICED_AT_ONCE, indirect=True)
def test_a_mistake_is_noticed(mistaken_world: World) -> None:
    assert_noticed(mistaken_world)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mistaken_url", MISTAKES, indirect=True)
def test_every_mistake_is_noticed(mistaken_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert_noticed(mistaken_world)
    with capsys.disabled():
        print(f" after {mistaken_world.steps} steps")  # noqa: T201 - to tell how soon
