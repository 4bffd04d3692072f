"""The routes of the reports: an organization's own, a key's own, and the public catalogue."""

from tollgate.reports.routes.calls import CallsController
from tollgate.reports.routes.catalogue import CatalogueController
from tollgate.reports.routes.funds import FundsController
from tollgate.reports.routes.usage import UsageController

HANDLERS = (UsageController, CallsController, FundsController, CatalogueController)

__all__ = ["HANDLERS"]
