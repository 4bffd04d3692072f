"""The doctor finds whole books whole, also while they are written, and says when it cannot look."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from tests.history import NOW, History, a_history
from tests.metering.scene import Caller, Scene, costing

from tollgate.entrypoints import doctor
from tollgate.entrypoints.cli_doctor import command
from tollgate.infra import migrations
from tollgate.kit import ids
from tollgate.kit.checks import Severity

DAMAGED = "UPDATE counters SET total_used = total_used + 1"


@pytest.fixture(scope="module")
async def history(server_url: str, template: str) -> AsyncIterator[History]:
    async with a_history(server_url, template) as made:
        yield made


@pytest.fixture
async def damaged(history: History) -> AsyncIterator[History]:
    """The history with every counter off by one."""
    await history.scene.pool.execute(DAMAGED)
    yield history
    await history.scene.pool.execute(DAMAGED.replace("+", "-"))


async def asked(url: str, *arguments: str) -> Result:
    """What `tollgate doctor` answers about the database."""
    runner = CliRunner(env={"TOLLGATE_DATABASE_URL": url})
    return await asyncio.to_thread(runner.invoke, command, list(arguments))


async def test_whole_books_are_found_whole(history: History) -> None:
    report = await doctor.examine(history.database)

    assert report.complaints == ()
    assert [result.check.name for result in report.results] == [check.name for check in doctor.CHECKS]


async def test_books_are_whole_at_every_instant_while_calls_are_admitted_and_settled(history: History) -> None:
    working = True

    async def call(scene: Scene, caller: Caller) -> None:
        while working:
            answers = await scene.admit(*(scene.request(caller, "0.001") for _ in range(5)))
            admitted = [answer.call_id for answer in answers if answer.outcome == "admitted"]
            await asyncio.sleep(0.002)
            await scene.settle(*(costing(caller, call_id, NOW, "0.0005") for call_id in admitted))

    # Callers of their own, because the money of the others is what the other tests look at.
    callers = [await history.scene.a_caller(credit="1000") for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(call(history.scene, caller))
        reports = [await doctor.examine(history.database) for _ in range(5)]
        working = False

    assert [report.complaints for report in reports] == [()] * 5
    used = await history.scene.counter(callers[0])
    assert used["total_used"] > 0


async def test_an_organization_alone_can_be_looked_at(damaged: History) -> None:
    owner = damaged.postpaid.organization_id

    report = await doctor.examine(damaged.database, organization_id=owner)

    assert report.complaints == ("counters",)
    (result,) = report.of(Severity.ERROR)
    assert {finding.organization_id for finding in result.findings} == {owner}
    assert result.count == 3


async def test_the_right_to_read_is_all_it_needs(history: History) -> None:
    async with history.database.write() as session:
        for statement in (
            "CREATE ROLE auditor",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor",
            "SET LOCAL ROLE auditor",
            "SET TRANSACTION READ ONLY",
        ):
            await session.execute(sa.text(statement))
        report = await doctor.examine_snapshot(session)
        await session.rollback()

    assert report.complaints == ()


class TestTheCommand:
    async def test_says_of_every_check_that_it_holds(self, history: History) -> None:
        result = await asked(history.url)

        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert lines[: len(doctor.CHECKS)] == [f"holds    {check.name}" for check in doctor.CHECKS]
        assert lines[-1] == "The books are whole."

    async def test_exits_with_one_and_tells_the_first_discrepancies(self, damaged: History) -> None:
        result = await asked(damaged.url, "--limit", "2")

        assert result.exit_code == 1
        at = next(n for n, line in enumerate(result.stdout.splitlines()) if line.startswith("error"))
        heading, first, second, more = (line.strip() for line in result.stdout.splitlines()[at : at + 4])
        assert heading.startswith("error    counters: ")
        assert all(" total used of " in line and ": expected " in line for line in (first, second))
        assert more.startswith("and ")
        assert more.endswith(" more")
        assert "The books are not whole: 1 of" in result.stdout

    async def test_answers_json(self, damaged: History) -> None:
        owner = ids.typed("org", damaged.postpaid.organization_id)

        result = await asked(damaged.url, "--json", "--organization", owner, "--limit", "1")

        assert result.exit_code == 1
        answer = json.loads(result.stdout)
        assert answer["whole"] is False
        (counters,) = (check for check in answer["checks"] if check["findings"])
        assert (counters["name"], counters["severity"], counters["discrepancies"]) == ("counters", "error", 3)
        (finding,) = counters["findings"]
        assert finding["organization"] == owner
        assert (float(finding["found"]) - float(finding["expected"])) == pytest.approx(1)

    @pytest.mark.parametrize(
        ("revision", "told"),
        [("0007_translation", "older than this program: run `scripts/tollgate migrate`"), ("9999_later", "is newer")],
    )
    async def test_does_not_look_at_a_schema_it_does_not_know(self, history: History, revision: str, told: str) -> None:
        pool = history.scene.pool
        await pool.execute("UPDATE alembic_version SET version_num = $1", revision)
        try:
            result = await asked(history.url)
        finally:
            await pool.execute("UPDATE alembic_version SET version_num = $1", migrations.head())

        assert result.exit_code == 2
        assert told in result.stderr
        assert result.stdout == ""

    async def test_does_not_look_where_there_is_no_schema(self, empty_database_url: str) -> None:
        result = await asked(empty_database_url)

        assert (result.exit_code, result.stdout) == (2, "")
        assert "older than this program" in result.stderr

    async def test_does_not_look_at_a_server_that_is_away(self) -> None:
        result = await asked("postgresql://nobody@127.0.0.1:9/nothing")

        assert (result.exit_code, result.stdout) == (2, "")
        assert "Connect call failed" in result.stderr

    async def test_does_not_look_for_an_organization_that_is_not_there(self, history: History) -> None:
        result = await asked(history.url, "--organization", "org_0199f3c2-0000-7000-8000-000000000000")

        assert result.exit_code == 2
        assert "no such organization" in result.stderr
