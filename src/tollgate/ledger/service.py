"""Use cases of the ledger: post a transfer, grant credit and take it back, adjust, tell what an account holds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from tollgate.infra import identity
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit import money
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import AdjustmentId, GrantId, KeyId, OrganizationId
from tollgate.ledger import rules, store
from tollgate.ledger.model import (
    Adjustment,
    AdjustmentOrder,
    Favour,
    Grant,
    GrantTerms,
    InvoiceScope,
    Transfer,
    grant_of,
)


async def post(session: WriteSession, transfer: Transfer) -> bool:
    """Append the transfer and move both balances; false if it was there already.

    Balances stay locked until the transaction ends: one that posts several transfers holds the organization's lock.
    """
    return await store.post(session, transfer)


async def lock(session: WriteSession, *, organization_id: OrganizationId) -> None:
    """Take the organization's lock until the transaction ends: before anything else that it may wait for."""
    await store.lock(session, organization_id)


async def grant_credit(
    session: WriteSession,
    *,
    organization_id: OrganizationId,
    terms: GrantTerms,
    by: KeyId | None,
    now: datetime,
    source: str | None = None,
) -> Grant:
    """Give an organization credit: the grant, and the transfer that funds it.

    It is made from the account of its category, unless `source` names another, such as the one of money at Stripe.
    A reference is credited once: told again on the same terms, it answers the grant as it is now.

    Raises:
        InvalidRequest: the amount is not above zero or beyond reckoning, or the grant would expire before it begins.
        Conflict: the reference stands for a grant on other terms.
    """
    if terms.reference is not None:
        await store.lock(session, organization_id)
        known = await store.referenced_grant(session, organization_id, terms.reference)
        if known is not None:
            rules.check_same_terms(known, terms)
            return known
    rules.check_terms(terms, now)
    grant = rules.granted(terms, organization_id, GrantId(identity.new_id(now)), by=by, now=now)
    await store.add_grant(session, grant)
    await store.post(session, rules.funding(grant, source))
    return grant


async def void_grant(
    session: WriteSession, *, grant: tuple[OrganizationId, GrantId], reason: str, by: KeyId | None, now: datetime
) -> Grant:
    """Take back what is left of a grant: nothing new is admitted on it, calls under way are still paid from it.

    What they leave is posted when they have settled, at once if there are none. A grant that was voided before is
    answered as it is.

    Raises:
        NotFound: the organization has no such grant.
        Conflict: it has expired, or nothing is left of it.
    """
    organization_id, grant_id = grant
    await store.lock(session, organization_id)
    found = await get_grant(session, organization_id, grant_id)
    if found.voided_at is not None:
        return found
    rules.check_voidable(found, now)
    await store.void_grant(session, replace(found, voided_at=now, voided_by=by, void_reason=reason))
    await store.end_grants(session, now=now, organization_id=organization_id)
    return await get_grant(session, organization_id, grant_id)


async def get_grant(session: ReadSession, organization_id: OrganizationId, grant_id: GrantId) -> Grant:
    """The organization's grant as it is now.

    Raises:
        NotFound: it has none with this id.
    """
    found = await store.grant(session, organization_id, grant_id)
    if found is None:
        raise NotFound("The organization has no such grant.")
    return found


async def end_grants(session: WriteSession, *, now: datetime) -> int:
    """Close grants that expired or were voided and that no call under way may still burn; answers how many.

    Any process may do this, any number at once. A hundred at most are closed in one go.
    """
    return await store.end_grants(session, now=now, organization_id=None)


async def burn(session: WriteSession, *, grant_id: GrantId, transfer: Transfer) -> bool:
    """Post a transfer out of a grant; false if it was there already. The caller holds the organization's lock."""
    posted = await store.post(session, transfer)
    if posted:
        await store.lower_remaining(session, transfer.organization_id, grant_id, transfer.amount)
    return posted


