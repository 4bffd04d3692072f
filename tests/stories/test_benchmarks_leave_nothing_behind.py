"""A benchmark measures a group of its own, finds every call recorded, and leaves no process and no file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def bench(repository: Path, scratch: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "scripts" / "bench.py"), *arguments]
    return subprocess.run(
        command, env={"TMPDIR": str(scratch)}, capture_output=True, text=True, check=False, timeout=100
    )


def test_a_prompt_beside_small_calls_is_measured_and_recorded(repository: Path, tmp_path: Path) -> None:
    shape = ("--tokens", "20000", "--rounds", "1", "--seconds", "0.2", "--json")
    done = bench(repository, tmp_path, "prompt", *shape)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["recorded"]
    assert result["reported"] == result["sent"]
    assert result["large_calls"] > 0
    assert 20_000 <= result["large_prompt_tokens"] < 20_100
    assert result["p99_ms"]["ratio"] > 0
    assert list(tmp_path.iterdir()) == []
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert [command for command in commands if str(tmp_path).encode() in command] == []


@pytest.mark.parametrize("arguments", [("--help",), ("prompt", "--help")])
def test_help_tells_what_can_be_measured(repository: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = bench(repository, tmp_path, *arguments)
    assert done.returncode == 0
    assert "prompt" in done.stdout.lower()
