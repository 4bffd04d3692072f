"""Admitting: where a call could go, what it may cost, and the hold on that; again if the catalogue changed meanwhile.

Long prompts are looked at in turns, a few of each organization at a time, and only when it could pay at all: nobody's
counting keeps others waiting. Where all bounds are far away, a long prompt is held for by its bytes, and not counted.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from tollgate.gateway import bounds, eligibility, routing, tokenizer, unseen
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.endings import Call
from tollgate.gateway.model import Plan, PromptTokens, Request, Session
from tollgate.gateway.outlook import Outlook
from tollgate.gateway.recall import Recall
from tollgate.gateway.snapshot import Snapshot
from tollgate.infra import identity, telemetry
from tollgate.kit import money
from tollgate.kit.clock import Clock
from tollgate.kit.errors import InsufficientCredit, LimitExceeded, NotFound, Unavailable
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
_FAR = 100
"""How many calls of this kind every bound must have room for, so that one may hold what was not counted."""
_SAMPLED_PERCENT_MOST = 150
"""How long a prompt is taken to be, of what samples make of it, where it has to fit an endpoint's context."""


class _Proposal(NamedTuple):
    """A call that is to be admitted as it is planned."""

    principal: Principal
    crossing: Crossing
    plan: Plan
    snapshot: Snapshot
    vocabulary: str
    """The encoding of the model that is tried first."""
    session: Session | None
    at: datetime


class Admissions:
    """How calls are let in."""

    def __init__(self, outlook: Outlook, meter: Meter, clock: Clock) -> None:
        self._outlook = outlook
        self._shelf = outlook.shelf
        self._meter = meter
        self._clock = clock
        self._recall = Recall()
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
        crossing = Crossing(unseen.noted(request))
        session = self._outlook.session_of(principal, request)
        sticky = None if session is None else await self._outlook.sessions.place_of(session)
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
            vocabulary = snapshot.catalogue.models[plan.candidates[0].endpoint.model].tokenizer
            proposal = _Proposal(principal, crossing, plan, snapshot, vocabulary, session, now)
            try:
                if ask_first:
                    return await self._admitted_if_it_pays(proposal)
                return await self._admitted(proposal)
            except CatalogueIsStale:
                snapshot = await self._shelf.refresh(stale=snapshot)
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
        encoding = snapshot.catalogue.models[slug].tokenizer
        recalled = self._recall.of(principal.organization_id, encoding)
        return (await tokenizer.count_prompt(request.prompt, encoding, recalled)).likely

    async def counted(self, call: Call) -> PromptTokens:
        """The prompt of a call that was held for by its bytes, counted."""
        recalled = self._recall.of(call.principal.organization_id, call.vocabulary)
        counted = await tokenizer.count_prompt(call.request.prompt, call.vocabulary, recalled)
        telemetry.PROMPTS_COUNTED_LATE.inc()
        return counted

    async def _admitted_if_it_pays(self, proposal: _Proposal) -> Call:
        """Held for by what is quickly known of its prompt, if that is enough; else by the prompt as it is counted."""
        gauged = await self._gauged(proposal)
        if gauged is not None:
            # Others may have come nearer to a bound meanwhile.
            with suppress(InsufficientCredit, LimitExceeded):
                call = await self._held(proposal, gauged)
                telemetry.count(telemetry.PROMPTS, "recalled" if gauged.counted else "by_bytes")
                return call
        return await self._admitted(proposal)

    async def _admitted(self, proposal: _Proposal) -> Call:
        """Held for by the prompt as it is counted."""
        recalled = self._recall.of(proposal.principal.organization_id, proposal.vocabulary)
        counted = await tokenizer.count_prompt(proposal.crossing.request.prompt, proposal.vocabulary, recalled)
        call = await self._held(proposal, counted)
        telemetry.count(telemetry.PROMPTS, "counted")
        return call

    async def _gauged(self, proposal: _Proposal) -> PromptTokens | None:
        """What is quickly known of a prompt; `None` if it has to be counted.

        Asks first whether the call could be admitted if its prompt were next to nothing: if not, all else is in vain.
        The same answer tells whether all bounds are far away: then it may be held for by its bytes, which keeps nobody
        out. It may not where it might not fit an endpoint's context.
        """
        request, candidates = proposal.crossing.request, proposal.plan.candidates
        least = bounds.of(request, candidates, _SHORTEST)
        far = money.EXACT.multiply(_FAR, bounds.of(request, candidates, tokenizer.most_of(request.prompt)).most)
        answer = await self._meter.admit(
            self._request(proposal.principal, proposal.snapshot)._replace(
                hold_least=least.least, hold_most=far, tokens=least.tokens
            )
        )
        if (answer.amount or _NOTHING) < far:
            return None
        recalled = self._recall.of(proposal.principal.organization_id, proposal.vocabulary)
        gauged = await tokenizer.gauge_prompt(request.prompt, proposal.vocabulary, recalled)
        is_far = answer.tokens_left is None or answer.tokens_left >= _FAR * gauged.most
        return gauged if gauged.counted or (is_far and _fits_surely(proposal, gauged)) else None

    async def _held(self, proposal: _Proposal, prompt: PromptTokens) -> Call:
        """The call with its hold; with all it asks for if its prompt was not counted: caps are not for what is not."""
        crossing, snapshot = proposal.crossing, proposal.snapshot
        plan = routing.fitting(proposal.plan, crossing.request, prompt)
        call = Call(
            id=CallId(identity.new_id(proposal.at)),
            principal=proposal.principal,
            crossing=crossing,
            accepted_at=proposal.at,
            plan=plan,
            vocabulary=proposal.vocabulary,
            prompt=prompt,
            session=proposal.session,
        )
        bound = bounds.of(crossing.request, plan.candidates, prompt)
        call.admission = await self._meter.admit(
            AdmissionRequest(
                organization_id=call.principal.organization_id,
                call_id=call.id,
                project_id=call.principal.project_id,
                key_id=call.principal.key_id,
                hold_least=bound.least if prompt.counted else bound.most,
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


def _fits_surely(proposal: _Proposal, gauged: PromptTokens) -> bool:
    """Whether every endpoint planned has room for the prompt, were it much longer than its samples say."""
    longer = PromptTokens(gauged.likely * _SAMPLED_PERCENT_MOST // 100, gauged.most, counted=False)
    return all(
        eligibility.too_long(proposal.crossing.request, candidate.endpoint, candidate.provider, longer) is None
        for candidate in proposal.plan.candidates
    )
