"""Serving: what cannot start says why, and what ends takes everything with it."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import copied
from tests.stories.serving import SERVE, lines_until

from tollgate.entrypoints import serve
from tollgate.infra.settings import Settings

ENDED_SECONDS_MAX = 30


def refused(*arguments: str, **environment: str) -> str:
    """What a start that must fail says on standard error; it says nothing on standard output."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
    done = subprocess.run(
        [*SERVE, "--json", *arguments], env=given | environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


BORN: dict[int, str] = {}
"""When each process that a test saw was started: its number alone does not tell it from a later one."""


def facts(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on (proc(5), `/proc/pid/stat`)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def descendants(pid: int) -> dict[int, str]:
    """The command lines of every process beneath this one."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    found = {child: Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in children}
    for child in children:
        BORN[child] = facts(child)[19]
        found |= descendants(child)
    return found


def has_ended(pid: int) -> bool:
    try:
        state, born = facts(pid)[0], facts(pid)[19]
    except (FileNotFoundError, ProcessLookupError):
        return True
    # A busy machine soon gives the number of a process that ended to another one.
    return state == "Z" or born != BORN.get(pid, born)


def all_ended(pids: dict[int, str]) -> bool:
    deadline = time.monotonic() + ENDED_SECONDS_MAX
    while not all(has_ended(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def data_dir(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all groups here: each must find what the one before left in good order."""
    return copied(migrated, tmp_path_factory.mktemp("data"))


@contextmanager
def served(data_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", dict[str, str | None]]]:
    """A group that answers, and what it told at its start."""
    command = [*SERVE, "--json", "--port", "0", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process, json.loads(lines_until(process, "}")[-1])
        process.kill()


@pytest.fixture
def group(data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """A group that answers, which a test may treat as badly as it likes."""
    with served(data_dir) as (process, _):
        yield process


class TestAStartThatFails:
    def test_names_the_address_that_is_taken_before_anything_else_happens(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            said = refused("--port", port, "--data-dir", str(tmp_path / "data"))
        assert f"cannot listen on 127.0.0.1:{port}" in said
        assert not (tmp_path / "data").exists()

    def test_names_the_database_that_is_away(self, tmp_path: Path) -> None:
        url = "postgresql://nobody@127.0.0.1:9/nothing"
        said = refused("--port", "0", "--data-dir", str(tmp_path), TOLLGATE_DATABASE_URL=url)
        assert "the database cannot be reached" in said

    def test_names_the_setting_it_cannot_use(self, tmp_path: Path) -> None:
        url = "postgresql://nobody@127.0.0.1:9/nothing"
        environment = {"TOLLGATE_DATABASE_URL": url, "TOLLGATE_DRAIN_TIMEOUT_SECONDS": "soon"}
        said = refused("--port", "0", "--data-dir", str(tmp_path), **environment)
        assert "TOLLGATE_DRAIN_TIMEOUT_SECONDS is 'soon'" in said

    def test_names_once_what_only_looks_like_a_setting_but_not_its_value(self, tmp_path: Path) -> None:
        url = "postgresql://nobody@127.0.0.1:9/nothing"
        environment = {"TOLLGATE_DATABASE_URL": url, "TOLLGATE_DRAIN_SECONDS": "confidential", "TOLLGATE_A": ""}
        said = refused("--port", "0", "--data-dir", str(tmp_path), **environment)
        assert said.count("TOLLGATE_A, TOLLGATE_DRAIN_SECONDS") == said.count("TOLLGATE_DRAIN_SECONDS") == 1
        assert "confidential" not in said

    async def test_shows_the_reason_of_a_failed_migration(self, empty_database_url: str, tmp_path: Path) -> None:
        connection = await asyncpg.connect(empty_database_url)
        await connection.execute("CREATE TABLE organizations (name text)")
        await connection.close()
        said = refused("--port", "0", "--data-dir", str(tmp_path), TOLLGATE_DATABASE_URL=empty_database_url)
        assert 'the database could not be migrated: relation "organizations" already exists' in said

    async def test_refuses_a_schema_that_is_newer_than_the_program(self, database_url: str, tmp_path: Path) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE alembic_version SET version_num = '9999_tomorrow'")
        await connection.close()
        said = refused("--port", "0", "--data-dir", str(tmp_path), TOLLGATE_DATABASE_URL=database_url)
        assert "(9999_tomorrow) is newer than this program" in said

    def test_names_the_workers_that_the_embedded_server_has_no_connections_for(self, tmp_path: Path) -> None:
        said = refused("--port", "0", "--workers", "13", "--data-dir", str(tmp_path))
        assert "13 gateway processes with 14 connections each" in said
        assert "give fewer --workers" in said


def test_twelve_workers_fit_into_the_embedded_server_and_thirteen_do_not() -> None:
    each = Settings("").database_pool_max
    serve._check_connections(12, each)
    with pytest.raises(serve.ServeFailed, match="13 gateway processes"):
        serve._check_connections(13, each)


@pytest.fixture(params=["in memory", "on disk"])
def memory(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders in memory are made, which may be nowhere."""
    place = tmp_path / "memory"
    if request.param == "in memory":
        place.mkdir()
    monkeypatch.setattr(serve, "_MEMORY", place)
    return place


def test_what_is_counted_in_memory_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "_MEMORY", tmp_path)
    home = serve._metrics_home(tmp_path / "data")
    assert (home.parent, home.stat().st_mode & 0o777) == (tmp_path, 0o700)
    home.chmod(0o755)
    assert serve._metrics_home(tmp_path / "data") == tmp_path / "data"
    home.rmdir()
    home.symlink_to(tmp_path)
    assert serve._metrics_home(tmp_path / "data") == tmp_path / "data"


@pytest.mark.usefixtures("memory")
def test_what_a_killed_group_counted_is_forgotten(tmp_path: Path) -> None:
    stale = serve._fresh_metrics_dir(tmp_path / "data", 8000, alone=False) / "counter_1.db"
    stale.write_bytes(b"")
    other = serve._fresh_metrics_dir(tmp_path / "data", 8001, alone=False)
    assert list(serve._fresh_metrics_dir(tmp_path / "data", 8000, alone=False).iterdir()) == []
    assert other.is_dir()
    serve._fresh_metrics_dir(tmp_path / "data", 8000, alone=True)
    assert not other.exists()


class TestAGroup:
    @pytest.mark.parametrize(
        ("part", "name"),
        [("-m tollgate worker", "worker"), ("gateway_process", "gateway"), ("postgres -D", "database server")],
    )
    def test_ends_when_a_part_of_it_does(self, group: "subprocess.Popen[str]", part: str, name: str) -> None:
        everything = descendants(group.pid)
        os.kill(next(pid for pid, command in everything.items() if part in command), signal.SIGKILL)
        _, said = group.communicate(timeout=ENDED_SECONDS_MAX)
        assert group.returncode == 1
        assert f"the {name} ended unexpectedly" in said
        assert all_ended(everything)

    def test_leaves_nothing_behind_when_it_is_killed_and_the_next_one_serves_counts_and_stops_on_ctrl_c(
        self, group: "subprocess.Popen[str]", data_dir: Path
    ) -> None:
        everything = descendants(group.pid)
        group.kill()
        group.wait()
        assert all_ended(everything)
        with served(data_dir) as (again, told):
            assert told["operator_key"] is None
            self._counts_together(again, data_dir)
            self._stops_in_good_order(again, data_dir)

    def _counts_together(self, group: "subprocess.Popen[str]", data_dir: Path) -> None:
        (metrics_dir,) = serve._metrics_home(data_dir).glob("metrics-*")
        programs = ("gateway_process", "-m tollgate worker")
        ours = {pid for pid, command in descendants(group.pid).items() if any(part in command for part in programs)}
        told = {line for pid in ours for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
        assert [line for line in told if b"MULTIPROC" in line] == [b"PROMETHEUS_MULTIPROC_DIR=" + bytes(metrics_dir)]
        assert len({file.stem.rpartition("_")[2] for file in metrics_dir.glob("counter_*.db")}) >= len(programs)

    def _stops_in_good_order(self, group: "subprocess.Popen[str]", data_dir: Path) -> None:
        everything = descendants(group.pid)
        group.send_signal(signal.SIGINT)
        _, said = group.communicate(timeout=ENDED_SECONDS_MAX)
        assert (group.returncode, "Traceback" in said) == (0, False)
        assert all_ended(everything)
        assert not (data_dir / "database-url").exists()
        assert not [*serve._metrics_home(data_dir).glob("metrics-*")]
