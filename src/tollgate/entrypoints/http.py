"""HTTP: the whole wiring of the gateway's web server on one page, imported by nothing but the server."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from litestar import Litestar, Request, Router
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.types import ControllerRouterHandler, Guard

from tollgate import __doc__ as description
from tollgate.accounts import routes as accounts
from tollgate.agreements import routes as agreements
from tollgate.catalog import routes as catalog
from tollgate.catalog import service as endpoints
from tollgate.catalog.model import Format
from tollgate.console import routes as console
from tollgate.entrypoints import docs, ledger_access, operations, status, stripe_access
from tollgate.entrypoints.data_plane import DataPlane
from tollgate.entrypoints.errors import ANTHROPIC_PATH, EXCEPTION_HANDLERS, status_told
from tollgate.gateway import routes as gateway
from tollgate.gateway import tokenizer
from tollgate.gateway.outlook import Outlook, reaches
from tollgate.gateway.sandbox import SandboxUpstream
from tollgate.gateway.service import Gateway, Surroundings
from tollgate.gateway.sessions import Sessions
from tollgate.gateway.snapshot import Shelf
from tollgate.gateway.upstream import HttpUpstream
from tollgate.health.service import Health
from tollgate.infra import database as databases
from tollgate.infra import migrations, names, settings, telemetry, web
from tollgate.infra.changes import Act
from tollgate.infra.database import DATABASE_AWAY, Database
from tollgate.infra.idempotency import Idempotency, database_for, given_key
from tollgate.infra.names import Reach, Resolve
from tollgate.infra.sealing import Seal
from tollgate.infra.settings import Settings
from tollgate.invoices import routes as invoices
from tollgate.invoices.printing import Printer
from tollgate.keys import routes as keys
from tollgate.keys import rules as key_rules
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import Clock, SystemClock
from tollgate.kit.errors import Unavailable
from tollgate.kit.ids import EndpointId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.metering import routes as metering
from tollgate.metering import status as metering_status
from tollgate.metering.service import Meter
from tollgate.metering.status import OnDisk
from tollgate.payments import routes as payments
from tollgate.pricing import routes as pricing
from tollgate.reports import routes as reports
from tollgate.rerating import routes as rerating
from tollgate.statistics import service as statistics
from tollgate.statistics.model import Standing
from tollgate.webhooks import routes as webhooks

CONTROL_PLANE = (
    *accounts.HANDLERS,
    *agreements.HANDLERS,
    *keys.HANDLERS,
    *catalog.HANDLERS,
    *pricing.HANDLERS,
    *metering.HANDLERS,
    *invoices.HANDLERS,
    *payments.HANDLERS,
    *rerating.HANDLERS,
    *reports.HANDLERS,
    *webhooks.HANDLERS,
    *status.HANDLERS,
)

OPENAI_PATH = "/api/v1"
"""Below it everything is in OpenAI's shape."""
_CLOSING_SECONDS = 5
_TELL_SECONDS = 1.0
_log = structlog.get_logger(__name__)

BEARERS = {"caller": None, "operator": KeyKind.OPERATOR, "manager": KeyKind.MANAGEMENT}
"""What handlers call the principal they ask for, and the kind of key it must have."""
_ASKING = {**BEARERS, "act": KeyKind.OPERATOR}
"""What handlers may ask for that takes a key, and its kind: an act is an operator's."""


def create_app() -> DataPlane:
    """The application of this process's environment."""
    telemetry.configure_logging()
    telemetry.warn_of_unknown_settings(os.environ)
    built = build(settings.read(os.environ), environment=os.environ, clock=SystemClock())
    ways = ((OPENAI_PATH, gateway.OPENAI), (ANTHROPIC_PATH, gateway.ANTHROPIC))
    handlers = [(below, handler) for below, handlers in ways for handler in handlers]
    return DataPlane(built, {f"{below}{path}": handler.fn for below, handler in handlers for path in handler.paths})


