"""The key ring on a real database: what it remembers, and how it learns to forget."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization, OrganizationStatus
from tollgate.infra import announcements
from tollgate.infra.database import Database
from tollgate.keys import rules, store
from tollgate.keys import service as keys
from tollgate.keys.model import MintedKey, NewKey
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import FixedClock
from tollgate.kit.errors import AuthenticationFailed, PermissionDenied, TollgateError
from tollgate.kit.ids import PLATFORM, OrganizationId, ProjectId
from tollgate.kit.principal import KeyKind

SECONDS_MAX = 5


@pytest.fixture
async def organization_id(database: Database, clock: FixedClock) -> OrganizationId:
    async with database.write() as session:
        created = await accounts.create_organization(session, order=NewOrganization("Acme"), now=clock.now())
    return created.id


@pytest.fixture
async def project_id(database: Database, clock: FixedClock, organization_id: OrganizationId) -> ProjectId:
    async with database.write() as session:
        created = await accounts.create_project(
            session, organization_id=organization_id, name="Search", now=clock.now()
        )
    return created.id


@pytest.fixture
async def minted(
    database: Database, clock: FixedClock, organization_id: OrganizationId, project_id: ProjectId
) -> MintedKey:
    order = NewKey(organization_id, KeyKind.INFERENCE, "mine", project_id=project_id, models=("openai/gpt-4.1-mini",))
    async with database.write() as session:
        return await keys.create(session, order=order, now=clock.now())


@pytest.fixture
async def ring(pool: "asyncpg.Pool[asyncpg.Record]", database_url: str) -> AsyncIterator[KeyRing]:
    async with KeyRing(pool, database_url=database_url).listening() as opened:
        await _until(lambda: opened._listening)
        yield opened


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the ring, which announces nothing
            await asyncio.sleep(0.001)


async def _refusal(attempt: Callable[[], Awaitable[object]]) -> TollgateError:
    """The first refusal of a key that other processes are just learning about."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                await attempt()
            except TollgateError as refused:
                return refused
            await asyncio.sleep(0.001)


