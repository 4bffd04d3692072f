"""Idempotency: a write that carries an `Idempotency-Key` happens once, and its repeats get the first answer again.

What the handler writes and the answer it gives are one transaction, so there is no moment at which one is there without
the other: a process that dies in between leaves neither, and the repeat runs afresh. For that the handler has to work
on the database of `database_for`. A transaction-wide advisory lock holds off repeats while the first is in flight.

The answer may hold a fresh secret. It is sealed under a key derived from the presented API key and the idempotency
key, neither of which is stored: whoever can read the table still cannot read the answer.
"""

import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from litestar.utils.scope.state import ScopeState
from sqlmodel import col

from tollgate.infra.database import Database, ReadSession, WriteSession
from tollgate.infra.tables import IdempotentAnswerRow
from tollgate.kit.clock import Clock
from tollgate.kit.errors import Conflict, IdempotencyConflict, InvalidRequest
from tollgate.kit.ids import OrganizationId
from tollgate.kit.principal import Principal

HEADER = "Idempotency-Key"
REPLAYED_HEADER = (b"idempotent-replayed", b"true")

_KEY_CHARACTERS_MAX = 255
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JOINED = "tollgate.joined_database"
_NONCE_BYTES = 12
_FIRST_FAILURE = 500
_TOO_MANY_REQUESTS = 429
_RETRY_SECONDS = 1

ANSWERS_ONCE_ITSELF = "answers_once_itself"
"""The option of a handler that cannot do its work in one transaction, because it asks others in between: it sees to it
by itself that the same `Idempotency-Key` does the same once."""

KEPT_FOR = timedelta(hours=48)
"""How long a repeat gets the first answer at least."""

PresentedIn = Callable[[Iterable[tuple[bytes, bytes]]], str]
Authenticate = Callable[[str, datetime], Awaitable[Principal]]


def database_for(request: Request[Any, Any, Any], database: Database) -> Database:
    """The database a handler works on: for an idempotent write, the transaction its answer will be stored in."""
    joined = request.scope.get(_JOINED)
    return joined if isinstance(joined, Database) else database


def given_key(request: Request[Any, Any, Any]) -> str | None:
    """The `Idempotency-Key` of a request, for a handler that answers once by itself.

    Raises:
        InvalidRequest: it is not one.
    """
    given = request.headers.get(HEADER)
    if given is not None:
        _check_key(given)
    return given


class Idempotency(ASGIMiddleware):
    """Litestar middleware for the writes of the control plane.

    `presented_in` finds the API key text in raw headers and `authenticate` proves it, so that an answer is never given
    to a key that has been revoked since; both raise `AuthenticationFailed`.
    """

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = ANSWERS_ONCE_ITSELF

    def __init__(
        self, database: Database, clock: Clock, *, presented_in: PresentedIn, authenticate: Authenticate
    ) -> None:
        self._database = database
        self._clock = clock
        self._presented_in = presented_in
        self._authenticate = authenticate

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        request: Request[Any, Any, Any] = Request(scope, receive)
        given = request.headers.get(HEADER)
        if given is None or request.method not in _WRITES:
            await next_app(scope, receive, send)
            return
        _check_key(given)
        presented = self._presented_in(scope["headers"])
        principal = await self._authenticate(presented, self._clock.now())
        attempt = _attempt(principal.organization_id, presented, given, await _content(request))
        try:
            answer = await self._answer_once(attempt, scope, receive, next_app)
        except _NotKept as unkept:
            answer = unkept.answer
        except BaseException:
            # The handler's answer was held back; the caller gets the one to this exception.
            ScopeState.from_scope(scope).response_started = False
            raise
        await answer.send(send)

    async def _answer_once(self, attempt: "_Attempt", scope: Scope, receive: Receive, next_app: ASGIApp) -> "_Answer":
        async with self._database.write() as session:
            is_alone = await _hold(session, attempt)
            row = await _stored(session, attempt)
            if row is not None:
                return _replayed(attempt, row)
            if not is_alone:
                raise Conflict(
                    f"The first request with this {HEADER} is still being answered.",
                    metadata={"retry_after_seconds": _RETRY_SECONDS},
                )
            answer = await _handled(next_app, scope, receive, session)
            if answer.status >= _FIRST_FAILURE or answer.status == _TOO_MANY_REQUESTS:
                raise _NotKept(answer)
            await _store(session, attempt, answer, now=self._clock.now())
            return answer


