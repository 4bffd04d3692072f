"""The model is worth something only if it notices: the database's functions, each with one mistake in it."""

from collections.abc import Iterator

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
        "v_ends[v_at] <= v_charge.occurred_at",
        "v_ends[v_at] < v_charge.occurred_at",
    ),
    "burns by the time of one call for all of a batch": (
        "ledger_charge_calls",
        "THEN (SELECT max(g.ends_at)",
        "THEN (SELECT max(g.ends_at) + NULL::interval",
    ),
    "admits on a grant at the instant it ends": ("admit", "g.expires_at > p_now", "g.expires_at >= p_now"),
    "refuses what fits exactly": ("admit", "v_room < v_request.hold_least", "v_room <= v_request.hold_least"),
    "admits one request more": (
        "admit",
        "v_counter.minute_requests + 1 > v_limit.rpm",
        "v_counter.minute_requests > v_limit.rpm",
    ),
    "forgets what is held": ("admit", " - c.total_held", ""),
    "forgets concurrent calls": ("admit", " + v_requests[n.ordinality]\n        FROM", "\n        FROM"),
    "holds though it is only asked": ("admit", " AND NOT v_request.only_asks", ""),
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
    "keeps calls that ended concurrent": ("moved_counters", "n.concurrent - t.ended", "n.concurrent"),
    "gives back to a window what another held": (
        "moved_counters",
        "sum(e.held) FILTER (WHERE e.day_start = o.day_start)",
        "sum(e.held)",
    ),
    "charges what is told twice": (
        "settle",
        "INTO v_due, v_unpriced\n    FROM unnest(v_calls)",
        "INTO v_due, v_unpriced\n    FROM unnest(p_calls)",
    ),
    "counts what is told twice": (
        "settle",
        "moved_counters(v_counters, v_calls, v_holds)",
        "moved_counters(v_counters, p_calls, holds_of(p_calls, v_holds))",
    ),
    "closes a grant that a call may still burn": (
        "end_grants",
        "AND NOT is_held_since_before(g.organization_id, g.ends_at)",
        "",
    ),
    "takes the void of a grant for its expiry": (
        "end_grants",
        "v_expired := coalesce(",
        "v_expired := true OR coalesce(",
    ),
    "forgets what was charged beyond the hold": (
        "record_calls",
        "greatest(q.amount - coalesce((p_holds[q.ordinality]).amount, q.amount), 0)",
        "0::numeric",
    ),
    "forgets tokens of holds given back": (
        "moved_counters",
        "coalesce((p_calls[h.ordinality]).tokens, 0) - h.tokens",
        "coalesce((p_calls[h.ordinality]).tokens - h.tokens, 0)",
    ),
}
"""What is wrong then: the function, a part of it, and what stands in its place."""
NOTICED_AT_ONCE = ("forgets concurrent calls", "refuses what fits exactly")
EXAMPLES_MAX = 200


async def mistaken(database_url: str, function: str, right: str, wrong: str) -> None:
    """Put the mistake into the function wherever it can be made."""
    connection = await asyncpg.connect(database_url)
    try:
        source: str = await connection.fetchval("SELECT pg_get_functiondef($1::regproc)", function)
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
    monkeypatch.setattr(identity, "secrets", opened.chance())
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
