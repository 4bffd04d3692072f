"""A small real history to look at and to damage: two organizations, calls that ended in every way, two invoices."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from tests.builders import a_grant
from tests.conftest import a_copy
from tests.metering.scene import Caller, Scene, a_settlement, an_attempt, costing

from tollgate.accounts.model import BillingMode
from tollgate.agreements import service as agreements
from tollgate.agreements.model import AgreementKind, AgreementOrder, BillingDetails, TaxTerms, TaxTreatment
from tollgate.entrypoints import doctor
from tollgate.entrypoints.doctor import Report
from tollgate.infra import database as databases
from tollgate.infra.database import Database
from tollgate.infra.identity import new_id
from tollgate.invoices.model import Month
from tollgate.invoices.service import invoices
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import CallId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.ledger import service as ledger
from tollgate.ledger.model import AdjustmentOrder, GrantCategory
from tollgate.metering import folding, rules
from tollgate.metering import service as metering
from tollgate.metering.model import AttemptRecord, AttemptStatus, CallStatus, Settlement
from tollgate.pricing.model import Charge

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TABLES = (
    "transfers",
    "adjustments",
    "invoices",
    "invoice_lines",
    "invoice_payments",
    "invoice_acts",
    "credit_notes",
    "credit_note_lines",
)
"""Those that the database lets nobody change."""
_NAMES = iter(range(1_000_000))


@dataclass(frozen=True, slots=True)
class History:
    """The database it happened in, and who called."""

    url: str
    scene: Scene
    prepaid: Caller
    postpaid: Caller

    @property
    def database(self) -> Database:
        return self.scene.database

    async def damaged(self, *statements: str) -> Report:
        """What the doctor says after these statements, which may name {prepaid} and {postpaid}; none stays."""
        owners = {"prepaid": self.prepaid.organization_id, "postpaid": self.postpaid.organization_id}
        async with self.database.write() as session:
            for table in TABLES:
                await session.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            for statement in statements:
                quoted = {name: f"'{owner}'" for name, owner in owners.items()}
                result = await session.execute(sa.text(statement.format(**quoted)))
                assert isinstance(result, sa.CursorResult)
                assert result.rowcount != 0, f"there is nothing to damage: {statement}"
            report = await doctor.examine_snapshot(session)
            await session.rollback()
        return report


@asynccontextmanager
async def a_history(server_url: str, template: str) -> AsyncIterator[History]:
    """A history in a database of its own."""
    async with a_copy(server_url, template, f"{template}_history_{next(_NAMES)}") as url:
        database, pool = databases.connect(url), await databases.connect_pool(url, connections_max=8)
        try:
            revision = await pool.fetchval("SELECT revision FROM catalogue_revision")
            yield await _happened(url, Scene(database, pool, FixedClock(NOW), revision))
        finally:
            await pool.close()
            await database.close()


async def _happened(url: str, scene: Scene) -> History:
    async with scene.database.write() as session:
        await metering.ensure_partitions(session, now=datetime(2026, 10, 1, tzinfo=UTC))
    prepaid = await scene.a_caller(credit="2", timezone="America/New_York")
    await a_grant(scene.database, prepaid.organization_id, "1", category=GrantCategory.PROMOTIONAL)
    postpaid = await scene.a_caller(billing_mode=BillingMode.POSTPAID, credit_limit=None)
    october, november = datetime(2026, 10, 31, 23, 50, tzinfo=UTC), NOW - timedelta(hours=1)

    for caller in (prepaid, postpaid):
        await _called(scene, caller, october, "0.4", "0.25")
        await _closed(scene, caller, Month(2026, 10), now=datetime(2026, 11, 1, 2, tzinfo=UTC))
    for caller in (prepaid, postpaid):
        await _called(scene, caller, november, "0.7", "1.12345", "0.002")
        await _free_ones(scene, caller, november)
    await _late(scene, postpaid, october)
    await _adjusted(scene, postpaid, "-0.2", "0.3")
    await _agreed(scene, prepaid)
    for caller in (prepaid, postpaid):
        await _closed(scene, caller, Month(2026, 11), now=NOW)
        await _called(scene, caller, NOW - timedelta(minutes=5), "0.5")
        await scene.hold(caller, "0.05")
        await _adjusted(scene, caller, "-0.2", "0.3")
    async with scene.database.write() as session:
        await folding.fold(session, postpaid.organization_id, up_to=1)
    return History(url, scene, prepaid, postpaid)


async def _called(scene: Scene, caller: Caller, at: datetime, *amounts: str) -> None:
    """Calls that were held and settled within the minute."""
    for amount in amounts:
        scene.clock.at = at
        answer = await scene.hold(caller, "2", least="0.1")
        scene.clock.at = at + timedelta(seconds=30)
        await scene.settle(costing(caller, answer.call_id, at, amount))
    scene.clock.at = NOW


async def _late(scene: Scene, caller: Caller, at: datetime) -> None:
    """A call that nobody held for, of a month that is closed."""
    await scene.settle(costing(caller, CallId(new_id(at)), at, "0.03"))


async def _free_ones(scene: Scene, caller: Caller, at: datetime) -> None:
    """An insured call, one that a second provider served, and one that none did."""
    insured = a_settlement(caller, CallId(new_id(at)), at, prompt=50, status=CallStatus.INSURED)
    nothing = Charge(items=(), amount=insured.call.amount * 0, unpriced=(), tier=0)
    used = UsageQuantities({Kind.PROMPT: 50})
    free = insured.call._replace(amount=nothing.amount, origin_amount=nothing.amount)
    served = a_settlement(caller, CallId(new_id(at)), at, prompt=10, completion=20)
    refused = a_settlement(caller, CallId(new_id(at)), at).call._replace(
        status=CallStatus.FAILED, provider=None, endpoint_id=None, price_version_id=None, quantities="{}"
    )
    await scene.settle(
        Settlement(free, rules.charge_records(free.call_id, nothing, used), insured.attempts),
        served._replace(attempts=_tried(served)),
        Settlement(refused, (), (an_attempt(refused, 1, AttemptStatus.FAILED),)),
    )


def _tried(settlement: Settlement) -> tuple[AttemptRecord, ...]:
    call = settlement.call
    return (an_attempt(call, 1, AttemptStatus.FAILED), an_attempt(call, 2, AttemptStatus.SERVED))


async def _adjusted(scene: Scene, caller: Caller, *amounts: str) -> None:
    async with scene.database.write() as session:
        for amount in amounts:
            order = AdjustmentOrder(Decimal(amount), "USD", "a wish")
            await ledger.adjust(session, organization_id=caller.organization_id, order=order, by=None, now=NOW)


async def _agreed(scene: Scene, caller: Caller) -> None:
    """A plan of half a month, a minimum, a discount, and tax that is added."""
    orders = [
        AgreementOrder(AgreementKind.SUBSCRIPTION, date(2026, 11, 16), None, amount=Decimal("9.99"), name="Platform"),
        AgreementOrder(AgreementKind.COMMITMENT, date(2026, 11, 1), None, amount=Decimal(5)),
        AgreementOrder(AgreementKind.DISCOUNT, date(2026, 11, 1), None, percent=Decimal("33.3333")),
    ]
    taxed = BillingDetails(tax=TaxTerms(TaxTreatment.EXCLUSIVE, Decimal("8.25"), "Sales tax"))
    owner = caller.organization_id
    async with scene.database.write() as session:
        for order in orders:
            await agreements.agree(session, organization_id=owner, order=order, by=None, now=NOW)
        await agreements.change_billing(session, organization_id=owner, edit=lambda _: taxed, by=None, now=NOW)


async def _closed(scene: Scene, caller: Caller, month: Month, *, now: datetime) -> None:
    async with scene.database.write() as session:
        await invoices.close(session, organization_id=caller.organization_id, month=month, now=now)
