"""What tests of several slices build: chance that can be replayed, and organizations that are ordinary by default."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization, Organization
from tollgate.infra.database import Database
from tollgate.kit.ids import OrganizationId
from tollgate.ledger import service as ledger
from tollgate.ledger.model import Grant, GrantCategory, GrantTerms

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def seeded(seed: int) -> random.Random:
    """Chance that falls the same way every time."""
    return random.Random(seed)  # noqa: S311 - nothing here is secret


async def an_organization(database: Database, **order: Any) -> Organization:
    """A new organization: prepaid, without credit, in US dollars and UTC."""
    async with database.write() as session:
        return await accounts.create_organization(session, order=NewOrganization(**{"name": "Acme", **order}), now=BORN)


async def a_grant(
    database: Database, owner: OrganizationId, amount: str, *, now: datetime = BORN, **terms: Any
) -> Grant:
    """Credit in US dollars: paid for, of ordinary priority, for ever."""
    ordinary: dict[str, Any] = {"currency": "USD", "category": GrantCategory.PAID, "reason": ""}
    wanted = GrantTerms(Decimal(amount), **{**ordinary, **terms})
    async with database.write() as session:
        return await ledger.grant_credit(session, organization_id=owner, terms=wanted, by=None, now=now)
