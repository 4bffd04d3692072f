"""The calls behind one line of an invoice, found by the quarter-hours in which the rollups have any of its usage.

A line may be of three calls in a month of millions: quarter-hours without any are not looked into. Those that follow on
each other are one stretch, so that the calls of a common line are read in one go.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from tollgate.infra.database import ReadSession
from tollgate.kit import ids, period
from tollgate.kit.ids import CallId, KeyId, OrganizationId, PriceVersionId, ProjectId
from tollgate.kit.period import QUARTER_HOUR, Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import BilledLine, CallStatus, CallSummary, RecordScope

_NOTHING = ids.PLATFORM
"""Stands for "none" in the rollups' key, which admits no null."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NO_INVOICE = (_BEGINNING, -1)
_BUCKETS_FIRST, _BUCKETS_TIMES = 8, 4
"""How many quarter-hours are looked for at first, and how many times more each time these were not enough."""
_INSTANT = sa.DateTime(timezone=True)

_BUCKETS = sa.text("""
    SELECT DISTINCT bucket FROM rollups
    WHERE organization_id = :organization_id AND bucket >= :since AND bucket < :end AND invoice_cut <= :cut
      AND project_id = :project_id AND model = :model AND tier = :tier AND price_version_id = :price_version_id
      AND kind = :kind
    ORDER BY bucket
    LIMIT :most
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "project_id", "price_version_id")),
    *(sa.bindparam(name, type_=_INSTANT) for name in ("since", "end")),
)

# The bounds on the id leave only the calls of the stretch to be read: a call's id is minted at the very millisecond at
# which it was accepted.
_CALLS = sa.text("""
    SELECT id, accepted_at, project_id, key_id, model, provider, status, quantities, amount, price_version_id
    FROM calls
    WHERE organization_id = :organization_id AND id >= :first_id AND id < :last_id AND id > :after
      AND accepted_at >= :start AND accepted_at < :end
      AND invoice_cut <= :cut AND NOT (accepted_at < :previous_end AND invoice_cut <= :previous_cut)
      AND project_id IS NOT DISTINCT FROM nullif(:project_id, :nothing) AND model = :model AND tier = :tier
      AND price_version_id IS NOT DISTINCT FROM nullif(:price_version_id, :nothing)
      AND quantities ? :kind AND status <> 'insured'
    ORDER BY id
    LIMIT :limit
""").bindparams(
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("organization_id", "first_id", "last_id", "after")),
    *(sa.bindparam(name, type_=sa.Uuid) for name in ("project_id", "price_version_id")),
    *(sa.bindparam(name, type_=_INSTANT) for name in ("start", "end", "previous_end")),
    sa.bindparam("nothing", _NOTHING, type_=sa.Uuid),
)


async def billed_calls(
    session: ReadSession,
    organization_id: OrganizationId,
    scope: RecordScope,
    line: BilledLine,
    *,
    after: CallId | None,
    limit: int,
) -> tuple[CallSummary, ...]:
    """The calls behind one line that were accepted in the scope's own time, oldest first."""
    since = scope.start
    if after is not None:
        if after >= ids.lowest_uuid7(scope.end):
            # Callers may name any id, of times that no calendar has.
            return ()
        since = max(since, ids.minted_at(after))
    found: list[CallSummary] = []
    asked = _asked(organization_id, scope, line) | {"after": after or _NOTHING}
    since = period.quarter_hour(since)
    most = _BUCKETS_FIRST
    while True:
        buckets = (await session.execute(_BUCKETS, asked | {"since": since, "most": most})).scalars().all()
        for stretch in _stretches(buckets):
            found += await _calls(session, asked | {"limit": limit - len(found)}, stretch)
            if len(found) == limit:
                return tuple(found)
        if len(buckets) < most:
            return tuple(found)
        since = buckets[-1] + QUARTER_HOUR
        most *= _BUCKETS_TIMES


def _asked(organization_id: OrganizationId, scope: RecordScope, line: BilledLine) -> dict[str, object]:
    previous_end, previous_cut = scope.previous or _NO_INVOICE
    return {
        "organization_id": organization_id,
        "start": scope.start,
        "end": scope.end,
        "cut": scope.cut,
        "previous_end": previous_end,
        "previous_cut": previous_cut,
        "project_id": line.project_id or _NOTHING,
        "model": line.model,
        "tier": line.tier,
        "price_version_id": line.price_version_id or _NOTHING,
        "kind": line.kind.value,
    }


def _stretches(buckets: Iterable[datetime]) -> list[Period]:
    found: list[Period] = []
    for bucket in buckets:
        start = found.pop().start if found and found[-1].end == bucket else bucket
        found.append(Period(start, bucket + QUARTER_HOUR))
    return found


async def _calls(session: ReadSession, asked: Mapping[str, object], stretch: Period) -> tuple[CallSummary, ...]:
    bounds = {"first_id": ids.lowest_uuid7(stretch.start), "last_id": ids.lowest_uuid7(stretch.end)}
    rows = await session.execute(_CALLS, {**asked, **bounds})
    return tuple(
        CallSummary(
            id=CallId(row.id),
            accepted_at=row.accepted_at,
            project_id=None if row.project_id is None else ProjectId(row.project_id),
            key_id=KeyId(row.key_id),
            model=row.model,
            provider=row.provider,
            status=CallStatus(row.status),
            quantities=_quantities(row.quantities),
            amount=row.amount,
            price_version_id=None if row.price_version_id is None else PriceVersionId(row.price_version_id),
        )
        for row in rows
    )


def _quantities(stored: str | dict[str, int]) -> UsageQuantities:
    counts = json.loads(stored) if isinstance(stored, str) else stored
    return UsageQuantities({Kind(kind): count for kind, count in counts.items()})
