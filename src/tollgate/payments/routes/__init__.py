"""The routes of payments at Stripe: an organization's own, the operator's, and Stripe's."""

from tollgate.payments.routes.collecting import CollectingController, PaymentsController
from tollgate.payments.routes.methods import MethodsController
from tollgate.payments.routes.top_ups import TopUpActsController, TopUpsController
from tollgate.payments.routes.webhook import receive

HANDLERS = (TopUpsController, TopUpActsController, MethodsController, PaymentsController, CollectingController)
"""Below `/api/v1`."""
WEBHOOKS = (receive,)
"""At the root, without a key: what Stripe calls."""

__all__ = ["HANDLERS", "WEBHOOKS"]
