"""The routes of credits and of the calling key."""

from typing import Any

from litestar import Controller, Request, get

from tollgate.infra import web
from tollgate.infra.database import Database
from tollgate.infra.web import Injected, One, Page, Paging
from tollgate.kit.clock import Clock
from tollgate.kit.principal import Principal
from tollgate.ledger import service as ledger
from tollgate.ledger.schemas import GrantView
from tollgate.reports.schemas.funds import (
    CreditsView,
    KeyStandingView,
    TransactionsParameters,
    TransactionView,
)
from tollgate.reports.service import funds as service

AnyRequest = Request[Any, Any, Any]


class FundsController(Controller):
    """What is left, exact and current."""

    tags = ("Credits",)

    @get("/credits", summary="The balance now: total, held, owed, available, and the grants it is of")
    async def show_credits(
        self, database: Injected[Database], clock: Injected[Clock], manager: Injected[Principal]
    ) -> One[CreditsView]:
        async with database.read() as session:
            balance = await service.credits_left(session, organization_id=manager.organization_id, now=clock.now())
        return One(data=CreditsView.of(balance))

    @get("/credits/grants", summary="Every grant of credit, newest first")
    async def list_grants(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[GrantView]:
        asked = web.query(request, Paging)
        async with database.read() as session:
            grants = await ledger.grants(
                session, organization_id=manager.organization_id, before=asked.before, count=asked.limit + 1
            )
        return web.page(grants, limit=asked.limit, show=GrantView.of, key=lambda grant: grant.id)

    @get("/credits/transactions", summary="What moved the organization's credits and debts, newest first")
    async def list_transactions(
        self, request: AnyRequest, database: Injected[Database], manager: Injected[Principal]
    ) -> Page[TransactionView]:
        asked = web.query(request, TransactionsParameters)
        async with database.read() as session:
            transfers = await service.transactions(
                session,
                organization_id=manager.organization_id,
                causes=asked.cause,
                before=asked.before,
                count=asked.limit + 1,
            )
        return web.page(transfers, limit=asked.limit, show=TransactionView.of, key=lambda transfer: transfer.id)

    @get("/key", summary="The calling key: its limits, what it used, and what remains", tags=("Keys",))
    async def show_key(
        self, database: Injected[Database], clock: Injected[Clock], caller: Injected[Principal]
    ) -> One[KeyStandingView]:
        async with database.read() as session:
            standing = await service.key_standing(session, principal=caller, now=clock.now())
        return One(data=KeyStandingView.of(standing))
