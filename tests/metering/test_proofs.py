"""Every proof of calls and their sums notices its own damage, and no other proof mistakes it for its own."""

from collections.abc import AsyncIterator

import pytest
from tests.history import History, a_history

ONE_CALL = "(SELECT id FROM calls WHERE organization_id = {postpaid} AND accepted_at %s ORDER BY id LIMIT 1)"
OLD_CALL = "organization_id = {postpaid} AND id = " + ONE_CALL % "< '2026-11-01'"
LAST_CUT = "organization_id = {postpaid} AND invoice_cut = 2"
SUMMED = "organization_id = {postpaid} AND ends_at - starts_at <= interval '1 day'"
SCOPE = "organization_id = {postpaid} AND scope_id <> organization_id"
TRIED_TWICE = "(SELECT call_id FROM attempts WHERE organization_id = {postpaid} AND ordinal = 2)"
SUMS = {"rollups", "rolled-up quantities", "counters", "use of windows"}
DAMAGE: dict[str, tuple[tuple[str, ...], set[str]]] = {
    "what a call cost": (
        (f"UPDATE calls SET amount = amount + 0.000000000001 WHERE {OLD_CALL}",),
        {"charges", "rollups", "counters"},
    ),
    "what credits paid of a call": (
        (f"UPDATE calls SET credits_amount = 0.1 WHERE {OLD_CALL}",),
        {"charges", "rollups"},
    ),
    "a charge that was not posted": (
        (f"DELETE FROM transfers WHERE organization_id = {{postpaid}} AND cause_id = {ONE_CALL % 'IS NOT NULL'}",),
        {"charges", "account balances"},
    ),
    "a charge of no call": (
        (
            (
                "SELECT ledger_post({postpaid}, gen_random_uuid(), 'unbilled', 'revenue', 0.5, 'USD', 'call',"
                " gen_random_uuid(), NULL, now(), now())"
            ),
        ),
        {"charges of no call"},
    ),
    "an insured call that cost something": (
        (f"UPDATE calls SET status = 'insured' WHERE {OLD_CALL}",),
        {"calls that cost nothing", "rollups", "rolled-up quantities", "endpoint statistics"},
    ),
    "a call of no provider that cost something": (
        ("UPDATE calls SET origin_amount = 1 WHERE organization_id = {postpaid} AND provider IS NULL",),
        {"calls that cost nothing"},
    ),
    "a call that is not there": (
        ("DELETE FROM calls WHERE organization_id = {postpaid} AND accepted_at > '2026-11-22 11:30+00'",),
        {"charges of no call", "attempts of no call", "endpoint statistics", *SUMS},
    ),
    "the calls of a rollup": (
        (f"UPDATE rollups SET calls = calls + 1 WHERE {LAST_CUT} AND kind = 'request'",),
        {"rollups"},
    ),
    "the amount of a rollup": (
        (f"UPDATE rollups SET amount = amount + 0.000000000001 WHERE {LAST_CUT} AND kind = 'prompt'",),
        {"rollups"},
    ),
    "the origin amount of a rollup": (
        (f"UPDATE rollups SET origin_amount = 0 WHERE {LAST_CUT} AND kind = 'prompt'",),
        {"rollups"},
    ),
    "the credits of a rollup": (
        (f"UPDATE rollups SET credits_amount = 0.1 WHERE {LAST_CUT} AND kind = 'request'",),
        {"rollups"},
    ),
    "the time of a rollup": (
        (f"UPDATE rollups SET bucket = bucket + interval '15 minutes' WHERE {LAST_CUT}",),
        {"rollups", "rolled-up quantities"},
    ),
    "the quantity of a rollup": (
        (f"UPDATE rollups SET quantity = quantity + 1 WHERE {LAST_CUT} AND kind = 'prompt'",),
        {"rolled-up quantities"},
    ),
    "a rolled-up request": (
        (f"UPDATE rollups SET quantity = quantity + 1 WHERE {LAST_CUT} AND kind = 'request'",),
        {"rolled-up quantities"},
    ),
    "a rollup that is not there": (
        (f"DELETE FROM rollups WHERE {LAST_CUT} AND kind = 'prompt'",),
        {"rollups", "rolled-up quantities"},
    ),
    "the amount of a day": (
        (f"UPDATE usage_sums SET amount = amount + 0.000000000001 WHERE {SUMMED} AND kind = 'prompt'",),
        {"usage sums"},
    ),
    "a day's usage that is not there": ((f"DELETE FROM usage_sums WHERE {SUMMED}",), {"usage sums"}),
    "a stretch that is not there": ((f"DELETE FROM usage_stretches WHERE {SUMMED}",), {"usage sums"}),
    "two stretches that meet": (
        (
            "INSERT INTO usage_stretches VALUES ({postpaid}, '2020-01-01+00', '2020-01-03+00')",
            "INSERT INTO usage_stretches VALUES ({postpaid}, '2020-01-02+00', '2020-01-04+00')",
        ),
        {"usage stretches"},
    ),
    "a fold of what may change": (
        ("UPDATE usage_folds SET cut = 2 WHERE organization_id = {postpaid}",),
        {"usage sums", "usage stretches"},
    ),
    "what a scope used": ((f"UPDATE counters SET total_used = total_used + 1 WHERE {SCOPE}",), {"counters"}),
    "what a scope holds": ((f"UPDATE counters SET total_held = 0 WHERE {SCOPE}",), {"counters"}),
    "how many calls a scope makes": ((f"UPDATE counters SET concurrent = 0 WHERE {SCOPE}",), {"counters"}),
    "a scope that is not there": ((f"DELETE FROM counters WHERE {SCOPE}",), {"counters"}),
    "a hold that is not there": (
        ("DELETE FROM holds WHERE organization_id = {postpaid}",),
        {"counters", "holds in windows"},
    ),
    "what a day holds": ((f"UPDATE counters SET day_held = 0 WHERE {SCOPE}",), {"holds in windows"}),
    "what a week holds": ((f"UPDATE counters SET week_held = 0 WHERE {SCOPE}",), {"holds in windows"}),
    "what a month holds": ((f"UPDATE counters SET month_held = 0 WHERE {SCOPE}",), {"holds in windows"}),
    "how an attempt ended": (
        ("UPDATE attempts SET status = 'failed' WHERE organization_id = {postpaid} AND ordinal = 2",),
        {"attempts", "endpoint statistics"},
    ),
    "a second attempt that served": (
        (f"UPDATE attempts SET status = 'cancelled' WHERE call_id = {TRIED_TWICE} AND ordinal = 1",),
        {"attempts", "endpoint statistics"},
    ),
    "a gap among attempts": (
        ("UPDATE attempts SET ordinal = 3 WHERE organization_id = {postpaid} AND ordinal = 2",),
        {"attempts"},
    ),
    "two attempts of one number": (
        ("UPDATE attempts SET ordinal = 1 WHERE organization_id = {postpaid} AND ordinal = 2",),
        {"attempts"},
    ),
    "an attempt that is not there": (
        ("DELETE FROM attempts WHERE organization_id = {postpaid} AND ordinal = 2",),
        {"attempts", "endpoint statistics"},
    ),
    "an attempt of no call": (
        ("UPDATE attempts SET call_id = gen_random_uuid() WHERE organization_id = {postpaid} AND ordinal = 2",),
        {"attempts", "attempts of no call", "endpoint statistics"},
    ),
    "an attempt that is there twice": (
        (
            "ALTER TABLE attempts DROP CONSTRAINT attempts_pkey",
            "INSERT INTO attempts SELECT * FROM attempts WHERE organization_id = {postpaid} AND ordinal = 2",
        ),
        {"attempts", "one row per id", "endpoint statistics"},
    ),
    "a call that is there twice": (
        (
            "ALTER TABLE calls DROP CONSTRAINT calls_pkey",
            (
                "INSERT INTO calls SELECT * FROM calls"
                " WHERE organization_id = {postpaid} AND accepted_at > '2026-11-22 11:30+00'"
            ),
        ),
        {"one row per id", "endpoint statistics", *SUMS},
    ),
}
QUESTIONABLE: dict[str, tuple[str, ...]] = {
    "what was used in a day": (f"UPDATE counters SET day_used = 0 WHERE {SCOPE}", "use of windows"),
    "what was used in a week": (f"UPDATE counters SET week_used = week_used + 1 WHERE {SCOPE}", "use of windows"),
    "what was used in a month": (f"UPDATE counters SET month_used = 0 WHERE {SCOPE}", "use of windows"),
    "a lease that is over": ("UPDATE holds SET lease_until = '2026-11-22 11:59+00'", "leases"),
    "usage without a price": (f"UPDATE calls SET status = 'unpriced' WHERE {OLD_CALL}", "unpriced calls"),
    "a record outside of its month": (
        (
            "UPDATE attempts SET id = '00000000-0000-7000-8000-000000000001'"
            " WHERE organization_id = {postpaid} AND ordinal = 2"
        ),
        "partitions",
        "endpoint statistics",
    ),
}
"""What need not be damage: a change of the time zone, a process that died, a price that is to come."""


