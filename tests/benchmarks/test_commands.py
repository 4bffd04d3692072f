"""Options without a command are those of `all`, and an earlier result that is not there is told before measuring."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from scripts.benchmarks import against, side_by_side
from scripts.benchmarks.commands import main
from tests.benchmarks.test_tables import contestant, result


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[side_by_side.Plan]:
    """What was to be measured; the figures are always the same."""
    found: list[side_by_side.Plan] = []

    def run(plan: side_by_side.Plan) -> dict[str, object]:
        found.append(plan)
        return result(contestant("tollgate", cpu_ms=0.4))

    monkeypatch.setattr(side_by_side, "run", run)
    return found


def test_options_without_a_command_are_those_of_all(plans: list[side_by_side.Plan], tmp_path: Path) -> None:
    earlier = tmp_path / "result.json"
    earlier.write_text(bench("--json").stdout)
    told = bench("--rounds", "7", "--contestants", "tollgate", "--against", str(earlier))

    assert told.exit_code == 0, told.output
    assert "| tollgate | CPU ms a call | 0.400 | 0.400 | +0.0 % |" in told.output
    assert [plan.rounds for plan in plans] == [3, 7]
    assert all([*plan.measures] == ["gateway", "streams"] for plan in plans)


def test_generate_without_a_command_is_that_of_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[Any, ...]] = []

    async def made(*given: Any) -> dict[str, object]:
        asked.append(given[1:])
        return {}

    monkeypatch.setattr("scripts.benchmarks.reports._reports", made)
    told = bench("--calls", "1000000", "--generate", "--data-dir", str(tmp_path))

    assert told.exit_code == 0, told.output
    assert asked == [(tmp_path, 0)]


@pytest.mark.parametrize(
    ("text", "told"), [(None, "there is no file"), ("{", "cannot be read"), ("[]", "is no result"), ("{}", "is no")]
)
def test_an_earlier_result_that_cannot_be_had_is_told_and_nothing_is_measured(
    plans: list[side_by_side.Plan], tmp_path: Path, text: str | None, told: str
) -> None:
    earlier = tmp_path / "earlier.json"
    if text is not None:
        earlier.write_text(text)
    done = bench("--against", str(earlier))

    assert done.exit_code == 2
    assert "Invalid value for '--against'" in done.output
    assert told in " ".join(done.output.split())
    assert plans == []


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_measured(plans: list[side_by_side.Plan]) -> None:
    done = bench("--out", "/proc/x")

    assert done.exit_code == 2
    assert "nothing can be written to '/proc/x'" in " ".join(done.output.split())
    assert plans == []


def test_pictures_that_cannot_be_drawn_lose_no_table(
    plans: list[side_by_side.Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    done = bench("gateway", "--out", str(tmp_path / "new" / "folder"))

    assert done.exit_code == 1
    assert "The pictures could not be drawn" in done.output
    assert "| tollgate |" in done.stdout
    assert (tmp_path / "new" / "folder" / "result.json").exists()
    assert len(plans) == 1


@pytest.mark.parametrize("names", ["", " , "])
def test_nobody_is_no_contestant(plans: list[side_by_side.Plan], names: str) -> None:
    done = bench("--contestants", names)

    assert done.exit_code == 2
    assert "name at least one" in " ".join(done.output.split())
    assert plans == []


def test_a_baseline_has_everything(
    plans: list[side_by_side.Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    baseline = tmp_path / "baseline.json"
    monkeypatch.setattr(against, "BASELINE", baseline)

    for partial in (["gateway"], ["--contestants", "tollgate,bare"]):
        assert bench(*partial, "--save-baseline").exit_code == 2
    assert plans == []

    assert bench("--save-baseline").exit_code == 0
    assert json.loads(baseline.read_text())["kinds"] == ["gateway"]


def test_a_baseline_is_left_as_it_was_if_somebody_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(against, "BASELINE", tmp_path / "baseline.json")
    monkeypatch.setattr(side_by_side, "run", lambda _plan: result(contestant("portkey", "Node is not there")))
    done = bench("--save-baseline")

    assert done.exit_code == 1
    assert "portkey did not take part" in done.output
    assert not (tmp_path / "baseline.json").exists()


def test_a_baseline_that_is_not_kept_is_told(
    plans: list[side_by_side.Plan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(against, "BASELINE", tmp_path / "baseline.json")
    done = bench("gateway", "--against", "baseline")

    assert done.exit_code == 2
    assert "--save-baseline" in done.output
    assert plans == []
