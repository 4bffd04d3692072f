"""Whether payments at Stripe are set up here."""

from tollgate.infra.database import Database
from tollgate.kit.clock import Clock
from tollgate.payments.model import NotConfigured
from tollgate.payments.service.surroundings import Surroundings
from tollgate.payments.stripe_client import StripeClient


def surroundings(database: Database, stripe: StripeClient | None, clock: Clock) -> Surroundings:
    """What steps need that ask Stripe.

    Raises:
        NotConfigured: there is no key to ask it with.
    """
    if stripe is None:
        raise NotConfigured
    return Surroundings(database, stripe, clock)
