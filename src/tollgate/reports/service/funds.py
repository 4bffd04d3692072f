"""What is left: an organization's credits, and what a key may still use."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from tollgate.accounts import service as accounts
from tollgate.infra.database import ReadSession
from tollgate.keys import service as keys
from tollgate.kit import money, period
from tollgate.kit.ids import PLATFORM, OrganizationId
from tollgate.kit.principal import Principal
from tollgate.ledger import service as ledger
from tollgate.ledger.model import RECEIVABLE, UNBILLED, Transfer
from tollgate.reports.model import Credits, KeyStanding, Spent
from tollgate.reports.store import funds as store

_UTC = ZoneInfo("UTC")


async def credits_left(session: ReadSession, *, organization_id: OrganizationId, now: datetime) -> Credits:
    """The organization's money right now: the figures that admission decides on."""
    organization = await accounts.get_organization(session, organization_id)
    live = await ledger.live_grants(session, organization_id=organization_id, currency=organization.currency, now=now)
    spent = await _spent(session, organization_id, scope_id=organization_id, zone=organization.zone, now=now)
    owed = [
        await ledger.balance(session, organization_id=organization_id, account=account, currency=organization.currency)
        for account in (UNBILLED, RECEIVABLE)
    ]
    return Credits(
        currency=organization.currency,
        total=money.total(grant.remaining for grant in live),
        held=spent.total_held,
        credit_limit=organization.credit_limit,
        unbilled=owed[0],
        receivable=owed[1],
        grants=tuple(live),
    )


async def transactions(
    session: ReadSession, *, organization_id: OrganizationId, causes: Sequence[str], before: UUID | None, count: int
) -> list[Transfer]:
    """What moved the organization's credits and debts before that transfer, newest first."""
    return await store.transfers(session, organization_id=organization_id, causes=causes, before=before, count=count)


async def key_standing(session: ReadSession, *, principal: Principal, now: datetime) -> KeyStanding:
    """The key that is asking, what it may use, and what it has used."""
    organization_id = principal.organization_id
    organization = None if organization_id == PLATFORM else await accounts.get_organization(session, organization_id)
    return KeyStanding(
        key=await keys.get(session, organization_id=organization_id, key_id=principal.key_id),
        limits=await accounts.get_limits(session, organization_id=organization_id, scope_id=principal.key_id),
        spent=await _spent(
            session,
            organization_id,
            scope_id=principal.key_id,
            zone=_UTC if organization is None else organization.zone,
            now=now,
        ),
        organization=organization,
    )


async def _spent(
    session: ReadSession, organization_id: OrganizationId, *, scope_id: UUID, zone: ZoneInfo, now: datetime
) -> Spent:
    return await store.spent(
        session,
        organization_id=organization_id,
        scope_id=scope_id,
        day=period.day_of(now, zone).start,
        week=period.week_of(now, zone).start,
        month=period.month_of(now, zone).start,
    )
