"""The double as an ASGI application: keys, idempotency, faults and envelopes around what the routes do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.payments.stripe_double import routes
from tests.payments.stripe_double.faults import Fault, Faults, Kind
from tests.payments.stripe_double.wire import Params, Problem, Thing, decode, encode, shown
from tests.payments.stripe_double.world import API_VERSION, World

SECRET_KEY = "sk_test_double"
ABORT = "stripe_double.abort"
"""A message of the application's own: break the connection."""
_KEPT_FOR = timedelta(hours=24)
_NOT_DONE = {
    Kind.TOO_MANY: Problem(429, "Too many requests.", code="rate_limit"),
    Kind.LOCKED: Problem(409, "This object is locked.", code="lock_timeout"),
}
_FAILED = Problem(500, "An unknown error occurred.", kind="api_error")

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True)
class Call:
    """One request as it came."""

    method: str
    path: str
    form: str
    headers: Mapping[str, str]

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key") if self.method == "POST" else None

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Kept:
    """The first answer to an idempotency key."""

    at: datetime
    asked: tuple[str, str]
    status: int
    body: Thing


class App:
    """Stripe's API."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.begin_anew(world, faults)

    def begin_anew(self, world: World, faults: Faults) -> None:
        """Serve another account."""
        self.world = world
        self.faults = faults
        self.calls: list[Call] = []
        """Everything that was asked, in order."""
        self._kept: dict[str, Kept] = {}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        call = await _read(scope, receive)
        self.calls.append(call)
        fault = self.faults.next(call.name)
        if fault is not None and fault.kind is Kind.LOST:
            await send({"type": ABORT})
            return
        status, body, replayed = self._answer(call, fault)
        kind = None if fault is None else fault.kind
        if kind is Kind.LOST_AFTER:
            await send({"type": ABORT})
            return
        if kind is Kind.SILENT_AFTER:
            await asyncio.sleep(3600)
        if fault is not None and kind is Kind.OTHER:
            body = fault.change(deepcopy(body))
        headers = [(b"content-type", b"application/json"), (b"request-id", self.world.fresh("req").encode())]
        headers += [(b"idempotent-replayed", b"true")] if replayed else []
        headers += [(b"stripe-version", API_VERSION.encode())]
        content = b"<html>" if kind is Kind.GARBLED else encode(shown(body))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _answer(self, call: Call, fault: Fault | None) -> tuple[int, Thing, bool]:
        """Status, body, and whether it was answered before."""
        try:
            self._check(call)
            if fault is not None and fault.kind in _NOT_DONE:
                raise _NOT_DONE[fault.kind]
            known = self._known(call)
            if known is not None:
                return known.status, known.body, True
            status, body = self._done(call, fault)
        except Problem as problem:
            return problem.status, problem.body, False
        if call.key is not None and _is_kept(status):
            self._kept[call.key] = Kept(self.world.now, (call.path, call.form), status, deepcopy(body))
        return status, body, False

    def _check(self, call: Call) -> None:
        if call.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            raise Problem(401, "Invalid API Key provided: sk_****")
        if call.headers.get("stripe-version") != API_VERSION:
            raise Problem(400, f"Invalid Stripe API version: {call.headers.get('stripe-version')}")

    def _known(self, call: Call) -> Kept | None:
        known = self._kept.get(call.key or "")
        if known is None or known.at + _KEPT_FOR <= self.world.now:
            return None
        if known.asked != (call.path, call.form):
            raise Problem(
                400, "Keys for idempotent requests can only be used with the same parameters.", kind="idempotency_error"
            )
        return known

    def _done(self, call: Call, fault: Fault | None) -> tuple[int, Thing]:
        kind = None if fault is None else fault.kind
        if kind is Kind.FAILS:
            return _FAILED.status, _FAILED.body
        try:
            status, body = 200, routes.perform(self.world, call.method, call.path, _params(call))
        except Problem as problem:
            status, body = problem.status, problem.body
        if kind is Kind.FAILS_AFTER:
            return _FAILED.status, _FAILED.body
        return status, deepcopy(body)


def _is_kept(status: int) -> bool:
    """Stripe keeps the answers of what it began to do: not of requests that made no sense."""
    return status not in {400, 401, 404}


def _params(call: Call) -> Params:
    return decode(call.form)


async def _read(scope: Mapping[str, Any], receive: Receive) -> Call:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
    form = scope["query_string"] if scope["method"] in {"GET", "DELETE"} else body
    return Call(scope["method"], scope["path"], form.decode(), headers)
