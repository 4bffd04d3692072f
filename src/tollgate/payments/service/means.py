"""What collecting and comparing need: the database, the way to Stripe, and what the installation wants."""

from dataclasses import dataclass

from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.kit.ids import OrganizationId, typed
from tollgate.payments.model import StripeCustomer
from tollgate.payments.states import Policy
from tollgate.payments.stripe_client import StripeClient


@dataclass(frozen=True, slots=True)
class Means:
    """What everything here is done with."""

    database: Database
    door: StripeClient | None
    """`None` without keys: invoices are then collected by hand, and customers told what is past due all the same."""
    clock: Clock
    policy: Policy

    async def customer(self, organization_id: OrganizationId) -> StripeCustomer:
        """The organization's customer at Stripe; a new one if it has none, or had one that was deleted."""
        owner = typed("org", organization_id)
        if self.door is None:
            raise ValueError("There is no way to Stripe")
        found = await self.door.find_customer(name="tollgate_organization", value=owner)
        return found or await self.door.create_customer(
            name=owner, metadata={"tollgate_organization": owner}, key=f"customer:{owner}"
        )

    async def method_of(self, customer: StripeCustomer) -> str | None:
        """What the customer's invoices are paid with."""
        return customer.default_payment_method_id
