"""Children do what they were started for, and none outlives its parent, however that ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tollgate.infra import children

PATIENCE_SECONDS = 30

PARENT = """
import asyncio, os, sys
from tollgate.infra import children

async def main():
    child = await children.start("child", [sys.executable, "-c", sys.argv[1], *sys.argv[2:]], os.environ)
    print(child._process.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""
STUBBORN = """
import os, signal, subprocess, sys, time
from pathlib import Path
from tollgate.infra import children

signal.signal(signal.SIGTERM, lambda *_: Path(sys.argv[1]).touch())
children.follow_parent(os.environ, patience_seconds=1)
their_own = subprocess.Popen(["sleep", "600"])
print(their_own.pid, file=sys.stderr, flush=True)
while True:
    time.sleep(600)
"""
WAITING = """
import os, sys
from pathlib import Path
from tollgate.infra import children

Path(os.environ["READY"]).touch()
children.wait_to_begin(os.environ)
children.wait_to_begin(os.environ)
Path(sys.argv[1]).touch()
"""
HASTY = """
import os, signal, subprocess, time
from tollgate.infra import children

signal.signal(signal.SIGTERM, lambda *_: None)
parent, prepare = os.getpid(), children.die_with_parent(signal.SIGTERM)

def lose_parent():
    os.write(1, b"%d\\n" % os.getpid())
    os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.01)
    prepare()

subprocess.Popen(["sleep", "600"], preexec_fn=lose_parent)
"""


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_ended(*pids: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not all(has_ended(pid) for pid in pids):
        assert time.monotonic() < deadline, f"of {pids} there are {[pid for pid in pids if not has_ended(pid)]} left"
        time.sleep(0.02)


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    """A file that a child makes to be noticed."""
    return tmp_path / "sign"


def appears(file: Path) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return file.exists()


def parent_of(program: str, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PARENT, program, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    )


@pytest.fixture
def stubborn(sign: Path) -> Iterator[tuple["subprocess.Popen[str]", int, int]]:
    """A parent, its child that would rather not end, and a process that the child started."""
    with parent_of(STUBBORN, str(sign)) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        yield parent, int(parent.stdout.readline()), int(parent.stderr.readline())
        parent.kill()


def test_a_child_whose_parent_is_killed_is_asked_to_end_and_then_made_to(
    stubborn: tuple["subprocess.Popen[str]", int, int], sign: Path
) -> None:
    parent, child, grandchild = stubborn
    parent.kill()
    assert appears(sign)
    wait_until_ended(child, grandchild)


async def test_a_child_begins_when_it_is_let_and_what_let_it_begin_lasts(sign: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = await children.start(
        "child", [sys.executable, "-c", WAITING, str(sign)], {**os.environ, "READY": str(ready)}
    )
    assert appears(ready)
    await asyncio.sleep(0.1)
    assert not sign.exists()
    child.begin()
    assert await child.wait() == 0
    assert sign.exists()
    child.begin()
    await child.stop(patience_seconds=0)


def test_a_child_whose_parent_ends_does_not_begin(sign: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with parent_of(
        f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITING}", str(sign), READY=str(ready)
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert appears(ready)
        parent.kill()
        _, said = parent.communicate()
    wait_until_ended(child)
    assert "ended before it could begin" in said
    assert not sign.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end by a signal")
def test_a_child_whose_parent_is_killed_before_it_runs_its_program_never_does() -> None:
    with subprocess.Popen([sys.executable, "-c", HASTY], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        try:
            wait_until_ended(child)
        finally:
            if not has_ended(child):
                os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such policy")
def test_a_process_that_may_not_work_in_batches_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with capture_logs() as logged:
        children.work_in_batches()
    assert [(said["log_level"], said["reason"]) for said in logged] == [("warning", "Operation not permitted")]


async def test_a_child_that_cannot_be_started_leaves_nothing_open() -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        await children.start("nothing", ["/no/such/program"], {})
    assert len(list(Path("/dev/fd").iterdir())) == before
