"""Calls settled together around the end of a grant: those accepted before it are paid first, whatever their ids.

An id tells the millisecond that a call was accepted in, so ids alone would put a batch in the right order, but for
calls of one millisecond. Two of them in a batch, an end between them and their ids the wrong way round, are more than
the books' state machine comes upon in its 200 examples: so this mistake is planted here, and not among its own.
"""

from datetime import timedelta
from decimal import Decimal

import pytest
from tests.books.test_mutations import mistaken
from tests.builders import a_grant
from tests.ledger.books import assert_balanced, assert_grants_add_up
from tests.metering.scene import Scene, costing

MOMENT = timedelta(microseconds=1)
BY_IDS_ALONE = ("ledger_charge_calls", "CASE WHEN v_first_end <= c.accepted_at", "CASE WHEN false")
PAID_IN_ORDER = [
    {"ending": Decimal(5), "lasting": Decimal(2)},
    {"lasting": Decimal(3), "unbilled": Decimal(2)},
]


async def payments(scene: Scene, *, in_order: bool) -> list[dict[str, Decimal]]:
    """What paid for 7 just before the first of two grants of 5 ended, and for 5 at its end; ids in order or not."""
    caller, end = await scene.a_caller(), scene.clock.at + timedelta(hours=1)
    ending = await a_grant(scene.database, caller.organization_id, "5", expires_at=end)
    lasting = await a_grant(scene.database, caller.organization_id, "5")
    scene.clock.at = end - MOMENT
    before, after = sorted([(await scene.hold(caller)).call_id for _ in range(2)], reverse=not in_order)

    await scene.settle(costing(caller, before, end - MOMENT, "7"), costing(caller, after, end, "5"))

    await assert_balanced(scene.pool)
    await assert_grants_add_up(scene.pool)
    names = {f"credits:{ending.id}": "ending", f"credits:{lasting.id}": "lasting", "unbilled": "unbilled"}
    paid = await scene.pool.fetch("SELECT cause_id, debit_account, amount FROM transfers WHERE cause = 'call'")
    return [
        {names[account]: amount for cause, account, amount in map(tuple, paid) if cause == call}
        for call in (before, after)
    ]


@pytest.mark.parametrize("in_order", [True, False])
async def test_what_was_accepted_before_an_end_is_paid_before_what_was_accepted_at_it(
    scene: Scene, *, in_order: bool
) -> None:
    assert await payments(scene, in_order=in_order) == PAID_IN_ORDER


async def test_by_their_ids_alone_the_first_would_leave_nothing_to_the_other(scene: Scene, database_url: str) -> None:
    await mistaken(database_url, *BY_IDS_ALONE)

    assert await payments(scene, in_order=False) == [
        {"ending": Decimal(5), "unbilled": Decimal(2)},
        {"lasting": Decimal(5)},
    ]