async def reverse(
    session: WriteSession, *, organization_id: OrganizationId, caused: tuple[str, UUID], cause: str, now: datetime
) -> None:
    """Take back every transfer that was caused so, each by one under the new cause that names it; once.

    Grants get back what they paid. The caller holds the organization's lock.

    Raises:
        Conflict: a grant that paid has ended meanwhile.
    """
    for transfer in await store.caused(session, organization_id, *caused):
        payer = grant_of(transfer.debit_account)
        if payer is not None:
            rules.check_takes_back(await get_grant(session, organization_id, payer))
        posted = await store.post(session, rules.reversal(transfer, cause=cause, now=now))
        if posted and payer is not None:
            await store.lower_remaining(session, organization_id, payer, transfer.amount.copy_negate())


async def caused(session: ReadSession, *, organization_id: OrganizationId, by: tuple[str, UUID]) -> list[Transfer]:
    """The transfers that were posted for this cause."""
    return await store.caused(session, organization_id, *by)


async def add_funded_grant(session: WriteSession, *, grant: Grant) -> None:
    """Add a grant whose funding the caller posts in the same transaction, under `rules.funding_id`."""
    await store.add_grant(session, grant)


async def adjust(
    session: WriteSession, *, organization_id: OrganizationId, order: AdjustmentOrder, by: KeyId | None, now: datetime
) -> Adjustment:
    """Give the organization something, or charge it, beside its calls. The balance tells at once.

    A charge may take the balance below zero; it moves no limit.

    Raises:
        InvalidRequest: the amount is zero, or beyond reckoning.
    """
    rules.check_adjustment(order)
    cut = await store.lock(session, organization_id)
    adjustment = Adjustment(
        organization_id=organization_id,
        id=AdjustmentId(identity.new_id(now)),
        amount=order.amount,
        currency=order.currency,
        reason=order.reason,
        credits_amount=money.ZERO,
        invoice_cut=cut,
        created_at=now,
        created_by=by,
    )
    if order.amount > 0:
        favour = rules.favour_grant(adjustment)
        await store.add_grant(session, favour)
        await store.post(session, rules.favour_funding(favour, adjustment))
    else:
        adjustment = replace(adjustment, credits_amount=await store.charge(session, adjustment))
    await store.add_adjustment(session, adjustment)
    return adjustment


async def adjustments(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> list[Adjustment]:
    """The organization's adjustments made before that one, newest first."""
    return await store.adjustments(session, organization_id, before=before, count=count)


async def charges(
    session: ReadSession, *, organization_id: OrganizationId, currency: str, scope: InvoiceScope
) -> list[Adjustment]:
    """The charges that an invoice covers, oldest first."""
    return await store.charges(session, organization_id, currency=currency, scope=scope)


async def favours(session: ReadSession, *, organization_id: OrganizationId, currency: str) -> list[Favour]:
    """The adjustments in the organization's favour of which something is left, oldest first."""
    return await store.favours(session, organization_id, currency=currency)


async def organizations_with_charges(
    session: ReadSession, scopes: Sequence[tuple[OrganizationId, InvoiceScope]]
) -> set[OrganizationId]:
    """The organizations with a charge in their scope, which nothing cuts yet."""
    return await store.organizations_with_charges(session, scopes)


async def grants(
    session: ReadSession, *, organization_id: OrganizationId, before: UUID | None, count: int
) -> list[Grant]:
    """The organization's grants made before that one, spent, ended or not, newest first."""
    return await store.grants(session, organization_id, before=before, count=count)


async def live_grants(
    session: ReadSession, *, organization_id: OrganizationId, currency: str, now: datetime
) -> list[Grant]:
    """The organization's grants that can be spent now, newest first."""
    return await store.live_grants(session, organization_id, currency=currency, now=now)


async def balance(session: ReadSession, *, organization_id: OrganizationId, account: str, currency: str) -> Decimal:
    """Debits less credits of one account: positive for what is owed to us, negative for what we owe."""
    return await store.balance(session, organization_id, account, currency)


async def balances(session: ReadSession, *, account: str) -> dict[tuple[OrganizationId, str], Decimal]:
    """Debits less credits of that account of every organization that has one, by organization and currency."""
    return await store.balances(session, account)
