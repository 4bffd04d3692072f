"""Calls that used something and are charged nothing change no figure of those that are charged."""

from decimal import Decimal

import pytest
from tests.metering.scene import Scene, a_settlement

from tollgate.kit import money
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import CallStatus, Settlement
from tollgate.metering.rules import charge_records
from tollgate.pricing.model import Charge

NOTHING = Charge(items=(), amount=money.ZERO, unpriced=(), tier=0)


def spared(settlement: Settlement, quantities: UsageQuantities) -> Settlement:
    """The same call, had its provider broken off before any output."""
    record = settlement.call._replace(
        status=CallStatus.FAILED, price_version_id=None, amount=Decimal(0), origin_amount=Decimal(0)
    )
    return settlement._replace(call=record, charges=charge_records(record.call_id, NOTHING, quantities))


@pytest.mark.parametrize("first", ["spared", "charged"])
async def test_a_call_that_broke_off_in_vain_leaves_the_price_of_others_as_it_is(
    shared_scene: Scene, first: str
) -> None:
    scene = shared_scene
    caller = await scene.a_caller(credit="10")
    calls = [(await scene.hold(caller)).call_id for _ in range(2)]
    charged = a_settlement(caller, calls[0], scene.clock.at, prompt=1000, completion=1)
    broken = spared(a_settlement(caller, calls[1], scene.clock.at, prompt=500), UsageQuantities({Kind.PROMPT: 500}))
    for settlement in (broken, charged) if first == "spared" else (charged, broken):
        await scene.settle(settlement)
    rows = await scene.pool.fetch(
        "SELECT quantity, unit_price, amount FROM rollups WHERE organization_id = $1 AND kind = 'prompt'"
        " ORDER BY quantity",
        caller.organization_id,
    )
    assert [tuple(row) for row in rows] == [(500, None, 0), (1000, 1, Decimal("0.001"))]
