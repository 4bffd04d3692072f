"""What a look at an invoice reads: its own time, however long the organization's history is."""

import asyncio
from uuid import UUID

from tests.invoices.builders import AFTER, NOVEMBER, OCTOBER, Books, Used, at
from tests.metering.scene import fold_usage
from tests.plans import plan_of, statements_of

from tollgate.invoices.model import Invoice
from tollgate.invoices.service import invoices as service
from tollgate.kit.ids import lowest_uuid7
from tollgate.kit.period import QUARTER_HOUR
from tollgate.metering import service as metering


async def partitions(books: Books) -> None:
    """Partitions from September to December."""
    for month in (9, 11):
        async with books.database.write() as session:
            await metering.ensure_partitions(session, now=at(month, 1))


async def test_the_calls_behind_a_line_are_sought_in_their_own_month_alone(books: Books) -> None:
    await partitions(books)
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5)), Used(at(11, 5)))
    await books.close(organization, OCTOBER, now=at(11, 1, 2))
    await books.record(organization, Used(at(10, 31)), settled_at=at(11, 6))
    invoice = await books.close(organization, NOVEMBER, now=AFTER)
    own, late = invoice.lines[0], invoice.lines[-1]

    for line, month in ((own, "11"), (late, "10")):
        async with books.pool.acquire() as connection, connection.transaction():
            for other in {"09", "10", "11", "12"} - {month}:
                await connection.execute(f"LOCK TABLE calls_2026_{other} IN ACCESS EXCLUSIVE MODE")
            # It would wait for a partition that it wanted to look into.
            async with asyncio.timeout(5):
                parts = await books.explained(invoice, line.n)

        assert sum(part.quantity for part in parts) == (line.usage.quantity if line.usage else None)


async def test_the_calls_behind_a_line_are_sought_in_its_quarter_hours_alone(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, *(Used(at(11, 1 + n // 4, n % 4 * 5)) for n in range(40)))
    rare = [at(11, day) for day in (3, 20)]
    await books.record(organization, *(Used(each, model="openai/rare") for each in rare))
    drafted = await books.current(organization, now=at(11, 22))
    line = next(line for line in drafted.lines if line.usage and line.usage.model == "openai/rare")

    with statements_of("calls") as sent:
        parts = await books.explained(drafted, line.n, page=10)

    assert [part.call.accepted_at for part in parts] == rare
    sought = [
        sorted(each for each in parameters if isinstance(each, UUID) and each.version == 7) for _, parameters in sent
    ]
    assert len(sought) == len(rare)
    for each, ids in zip(rare, sought, strict=True):
        assert {lowest_uuid7(each), lowest_uuid7(each + QUARTER_HOUR)} <= set(ids)
    common = next(line for line in drafted.lines if line.usage and line.usage.model != "openai/rare")
    assert len(await books.explained(drafted, common.n, page=7)) == 40


async def test_a_draft_reads_its_own_time_and_what_came_late_by_index(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5)))
    await books.close(organization, OCTOBER, now=at(11, 1, 2))
    await books.record(organization, Used(at(11, 5)))

    with statements_of("rollups") as sent:
        await books.current(organization, now=at(11, 22))

    (own_time,) = sent
    plan = await plan_of(books.pool, own_time)
    open_time, unfolded, late = [line for line in plan.splitlines() if "Index Cond" in line and "bucket <" in line]
    assert "bucket >= gaps.starts_at" in open_time
    assert "invoice_cut = ANY ('{}'" in unfolded
    assert "bucket >=" in unfolded
    assert "invoice_cut = ANY ('{1}'" in late
    assert "rollups_cut" in plan
    assert "Seq Scan" not in plan


async def test_a_draft_of_folded_usage_says_the_same_and_reads_no_quarter_hour_of_it(books: Books) -> None:
    organization = await books.an_organization(timezone="Asia/Kathmandu")
    await books.record(organization, Used(at(10, 5)), Used(at(10, 31, 18, 15)))
    await books.close(organization, OCTOBER, now=at(11, 1, 2))
    await books.record(organization, Used(at(11, 5)), Used(at(11, 30, 18, 0)), Used(at(10, 30)))
    before = await books.current(organization, now=at(11, 22))
    await fold_usage(books.database, organization.id)

    with statements_of("rollups") as sent:
        after = await books.current(organization, now=at(11, 22))

    assert [(line.usage, line.amount_exact) for line in after.lines] == [
        (line.usage, line.amount_exact) for line in before.lines
    ]
    async with books.pool.acquire() as connection:
        text, parameters = sent[0]
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {text}", *parameters)
    assert "usage_sums" in "".join(row[0] for row in rows)
    await books.record(organization, Used(at(11, 6)))
    issued = await books.close(organization, NOVEMBER, now=AFTER)
    await books.assert_explains_itself(issued)


async def test_what_is_due_is_found_with_as_many_statements_for_many_organizations_as_for_one(books: Books) -> None:
    sent = []
    for number in (1, 4):
        for _ in range(number):
            organization = await books.an_organization()
            await books.record(organization, Used(at(10, 5)))
            await books.close(organization, OCTOBER, now=at(11, 1, 2))
        with statements_of("") as statements:
            assert await books.close_due(AFTER) == []
        sent.append(len(statements))

    assert sent[0] == sent[1]


async def test_late_usage_alone_makes_a_month_due(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(10, 5)))
    await books.close(organization, OCTOBER, now=at(11, 1, 2))
    await books.record(organization, Used(at(10, 31)), settled_at=at(11, 6))

    (outcome,) = await books.close_due(AFTER)

    assert outcome.month == NOVEMBER
    assert outcome.invoice is not None


async def test_a_draft_names_all_its_projects_with_one_statement(books: Books) -> None:
    organization = await books.an_organization()
    names = ("Search", "Support", "Sales")
    await books.record(
        organization, *[Used(at(11, 5), project_id=await books.a_project(organization, name)) for name in names]
    )

    with statements_of("projects") as sent:
        drafted = await books.current(organization, now=at(11, 22))

    assert {line.usage.project_name for line in drafted.lines if line.usage} == set(names)
    assert len(sent) == 1


async def test_finalising_reads_the_usage_once(books: Books) -> None:
    organization = await books.an_organization()
    await books.record(organization, Used(at(11, 5)))
    drafted = await books.current(organization, now=at(11, 22))

    async def finalise() -> Invoice:
        async with books.database.write() as session:
            return await service.finalise(session, invoice_id=drafted.heading.id, now=AFTER)

    with statements_of("rollups") as sent:
        issued = await finalise()
        assert await finalise() == issued

    assert len(sent) == 2  # what the months before have not been invoiced for, and the month itself
