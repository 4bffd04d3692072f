"""The use cases of keys: mint, list, change, rotate, revoke; and the ring that recognises them when presented.

A secret leaves here once and is stored only as a hash. The ring answers out of memory when it may: PostgreSQL announces
every change to a key, its organization or its project on the channel `key_changed`, and what it announces is forgotten.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg

from tollgate.accounts import service as accounts
from tollgate.infra import announcements
from tollgate.infra.database import DATABASE_AWAY, ReadSession, WriteSession
from tollgate.infra.identity import new_id, new_secret
from tollgate.keys import rules, store
from tollgate.keys.model import ApiKey, Filters, KeyEnd, MintedKey, NewKey
from tollgate.kit.errors import AuthenticationFailed, NotFound, PermissionDenied
from tollgate.kit.ids import PLATFORM, KeyId, OrganizationId
from tollgate.kit.principal import KeyKind, Principal
from tollgate.webhooks import service as webhooks

CHANNEL = "key_changed"

_ENTRIES_MAX = 50_000
"""Some 25 megabytes; whoever has more keys in use has them looked up again now and then."""


async def create(session: WriteSession, *, order: NewKey, now: datetime) -> MintedKey:
    """Make a key. Operator keys belong to `ids.PLATFORM`; the others to an organization that exists.

    Raises:
        InvalidRequest: something about it cannot be; `field` names the part.
        NotFound: the organization, or its project, does not exist.
        Conflict: the project is archived.
    """
    rules.check_expiry(order.expires_at, now)
    if order.kind is not KeyKind.OPERATOR:
        await accounts.get_organization(session, order.organization_id)
    if order.project_id is not None:
        await accounts.usable_project(session, organization_id=order.organization_id, project_id=order.project_id)
    minted, secret_hash = _minted(
        ApiKey(
            organization_id=order.organization_id,
            id=KeyId(new_id(now)),
            kind=order.kind,
            name=order.name,
            project_id=order.project_id,
            public_id="",
            label="",
            models=order.models,
            tags=order.tags,
            expires_at=order.expires_at,
            disabled=False,
            revoked_at=None,
            created_at=now,
            created_by=order.created_by,
            routing=order.routing,
        )
    )
    rules.check_key(minted.key)
    await store.add(session, minted.key, secret_hash=secret_hash)
    return minted


async def get(session: ReadSession, *, organization_id: OrganizationId, key_id: KeyId) -> ApiKey:
    """The organization's key, revoked or not.

    Raises:
        NotFound: the organization has none with this id.
    """
    return _found(await store.key(session, organization_id=organization_id, key_id=key_id))


async def has_operator(session: ReadSession) -> bool:
    """Whether the installation ever had an operator's key."""
    nobody = Filters(include_revoked=True)
    return bool(await store.keys(session, organization_id=PLATFORM, filters=nobody, before=None, count=1))


async def list_keys(
    session: ReadSession, *, organization_id: OrganizationId, filters: Filters, before: UUID | None, count: int
) -> list[ApiKey]:
    """The organization's keys that pass the filters, made before that one, newest first."""
    return await store.keys(session, organization_id=organization_id, filters=filters, before=before, count=count)


async def change(
    session: WriteSession,
    *,
    organization_id: OrganizationId,
    key_id: KeyId,
    edit: Callable[[ApiKey], ApiKey],
    now: datetime,
) -> ApiKey:
    """Change name, project, allowlist, policy, tags, expiry, or whether the key is disabled.

    Raises:
        NotFound: the organization has no such key or project.
        InvalidRequest: a new value cannot be.
        Conflict: the key was revoked, or the project is archived.
    """
    before = await _held(session, organization_id=organization_id, key_id=key_id)
    after = edit(before)
    rules.check_key(after)
    if after.expires_at != before.expires_at:
        rules.check_expiry(after.expires_at, now)
    if after.project_id is not None and after.project_id != before.project_id:
        await accounts.usable_project(session, organization_id=organization_id, project_id=after.project_id)
    await store.save(session, after)
    if after.disabled and not before.disabled:
        await _tell(session, after, KeyEnd.DISABLED, now=now)
    return after


async def rotate(session: WriteSession, *, organization_id: OrganizationId, key_id: KeyId, now: datetime) -> MintedKey:
    """Give the key another secret; the old one stops working at once.

    Raises:
        NotFound: the organization has no such key.
        Conflict: the key was revoked.
    """
    before = await _held(session, organization_id=organization_id, key_id=key_id)
    minted, secret_hash = _minted(before)
    await store.save_secret(session, minted.key, secret_hash=secret_hash)
    await _tell(session, before, KeyEnd.ROTATED, now=now)
    return minted


async def revoke(session: WriteSession, *, organization_id: OrganizationId, key_id: KeyId, now: datetime) -> ApiKey:
    """End a key for good, itself included if it is the one asking. Revoking twice keeps the first instant.

    Raises:
        NotFound: the organization has no such key.
    """
    key = _found(await store.key(session, organization_id=organization_id, key_id=key_id, lock=True))
    if key.revoked_at is None:
        key = replace(key, revoked_at=now)
        await store.save(session, key)
        await _tell(session, key, KeyEnd.REVOKED, now=now)
    return key


