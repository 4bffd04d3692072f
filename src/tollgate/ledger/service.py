"""Use cases of the ledger: post a transfer, grant credit, tell what an account holds."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.infra import identity
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit import ids
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import GrantId, KeyId, OrganizationId
from tollgate.ledger import store
from tollgate.ledger.model import Grant, GrantTerms, Transfer, credits_of


async def post(session: WriteSession, transfer: Transfer) -> bool:
    """Append the transfer and move both balances; false if it was there already.

    Balances stay locked until the transaction ends: one that posts several transfers holds the organization's lock.
    """
    return await store.post(session, transfer)


async def grant_credit(
    session: WriteSession, *, organization_id: OrganizationId, terms: GrantTerms, by: KeyId | None, now: datetime
) -> Grant:
    """Give an organization credit: the grant, and the transfer that funds it.

    Raises:
        InvalidRequest: the amount is not above zero, or the grant would expire before it begins.
    """
    if terms.amount <= 0:
        raise InvalidRequest("A grant is more than nothing.", field="amount")
    if terms.expires_at is not None and terms.expires_at <= now:
        raise InvalidRequest("A grant expires after it is made.", field="expires_at")
    grant = Grant(
        organization_id=organization_id,
        id=GrantId(identity.new_id(now)),
        category=terms.category,
        priority=terms.priority,
        amount=terms.amount,
        remaining=terms.amount,
        currency=terms.currency,
        reason=terms.reason,
        expires_at=terms.expires_at,
        created_at=now,
        created_by=by,
    )
    await store.add_grant(session, grant)
    await store.post(session, _funding(grant))
    return grant


def _funding(grant: Grant) -> Transfer:
    return Transfer(
        organization_id=grant.organization_id,
        id=ids.derived_id(grant.id, "grant"),
        debit_account=grant.category.source,
        credit_account=credits_of(grant.id),
        amount=grant.amount,
        currency=grant.currency,
        cause="grant",
        cause_id=grant.id,
        reverses_id=None,
        occurred_at=grant.created_at,
        posted_at=grant.created_at,
    )


async def grants(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> list[Grant]:
    """The organization's grants made before that one, spent, expired or not, newest first."""
    return await store.grants(session, organization_id, before=before, count=count)


async def live_grants(
    session: ReadSession, *, organization_id: OrganizationId, currency: str, now: datetime
) -> list[Grant]:
    """The organization's grants that can be spent now, newest first."""
    return await store.live_grants(session, organization_id, currency=currency, now=now)


async def balance(session: ReadSession, *, organization_id: OrganizationId, account: str, currency: str) -> Decimal:
    """Debits less credits of one account: positive for what is owed to us, negative for what we owe."""
    return await store.balance(session, organization_id, account, currency)
