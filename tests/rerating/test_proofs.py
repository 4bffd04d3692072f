"""Every proof of re-rates notices its own damage, and no other proof mistakes it for its own."""

from contextlib import suppress

import sqlalchemy as sa
from tests.invoices.builders import at
from tests.rerating.scene import DOUBLE, Past

from tollgate.entrypoints import doctor

DAMAGE: dict[str, tuple[str, set[str]]] = {
    "a month's calls": ("UPDATE rerate_months SET calls = calls + 1", {"re-rated months"}),
    "a month that is not there": ("DELETE FROM rerate_months", {"re-rated months"}),
    "what was measured": (
        "UPDATE rerate_results SET new_amount = new_amount + 1",
        {"re-rated months", "re-rated adjustments"},
    ),
    "an adjustment that is not there": (
        "UPDATE rerate_results SET adjustment_id = gen_random_uuid()",
        {"re-rated adjustments"},
    ),
    "an organization that was left out": (
        "UPDATE rerate_results SET posted_at = NULL, adjustment_id = NULL",
        {"applied re-rates"},
    ),
    "what was posted of none": (
        "UPDATE rerates SET state = 'measured', applied_number = NULL, applied_at = NULL",
        {"applied re-rates"},
    ),
}


PROVEN = {name for _, names in DAMAGE.values() for name in names}


class _Undone(Exception):
    """Damage is not kept."""


async def test_each_notices_its_own_damage(past: Past) -> None:
    organization = await past.books.an_organization()
    await past.books.record(organization, past.call(at(11, 5)))
    await past.rerated(DOUBLE)
    # The calls of these builders are of months without partitions, and have no attempts.
    whole = set((await doctor.examine(past.books.database)).complaints)
    assert not whole & PROVEN

    for name, (statement, expected) in DAMAGE.items():
        found: set[str] = set()
        with suppress(_Undone):
            async with past.books.database.write() as session:
                await session.execute(sa.text("SET LOCAL session_replication_role = replica"))
                await session.execute(sa.text(statement))
                found = set((await doctor.examine_snapshot(session)).complaints) - whole
                raise _Undone
        assert found == expected, name


def test_every_proof_has_its_damage() -> None:
    proven = {check.name for check in doctor.CHECKS if check.name.startswith(("re-rated", "applied re-rates"))}

    assert proven == PROVEN
