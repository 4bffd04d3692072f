"""The proofs of payments notice their own damage."""

import pytest
import sqlalchemy as sa
from tests.payments.shop import Shop

from tollgate.entrypoints import doctor
from tollgate.infra.database import ReadSession

DAMAGE = {
    "the amount of a top-up": ("UPDATE top_ups SET amount = amount + 1", {"top-ups"}),
    "the tax of a top-up": ("UPDATE top_ups SET tax = 1", {"top-ups"}),
    "a top-up that was credited and is not paid": (
        "UPDATE top_ups SET status = 'expired', grant_id = NULL",
        {"top-ups"},
    ),
    "another grant": ("UPDATE top_ups SET grant_id = gen_random_uuid()", {"top-ups"}),
    "money from elsewhere": (
        "UPDATE transfers SET debit_account = 'cash' WHERE debit_account = 'stripe_clearing'",
        {"top-ups", "account balances"},
    ),
    "a top-up that does not fit": (
        "UPDATE top_ups SET status = 'parked', reason = 'odd', grant_id = NULL, closed_at = NULL",
        {"top-ups", "parked top-ups"},
    ),
    "an event that nobody takes": (
        "UPDATE stripe_events SET processed_at = NULL, received_at = now() - interval '61 minutes'",
        {"events of Stripe"},
    ),
}


@pytest.fixture
async def bought(shop: Shop) -> Shop:
    """Somebody bought credit, and all is well."""
    top_up = await shop.opened(await shop.an_organization())
    shop.double.complete(top_up.session_id or "")
    await shop.hear()
    return shop


async def test_what_was_bought_is_whole(bought: Shop) -> None:
    assert (await doctor.examine(bought.database)).complaints == ()


async def test_damage_is_noticed_and_nothing_else_is(bought: Shop) -> None:
    for damage, noticed in DAMAGE.values():
        with pytest.raises(_Undone) as undone:
            await _complaints(bought, damage)
        assert undone.value.complaints == noticed, damage


class _Undone(Exception):
    """Rolls back, and takes along what was found."""

    def __init__(self, complaints: set[str]) -> None:
        super().__init__()
        self.complaints = complaints


async def _complaints(shop: Shop, damage: str) -> None:
    async with shop.database.write() as session:
        await session.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no trigger stands in the way
        await session.execute(sa.text(damage))
        report = await doctor.examine_snapshot(ReadSession(session))
        raise _Undone(set(report.complaints))
