"""Outlook: what a call's route depends on besides the call: catalogue and prices, health, and where its session was."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tollgate.catalog import rules as catalog
from tollgate.catalog.model import Timeouts
from tollgate.gateway import fallback, routing
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.endings import Call
from tollgate.gateway.model import Candidate, Plan, Request, Session
from tollgate.gateway.plans import Plans, question
from tollgate.gateway.routing import Situation
from tollgate.gateway.sessions import Sessions, session_of
from tollgate.gateway.snapshot import Shelf, Snapshot
from tollgate.health.service import Health
from tollgate.kit.errors import TollgateError
from tollgate.kit.ids import EndpointId
from tollgate.kit.principal import Principal


@dataclass(frozen=True, slots=True)
class Outlook:
    """What this process knows of it."""

    shelf: Shelf
    health: Health
    sessions: Sessions
    environment: Mapping[str, str]
    """Where providers' credentials are looked up: the process's own, which nobody changes."""
    plans: Plans = field(default_factory=Plans)
    """What was planned before."""

    def session_of(self, principal: Principal, request: Request) -> Session | None:
        """The session a request belongs to, if it names one."""
        name = request.attribution.session_id
        return None if name is None else session_of(principal.organization_id, name, request.models[0])

    def plan(
        self, crossing: Crossing, principal: Principal, snapshot: Snapshot, *, sticky: EndpointId | None, at: datetime
    ) -> Plan:
        """Where a call can go, at this instant; raises as `routing.plan` does."""
        asked = question(crossing, principal, sticky)
        known = None if asked is None else self.plans.find(asked, snapshot, self.health.conditions, at)
        if known is not None:
            return known
        plan = routing.plan(crossing, principal, self._situation(snapshot, sticky=sticky, at=at))
        if asked is not None and not crossing.is_understood:
            self.plans.keep(asked, plan, self.health.conditions)
        return plan

    def _situation(self, snapshot: Snapshot, *, sticky: EndpointId | None, at: datetime) -> Situation:
        """What a plan depends on besides the call."""
        return Situation(
            catalogue=snapshot.catalogue,
            book=snapshot.book,
            is_routable=lambda provider: catalog.is_routable(provider, self.environment),
            at=at,
            conditions=self.health.conditions,
            sticky=sticky,
        )

    def judge(self, call: Call, error: TollgateError | None) -> None:
        """Learn from how the call's last attempt went: `None` if it was answered well, as far as it was read."""
        attempt = call.attempts[-1]
        endpoint_id, by = attempt.candidate.endpoint.id, call.principal.organization_id
        fault = None if error is None else fallback.fault_of(error, attempt.http_status)
        if fault is not None:
            self.health.failed(endpoint_id, fault, by=by, began_at=attempt.began_at, wait_seconds=attempt.wait_seconds)
            return
        if attempt.http_status is None:
            # It could not even be asked: that tells nothing of it.
            self.health.rested(endpoint_id)
            return
        self.health.served(endpoint_id, by=by, began_at=attempt.began_at)
        if error is None and call.session is not None:
            self.sessions.served(call.session, endpoint_id)


def endpoint_of(candidate: Candidate) -> EndpointId:
    """The endpoint of a candidate."""
    return candidate.endpoint.id


async def reaches(
    shelf: Shelf,
    environment: Mapping[str, str],
    connects: Callable[[str, Timeouts], Awaitable[bool]],
    endpoint_id: EndpointId,
) -> bool:
    """Whether a connection to an endpoint comes about; one that is not in the catalogue has nothing against it."""
    catalogue = (await shelf.current()).catalogue
    found = (each for endpoints in catalogue.endpoints.values() for each in endpoints if each.id == endpoint_id)
    endpoint = next(found, None)
    if endpoint is None:
        return True
    url = catalog.base_url_of(catalogue.providers[endpoint.provider], environment)
    return url is None or await connects(url, endpoint.timeouts)
