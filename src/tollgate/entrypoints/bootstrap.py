"""Bootstrap: what every start makes sure of, and what the first start hands to its operator.

The seed catalogue, its prices and the partitions of calls are completed on every start. The first start also opens an
organization with a promotional grant, and makes one key of each kind.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization
from tollgate.catalog import seed as catalog
from tollgate.infra.database import Database, WriteSession
from tollgate.keys import service as keys
from tollgate.keys.model import NewKey
from tollgate.kit import ids
from tollgate.kit.ids import OrganizationId
from tollgate.kit.principal import KeyKind
from tollgate.ledger import service as ledger
from tollgate.ledger.model import GrantCategory, GrantTerms
from tollgate.metering import service as metering
from tollgate.pricing import seed as pricing

WELCOME_GRANT = GrantTerms(Decimal(5), "USD", GrantCategory.PROMOTIONAL, reason="Welcome")
"""What the first organization may spend before it pays anything."""


@dataclass(frozen=True, slots=True)
class FirstKeys:
    """The texts of the first keys: the only time they are known."""

    operator_key: str
    management_key: str
    inference_key: str


async def first_start(database: Database, now: datetime) -> FirstKeys | None:
    """Complete the seed; on the very first start also make the first organization and keys, and answer these."""
    async with database.write() as session:
        await metering.ensure_partitions(session, now=now)
        endpoints = await catalog.seed(session, now)
        await pricing.seed(session, endpoints, now)
        return None if await keys.has_operator(session) else await _first_keys(session, now)


async def _first_keys(session: WriteSession, now: datetime) -> FirstKeys:
    organization = await accounts.create_organization(
        session, order=NewOrganization(name="First organization"), now=now
    )
    await ledger.grant_credit(session, organization_id=organization.id, terms=WELCOME_GRANT, by=None, now=now)
    return FirstKeys(
        operator_key=await _mint(session, ids.PLATFORM, KeyKind.OPERATOR, now),
        management_key=await _mint(session, organization.id, KeyKind.MANAGEMENT, now),
        inference_key=await _mint(session, organization.id, KeyKind.INFERENCE, now),
    )


async def _mint(session: WriteSession, owner: OrganizationId, kind: KeyKind, now: datetime) -> str:
    minted = await keys.create(session, order=NewKey(owner, kind, f"First {kind} key"), now=now)
    return minted.text
