"""The command line speaks of itself by the name its user calls it by."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", [[], ["serve"]])
def test_help_names_the_program_and_not_how_it_was_started(command: list[str]) -> None:
    program = [sys.executable, "-m", "tollgate", *command, "--help"]
    said = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith(f"Usage: {' '.join(['tollgate', *command])} ")
