"""The customer at Stripe that an organization is: made when first needed, and again if it was deleted there."""

from datetime import timedelta

from tollgate.accounts import service as accounts
from tollgate.infra.database import ReadSession
from tollgate.kit.ids import OrganizationId, typed
from tollgate.payments.model import NotTheirs, StripeAway, StripeKeySpent, StripeMissing
from tollgate.payments.records import CustomerLink
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.store import customers as store

_ORGANIZATION = "organization"
_KEY_LASTS = timedelta(hours=23)
"""Stripe keeps the answer to a key for a day; later it is safer to look first."""


async def ensure(at: Surroundings, *, organization_id: OrganizationId) -> str:
    """The id of the organization's customer, who is alive at Stripe.

    Raises:
        NotFound: there is no such organization.
        StripeError: Stripe could not be asked, or refuses.
    """
    link = await _current(at, organization_id)
    if link.customer_id is not None and await _lives(at, link.customer_id):
        return link.customer_id
    if link.customer_id is not None:
        link = await _replace(at, link)
    return link.customer_id or await _make(at, link)


async def known(session: ReadSession, *, organization_id: OrganizationId) -> str | None:
    """The id of the organization's customer, if there ever was one; it may have been deleted at Stripe."""
    link = await store.current(session, organization_id)
    return None if link is None else link.customer_id


async def owner(session: ReadSession, *, customer_id: str) -> OrganizationId | None:
    """Whose customer that is, or was before it was deleted."""
    link = await store.of_customer(session, customer_id)
    return None if link is None else link.organization_id


async def _current(at: Surroundings, organization_id: OrganizationId) -> CustomerLink:
    async with at.database.read() as session:
        found = await store.current(session, organization_id)
    return found or await _next(at, organization_id, generation=1)


async def _next(at: Surroundings, organization_id: OrganizationId, *, generation: int) -> CustomerLink:
    new = CustomerLink(organization_id, generation, customer_id=None, created_at=at.clock.now())
    async with at.database.write() as session:
        await accounts.get_organization(session, organization_id)
        await store.add(session, new)
        return await store.current(session, organization_id) or new


async def _replace(at: Surroundings, link: CustomerLink) -> CustomerLink:
    return await _next(at, link.organization_id, generation=link.generation + 1)


async def _lives(at: Surroundings, customer_id: str) -> bool:
    try:
        return not (await at.stripe.customer(customer_id)).is_deleted
    except StripeMissing:
        return False


async def _make(at: Surroundings, link: CustomerLink) -> str:
    async with at.database.read() as session:
        organization = await accounts.get_organization(session, link.organization_id)
    metadata = {_ORGANIZATION: typed("org", link.organization_id), "generation": str(link.generation)}
    made = None
    if at.clock.now() - link.created_at > _KEY_LASTS:
        made = await at.stripe.find_customer(name=_ORGANIZATION, value=metadata[_ORGANIZATION])
    if made is None:
        key = f"customer:{link.organization_id}:{link.generation}"
        try:
            made = await at.stripe.create_customer(name=organization.name, metadata=metadata, key=key)
        except StripeKeySpent:
            # Renamed since it was asked for in vain. A customer that nobody knows of does no harm.
            return await _make(at, await _replace(at, link))
        except StripeAway as away:
            if away.is_replay:
                return await _make(at, await _replace(at, link))
            raise
    async with at.database.write() as session:
        known_as = await store.of_customer(session, made.id)
        if known_as is not None and known_as.organization_id != link.organization_id:
            raise NotTheirs("Stripe answered with another organization's customer.")
        await store.name(session, link, made.id)
        now_known = await store.current(session, link.organization_id)
    return (None if now_known is None else now_known.customer_id) or made.id
