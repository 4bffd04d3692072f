"""Which of the ids that a report is asked about are the organization's own."""

from collections.abc import Collection

import sqlalchemy as sa

from tollgate.infra.database import ReadSession
from tollgate.kit.ids import KeyId, OrganizationId

_KEYS = sa.text("SELECT id FROM api_keys WHERE organization_id = :organization_id AND id = ANY (:key_ids)").bindparams(
    sa.bindparam("organization_id", type_=sa.Uuid), sa.bindparam("key_ids", type_=sa.ARRAY(sa.Uuid))
)


async def own_keys(session: ReadSession, *, organization_id: OrganizationId, key_ids: Collection[KeyId]) -> set[KeyId]:
    """Those of these keys that are the organization's, revoked or not."""
    result = await session.execute(_KEYS, {"organization_id": organization_id, "key_ids": list(key_ids)})
    return {KeyId(found) for found in result.scalars()}