def build(
    configured: Settings,
    *,
    environment: Mapping[str, str],
    clock: Clock,
    handlers: Sequence[ControllerRouterHandler] = CONTROL_PLANE,
    resolve: Resolve = names.resolve,
) -> Litestar:
    """The application: the data plane's plain ASGI routes beside the control plane's handlers."""
    wiring = _Wiring(configured, environment, clock, resolve)
    once = Idempotency(wiring.database, clock, presented_in=key_rules.presented_in, authenticate=wiring.authenticate)
    # Not for the whole application: a guard there would make a connection's object for each call of the data plane.
    guards = [web.check_path, wiring.guard()]
    control_plane = _Branch("/", route_handlers=handlers, middleware=[once], guards=guards)
    anthropic_catalogue = _Branch("/", route_handlers=reports.ANTHROPIC_HANDLERS, guards=guards)
    for_anybody = (*console.HANDLERS, *operations.HANDLERS, *docs.HANDLERS, *payments.WEBHOOKS)
    return Litestar(
        [
            _Branch(OPENAI_PATH, route_handlers=[*gateway.OPENAI, control_plane]),
            _Branch(ANTHROPIC_PATH, route_handlers=[*gateway.ANTHROPIC, anthropic_catalogue]),
            _Branch("/", route_handlers=for_anybody, guards=[web.check_path]),
        ],
        dependencies=wiring.dependencies(),
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[wiring.running],
        plugins=[web.StrictBodies(), web.AmountSchema(), docs.WhoMayAsk(_ASKING)],
        request_max_body_size=web.BODY_BYTES_MAX,
        openapi_config=OpenAPIConfig(
            title="Tollgate",
            version="1",
            description=description,
            path="/schema",
            render_plugins=[docs.WholeInterface()],
        ),
        logging_config=None,  # the process decides what is logged; Litestar would log whatever any library says
        debug=False,
    )


class _Branch(Router):
    """A router that has one place in one application.

    Litestar copies those it is given, with everything in them, in case they have more places: that takes half of the
    time in which an application is built.
    """

    def __deepcopy__(self, _: object) -> "_Branch":
        return self


