"""Admitting: where a call could go, what it may cost, and the hold on that; again if the catalogue changed meanwhile.

Long prompts are looked at in turns, a few of each organization at a time, and only when it could pay at all: nobody's
counting keeps others waiting.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal

from tollgate.gateway import bounds, routing, tokenizer
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.endings import Call
from tollgate.gateway.model import Plan, PromptTokens, Request
from tollgate.gateway.outlook import Outlook
from tollgate.gateway.snapshot import Snapshot
from tollgate.infra import identity
from tollgate.kit.clock import Clock
from tollgate.kit.errors import NotFound, Unavailable
from tollgate.kit.ids import CallId, OrganizationId
from tollgate.kit.principal import Principal
from tollgate.metering.model import AdmissionRequest
from tollgate.metering.service import CatalogueIsStale, Meter
from tollgate.pricing.model import CURRENCY

LONG_BYTES = 64 * 1024
"""A longer body takes long enough to read and count to be worth asking first."""

_PLANS_MAX = 5
_LONG_AT_ONCE = 2
_NOTHING = Decimal(0)
_SHORTEST = PromptTokens(likely=1, most=1)
"""What a prompt comes to at the very least."""


class Admissions:
    """How calls are let in."""

    def __init__(self, outlook: Outlook, meter: Meter, clock: Clock) -> None:
        self._outlook = outlook
        self._shelf = outlook.shelf
        self._meter = meter
        self._clock = clock
        self._turns: dict[OrganizationId, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def turn(self, principal: Principal, body: bytes) -> AsyncIterator[None]:
        """A block in which a body may be read and counted: at once if it is short, else when it is its turn."""
        if len(body) <= LONG_BYTES:
            yield
            return
        organization_id = principal.organization_id
        turns, users = self._turns.get(organization_id, (asyncio.Semaphore(_LONG_AT_ONCE), 0))
        self._turns[organization_id] = (turns, users + 1)
        try:
            async with turns:
                yield
        finally:
            turns, users = self._turns.pop(organization_id)
            if users > 1:
                self._turns[organization_id] = (turns, users - 1)

    async def admit(self, principal: Principal, request: Request, *, ask_first: bool) -> Call:
        """Plan the route, bound the cost, and hold it; with `ask_first`, ask what can be known before counting.

        Raises:
            TollgateError: nothing is held; it says why.
        """
        snapshot = await self._shelf.current()
        crossing = Crossing(request)
        session = self._outlook.session_of(principal, request)
        sticky = await self._outlook.place_of(session)
        for _ in range(_PLANS_MAX):
            now = self._clock.now()
            try:
                plan = self._outlook.plan(crossing, principal, snapshot, sticky=sticky, at=now)
            except NotFound:
                newer = await self._shelf.newer_than(snapshot)
                if newer is None:
                    raise
                snapshot = newer
                continue
            try:
                if ask_first:
                    await self._ask(principal, request, plan, snapshot)
                call = await self._held(principal, crossing, plan, snapshot, now)
            except CatalogueIsStale:
                snapshot = await self._shelf.refresh(stale=snapshot)
            else:
                call.session = session
                return call
        raise Unavailable("The catalogue is changing; try again.", metadata={"retry_after_seconds": 1})

    async def count(self, principal: Principal, request: Request) -> int:
        """About how many tokens a prompt is for its model, for whoever may make calls at all."""
        snapshot = await self._shelf.current()
        asking = self._request(principal, snapshot)
        try:
            await self._meter.admit(asking)
        except CatalogueIsStale:
            snapshot = await self._shelf.refresh(stale=snapshot)
        wanted = routing.models_of(request, principal, snapshot.catalogue, self._clock.now())
        slug = wanted[0].partition(":")[0]
        return (await tokenizer.count_prompt(request.prompt, snapshot.catalogue.models[slug].tokenizer)).likely

    async def _ask(self, principal: Principal, request: Request, plan: Plan, snapshot: Snapshot) -> None:
        """Whether the call could be admitted if its prompt were next to nothing: if not, counting it is in vain."""
        least = bounds.of(request, plan.candidates, _SHORTEST)
        await self._meter.admit(
            self._request(principal, snapshot)._replace(
                hold_least=least.least, hold_most=least.least, tokens=least.tokens
            )
        )

    async def _held(
        self, principal: Principal, crossing: Crossing, plan: Plan, snapshot: Snapshot, now: datetime
    ) -> Call:
        vocabulary = snapshot.catalogue.models[plan.candidates[0].endpoint.model].tokenizer
        prompt = await tokenizer.count_prompt(crossing.request.prompt, vocabulary)
        plan = routing.fitting(plan, crossing.request, prompt)
        call = Call(
            id=CallId(identity.new_id(now)),
            principal=principal,
            crossing=crossing,
            accepted_at=now,
            plan=plan,
            vocabulary=vocabulary,
            prompt=prompt,
        )
        bound = bounds.of(crossing.request, plan.candidates, prompt)
        call.admission = await self._meter.admit(
            AdmissionRequest(
                organization_id=principal.organization_id,
                call_id=call.id,
                project_id=principal.project_id,
                key_id=principal.key_id,
                hold_least=bound.least,
                hold_most=bound.most,
                tokens=bound.tokens,
                currency=CURRENCY,
                revision=snapshot.revision,
            )
        )
        call.output_cap = bounds.output_cap(
            crossing.request, plan.candidates, prompt, held=call.admission.amount or _NOTHING, most=bound.most
        )
        return call

    def _request(self, principal: Principal, snapshot: Snapshot) -> AdmissionRequest:
        """A request that only asks, and for nothing yet."""
        return AdmissionRequest(
            organization_id=principal.organization_id,
            call_id=CallId(identity.new_id(self._clock.now())),
            project_id=principal.project_id,
            key_id=principal.key_id,
            hold_least=_NOTHING,
            hold_most=_NOTHING,
            tokens=0,
            currency=CURRENCY,
            revision=snapshot.revision,
            only_asks=True,
        )
