"""The recorded calls themselves, and what was tried for each."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from tollgate.infra.database import ReadSession
from tollgate.kit import ids
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.metering.model import AttemptStatus, CallStatus
from tollgate.reports.model import Attempt, Call, CallFilter
from tollgate.reports.store.usage import CLOCK_SLACK, INSTANT, TAGGED, id_bounds

_CALL = ", ".join(field.name for field in fields(Call))
_ATTEMPT = ", ".join(field.name for field in fields(Attempt))

_JSON: dict[str, type[JSONB]] = {"quantities": JSONB, "metadata": JSONB, "estimate": JSONB}

_ONE = (
    sa.text(f"SELECT {_CALL} FROM calls WHERE organization_id = :organization_id AND id = :id")
    .bindparams(sa.bindparam("organization_id", type_=sa.Uuid), sa.bindparam("id", type_=sa.Uuid))
    .columns(**_JSON)
)

# No attempt is older than its call: the bound spares the partitions of the months before.
_ATTEMPTS = (
    sa.text(f"""
        SELECT {_ATTEMPT} FROM attempts
        WHERE organization_id = :organization_id AND call_id = ANY (:call_ids) AND id >= :first_id
        ORDER BY call_id, ordinal
    """)
    .bindparams(
        sa.bindparam("organization_id", type_=sa.Uuid),
        sa.bindparam("call_ids", type_=sa.ARRAY(sa.Uuid)),
        sa.bindparam("first_id", type_=sa.Uuid),
    )
    .columns(usage=JSONB)
)

_CONDITIONS: dict[str, tuple[str, sa.types.TypeEngine[Any]]] = {
    "organization_id": ("organization_id = :organization_id", sa.Uuid()),
    "before": ("id < :before", sa.Uuid()),
    "first_id": ("id >= :first_id", sa.Uuid()),
    "last_id": ("id < :last_id", sa.Uuid()),
    "since": ("accepted_at >= :since", INSTANT),
    "until": ("accepted_at < :until", INSTANT),
    "project": ("project_id = ANY (:project)", sa.ARRAY(sa.Uuid())),
    "key": ("key_id = ANY (:key)", sa.ARRAY(sa.Uuid())),
    "model": ("model = ANY (:model)", sa.ARRAY(sa.Text())),
    "provider": ("provider = ANY (:provider)", sa.ARRAY(sa.Text())),
    "kind": ("quantities ?| :kind", sa.ARRAY(sa.Text())),
    "user": ("user_id = ANY (:user)", sa.ARRAY(sa.Text())),
    "tag": (TAGGED, sa.ARRAY(sa.Text())),
    "status": ("status = ANY (:status)", sa.ARRAY(sa.Text())),
    "finish_reason": ("finish_reason = ANY (:finish_reason)", sa.ARRAY(sa.Text())),
    "cost_min": ("amount >= :cost_min", sa.Numeric(38, 12)),
}
"""What a list of calls may be restricted by, each condition with the type of its value."""


async def call(session: ReadSession, *, organization_id: OrganizationId, call_id: CallId) -> Call | None:
    """One call of the organization."""
    result = await session.execute(_ONE, {"organization_id": organization_id, "id": call_id})
    row = result.mappings().one_or_none()
    return None if row is None else _call(row)


async def attempts(
    session: ReadSession, *, organization_id: OrganizationId, calls: Sequence[Call]
) -> dict[CallId, list[Attempt]]:
    """What was tried for each of the organization's calls, in order; nothing for those that nothing was tried for."""
    if not calls:
        return {}
    since = min(call.accepted_at for call in calls) - CLOCK_SLACK
    result = await session.execute(
        _ATTEMPTS,
        {
            "organization_id": organization_id,
            "call_ids": [call.id for call in calls],
            "first_id": ids.lowest_uuid7(since),
        },
    )
    found: dict[CallId, list[Attempt]] = {}
    for row in result.mappings():
        attempt = Attempt(**{**row, "status": AttemptStatus(row["status"])})
        found.setdefault(attempt.call_id, []).append(attempt)
    return found


async def calls(
    session: ReadSession, wanted: CallFilter, *, window: Period | None, before: UUID | None, count: int
) -> list[Call]:
    """The calls of the window, or of all time, that match and were made before that one; newest first."""
    values = _values(wanted) | _bounds(window) | {"before": before}
    given = {name: value for name, value in values.items() if value is not None}
    statement = (
        sa.text(f"""
            SELECT {_CALL} FROM calls
            WHERE {" AND ".join(_CONDITIONS[name][0] for name in given)}
            ORDER BY id DESC
            LIMIT :count
        """)
        .bindparams(*(sa.bindparam(name, type_=_CONDITIONS[name][1]) for name in given))
        .columns(**_JSON)
    )
    result = await session.execute(statement, given | {"count": count})
    return [_call(row) for row in result.mappings()]


def _values(wanted: CallFilter) -> dict[str, object]:
    return {
        "organization_id": wanted.organization_id,
        **{dimension.value: list(values) for dimension, values in wanted.filters.given().items()},
        "status": list(wanted.status) or None,
        "finish_reason": list(wanted.finish_reason) or None,
        "cost_min": wanted.cost_min,
    }


def _bounds(window: Period | None) -> dict[str, object]:
    return {} if window is None else {"since": window.start, "until": window.end, **id_bounds(window)}


def _call(row: sa.RowMapping) -> Call:
    estimate = row["estimate"]
    return Call(
        **{
            **row,
            "status": CallStatus(row["status"]),
            "quantities": UsageQuantities(_counts(row["quantities"])),
            "estimate": None if estimate is None else _counts(estimate),
        }
    )


def _counts(by_kind: Mapping[str, int]) -> dict[Kind, int]:
    return {Kind(kind): count for kind, count in by_kind.items()}