class _Wiring:
    """What the handlers are given. Connections are made when the application starts, not before."""

    def __init__(self, configured: Settings, environment: Mapping[str, str], clock: Clock, resolve: Resolve) -> None:
        self.database = databases.connect(configured.database_url, connections_max=configured.control_plane_connections)
        self._settings = configured
        self._stripe = stripe_access.client(configured)
        self._environment = environment
        self._clock = clock
        self._resolve = resolve
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._keys: KeyRing | None = None
        self._estates: Path | None = None

    @asynccontextmanager
    async def running(self, app: Litestar) -> AsyncIterator[None]:
        """The data plane, for as long as the application runs; it ends when every call is recorded, or cannot be."""
        url = self._settings.database_url
        await migrations.until_current(url)
        warming = asyncio.create_task(tokenizer.warm_up())
        pool = await databases.connect_pool(url, connections_max=self._settings.data_plane_connections)
        providers = HttpUpstream(
            connect_seconds=self._settings.connect_timeout_seconds,
            first_byte_seconds=self._settings.first_byte_timeout_seconds,
            idle_seconds=self._settings.idle_timeout_seconds,
        )
        offline = bool(self._settings.offline_allowance)
        async with (
            ledger_access.metered(pool, self._clock, self._settings) as (meter, recovering),
            KeyRing(pool, database_url=url, trusts_memory_offline=offline).listening() as ring,
            self._outlook(pool, providers) as outlook,
        ):
            self._pool, self._keys = pool, ring
            self._estates = recovering.folder
            app.state.gateway = Gateway(
                keys=ring,
                outlook=outlook,
                meter=meter,
                upstreams={
                    **dict.fromkeys(Format, providers),
                    Format.SANDBOX: SandboxUpstream(),
                },
                clock=self._clock,
                surroundings=Surroundings(
                    body_bytes_max=self._settings.body_bytes_max,
                    drain_seconds=self._settings.drain_timeout_seconds,
                    status_of=status_told,
                ),
            )
            beside = [app.state.gateway.note_progress, app.state.gateway.count_late, partial(_tell_of, meter)]
            lasting = [asyncio.create_task(ledger_access.lasting(each)) for each in beside]
            await warming
            yield
            await self._drained(app.state.gateway, meter)
            telemetry.tell_counts()
            for each in lasting:
                each.cancel()
        # What does not close politely ends with the process. The pool waits for whoever has a connection of it.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await providers.close()
                if self._stripe is not None:
                    await self._stripe.close()
                await pool.close()
                await self.database.close()

    @asynccontextmanager
    async def _outlook(self, pool: "asyncpg.Pool[asyncpg.Record]", providers: HttpUpstream) -> AsyncIterator[Outlook]:
        """What routes depend on, kept up to date for as long as the block runs."""
        async with Shelf(self.database, self._clock, database_url=self._settings.database_url).listening() as shelf:
            reach = partial(reaches, shelf, self._environment, providers.reaches)
            health = Health(pool, self._clock, reach=reach, standings=self._standings)
            async with health.shared(ledger_access.lasting):
                sessions = Sessions(pool, self._clock)
                saving = asyncio.create_task(ledger_access.lasting(sessions.go_on_saving))
                try:
                    yield Outlook(shelf, health, sessions, self._environment)
                finally:
                    saving.cancel()
                    await sessions.save()

    async def _standings(self, at: datetime) -> Mapping[EndpointId, Standing]:
        async with self.database.read() as session:
            return await statistics.standings(session, now=at)

    async def _drained(self, served: Gateway, meter: Meter) -> None:
        """Wait until every call is recorded, but no longer than one waits for a ledger that is away.

        What is not recorded by then stays in this process's estate.
        """
        try:
            async with asyncio.timeout(self._settings.settle_timeout_seconds):
                await served.drained()
        except TimeoutError:
            _log.warning("calls are left for the next process to record", calls=meter.unrecorded)

    async def authenticate(self, presented: str, now: datetime) -> Principal:
        """The bearer of a key text, looked up each time: nothing else would notice that it was just revoked."""
        if self._keys is None:
            raise Unavailable
        return await self._keys.look_up(presented, now)

    async def ping(self) -> None:
        """Have the database answer, on a connection of the kind that calls use; under an allowance it need not."""
        if self._pool is None:
            raise Unavailable
        try:
            await self._pool.fetchval("SELECT 1")
        except DATABASE_AWAY:
            if not self._settings.offline_allowance:
                raise

    def on_disk(self) -> OnDisk | None:
        """What this data directory keeps for the ledger; `None` before it is known which ledger that is."""
        return None if self._estates is None else metering_status.on_disk(self._estates)

    def guard(self) -> Guard:
        """What is checked before a body is decoded: the key of whom the handler asks for, then the query's names."""

        async def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
            asked_for = handler.parsed_fn_signature.parameters.keys()
            for name in _ASKING.keys() & asked_for:
                presented = key_rules.presented_in(connection.scope["headers"])
                principal = await self.authenticate(presented, self._clock.now())
                kind = _ASKING[name]
                if kind is not None:
                    key_rules.check_kind(principal, kind)
                connection.state.bearer = principal
            if "request" not in asked_for:
                web.query(connection, web.Nothing)

        return check

    def dependencies(self) -> dict[str, Provide]:
        """Everything a handler may ask for, by name."""

        def database(request: Request[Any, Any, Any]) -> Database:
            return database_for(request, self.database)

        def act(request: Request[Any, Any, Any]) -> Act:
            bearer: Principal = request.state.bearer
            return Act(self._clock.now(), bearer.key_id, None if request.client is None else request.client.host)

        values = {
            "clock": self._clock,
            "settings": self._settings,
            "stripe": self._stripe,
            "environment": self._environment,
            "ping": self.ping,
            "on_disk": self.on_disk,
            "metrics_dir": self._environment.get(settings.METRICS_DIR_VARIABLE),
            "printer": Printer(),
            "endpoints": endpoints.find_endpoint,
            "endpoint": endpoints.get_endpoint,
            "reach": Reach(self._resolve, private=self._settings.allow_private_upstreams),
            "webhook_reach": Reach(self._resolve, private=self._settings.allow_private_webhooks),
            "seal": Seal(self._settings),
        }
        return {
            "database": Provide(database, sync_to_thread=False),
            "act": Provide(act, sync_to_thread=False),
            "once": Provide(given_key, sync_to_thread=False),
            **{name: Provide(_bearer(), sync_to_thread=False) for name in BEARERS},
            **{name: Provide(_always(value), sync_to_thread=False) for name, value in values.items()},
        }


async def _tell_of(meter: Meter) -> None:
    """Keep the gauges of this process at what is so, or was a second ago, and its counters at what was counted."""
    while True:
        telemetry.IN_FLIGHT.set(len(meter.safe.known))
        telemetry.UNRECORDED.set(meter.unrecorded)
        telemetry.tell_counts()
        await asyncio.sleep(_TELL_SECONDS)


def _bearer() -> Callable[[Request[Any, Any, Any]], Principal]:
    """Provides whoever the guard let in; a function each time, as Litestar wants it of every name."""

    def provide(request: Request[Any, Any, Any]) -> Principal:
        bearer: Principal = request.state.bearer
        return bearer

    return provide


def _always(value: Any) -> Callable[[], Any]:
    def provide() -> Any:
        return value

    return provide
