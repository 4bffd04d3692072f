"""Use cases of agreements: say how an organization is invoiced, agree on something with it, and end that."""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from uuid import UUID

from tollgate.accounts import service as accounts
from tollgate.agreements import store
from tollgate.agreements.model import Agreement, AgreementKind, AgreementOrder, BillingDetails, Dues, Issuer
from tollgate.agreements.rules import billing as details
from tollgate.agreements.rules import terms
from tollgate.infra import identity
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import AgreementId, KeyId, OrganizationId
from tollgate.ledger import service as ledger


async def billing(session: ReadSession, *, organization_id: OrganizationId) -> BillingDetails:
    """How the organization is invoiced now.

    Raises:
        NotFound: there is no such organization.
    """
    await accounts.get_organization(session, organization_id)
    return await store.billing(session, organization_id)


async def change_billing(
    session: WriteSession,
    *,
    organization_id: OrganizationId,
    edit: Callable[[BillingDetails], BillingDetails],
    by: KeyId | None,
    now: datetime,
) -> BillingDetails:
    """Change how the organization is invoiced: what is issued from now on says it so.

    Raises:
        NotFound: there is no such organization.
        InvalidRequest: some of it cannot be; `field` says what.
    """
    await accounts.get_organization(session, organization_id)
    await ledger.lock(session, organization_id=organization_id)
    before = await store.billing(session, organization_id)
    after = edit(before)
    details.check_details(after)
    if after != before:
        await store.add_billing(session, organization_id, after, by=by, now=now)
    return after


async def issuer(session: ReadSession) -> Issuer | None:
    """Who issues the invoices of this installation, if that was said."""
    return await store.issuer(session)


async def set_issuer(session: WriteSession, *, issuer: Issuer, by: KeyId | None, now: datetime) -> Issuer:
    """Say who issues invoices from now on.

    Raises:
        InvalidRequest: some of it cannot be; `field` says what.
    """
    details.check_issuer(issuer)
    await store.add_issuer(session, issuer, by=by, now=now)
    return issuer


async def agree(
    session: WriteSession, *, organization_id: OrganizationId, order: AgreementOrder, by: KeyId | None, now: datetime
) -> Agreement:
    """Agree on a subscription, a commitment or a discount; it counts on invoices that are issued from now on.

    Raises:
        NotFound: there is no such organization.
        InvalidRequest: it cannot be agreed; `field` says why.
        Conflict: it overlaps one that is there.
    """
    organization = await accounts.get_organization(session, organization_id)
    terms.check_order(order, organization)
    await ledger.lock(session, organization_id=organization_id)
    terms.check_apart(order, await store.agreements(session, organization_id, kind=order.kind))
    agreement = terms.agreed(order, organization, AgreementId(identity.new_id(now)), by=by, now=now)
    await store.add(session, agreement)
    return agreement


async def end(
    session: WriteSession,
    *,
    agreement: tuple[OrganizationId, AgreementKind, AgreementId],
    ends_on: date | None,
    by: KeyId | None,
    now: datetime,
) -> Agreement:
    """Let an agreement end earlier than it would; `None` is as early as may be.

    Raises:
        NotFound: the organization has none of this kind with this id.
        InvalidRequest: it cannot end that early.
        Conflict: it ends by then anyway.
    """
    organization_id, kind, agreement_id = agreement
    organization = await accounts.get_organization(session, organization_id)
    await ledger.lock(session, organization_id=organization_id)
    for found in await store.agreements(session, organization_id, kind=kind):
        if found.id == agreement_id:
            today = now.astimezone(organization.zone).date()
            ended = terms.ended(found, ends_on, today=today, by=by, now=now)
            await store.end(session, ended)
            return ended
    raise NotFound(f"The organization has no such {kind}.")


async def agreements(
    session: ReadSession, *, organization_id: OrganizationId, kind: AgreementKind, before: UUID | None, count: int
) -> list[Agreement]:
    """The organization's agreements of the kind made before that one, ended or not, newest first.

    Raises:
        NotFound: there is no such organization.
    """
    await accounts.get_organization(session, organization_id)
    return await store.agreements(session, organization_id, kind=kind, before=before, count=count)


async def all_of(session: ReadSession, *, organization_id: OrganizationId) -> list[Agreement]:
    """Everything that was ever agreed with the organization, oldest first."""
    return (await store.agreements(session, organization_id))[::-1]


async def organizations_with_dues(session: ReadSession, dues: Sequence[Dues]) -> set[OrganizationId]:
    """Those of the organizations that owe a fee or a minimum for some of the days, used or not."""
    return await store.organizations_with_dues(session, dues)
