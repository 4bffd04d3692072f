"""Access to Stripe by the settings: for web servers and workers alike."""

from tollgate.infra.database import Database
from tollgate.infra.settings import Settings
from tollgate.kit.clock import Clock
from tollgate.payments.service.means import Means
from tollgate.payments.states import Policy
from tollgate.payments.stripe_client import StripeClient


def client(configured: Settings) -> StripeClient | None:
    """The door to Stripe; `None` where there is no key."""
    if configured.stripe_secret_key is None:
        return None
    return StripeClient(
        configured.stripe_secret_key,
        webhook_secrets=configured.stripe_signing_secrets,
        base=configured.stripe_api_base,
    )


def policy(configured: Settings) -> Policy:
    """What happens to whoever does not pay."""
    return Policy(configured.payment_retry_days, configured.suspend_after_days)


def means(database: Database, clock: Clock, configured: Settings, stripe: StripeClient | None) -> Means:
    """What collecting and comparing need."""
    return Means(database, stripe, clock, policy(configured))
