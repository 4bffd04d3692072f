"""Usage without a price. What a re-rate has given one since is charged by an adjustment, and holds up nothing."""

from collections.abc import Sequence
from dataclasses import replace

from tollgate.infra.database import ReadSession
from tollgate.invoices.model import Invoice
from tollgate.invoices.rules import windows
from tollgate.invoices.rules.lines import lacks_price
from tollgate.kit.ids import OrganizationId
from tollgate.metering import unpriced
from tollgate.metering.model import BilledUsage, RecordScope


async def settled(session: ReadSession, drafted: Invoice) -> Invoice:
    """The draft, of whose unpriced usage only that is left which has no price to this day, with the first calls."""
    if not drafted.unpriced:
        return drafted
    window = drafted.heading.window
    scope = windows.records(window, window.period)
    left = await unpriced.unresolved(session, drafted.heading.organization_id, scope)
    return replace(drafted, unpriced=left.usages, unpriced_calls=left.call_ids)


async def without_resolved(
    session: ReadSession, organization_id: OrganizationId, scope: RecordScope, usages: Sequence[BilledUsage]
) -> tuple[BilledUsage, ...]:
    """The usage of a scope, without what a re-rate has priced since."""
    if not any(lacks_price(usage) for usage in usages):
        return tuple(usages)
    left = await unpriced.unresolved(session, organization_id, scope)
    return (*(usage for usage in usages if not lacks_price(usage)), *left.usages)
