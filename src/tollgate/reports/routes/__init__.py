"""The routes of the reports: an organization's own, a key's own, and the public catalogue."""

from tollgate.reports.routes.anthropic_models import AnthropicModelsController
from tollgate.reports.routes.calls import CallsController
from tollgate.reports.routes.catalogue import CatalogueController
from tollgate.reports.routes.funds import FundsController
from tollgate.reports.routes.preview import PreviewController
from tollgate.reports.routes.usage import UsageController

HANDLERS = (UsageController, CallsController, FundsController, CatalogueController, PreviewController)
"""Below `/api/v1`."""
ANTHROPIC_HANDLERS = (AnthropicModelsController,)
"""Below `/api/anthropic`."""

__all__ = ["ANTHROPIC_HANDLERS", "HANDLERS"]
