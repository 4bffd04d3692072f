"""Calls one by one: the list an organization sees, and the whole story of one."""

from collections.abc import Sequence
from uuid import UUID

import structlog

from tollgate.accounts import service as accounts
from tollgate.infra import telemetry
from tollgate.infra.database import ReadSession
from tollgate.kit import money
from tollgate.kit.errors import NotFound
from tollgate.kit.ids import CallId, KeyId, OrganizationId
from tollgate.metering import unpriced
from tollgate.metering.model import CallStatus
from tollgate.pricing import rules as rating
from tollgate.pricing import service as pricing
from tollgate.pricing.model import ChargeItem, PriceVersion
from tollgate.reports import rules
from tollgate.reports.model import Asked, Call, CallFilter, Generation
from tollgate.reports.service import scope
from tollgate.reports.store import calls as store

_SPARED = frozenset({CallStatus.INSURED, CallStatus.FAILED})
"""How calls end that may cost nothing whatever they used: insured, or broken off before any output."""

_log = structlog.get_logger(__name__)


async def list_calls(
    session: ReadSession, *, asked: Asked, wanted: CallFilter, before: UUID | None, count: int
) -> list[Generation]:
    """The organization's calls that match, made before that one, newest first; of all time if none is asked for.

    Raises:
        InvalidRequest: the window or the zone cannot be.
        NotFound: it filters by a project or key that the organization does not have.
    """
    organization = await accounts.get_organization(session, wanted.organization_id)
    window = rules.window(asked, zone=scope.zone_of(asked, organization))
    await scope.require_own(session, organization_id=wanted.organization_id, filters=wanted.filters)
    calls = await store.calls(session, wanted, window=window, before=before, count=count)
    return await _told(session, organization_id=wanted.organization_id, calls=calls)


async def generation(
    session: ReadSession, *, organization_id: OrganizationId, call_id: CallId, key_id: KeyId | None
) -> Generation:
    """The call with its attempts and the make-up of its charge; with `key_id`, only if that key made it.

    Raises:
        NotFound: the organization, or the key, has no such call.
    """
    call = await store.call(session, organization_id=organization_id, call_id=call_id)
    if call is None or key_id not in (None, call.key_id):
        raise NotFound("There is no such generation.")
    (told,) = await _told(session, organization_id=organization_id, calls=[call])
    return told


async def _told(session: ReadSession, *, organization_id: OrganizationId, calls: Sequence[Call]) -> list[Generation]:
    """The calls with what was tried for each, and the make-up of its charge."""
    attempts = await store.attempts(session, organization_id=organization_id, calls=calls)
    charged = {
        call.price_version_id: call.endpoint_id
        for call in calls
        if call.price_version_id is not None and call.endpoint_id is not None
    }
    prices = await pricing.versions(session, charged, organization_id=organization_id)
    unpriced_calls = [call.id for call in calls if call.status is CallStatus.UNPRICED]
    resolved = await unpriced.resolved_by(session, organization_id=organization_id, call_ids=unpriced_calls)
    found = []
    for call in calls:
        price = None if call.price_version_id is None else prices.get(call.price_version_id)
        tried, items = tuple(attempts.get(call.id, ())), _charge_items(call, price)
        found.append(Generation(call, tried, price, items, resolved.get(call.id)))
    return found


def _charge_items(call: Call, price: PriceVersion | None) -> tuple[ChargeItem, ...]:
    """The charge, kind by kind. Calls that cost nothing for how they ended have nothing to explain."""
    if price is None or (call.origin_amount == 0 and call.status in _SPARED):
        return ()
    charge = rating.rate(call.quantities, price)
    origin = charge if price.base is None else rating.rate(call.quantities, price.base)
    for recorded, rated in ((call.amount, charge.amount), (call.origin_amount, origin.amount)):
        if recorded != rated:
            telemetry.INCONSISTENT.inc()
            _log.error(
                "charge_is_inconsistent",
                call_id=str(call.id),
                recorded=money.amount_text(recorded),
                rated=money.amount_text(rated),
            )
    return charge.items
