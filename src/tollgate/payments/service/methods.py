"""Use cases of what customers pay with: Stripe's pages to store and manage it, and what is stored."""

from tollgate.accounts import service as accounts
from tollgate.kit.errors import IdempotencyConflict
from tollgate.kit.ids import OrganizationId
from tollgate.payments.model import CheckoutSession, StoredMethod, StripeCustomer, StripeKeySpent, StripeMissing
from tollgate.payments.records import Pages
from tollgate.payments.rules import links
from tollgate.payments.service import customers
from tollgate.payments.service.surroundings import Surroundings


async def open_setup(at: Surroundings, *, organization_id: OrganizationId, pages: Pages, once: str) -> str:
    """The URL of a page at Stripe on which to store what to pay with; the same for the same `once`.

    Raises:
        InvalidRequest: a link cannot be; `field` says which.
        IdempotencyConflict: `once` was used for another request.
        StripeError: Stripe could not be asked, or refuses.
    """
    links.check(pages.success_url, "success_url")
    links.check(pages.cancel_url, "cancel_url")
    async with at.database.read() as session:
        organization = await accounts.get_organization(session, organization_id)
    customer_id = await customers.ensure(at, organization_id=organization_id)
    try:
        page = await at.stripe.create_setup(
            customer_id,
            currency=organization.currency,
            success_url=pages.success_url,
            cancel_url=pages.cancel_url,
            key=f"set-up:{organization_id}:{customer_id}:{once}",
        )
    except StripeKeySpent as spent:
        raise IdempotencyConflict from spent
    return page.url or pages.cancel_url


async def open_portal(at: Surroundings, *, organization_id: OrganizationId, return_url: str, once: str) -> str:
    """The URL of the customer's own pages at Stripe: methods, invoices, receipts; the same for the same `once`.

    Raises:
        InvalidRequest: the link cannot be.
        IdempotencyConflict: `once` was used for another request.
        StripeError: Stripe could not be asked, or refuses.
    """
    links.check(return_url, "return_url")
    customer_id = await customers.ensure(at, organization_id=organization_id)
    key = f"portal:{organization_id}:{customer_id}:{once}"
    try:
        return await at.stripe.open_portal(customer_id, return_url=return_url, key=key)
    except StripeKeySpent as spent:
        raise IdempotencyConflict from spent


async def current(at: Surroundings, *, organization_id: OrganizationId) -> StoredMethod | None:
    """What the organization's invoices are paid with: the default method, or else the newest that is stored."""
    async with at.database.read() as session:
        customer_id = await customers.known(session, organization_id=organization_id)
    if customer_id is None:
        return None
    try:
        customer = await at.stripe.customer(customer_id)
        stored = [] if customer.is_deleted else await at.stripe.methods(customer_id)
    except StripeMissing:
        return None
    return _chosen(customer, stored)


def _chosen(customer: StripeCustomer, stored: list[StoredMethod]) -> StoredMethod | None:
    by_default = (each for each in stored if each.id == customer.default_payment_method_id)
    return next(by_default, stored[0] if stored else None)


async def on_setup(at: Surroundings, page: CheckoutSession) -> bool:
    """Stripe says that something was stored: from now on invoices are paid with it, if nothing newer is stored.

    So pages that are told of out of order leave the same default; false if the page is none of ours.
    """
    if page.setup_method_id is None or page.customer_id is None:
        return False
    async with at.database.read() as session:
        owner = await customers.owner(session, customer_id=page.customer_id)
    if owner is None:
        return False
    try:
        stored = await at.stripe.methods(page.customer_id)
        if stored and stored[0].id == page.setup_method_id:
            key = f"default:{page.id}"
            await at.stripe.set_default_method(page.customer_id, page.setup_method_id, key=key)
    except StripeMissing:
        return True  # the customer was deleted, with all that was stored
    return True
