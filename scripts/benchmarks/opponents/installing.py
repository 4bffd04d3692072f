"""Installing: packages by name, through their own clients, into `$TOLLGATE_DATA_DIR/benchmarks`, where they stay."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from scripts.benchmarks.contestants import NotStarted

_COMMAND_SECONDS_MAX = 1200
_WAIT_SECONDS_MAX = 1800
_POLL_SECONDS = 0.5
_LINES_SHOWN = 3
_CHARACTERS_SHOWN = 500
_CHECKOUT = Path(__file__).parents[3]
_OURS = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
"""What leads our own interpreter to its packages, and would mislead another."""


def installed(name: str, packages: Mapping[str, str], install: Callable[[Path], None]) -> Path:
    """The directory where these versions are installed, now or before.

    Raises:
        NotStarted: they cannot be.
    """
    directory = _home() / name
    recipe = repr((sorted(packages.items()), str(directory), str(_CHECKOUT), sys.version))
    made = directory / "made"
    with _alone(directory):
        if made.is_file() and made.read_text() == recipe:
            return directory
        told = ", ".join(f"{package} {version}" for package, version in packages.items())
        click.echo(f"Installing {told} into {directory}: once, and it takes minutes …", err=True)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        install(directory)
        made.write_text(recipe)
    return directory


def program(name: str, of: str) -> str:
    """Where a program of this machine is.

    Raises:
        NotStarted: it is not on the path.
    """
    found = shutil.which(name)
    if found is None:
        raise NotStarted(f"there is no `{name}` on the PATH: install {of}")
    return found


def run(command: Sequence[str | Path], directory: Path, **variables: str) -> None:
    """Run a command to its end.

    Raises:
        NotStarted: it failed, with the last of what it said.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OURS} | variables
    told = " ".join(str(part) for part in command[:4])
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_SECONDS_MAX,
            check=False,
        )
    except OSError as error:
        raise NotStarted(f"`{told} …` cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise NotStarted(f"`{told} …` took more than {_COMMAND_SECONDS_MAX} seconds") from error
    if done.returncode != 0:
        raise NotStarted(f"`{told} …` failed: {last_lines(done.stdout)}")


def last_lines(output: bytes) -> str:
    """The end of what a program said, in one line, for a table."""
    lines = [click.unstyle(line).strip() for line in output.decode(errors="replace").splitlines()]
    said = " / ".join([line for line in lines if line][-_LINES_SHOWN:])
    return said[-_CHARACTERS_SHOWN:] or "(it said nothing)"


def _home() -> Path:
    return Path(os.environ.get("TOLLGATE_DATA_DIR") or _CHECKOUT / ".tollgate").absolute() / "benchmarks"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other benchmarks from installing the same meanwhile."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        lock = directory.with_suffix(".lock").open("w")
    except OSError as error:
        raise NotStarted(f"cannot write to {directory.parent}: {error.strerror}") from error
    with lock:
        deadline = time.monotonic() + _WAIT_SECONDS_MAX
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise NotStarted(f"another process has been installing into {directory} for too long") from None
                time.sleep(_POLL_SECONDS)
            else:
                break
        yield
