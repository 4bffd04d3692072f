"""The proofs of payments notice their own damage."""

import pytest
import sqlalchemy as sa
from tests.payments.builders import Desk, days
from tests.payments.shop import Shop

from tollgate.entrypoints import doctor
from tollgate.infra.database import Database, ReadSession

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

OF_COLLECTING = {
    "what moved at Stripe": ("UPDATE stripe_movements SET amount = amount + 1", {"money at Stripe"}),
    "everything that moved": ("DELETE FROM stripe_movements", {"money at Stripe", "Stripe's movements"}),
    "the fee of a movement": ("UPDATE stripe_movements SET fee = fee + 1", {"money at Stripe", "Stripe's movements"}),
    "a payout of nothing that was posted": (
        "INSERT INTO stripe_payout_shares SELECT organization_id, 'po_1', 'USD', false, 1, now() FROM top_ups",
        {"money at Stripe", "Stripe's movements"},
    ),
    "a refund that is none": ("UPDATE refunds SET status = 'failed'", {"refunds and disputes"}),
    "a refund of another amount": (
        "UPDATE refunds SET amount = amount + 1 WHERE top_up_id IS NOT NULL",
        {"refunds and disputes"},
    ),
    "what went back of a top-up": (
        "DELETE FROM transfers WHERE cause = 'refund' AND debit_account = 'receivable'",
        {"refunds and disputes", "account balances"},
    ),
    "an invoice that nobody collects": ("DELETE FROM collections WHERE state = 'open'", {"invoices to collect"}),
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
            await _complaints(bought.database, damage)
        assert undone.value.complaints == noticed, damage


async def test_damage_to_what_was_compared_is_noticed_whatever_moves_of_others_since(desk: Desk) -> None:
    """Two have paid, and got something back, before the books were compared; one has paid since, and one owes."""
    await desk.refund_at_stripe(await desk.topped_up("20", spent="15"), 600)
    await desk.hear()
    invoice = await desk.invoiced()
    await desk.collect(invoice)
    await desk.credit(invoice, "4")
    await desk.refund(invoice)
    desk.pass_time(days(1))
    assert (await desk.reconcile()).differences == ()
    whole = set((await doctor.examine(desk.books.database)).complaints)
    desk.pass_time(days(1))
    await desk.collect(await desk.invoiced())
    await desk.invoiced(method=None)
    assert set((await doctor.examine(desk.books.database)).complaints) == whole

    for damage, noticed in OF_COLLECTING.values():
        with pytest.raises(_Undone) as undone:
            await _complaints(desk.books.database, damage)
        assert undone.value.complaints - whole == noticed, damage


class _Undone(Exception):
    """Rolls back, and takes along what was found."""

    def __init__(self, complaints: set[str]) -> None:
        super().__init__()
        self.complaints = complaints


async def _complaints(database: Database, damage: str) -> None:
    async with database.write() as session:
        await session.execute(sa.text("SET LOCAL session_replication_role = replica"))  # no trigger stands in the way
        await session.execute(sa.text(damage))
        report = await doctor.examine_snapshot(ReadSession(session))
        raise _Undone(set(report.complaints))
