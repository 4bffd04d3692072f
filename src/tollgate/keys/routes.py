"""The routes of keys: an organization's own (management), and any organization's (operator)."""

from typing import Any

from litestar import Controller, Request, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import UNSET

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NO_LIMITS, Limits
from tollgate.accounts.schemas import LimitsChange
from tollgate.infra import web
from tollgate.infra.database import Database, ReadSession, WriteSession
from tollgate.infra.web import Injected, One, Page
from tollgate.keys import service
from tollgate.keys.model import ApiKey
from tollgate.keys.schemas import ChangeKey, CreateKey, KeyView, ListKeys, MintedKeyView
from tollgate.kit.clock import Clock
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.kit.principal import Principal

AnyRequest = Request[Any, Any, Any]


class KeysController(Controller):
    """The keys of the caller's own organization. A management key may change and revoke itself, too."""

    path = "/keys"
    tags = ("Keys",)

    @get(summary="The organization's keys, newest first")
    async def list_keys(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[KeyView]:
        return await _list(request, database, manager.organization_id)

    @post(summary="Create a key; the answer is the only time its text is shown")
    async def create_key(
        self,
        data: JSONBody[CreateKey],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> MintedKeyView:
        order = data.order(manager.organization_id, created_by=manager.key_id)
        async with database.write() as session:
            minted = await service.create(session, order=order, now=clock.now())
            limits = await _limited(session, minted.key, data.limits)
        return MintedKeyView.of(minted, limits)

    @get("/{key_id:str}", summary="One key, with its limits; never its text")
    async def get_key(
        self, key_id: FromPath[str], database: Injected[Database], manager: Injected[Principal]
    ) -> One[KeyView]:
        wanted = KeyId(web.parse_id("key", key_id))
        async with database.read() as session:
            key = await service.get(session, organization_id=manager.organization_id, key_id=wanted)
            return One(data=KeyView.of(key, await _limits(session, key)))

    @patch("/{key_id:str}", summary="Change a key or its limits; what is left out stays")
    async def change_key(
        self,
        key_id: FromPath[str],
        data: JSONBody[ChangeKey],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[KeyView]:
        wanted, owner = KeyId(web.parse_id("key", key_id)), manager.organization_id
        async with database.write() as session:
            key = await service.change(
                session, organization_id=owner, key_id=wanted, edit=data.applied_to, now=clock.now()
            )
            limits = await _limited(session, key, None if data.limits is UNSET else data.limits)
        return One(data=KeyView.of(key, limits))

    @delete("/{key_id:str}", status_code=200, summary="Revoke a key for good; it stays listed among the revoked")
    async def revoke_key(
        self,
        key_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> One[KeyView]:
        wanted, owner = KeyId(web.parse_id("key", key_id)), manager.organization_id
        async with database.write() as session:
            key = await service.revoke(session, organization_id=owner, key_id=wanted, now=clock.now())
            return One(data=KeyView.of(key, await _limits(session, key)))

    @post("/{key_id:str}/rotate", status_code=200, summary="Give a key another secret; the old one stops working now")
    async def rotate_key(
        self,
        key_id: FromPath[str],
        database: Injected[Database],
        clock: Injected[Clock],
        manager: Injected[Principal],
    ) -> MintedKeyView:
        wanted, owner = KeyId(web.parse_id("key", key_id)), manager.organization_id
        async with database.write() as session:
            minted = await service.rotate(session, organization_id=owner, key_id=wanted, now=clock.now())
            return MintedKeyView.of(minted, await _limits(session, minted.key))


class OrganizationKeysController(Controller):
    """The keys of any organization."""

    path = "/admin/organizations/{organization_id:str}/keys"
    tags = ("Organizations",)

    @get(summary="The keys of any organization, newest first")
    async def list_organization_keys(
        self,
        request: AnyRequest,
        organization_id: FromPath[str],
        database: Injected[Database],
        operator: Injected[Principal],  # noqa: ARG002 - asking for an operator is the check
    ) -> Page[KeyView]:
        owner = OrganizationId(web.parse_id("org", organization_id))
        async with database.read() as session:
            await accounts.get_organization(session, owner)
        return await _list(request, database, owner)

    @post(summary="Create a key; the answer is the only time its text is shown")
    async def create_organization_key(
        self,
        organization_id: FromPath[str],
        data: JSONBody[CreateKey],
        database: Injected[Database],
        clock: Injected[Clock],
        operator: Injected[Principal],
    ) -> MintedKeyView:
        owner = OrganizationId(web.parse_id("org", organization_id))
        async with database.write() as session:
            order = data.order(owner, created_by=operator.key_id)
            minted = await service.create(session, order=order, now=clock.now())
            limits = await _limited(session, minted.key, data.limits)
        return MintedKeyView.of(minted, limits)


HANDLERS = (KeysController, OrganizationKeysController)


async def _list(request: AnyRequest, database: Database, owner: OrganizationId) -> Page[KeyView]:
    asked = web.query(request, ListKeys)
    async with database.read() as session:
        rows = await service.list_keys(
            session, organization_id=owner, filters=asked.filters, before=asked.before, count=asked.limit + 1
        )
        limits = await accounts.limits_of(session, [(owner, row.id) for row in rows])
    return web.page(
        rows,
        limit=asked.limit,
        show=lambda row: KeyView.of(row, limits.get(row.id, NO_LIMITS)),
        key=lambda row: row.id,
    )


async def _limits(session: ReadSession, key: ApiKey) -> Limits:
    return await accounts.get_limits(session, organization_id=key.organization_id, scope_id=key.id)


async def _limited(session: WriteSession, key: ApiKey, change: LimitsChange | None) -> Limits:
    if change is None:
        return await _limits(session, key)
    return await accounts.change_limits(
        session, organization_id=key.organization_id, scope_id=key.id, edit=change.applied_to
    )
