"""Access to Stripe by the settings: for web servers and workers alike."""

from tollgate.infra.settings import Settings
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
