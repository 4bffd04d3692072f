"""Organizations whose calls of the past are re-rated, on a real database."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.invoices.builders import BORN, MODEL, PLAIN, Books, Used, at
from tests.pricing.builders import per_million

from tollgate.accounts.model import Organization
from tollgate.infra.changes import Act
from tollgate.infra.migrations import ROOT
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import OrganizationId
from tollgate.kit.money import ZERO
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.ledger import service as ledger
from tollgate.ledger.model import Adjustment
from tollgate.pricing import service as pricing
from tollgate.pricing.model import STANDARD, AdjustmentDraft, PriceDraft, PriceItem, PriceVersion
from tollgate.pricing.rules import adjusted, rate
from tollgate.rerating import service, tasks
from tollgate.rerating.model import Rerate, RerateState, Tally, Terms, Told

GUIDE = (ROOT / "docs" / "rerating.md").read_text()
EXAMPLE: dict[str, Any] = json.loads(re.findall(r"^```json\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)[0])
"""The body of the guide's worked example."""
NOBODY = "rerate_01890000-0000-7000-8000-000000000000"
WHOLE = Period(at(10, 1, 0), at(12, 1, 0))
"""October and November of UTC."""
DOUBLE = (
    per_million(Kind.PROMPT, "0.8"),
    per_million(Kind.INPUT_CACHE_READ, "0.2"),
    per_million(Kind.COMPLETION, "3.2"),
)
"""Twice the prices of the seed."""
SEARCH = {Kind.PROMPT: 1000, Kind.WEB_SEARCH: 2, Kind.COMPLETION: 10}


@dataclass(frozen=True, slots=True)
class Past:
    """What happened, and what is made of it since."""

    books: Books
    clock: FixedClock
    price: PriceVersion
    """The general price in force all the time."""

    def call(self, instant: datetime, counts: Mapping[Kind, int] = PLAIN, *, price: PriceVersion | None = None) -> Used:
        """A call at the general price, unless at another."""
        return Used(instant, counts, price=price or self.price)

    async def a_discount(self, organization: Organization, percent: str) -> PriceVersion:
        """The price as a discount of the organization's makes it."""
        draft = AdjustmentDraft(organization.id, MODEL, None, Decimal(percent), BORN)
        async with self.books.database.write() as session:
            made = await pricing.publish_adjustment(session, draft, act=Act(BORN))
        return adjusted(self.price, made.adjustment)

    async def an_own_price(self, organization: Organization, items: tuple[PriceItem, ...]) -> PriceVersion:
        """A price of the organization's own."""
        draft = PriceDraft(self.price.endpoint_id, organization.id, STANDARD, BORN, items)
        async with self.books.database.write() as session:
            return (await pricing.publish(session, draft, act=Act(BORN))).version

    def terms(self, items: Sequence[PriceItem], window: Period = WHOLE, **changes: Any) -> Terms:
        values: dict[str, Any] = {
            "endpoint_id": self.price.endpoint_id,
            "model": MODEL,
            "provider": "openai",
            "service_tier": STANDARD,
            "organization_id": None,
            "window": window,
            "items": tuple(items),
            "reason": "the wrong list price",
        }
        return Terms(**{**values, **changes})

    async def begin(self, items: Sequence[PriceItem], window: Period = WHOLE, **changes: Any) -> Rerate:
        async with self.books.database.write() as session:
            return await service.begin(
                session, terms=self.terms(items, window, **changes), by=None, now=self.clock.now()
            )

    async def dry_run(
        self,
        items: Sequence[PriceItem],
        window: Period = WHOLE,
        *,
        stretch: timedelta = tasks.STRETCH,
        owner: OrganizationId | None = None,
    ) -> Rerate:
        begun = await self.begin(items, window, organization_id=owner)
        measured = await tasks.go_on(self.books.database, self.clock, begun.id, stretch=stretch)
        assert measured.state is RerateState.MEASURED
        return measured

    async def apply(self, rerate: Rerate) -> Rerate:
        async with self.books.database.write() as session:
            await service.apply(session, rerate_id=rerate.id, by=None, now=self.clock.now())
        applied = await tasks.go_on(self.books.database, self.clock, rerate.id)
        assert applied.state is RerateState.APPLIED
        return applied

    async def rerated(self, items: Sequence[PriceItem], window: Period = WHOLE, **changes: Any) -> Decimal:
        """Re-rate, dry run and all; answers what that changed in all."""
        applied = await self.apply(await self.dry_run(items, window, **changes))
        return difference(await self.tally(applied))

    async def tally(self, rerate: Rerate) -> Tally:
        async with self.books.database.read() as session:
            return await service.tally(session, rerate.id)

    async def results(self, rerate: Rerate) -> dict[OrganizationId, Told]:
        async with self.books.database.read() as session:
            found = await service.results(session, rerate.id, after=None, count=100)
        return {told.result.organization_id: told for told in found}

    async def adjustments(self, organization: Organization) -> list[Adjustment]:
        async with self.books.database.read() as session:
            return await ledger.adjustments(session, organization_id=organization.id, before=None, count=100)

    def later(self, instant: datetime) -> "Past":
        """The same at a later time."""
        return replace(self, clock=FixedClock(instant))


def difference(tally: Tally) -> Decimal:
    return tally.new_amount - tally.amount


def cost(used: Sequence[Used], items: Sequence[PriceItem]) -> Decimal:
    """What rating every one of the calls at these prices adds up to; a request counts where it has a price."""
    total = ZERO
    for each in used:
        price = replace(each.price, items=tuple(items))
        total += rate(UsageQuantities({Kind.REQUEST: 1, **each.counts}), price).amount
    return total
