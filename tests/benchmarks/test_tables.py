"""A table leaves out nobody and nothing: who did not start, what was not reached, and by how much a goal is missed."""

from typing import Any

from scripts.benchmarks import against, goals, tables

COMMITS = {"one_p50_ms": 0.5, "one_p99_ms": 3.0, "two_p50_ms": 1.0, "two_p99_ms": 5.0}


def contestant(name: str, absent: str | None = None, **figures: float) -> dict[str, Any]:
    told = {"name": name, "version": "1", "records": "-", "absent": absent, "answered": 1, "failed": 0}
    return told | {"figures": figures, "notes": {"1,000 calls/s": "not tried"} if name == "tollgate" else {}}


def result(*contestants: dict[str, Any], busy: float = 0.0) -> dict[str, Any]:
    figures = {each["name"]: each["figures"] for each in contestants}
    return {
        "kinds": ["gateway"],
        "at": "2026-11-30T12:00:00+00:00",
        "machine": {"at_hand": "2 CPUs"},
        "rounds": 3,
        "seconds": 4.0,
        "busy_before": 0.0,
        "busy_meanwhile": busy,
        "commits": COMMITS,
        "ledger": {"recorded": 7, "amount": "0.5"},
        "goals": goals.looked_at(["gateway"], figures, COMMITS),
        "contestants": list(contestants),
    }


def test_a_goal_is_met_or_missed_by_so_much_or_not_measured() -> None:
    ours = contestant("tollgate", calls_per_second=3_600, cpu_ms=0.66, added_p99_ms_at_50=7)
    looked_at = {goal["measure"]: goal for goal in result(ours, contestant("bare"))["goals"]}

    assert looked_at["calls/s on one core"]["met"]
    assert not looked_at["gateway's CPU ms a call"]["met"]
    assert looked_at["gateway's CPU ms a call"]["missed_by_percent"] == 100
    assert looked_at["added p99 ms at 50 calls/s above that of two bare commits"]["figure"] == 2
    assert looked_at["times Portkey"]["figure"] is None
    assert "| times Portkey | ≥ 3 | - | not measured |" in tables.markdown(result(ours))


def test_a_disk_slower_than_the_gateway_meets_no_goal() -> None:
    ours = contestant("tollgate", added_p99_ms_at_50=4)
    measure = "added p99 ms at 50 calls/s above that of two bare commits"
    (goal,) = [each for each in result(ours)["goals"] if each["measure"] == measure]

    assert (goal["figure"], goal["met"]) == (None, False)
    assert f"| {measure} | ≤ 3 | - | not measured: the disk was slower than the gateway |" in tables.markdown(
        result(ours)
    )


def test_one_round_is_not_rounds() -> None:
    assert "Medians of 3 rounds, each" in tables.markdown(result())
    assert "Medians of 1 round, each" in tables.markdown(result() | {"rounds": 1})


def test_a_goal_without_contestants_is_told_in_the_same_way() -> None:
    told = tables.goals([goals.told("MB", 300.04, most=150, decimals=1), goals.told("calls/s", 20_000, least=15_000)])

    assert "| MB | ≤ 150 | 300 | missed by 100.0 % |" in told
    assert "| calls/s | ≥ 15,000 | 20,000 | met |" in told


def test_without_tollgate_there_are_no_goals() -> None:
    assert goals.looked_at(["gateway"], {"bare": {"calls_per_second": 5_000}}, COMMITS) == []


def test_who_does_not_start_and_what_was_not_reached_is_in_the_table() -> None:
    told = tables.markdown(result(contestant("tollgate"), contestant("portkey", "Node is not there")))

    assert "| portkey | does not take part |" in told
    assert "- portkey does not take part: Node is not there" in told
    assert "- tollgate, 1,000 calls/s: not tried" in told


def test_one_bare_commit_and_two_are_told_apart() -> None:
    told = tables.markdown(result(contestant("tollgate")))

    assert "one p50 0.50 ms, p99 3.00 ms; two, one after the other, p50 1.00 ms, p99 5.00 ms" in told


def test_a_busy_machine_is_warned_of() -> None:
    assert "distrust" in tables.markdown(result(contestant("tollgate"), busy=0.4))
    assert "distrust" not in tables.markdown(result(contestant("tollgate"), busy=0.05))


def test_a_change_is_shown_as_a_share_of_the_bare_pass_through_too() -> None:
    before = result(contestant("tollgate", cpu_ms=0.4, rss_mb=200), contestant("bare", cpu_ms=0.1, rss_mb=50))
    after = result(contestant("tollgate", cpu_ms=0.4, rss_mb=100), contestant("bare", cpu_ms=0.2, rss_mb=50))

    told = against.markdown(before, after)
    # 0.4 is four times as much as 0.1, and twice as much as 0.2.
    assert "| tollgate | CPU ms a call | 0.400 | 0.400 | +0.0 % | -50.0 % |" in told
    assert "| tollgate | RSS MB | 200 | 100 | -50.0 % | - |" in told
