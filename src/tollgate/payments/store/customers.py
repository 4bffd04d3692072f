"""Which customer at Stripe an organization is."""

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from tollgate.infra.database import ReadSession, WriteSession
from tollgate.kit.ids import OrganizationId
from tollgate.payments.records import CustomerLink
from tollgate.payments.tables import StripeCustomerRow


async def add(session: WriteSession, link: CustomerLink) -> None:
    """Insert the link, unless its generation is there already."""
    await session.execute(postgresql.insert(StripeCustomerRow).values(**asdict(link)).on_conflict_do_nothing())


async def current(session: ReadSession, organization_id: OrganizationId) -> CustomerLink | None:
    """The organization's newest link."""
    newest = (
        sa.select(StripeCustomerRow)
        .where(col(StripeCustomerRow.organization_id) == organization_id)
        .order_by(col(StripeCustomerRow.generation).desc())
        .limit(1)
        .execution_options(populate_existing=True)
    )
    return _link((await session.execute(newest)).scalar_one_or_none())


async def name(session: WriteSession, link: CustomerLink, customer_id: str) -> None:
    """Write down the customer, unless it is known."""
    await session.execute(
        sa.update(StripeCustomerRow)
        .where(
            col(StripeCustomerRow.organization_id) == link.organization_id,
            col(StripeCustomerRow.generation) == link.generation,
            col(StripeCustomerRow.customer_id).is_(None),
        )
        .values(customer_id=customer_id)
        .execution_options(synchronize_session=False)
    )


async def of_customer(session: ReadSession, customer_id: str) -> CustomerLink | None:
    """Whose customer that is, or was."""
    found = await session.execute(sa.select(StripeCustomerRow).where(col(StripeCustomerRow.customer_id) == customer_id))
    return _link(found.scalar_one_or_none())


def _link(row: StripeCustomerRow | None) -> CustomerLink | None:
    if row is None:
        return None
    return CustomerLink(OrganizationId(row.organization_id), row.generation, row.customer_id, row.created_at)