class TestKeyRing:
    async def test_tells_who_bears_a_key(
        self, ring: KeyRing, minted: MintedKey, clock: FixedClock, project_id: ProjectId
    ) -> None:
        principal = await ring.authenticate(minted.text, clock.now())

        assert principal.kind is KeyKind.INFERENCE
        assert principal.key_id == minted.key.id
        assert principal.organization_id == minted.key.organization_id
        assert principal.project_id == project_id
        assert principal.models == ("openai/gpt-4.1-mini",)

    async def test_remembers_a_good_key(self, ring: KeyRing, minted: MintedKey, clock: FixedClock) -> None:
        first = await ring.authenticate(minted.text, clock.now())

        assert await ring.authenticate(minted.text, clock.now()) is first

    async def test_looks_up_a_key_it_remembers_when_asked_to(
        self, ring: KeyRing, pool: "asyncpg.Pool[asyncpg.Record]", minted: MintedKey, clock: FixedClock
    ) -> None:
        await ring.authenticate(minted.text, clock.now())
        await pool.execute("ALTER TABLE api_keys DISABLE TRIGGER USER")
        await pool.execute("UPDATE api_keys SET revoked_at = now()")

        assert (await ring.authenticate(minted.text, clock.now())).key_id == minted.key.id
        with pytest.raises(AuthenticationFailed, match="revoked"):
            await ring.look_up(minted.text, clock.now())

    async def test_remembers_nothing_while_it_does_not_listen(
        self, pool: "asyncpg.Pool[asyncpg.Record]", database_url: str, minted: MintedKey, clock: FixedClock
    ) -> None:
        deaf = KeyRing(pool, database_url=database_url)
        await deaf.authenticate(minted.text, clock.now())

        assert not deaf._known

    async def test_does_not_know_a_well_formed_key_that_nobody_made(
        self, ring: KeyRing, minted: MintedKey, clock: FixedClock
    ) -> None:
        presented = rules.parse_presented(minted.text)
        forged = rules.compose(presented.kind, public_id=presented.public_id, secret=bytes(32))

        with pytest.raises(AuthenticationFailed, match="not known"):
            await ring.authenticate(forged, clock.now())

    async def test_lets_a_remembered_key_expire(
        self, ring: KeyRing, database: Database, clock: FixedClock, organization_id: OrganizationId
    ) -> None:
        order = NewKey(organization_id, KeyKind.INFERENCE, "brief", expires_at=clock.now() + timedelta(minutes=1))
        async with database.write() as session:
            brief = await keys.create(session, order=order, now=clock.now())
        await ring.authenticate(brief.text, clock.now())

        with pytest.raises(AuthenticationFailed, match="expired"):
            await ring.authenticate(brief.text, clock.now() + timedelta(minutes=1))

    async def test_of_every_process_sees_a_revocation_at_once(
        self, ring: KeyRing, database_url: str, database: Database, minted: MintedKey, clock: FixedClock
    ) -> None:
        async with (
            asyncpg.create_pool(database_url, min_size=1, max_size=1) as elsewhere,
            KeyRing(elsewhere, database_url=database_url).listening() as second,
        ):
            await _until(lambda: second._listening)
            await ring.authenticate(minted.text, clock.now())
            await second.authenticate(minted.text, clock.now())
            assert second._known
            async with database.write() as session:
                await keys.revoke(
                    session, organization_id=minted.key.organization_id, key_id=minted.key.id, now=clock.now()
                )

            for each in (ring, second):
                refused = await _refusal(partial(each.authenticate, minted.text, clock.now()))
                assert isinstance(refused, AuthenticationFailed)
                assert "revoked" in refused.message

    async def test_forgets_the_old_secret_when_a_key_is_rotated(
        self, ring: KeyRing, database: Database, minted: MintedKey, clock: FixedClock
    ) -> None:
        await ring.authenticate(minted.text, clock.now())
        async with database.write() as session:
            rotated = await keys.rotate(
                session, organization_id=minted.key.organization_id, key_id=minted.key.id, now=clock.now()
            )

        principal = await ring.authenticate(rotated.text, clock.now())
        refused = await _refusal(lambda: ring.authenticate(minted.text, clock.now()))

        assert principal.key_id == minted.key.id
        assert "not known" in refused.message

    async def test_keeps_out_a_disabled_key_until_it_is_enabled_again(
        self, ring: KeyRing, database: Database, minted: MintedKey, clock: FixedClock
    ) -> None:
        async def disable(*, disabled: bool) -> None:
            async with database.write() as session:
                await keys.change(
                    session,
                    organization_id=minted.key.organization_id,
                    key_id=minted.key.id,
                    edit=lambda key: replace(key, disabled=disabled),
                    now=clock.now(),
                )

        await ring.authenticate(minted.text, clock.now())
        await disable(disabled=True)
        refused = await _refusal(lambda: ring.authenticate(minted.text, clock.now()))
        await disable(disabled=False)

        assert "disabled" in refused.message
        assert (await ring.authenticate(minted.text, clock.now())).key_id == minted.key.id

    async def test_keeps_out_the_keys_of_a_suspended_organization(
        self, ring: KeyRing, database: Database, minted: MintedKey, clock: FixedClock
    ) -> None:
        await ring.authenticate(minted.text, clock.now())
        async with database.write() as session:
            await accounts.change_organization(
                session,
                organization_id=minted.key.organization_id,
                edit=lambda organization: replace(organization, status=OrganizationStatus.SUSPENDED),
            )

        refused = await _refusal(lambda: ring.authenticate(minted.text, clock.now()))

        assert isinstance(refused, PermissionDenied)
        assert "suspended" in refused.message

    async def test_keeps_out_the_keys_of_an_archived_project(
        self, ring: KeyRing, database: Database, minted: MintedKey, clock: FixedClock, project_id: ProjectId
    ) -> None:
        await ring.authenticate(minted.text, clock.now())
        async with database.write() as session:
            await accounts.archive_project(
                session, organization_id=minted.key.organization_id, project_id=project_id, now=clock.now()
            )

        refused = await _refusal(lambda: ring.authenticate(minted.text, clock.now()))

        assert isinstance(refused, PermissionDenied)
        assert "archived" in refused.message

    async def test_forgets_everything_when_it_loses_its_listener_and_listens_again(
        self,
        ring: KeyRing,
        pool: "asyncpg.Pool[asyncpg.Record]",
        minted: MintedKey,
        clock: FixedClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(announcements, "RECONNECT_SECONDS", 0.01)
        await ring.authenticate(minted.text, clock.now())
        before = ring._announcements

        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query ~ '^(SELECT 1$|LISTEN)'"
        )
        await _until(lambda: ring._announcements > before)

        assert not ring._known
        await _until(lambda: ring._listening)
        await ring.authenticate(minted.text, clock.now())
        assert ring._known

    async def test_remembers_nothing_that_changed_while_it_was_looked_up(
        self, ring: KeyRing, minted: MintedKey, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        standings = store.standings

        async def overtaken(pool: "asyncpg.Pool[asyncpg.Record]", public_id: str) -> list[object]:
            found = await standings(pool, public_id)
            ring._forget(f"{minted.key.organization_id}/{minted.key.id}")
            return list(found)

        monkeypatch.setattr(store, "standings", overtaken)
        await ring.authenticate(minted.text, clock.now())

        assert not ring._known

    async def test_does_not_grow_without_bound(
        self, ring: KeyRing, database: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keys, "_ENTRIES_MAX", 2)
        async with database.write() as session:
            order = NewKey(PLATFORM, KeyKind.OPERATOR, "operator")
            made = [await keys.create(session, order=order, now=clock.now()) for _ in range(3)]

        for each in made:
            await ring.authenticate(each.text, clock.now())

        assert len(ring._known) == 1


class TestKeyRingOffline:
    """What a process may believe of keys while the database is away, if the operator allowed it to."""

    @pytest.fixture
    async def own_pool(self, database_url: str) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
        async with asyncpg.create_pool(database_url, min_size=1, max_size=1) as opened:
            yield opened

    @staticmethod
    def ring(pool: "asyncpg.Pool[asyncpg.Record]", database_url: str, *, trusts: bool = True) -> KeyRing:
        opened = KeyRing(pool, database_url=database_url, trusts_memory_offline=trusts)
        opened._connected()
        return opened

    async def test_knows_whom_it_knew_when_the_database_went_away(
        self, own_pool: "asyncpg.Pool[asyncpg.Record]", database_url: str, minted: MintedKey, clock: FixedClock
    ) -> None:
        ring = self.ring(own_pool, database_url)
        known = await ring.authenticate(minted.text, clock.now())
        ring._lost()
        await own_pool.close()
        assert await ring.authenticate(minted.text, clock.now()) is known
        ring._lost()
        assert await ring.authenticate(minted.text, clock.now()) is known

    async def test_does_not_unless_it_was_told_to(
        self, own_pool: "asyncpg.Pool[asyncpg.Record]", database_url: str, minted: MintedKey, clock: FixedClock
    ) -> None:
        ring = self.ring(own_pool, database_url, trusts=False)
        await ring.authenticate(minted.text, clock.now())
        ring._lost()
        await own_pool.close()
        with pytest.raises(asyncpg.InterfaceError):
            await ring.authenticate(minted.text, clock.now())

    async def test_does_not_know_strangers_nor_keys_that_expired_meanwhile(
        self,
        own_pool: "asyncpg.Pool[asyncpg.Record]",
        database_url: str,
        database: Database,
        clock: FixedClock,
        organization_id: OrganizationId,
    ) -> None:
        ring, ends = self.ring(own_pool, database_url), clock.now() + timedelta(minutes=1)
        orders = [NewKey(organization_id, KeyKind.INFERENCE, "a key", expires_at=ends) for _ in range(2)]
        async with database.write() as session:
            known, stranger = [await keys.create(session, order=order, now=clock.now()) for order in orders]
        await ring.authenticate(known.text, clock.now())
        ring._lost()
        await own_pool.close()
        assert (await ring.authenticate(known.text, clock.now())).key_id == known.key.id
        with pytest.raises(asyncpg.InterfaceError):
            await ring.authenticate(stranger.text, clock.now())
        with pytest.raises(AuthenticationFailed, match="expired"):
            await ring.authenticate(known.text, ends)

    async def test_asks_the_database_while_that_answers_though_announcements_were_lost(
        self,
        own_pool: "asyncpg.Pool[asyncpg.Record]",
        database_url: str,
        database: Database,
        minted: MintedKey,
        clock: FixedClock,
    ) -> None:
        ring = self.ring(own_pool, database_url)
        await ring.authenticate(minted.text, clock.now())
        ring._lost()
        async with database.write() as session:
            await keys.revoke(
                session, organization_id=minted.key.organization_id, key_id=minted.key.id, now=clock.now()
            )
        with pytest.raises(AuthenticationFailed, match="revoked"):
            await ring.authenticate(minted.text, clock.now())

    async def test_forgets_whom_it_knew_once_the_database_is_back(
        self, own_pool: "asyncpg.Pool[asyncpg.Record]", database_url: str, minted: MintedKey, clock: FixedClock
    ) -> None:
        ring = self.ring(own_pool, database_url)
        await ring.authenticate(minted.text, clock.now())
        ring._lost()
        ring._connected()
        await own_pool.close()
        with pytest.raises(asyncpg.InterfaceError):
            await ring.authenticate(minted.text, clock.now())

    async def test_does_not_know_who_was_seen_refused_meanwhile(
        self,
        own_pool: "asyncpg.Pool[asyncpg.Record]",
        database_url: str,
        database: Database,
        minted: MintedKey,
        clock: FixedClock,
    ) -> None:
        """The announcements are lost first, the key is revoked and seen to be, and then the database goes away."""
        ring = self.ring(own_pool, database_url)
        await ring.authenticate(minted.text, clock.now())
        ring._lost()
        async with database.write() as session:
            await keys.revoke(
                session, organization_id=minted.key.organization_id, key_id=minted.key.id, now=clock.now()
            )
        with pytest.raises(AuthenticationFailed, match="revoked"):
            await ring.authenticate(minted.text, clock.now())
        await own_pool.close()
        with pytest.raises(asyncpg.InterfaceError):
            await ring.authenticate(minted.text, clock.now())


@given(st.lists(st.sampled_from(["connected", "heard of a key", "heard of an organization", "lost"]), max_size=12))
def test_no_edition_comes_again_once_anything_may_have_changed(events: list[str]) -> None:
    nobody: Any = None
    ring = KeyRing(nobody, database_url="")
    tell: dict[str, Callable[[], None]] = {
        "connected": ring._connected,
        "heard of a key": lambda: ring._forget(f"{PLATFORM}/{PLATFORM}"),
        "heard of an organization": lambda: ring._forget(f"{PLATFORM}/"),
        "lost": ring._lost,
    }
    outdated: set[int | None] = set()
    for event in events:
        if event != "connected":
            outdated |= {ring.edition} - {None}
        tell[event]()
        assert (ring.edition is None) is not ring._listening
        assert ring.edition not in outdated
