"""What collecting and comparing need: the database, the way to Stripe, and what the installation wants."""

from dataclasses import dataclass
from typing import Self

from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.kit.ids import OrganizationId
from tollgate.payments.model import NotConfigured, StripeCustomer
from tollgate.payments.service import customers
from tollgate.payments.service.surroundings import Surroundings
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

    @classmethod
    def within(cls, at: Surroundings) -> Self:
        """The same for a step that is sure to have a way to Stripe."""
        return cls(at.database, at.stripe, at.clock, at.policy)

    async def customer(self, organization_id: OrganizationId) -> StripeCustomer:
        """The organization's customer at Stripe; a new one if it has none, or had one that was deleted.

        Raises:
            NotConfigured: there is no way to Stripe.
        """
        if self.door is None:
            raise NotConfigured
        at = Surroundings(self.database, self.door, self.clock, self.policy)
        return await self.door.customer(await customers.ensure(at, organization_id=organization_id))

    async def method_of(self, customer: StripeCustomer) -> str | None:
        """What the customer's invoices are paid with: the default method, or else the newest that is stored."""
        if customer.default_payment_method_id is not None or self.door is None:
            return customer.default_payment_method_id
        stored = await self.door.methods(customer.id)
        return stored[0].id if stored else None