@pytest.fixture(scope="module")
async def history(server_url: str, template: str) -> AsyncIterator[History]:
    async with a_history(server_url, template) as made:
        yield made


@pytest.mark.parametrize("damage", DAMAGE)
async def test_damage_is_noticed(history: History, damage: str) -> None:
    statements, complaints = DAMAGE[damage]

    report = await history.damaged(*statements)

    assert set(report.complaints) == complaints
    assert not report.whole


@pytest.mark.parametrize("doubt", QUESTIONABLE)
async def test_what_may_have_its_reasons_is_told_and_is_no_error(history: History, doubt: str) -> None:
    statement, *checks = QUESTIONABLE[doubt]

    report = await history.damaged(statement)

    assert report.complaints == tuple(checks)
    assert report.whole


@pytest.mark.parametrize(("seconds", "complaints"), [(30, set()), (90, {"use of windows"})])
async def test_a_window_may_count_what_was_accepted_just_before_it_began(
    history: History, seconds: int, complaints: set[str]
) -> None:
    report = await history.damaged(
        "DELETE FROM holds WHERE organization_id = {postpaid}",
        "UPDATE counters SET day_held = 0, day_used = 0.5,"
        f" day_start = timestamptz '2026-11-22 11:55+00' + interval '{seconds} seconds'"
        " WHERE organization_id = {postpaid} AND scope_id = organization_id",
    )

    assert set(report.complaints) == {"counters", "holds in windows", *complaints}