class KeyRing:
    """Authenticates presented keys. One per process; it remembers only while `listening`."""

    def __init__(
        self, pool: "asyncpg.Pool[asyncpg.Record]", *, database_url: str, trusts_memory_offline: bool = False
    ) -> None:
        self._pool = pool
        self._database_url = database_url
        self._known: dict[bytes, Principal] = {}
        self._digest_of: dict[KeyId, bytes] = {}
        self._trusts_memory_offline = trusts_memory_offline
        self._known_before: dict[bytes, Principal] = {}
        """Who was known when the database went away; nobody once it is back."""
        self._listening = False
        self._announcements = 0

    @property
    def edition(self) -> int | None:
        """Another one whenever anything may have changed of any key; `None` while nobody would hear of it."""
        return self._announcements if self._listening else None

    async def authenticate(self, presented: str, now: datetime) -> Principal:
        """The bearer of the key text, as far as this process has heard. For callers that the database checks once more.

        Raises:
            AuthenticationFailed: the key is malformed, unknown, revoked, disabled or expired.
            PermissionDenied: its organization is not active, or its project archived.
        """
        digest = hashlib.sha256(presented.encode(errors="replace")).digest()
        known = self._known.get(digest)
        if known is not None:
            rules.check_not_expired(known, now)
            return known
        announcements_before = self._announcements
        try:
            principal = await self.look_up(presented, now)
        except DATABASE_AWAY:
            if digest not in self._known_before:
                raise
            principal = self._known_before[digest]
            rules.check_not_expired(principal, now)
            return principal
        except (AuthenticationFailed, PermissionDenied):
            # Nobody listens, or this would have been announced: what was known before is known better now.
            self._known_before.pop(digest, None)
            raise
        # What was announced while the database answered may have been this very key.
        if self._listening and announcements_before == self._announcements:
            self._remember(digest, principal)
        return principal

    async def look_up(self, presented: str, now: datetime) -> Principal:
        """The bearer of the key text, as the database knows it at this moment; raises as `authenticate` does."""
        key = rules.parse_presented(presented)
        found = [each for each in await store.standings(self._pool, key.public_id) if rules.is_secret_of(each, key)]
        if not found:
            raise AuthenticationFailed("This API key is not known.")
        rules.check_standing(found[0], now)
        return found[0].principal

    def _remember(self, digest: bytes, principal: Principal) -> None:
        if len(self._known) >= _ENTRIES_MAX:
            self._forget_all()
        # A rotated key may come back before its rotation is announced: its old secret must not stay behind.
        self._known.pop(self._digest_of.get(principal.key_id, b""), None)
        self._known[digest] = principal
        self._digest_of[principal.key_id] = digest

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["KeyRing"]:
        """Listen for changes, and thereby allow remembering, for as long as the block runs."""
        async with announcements.follow(
            self._database_url, CHANNEL, heard=self._forget, connected=self._connected, lost=self._lost
        ):
            yield self

    def _connected(self) -> None:
        self._listening = True
        self._known_before = {}

    def _lost(self) -> None:
        self._listening = False
        if self._trusts_memory_offline and self._known:
            self._known_before = dict(self._known)
        self._forget_all()

    def _forget(self, payload: str) -> None:
        """Drop what changed: the payload is `organization/key`, or `organization/` for all of its keys."""
        self._announcements += 1
        organization, _, key = payload.partition("/")
        if key:
            changed = [KeyId(UUID(key))]
        else:
            owner = UUID(organization)
            changed = [known.key_id for known in self._known.values() if known.organization_id == owner]
        for key_id in changed:
            self._known.pop(self._digest_of.pop(key_id, b""), None)

    def _forget_all(self) -> None:
        self._announcements += 1
        self._known.clear()
        self._digest_of.clear()


async def _tell(session: WriteSession, key: ApiKey, end: KeyEnd, *, now: datetime) -> None:
    """Tell whoever listens that a key's text opens nothing any more. Nobody listens for the installation's own keys."""
    if key.organization_id != PLATFORM:
        # A key is revoked once; it may be disabled and rotated again and again.
        cause = key.id if end is KeyEnd.REVOKED else new_id(now)
        await webhooks.emit(session, rules.told(key, end, cause, now=now))


async def _held(session: WriteSession, *, organization_id: OrganizationId, key_id: KeyId) -> ApiKey:
    key = _found(await store.key(session, organization_id=organization_id, key_id=key_id, lock=True))
    rules.check_not_revoked(key)
    return key


def _minted(key: ApiKey) -> tuple[MintedKey, bytes]:
    secret = new_secret()
    public_id = rules.public_id(new_secret())
    text = rules.compose(key.kind, public_id=public_id, secret=secret)
    minted = MintedKey(replace(key, public_id=public_id, label=rules.label(text)), text)
    return minted, rules.secret_hash(secret)


def _found(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise NotFound("There is no such key.")
    return key