async def drop_before(session: WriteSession, instant: datetime) -> None:
    """Forget the answers given before that; a repeat of their writes would then happen again."""
    await session.execute(sa.delete(IdempotentAnswerRow).where(col(IdempotentAnswerRow.created_at) < instant))


class _Answer(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    async def send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class _NotKept(Exception):
    """Ends the transaction of an answer that a repeat should not get again."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One sending of a write: where its answer is kept, what it asks, and the key that opens the answer."""

    organization_id: OrganizationId
    slot: bytes
    fingerprint: bytes
    cipher: AESGCM

    @property
    def lock(self) -> int:
        return int.from_bytes(self.slot[:8], "big", signed=True)


class _JoinedDatabase(Database):
    """A database whose blocks all take part in one transaction that somebody else commits."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        yield self._session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteSession]:
        async with self._session.begin_nested():
            yield self._session


def _check_key(given: str) -> None:
    if not (0 < len(given) <= _KEY_CHARACTERS_MAX and given.isascii() and given.isprintable()):
        raise InvalidRequest(f"An {HEADER} is 1 to {_KEY_CHARACTERS_MAX} printable ASCII characters.", field=HEADER)


async def _content(request: Request[Any, Any, Any]) -> bytes:
    target = (request.method.encode(), request.scope["path"].encode(), request.scope["query_string"])
    return msgspec.msgpack.encode((*target, await request.body()))


def _attempt(organization_id: OrganizationId, presented: str, given: str, content: bytes) -> _Attempt:
    derived = HKDF(SHA256(), length=96, salt=given.encode(), info=b"tollgate idempotent answer").derive(
        presented.encode()
    )
    slot, seal, mark = derived[:32], derived[32:64], derived[64:]
    return _Attempt(organization_id, slot, hmac.digest(mark, content, "sha256"), AESGCM(seal))


async def _hold(session: WriteSession, attempt: _Attempt) -> bool:
    held = await session.execute(sa.select(sa.func.pg_try_advisory_xact_lock(attempt.lock)))
    return bool(held.scalar_one())


async def _stored(session: WriteSession, attempt: _Attempt) -> IdempotentAnswerRow | None:
    found = await session.execute(
        sa.select(IdempotentAnswerRow).where(
            col(IdempotentAnswerRow.organization_id) == attempt.organization_id,
            col(IdempotentAnswerRow.slot) == attempt.slot,
        )
    )
    return found.scalar_one_or_none()


def _replayed(attempt: _Attempt, row: IdempotentAnswerRow) -> _Answer:
    if not hmac.compare_digest(attempt.fingerprint, row.fingerprint):
        raise IdempotencyConflict(f"This {HEADER} was used for another request. Choose a fresh one.")
    nonce, sealed = row.answer[:_NONCE_BYTES], row.answer[_NONCE_BYTES:]
    first = msgspec.msgpack.decode(attempt.cipher.decrypt(nonce, sealed, attempt.fingerprint), type=_Answer)
    return _Answer(first.status, [*first.headers, REPLAYED_HEADER], first.body)


async def _handled(next_app: ASGIApp, scope: Scope, receive: Receive, session: WriteSession) -> _Answer:
    messages: list[Any] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    scope[_JOINED] = _JoinedDatabase(session)  # type: ignore[literal-required]  # scopes carry extensions under names of their own
    await next_app(scope, receive, keep)
    start, *parts = messages
    body = b"".join(part.get("body", b"") for part in parts)
    return _Answer(start["status"], [(bytes(name), bytes(value)) for name, value in start["headers"]], body)


async def _store(session: WriteSession, attempt: _Attempt, answer: _Answer, *, now: datetime) -> None:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = attempt.cipher.encrypt(nonce, msgspec.msgpack.encode(answer), attempt.fingerprint)
    session.add(
        IdempotentAnswerRow(
            organization_id=attempt.organization_id,
            slot=attempt.slot,
            fingerprint=attempt.fingerprint,
            answer=nonce + sealed,
            created_at=now,
        )
    )
