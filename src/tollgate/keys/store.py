"""All SQL of API keys: the control plane's through sessions, the data plane's one lookup through asyncpg."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlmodel import col

from tollgate.accounts import rules as accounts
from tollgate.accounts.model import OrganizationStatus
from tollgate.infra.database import ReadSession, WriteSession
from tollgate.keys.model import ApiKey, Filters, Standing
from tollgate.keys.tables import ApiKeyRow
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.kit.principal import KeyKind, Principal, RoutingPolicy

# Authentication is one round trip, so it reads who owns the key along with the key.
_STANDINGS = """
    SELECT k.organization_id, k.id, k.kind, k.project_id, k.secret_hash, k.models, k.expires_at, k.disabled,
           k.revoked_at, k.routing, o.status AS organization_status, o.routing AS organization_routing,
           p.archived_at AS project_archived_at
    FROM api_keys k
    LEFT JOIN organizations o ON o.id = k.organization_id
    LEFT JOIN projects p ON p.organization_id = k.organization_id AND p.id = k.project_id
    WHERE k.public_id = $1
"""


_POLICY = msgspec.json.Decoder(RoutingPolicy)


async def standings(pool: "asyncpg.Pool[asyncpg.Record]", public_id: str) -> list[Standing]:
    """Every key with this public id; as good as always none or one."""
    return [_standing(row) for row in await pool.fetch(_STANDINGS, public_id)]


async def add(session: WriteSession, key: ApiKey, *, secret_hash: bytes) -> None:
    session.add(ApiKeyRow(**_columns(key), secret_hash=secret_hash))
    await session.flush()


async def key(
    session: ReadSession, *, organization_id: OrganizationId, key_id: KeyId, lock: bool = False
) -> ApiKey | None:
    """The organization's key; with `lock`, held against other changes until the transaction ends."""
    found = sa.select(ApiKeyRow).where(col(ApiKeyRow.organization_id) == organization_id, col(ApiKeyRow.id) == key_id)
    row = (await session.execute(found.with_for_update() if lock else found)).scalar_one_or_none()
    return None if row is None else _key(row)


async def keys(
    session: ReadSession, *, organization_id: OrganizationId, filters: Filters, before: UUID | None, count: int
) -> list[ApiKey]:
    """The organization's keys that pass the filters, made before that one, newest first."""
    conditions = [col(ApiKeyRow.organization_id) == organization_id]
    if not filters.include_revoked:
        conditions.append(col(ApiKeyRow.revoked_at).is_(None))
    if filters.project_id is not None:
        conditions.append(col(ApiKeyRow.project_id) == filters.project_id)
    if filters.tag is not None:
        conditions.append(sa.literal(filters.tag) == sa.any_(col(ApiKeyRow.tags)))
    if filters.text is not None:
        searched = sa.func.lower(col(ApiKeyRow.name) + "\n" + col(ApiKeyRow.label))
        conditions.append(sa.func.strpos(searched, sa.func.lower(filters.text)) > 0)
    if before is not None:
        conditions.append(col(ApiKeyRow.id) < before)
    rows = await session.execute(
        sa.select(ApiKeyRow).where(*conditions).order_by(col(ApiKeyRow.id).desc()).limit(count)
    )
    return [_key(row) for row in rows.scalars()]


async def save(session: WriteSession, key: ApiKey) -> None:
    await _update(session, key, _columns(key))


async def save_secret(session: WriteSession, key: ApiKey, *, secret_hash: bytes) -> None:
    """Give the key another secret, and the public id and label that go with it."""
    await _update(session, key, {**_columns(key), "secret_hash": secret_hash})


async def _update(session: WriteSession, key: ApiKey, values: dict[str, Any]) -> None:
    await session.execute(
        sa.update(ApiKeyRow)
        .where(col(ApiKeyRow.organization_id) == key.organization_id, col(ApiKeyRow.id) == key.id)
        .values(**values)
    )


def _columns(key: ApiKey) -> dict[str, Any]:
    return {
        **asdict(key),
        "models": None if key.models is None else list(key.models),
        "tags": list(key.tags),
        "routing": accounts.stored_policy(key.routing),
    }


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        organization_id=row.organization_id,
        id=row.id,
        kind=KeyKind(row.kind),
        name=row.name,
        project_id=row.project_id,
        public_id=row.public_id,
        label=row.label,
        models=None if row.models is None else tuple(row.models),
        tags=tuple(row.tags),
        expires_at=row.expires_at,
        disabled=row.disabled,
        revoked_at=row.revoked_at,
        created_at=row.created_at,
        created_by=row.created_by,
        routing=accounts.read_policy(row.routing),
    )


def _standing(row: asyncpg.Record) -> Standing:
    return Standing(
        principal=Principal(
            kind=KeyKind(row["kind"]),
            key_id=row["id"],
            organization_id=row["organization_id"],
            project_id=row["project_id"],
            models=None if row["models"] is None else tuple(row["models"]),
            expires_at=row["expires_at"],
            policies=tuple(_POLICY.decode(row[name]) for name in ("organization_routing", "routing") if row[name]),
        ),
        secret_hash=row["secret_hash"],
        disabled=row["disabled"],
        revoked_at=row["revoked_at"],
        # Operator keys belong to the installation, which is always active.
        organization_status=OrganizationStatus(row["organization_status"] or OrganizationStatus.ACTIVE),
        project_archived=row["project_archived_at"] is not None,
    )
