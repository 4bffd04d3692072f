"""What lies on the disk is listed without a database, what was refused is tried again, and only a person forgets it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs
from tests.metering.scene import Caller, Scene, costing
from tests.safes import a_safe, keep

from tollgate.entrypoints import ledger_access
from tollgate.entrypoints.cli_spool import spool
from tollgate.infra.identity import new_id
from tollgate.infra.settings import Settings
from tollgate.kit.ids import CallId, typed
from tollgate.metering import letters, recovery
from tollgate.metering.model import Settlement
from tollgate.metering.safekeeping import SPOOL_FILE, Safekeeping


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    """What a living process logs stays out of what the command prints: here they share a standard output."""
    with capture_logs():
        yield


@pytest.fixture
async def caller(scene: Scene) -> Caller:
    return await scene.a_caller()


@pytest.fixture
async def sibling(scene: Scene, tmp_path: Path) -> AsyncIterator[Safekeeping]:
    """A process that lives, with one settlement that waits."""
    safe = a_safe(await recovery.folder_of(scene.pool, tmp_path))
    yield safe
    await safe.close()


def an_ended_call(scene: Scene, caller: Caller) -> Settlement:
    return costing(caller, CallId(new_id(scene.clock.at)), scene.clock.at, "1", user_id="a secret")


async def refused(scene: Scene, caller: Caller, safe: Safekeeping) -> Settlement:
    ended = an_ended_call(scene, caller)
    letter = letters.written(ended)
    await safe.put_aside({ended.call.call_id: letter}, "CheckViolationError 23514", scene.clock.at)
    return ended


async def recorded(scene: Scene) -> int:
    return int(await scene.pool.fetchval("SELECT count(*) FROM calls"))


async def invoke(tmp_path: Path, *arguments: str, **rest: Any) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, spool, [*arguments, "--data-dir", str(tmp_path)], **rest)


async def listed(tmp_path: Path) -> list[dict[str, Any]]:
    result = await invoke(tmp_path, "list", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["unreadable"] == []
    return list(answer["kept"])


async def test_everything_is_listed_with_who_what_and_how_much(
    scene: Scene, caller: Caller, sibling: Safekeeping, tmp_path: Path
) -> None:
    waiting, bad = an_ended_call(scene, caller), await refused(scene, caller, sibling)
    await keep(sibling, waiting, at=scene.clock.at)
    garbled = CallId(UUID(int=2**128 - 1))  # after all others, as they are listed
    await sibling.put_aside({garbled: b"{"}, "unreadable: cut short", scene.clock.at)

    kept = await listed(tmp_path)

    assert [(each["generation"], each["refused"]) for each in kept] == [
        (typed("gen", waiting.call.call_id), None),
        (typed("gen", bad.call.call_id), "CheckViolationError 23514"),
        (typed("gen", garbled), "unreadable: cut short"),
    ]
    assert {name: kept[1][name] for name in ("organization", "amount", "currency", "status", "accepted_at")} == {
        "organization": typed("org", caller.organization_id),
        "amount": "1",
        "currency": "USD",
        "status": "settled",
        "accepted_at": scene.clock.at.isoformat(),
    }
    assert "a secret" not in str(kept)
    text = (await invoke(tmp_path, "list")).stdout
    assert typed("gen", bad.call.call_id) in text
    assert "1 wait for the ledger, 2 were refused." in text


async def test_what_was_refused_is_recorded_when_it_is_tried_again_and_can_be(
    scene: Scene, caller: Caller, sibling: Safekeeping, tmp_path: Path, database_url: str
) -> None:
    bad = [await refused(scene, caller, sibling) for _ in range(2)]
    configured = Settings(database_url, data_dir=tmp_path)
    async with ledger_access.metered(scene.pool, scene.clock, configured) as (_, recovering):
        result = await invoke(tmp_path, "retry", typed("gen", bad[0].call.call_id))
        assert result.stdout == "1 settlements are sent once more.\n", result.output
        async with asyncio.timeout(20):
            while not await recorded(scene):
                await recovering.adopt()
        assert (await scene.counter(caller))["total_used"] == 1
        assert [each["generation"] for each in await listed(tmp_path)] == [typed("gen", bad[1].call.call_id)]

        assert (await invoke(tmp_path, "retry", "--json")).exit_code == 0
        async with asyncio.timeout(20):
            while await recorded(scene) < 2:
                await recovering.adopt()
        assert await listed(tmp_path) == []
        assert (await scene.counter(caller))["total_used"] == 2


async def test_what_is_refused_again_is_listed_again(
    scene: Scene, caller: Caller, sibling: Safekeeping, tmp_path: Path, database_url: str
) -> None:
    ended = an_ended_call(scene, caller)
    worse = ended._replace(call=ended.call._replace(tokens=2**63))
    await sibling.put_aside({ended.call.call_id: letters.written(worse)}, "before", scene.clock.at)
    async with ledger_access.metered(scene.pool, scene.clock, Settings(database_url, data_dir=tmp_path)) as (_, heir):
        await invoke(tmp_path, "retry")
        async with asyncio.timeout(20):
            while not (kept := await listed(tmp_path)) or kept[0]["refused"] in {None, "before"}:
                await heir.adopt()

    assert kept[0]["refused"].startswith("DataError")


async def test_only_what_is_named_and_was_refused_is_forgotten_and_it_is_printed_first(
    scene: Scene, caller: Caller, sibling: Safekeeping, tmp_path: Path
) -> None:
    bad, waiting = await refused(scene, caller, sibling), an_ended_call(scene, caller)
    await keep(sibling, waiting, at=scene.clock.at)
    name, other = (typed("gen", each.call.call_id) for each in (bad, waiting))

    refusals = [
        await invoke(tmp_path, "discard", other, "--yes"),
        await invoke(tmp_path, "discard", other, input="y\n"),
        await invoke(tmp_path, "discard", name, input="n\n"),
        await invoke(tmp_path, "discard", "--yes"),
    ]
    assert all(result.exit_code != 0 for result in refusals)
    assert all(f"Nothing was refused of {other}." in result.stderr for result in refusals[:2])
    assert "Never charge" not in refusals[1].output
    assert len(await listed(tmp_path)) == 2

    result = await invoke(tmp_path, "discard", name, "--yes")
    assert letters.read(result.stdout.strip()) == bad
    assert [each["generation"] for each in await listed(tmp_path)] == [other]


async def test_a_file_that_cannot_be_read_is_named_and_hides_no_other(
    scene: Scene, caller: Caller, sibling: Safekeeping, tmp_path: Path
) -> None:
    await refused(scene, caller, sibling)
    broken = (await recovery.folder_of(scene.pool, tmp_path)) / str(uuid4())
    broken.mkdir()
    (broken / SPOOL_FILE).write_bytes(b"not a database" * 100)

    result = await invoke(tmp_path, "list", "--json")

    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert ([each["path"] for each in answer["unreadable"]], len(answer["kept"])) == ([str(broken)], 1)


async def test_a_directory_where_nothing_was_ever_kept_is_not_mistaken_for_an_empty_one(tmp_path: Path) -> None:
    result = await invoke(tmp_path, "list")

    assert result.exit_code == 1
    assert "No process has ever kept calls" in result.stderr


async def test_files_of_another_user_are_left_alone(
    scene: Scene, caller: Caller, sibling: Safekeeping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process cannot open would keep it from taking over anything."""
    await refused(scene, caller, sibling)
    monkeypatch.setattr("os.geteuid", lambda: 4711)

    result = await invoke(tmp_path, "retry")

    assert "run this as that user" in result.stderr
    monkeypatch.undo()
    assert [each["refused"] for each in await listed(tmp_path)] == ["CheckViolationError 23514"]
