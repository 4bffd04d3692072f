"""A benchmark measures a group of its own, finds every call recorded, and leaves no process and no file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripts.benchmarks.commands import main


def bench(repository: Path, scratch: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmarks", *arguments]
    return subprocess.run(
        command, cwd=repository, env={"TMPDIR": str(scratch)}, capture_output=True, text=True, check=False, timeout=100
    )


def assert_nothing_is_left(scratch: Path) -> None:
    assert list(scratch.iterdir()) == []
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert [command for command in commands if str(scratch).encode() in command] == []


@pytest.mark.long
def test_long_prompts_beside_small_calls_are_measured_and_recorded(repository: Path, tmp_path: Path) -> None:
    shape = ("--tokens", "20000", "--rounds", "1", "--seconds", "0.5", "--small-rate", "20", "--json")
    done = bench(repository, tmp_path, "prompt", *shape)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["failed"] == 0
    assert result["ledger"]["recorded"] > 0
    assert set(result["kinds"]) == {"fresh", "conversation"}
    assert [goal["goal"] for goal in result["goals"]] == ["≥ 100", "≤ 5"] * 2
    assert all(kind["prompts"] > 0 and kind["p99_ms"]["beside"] > 0 for kind in result["kinds"].values())
    assert_nothing_is_left(tmp_path)


@pytest.mark.long
def test_a_soak_is_measured_and_every_call_is_recorded(repository: Path, tmp_path: Path) -> None:
    shape = ("--calls", "1000", "--parts", "8", "--organizations", "16", "--connections", "8", "--json")
    done = bench(repository, tmp_path, "soak", *shape)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["calls"] == result["ledger"]["recorded"] == 1_000
    assert len(result["samples"]) == 9
    assert {"gateway worker", "gateway main", "worker", "serve", "PostgreSQL"} == set(result["processes"])
    assert [goal["goal"] for goal in result["goals"]] == ["≤ 150", "≤ 1"]
    assert all(process["after"]["rss"] > 0 for process in result["processes"].values())
    assert_nothing_is_left(tmp_path)


@pytest.mark.long
def test_contestants_are_measured_side_by_side_and_the_ledger_is_right(repository: Path, tmp_path: Path) -> None:
    shape = ("--contestants", "tollgate,bare", "--rounds", "1", "--seconds", "0.3", "--json")
    done = bench(repository, tmp_path, "all", *shape)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    direct, tollgate, bare = result["contestants"]
    assert [each["name"] for each in (direct, tollgate, bare)] == ["direct", "tollgate", "bare"]
    assert result["ledger"]["recorded"] == tollgate["answered"] > 0
    for each in (tollgate, bare):
        assert each["failed"] == 0
        assert all(each["figures"][name] > 0 for name in ("calls_per_second", "cpu_ms", "events_per_second", "pss_mb"))
    assert tollgate["figures"]["database_cpu_ms"] > 0
    assert "cpu_ms" not in direct["figures"]
    assert len(result["goals"]) == 13
    assert_nothing_is_left(tmp_path)


@pytest.mark.long
def test_a_hot_tenant_against_many_is_measured_and_recorded(repository: Path, tmp_path: Path) -> None:
    shape = ("--processes", "2", "--rounds", "1", "--seconds", "0.2", "--organizations", "20", "--connections", "8")
    done = bench(repository, tmp_path, "admission", *shape, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    group, hosts = result["groups"]
    assert (group["processes"], group["hosts"], hosts["processes"], hosts["hosts"]) == (2, 1, 2, 2)
    assert (group["recorded"], hosts["recorded"]) == (group["answered"], hosts["answered"])
    assert group["holds"] == hosts["holds"] == 0
    for way in ("end_to_end", "meter_alone"):
        assert group[way]["percent"] > 0
        for kind in ("hot", "spread"):
            figures = group[way][kind]
            assert figures["calls"] > 0
            # So short a run may take less of a CPU than the kernel counts.
            assert min(figures["cpu_ms"], figures["database_cpu_ms"]) >= 0
            assert figures["used_up"]
    assert [goal["figure"] for goal in result["goals"]] == [
        None,  # Four processes were not measured.
        group["end_to_end"]["percent"],
        group["meter_alone"]["percent"],
        hosts["end_to_end"]["percent"],
    ]
    assert_nothing_is_left(tmp_path)


@pytest.mark.long
def test_failing_over_is_measured_and_every_call_is_recorded(repository: Path, tmp_path: Path) -> None:
    shape = ("--calls", "600", "--rate", "40", "--connections", "16", "--fault", "refused", "--fault", "garbage")
    done = bench(repository, tmp_path, "failover", *shape, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["calls"] == result["answered"] == 600
    assert result["records"]["calls"] > 600
    assert [phase["name"] for phase in result["phases"]] == ["refused", "garbage"]
    assert all(phase["success_percent"] == 100 and phase["hit"] > 0 for phase in result["phases"])
    assert all(phase["first_hit_ms"] > 0 and phase["back_seconds"] >= 0 for phase in result["phases"])
    assert_nothing_is_left(tmp_path)


@pytest.mark.long
def test_closing_is_measured_and_every_invoice_is_what_was_used(repository: Path, tmp_path: Path) -> None:
    shape = ("--calls", "3000", "--calls", "30000", "--organizations", "30", "--models", "2", "--quarter-hours", "10")
    done = bench(repository, tmp_path, "close", *shape, "--rounds", "1", "--workers", "2", "--json")
    assert done.returncode == 0, done.stderr
    few, many, busy = json.loads(done.stdout)["months"]
    assert (few["calls"], many["calls"]) == (3_000, 30_000)
    assert (few["rollup_rows"], few["lines_each"]) == (many["rollup_rows"], many["lines_each"]) == (1_800, 4)
    assert busy["organizations"] == 3
    assert all(month["organizations_per_second"] > 0 for month in (few, many, busy))
    assert_nothing_is_left(tmp_path)


def test_help_tells_what_can_be_measured(repository: Path, tmp_path: Path) -> None:
    done = bench(repository, tmp_path, "--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in main.commands)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("all", "ledger"),
        ("gateway", "answered whole"),
        ("streams", "stream"),
        ("prompt", "prompt"),
        ("admission", "organizations"),
        ("failover", "hang-in-body"),
        ("close", "organizations"),
        ("reports", "generated"),
        ("soak", "million"),
    ],
)
def test_help_tells_how_each_can_be_measured(name: str, told: str) -> None:
    done = CliRunner().invoke(main, [name, "--help"])
    assert done.exit_code == 0
    assert told in done.stdout.lower()
