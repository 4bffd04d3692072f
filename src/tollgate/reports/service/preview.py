"""What prices would have changed: last month's calls of an endpoint, rated anew at prices that are not published."""

from tollgate.infra.database import ReadSession
from tollgate.kit.ids import OrganizationId
from tollgate.kit.money import ZERO
from tollgate.kit.period import Period
from tollgate.pricing import effects
from tollgate.pricing import service as pricing
from tollgate.pricing.effects import NO_EFFECT, Bulk, Effect
from tollgate.pricing.model import PriceDraft
from tollgate.reports.model import Preview
from tollgate.reports.store import preview as store


async def preview(session: ReadSession, draft: PriceDraft, *, window: Period) -> Preview:
    """What the window's calls of the endpoint would have cost at the prices of the draft, exactly.

    A general price is compared with the calls that general prices charged, an organization's own with all of its calls;
    those of other service tiers are left out. Rollups are rated, and call by call only those of a tier that the new
    prices cut. Amounts are those before any discount or markup.

    Raises:
        InvalidRequest: the draft's items are at fault.
    """
    pricing.check(draft)
    owner = draft.organization_id
    versions = await pricing.could_charge(
        session, draft.endpoint_id, service_tier=draft.service_tier, organization_id=owner
    )
    bulks = await store.rolled_up(session, list(versions), window=window, owner=owner)
    found: dict[OrganizationId, Effect] = {}

    def add(organization_id: OrganizationId, effect: Effect) -> None:
        found[organization_id] = found.get(organization_id, NO_EFFECT) + effect

    cut = []
    for bulk in bulks:
        if effects.fits(bulk.tier, versions[bulk.price_version_id], draft.items):
            add(bulk.organization_id, effects.effect(bulk, draft.items))
        else:
            cut.append(bulk)
    for organization_id, effect in await _call_by_call(session, cut, draft, window=window):
        add(organization_id, effect)
    return Preview(window, found)


async def _call_by_call(
    session: ReadSession, cut: list[Bulk], draft: PriceDraft, *, window: Period
) -> list[tuple[OrganizationId, Effect]]:
    """The effects on calls whose tier the new prices cut: what they did cost as it was summed up, the rest anew."""
    if not cut:
        return []
    steps = effects.steps(draft.items)
    found = await store.call_by_call(session, cut, steps, window=window, owner=draft.organization_id)
    did_cost = [(bulk.organization_id, Effect(bulk.calls, bulk.amount, ZERO)) for bulk in cut]
    would_cost = []
    for (organization_id, step), quantities in found.items():
        anew = effects.effect(Bulk(organization_id, cut[0].price_version_id, step, quantities, ZERO), draft.items)
        would_cost.append((organization_id, Effect(0, ZERO, anew.new_amount, anew.unpriced)))
    return did_cost + would_cost
