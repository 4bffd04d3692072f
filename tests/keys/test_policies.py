"""The policies that bind a key come with its bearer, and every process hears of a change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest

from tollgate.accounts import service as accounts
from tollgate.accounts.model import NewOrganization
from tollgate.infra.database import Database
from tollgate.keys import service as keys
from tollgate.keys.model import MintedKey, NewKey
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import FixedClock
from tollgate.kit.ids import OrganizationId
from tollgate.kit.principal import NO_POLICY, KeyKind, RoutingPolicy

SECONDS_MAX = 5
WHOLE = RoutingPolicy(models=("acme/a",), providers=("acme",), denies_training=True, zdr=True)
OWN = RoutingPolicy(ignored_providers=("x",), max_prompt_price=Decimal("2.5"), max_completion_price=Decimal(0))


class Tenant:
    """An organization with one key, and the processes in which it calls."""

    def __init__(self, database: Database, clock: FixedClock, rings: list[KeyRing], minted: MintedKey) -> None:
        self._database = database
        self._clock = clock
        self._rings = rings
        self._minted = minted

    async def set(self, policy: RoutingPolicy, *, of_key: bool) -> None:
        owner, key_id = self._minted.key.organization_id, self._minted.key.id
        async with self._database.write() as session:
            if of_key:
                await keys.change(
                    session, organization_id=owner, key_id=key_id, now=self._clock.now(),
                    edit=lambda key: replace(key, routing=policy),
                )  # fmt: skip
            else:
                await accounts.change_organization(
                    session, organization_id=owner, edit=lambda organization: replace(organization, routing=policy)
                )

    async def bound_by(self) -> list[tuple[RoutingPolicy, ...]]:
        """What binds its next call, in each process."""
        found = [await ring.authenticate(self._minted.text, self._clock.now()) for ring in self._rings]
        return [principal.policies for principal in found]

    async def becomes_bound_by(self, *policies: RoutingPolicy) -> None:
        async with asyncio.timeout(SECONDS_MAX):
            while await self.bound_by() != [policies] * len(self._rings):  # noqa: ASYNC110 - the rings announce nothing
                await asyncio.sleep(0.001)


@pytest.fixture
async def rings(pool: "asyncpg.Pool[asyncpg.Record]", database_url: str) -> AsyncIterator[list[KeyRing]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(KeyRing(pool, database_url=database_url).listening()) for _ in range(2)]


async def a_tenant(database: Database, clock: FixedClock, rings: list[KeyRing], **policies: RoutingPolicy) -> Tenant:
    async with database.write() as session:
        order = NewOrganization("Acme", routing=policies.get("organization", NO_POLICY))
        owner: OrganizationId = (await accounts.create_organization(session, order=order, now=clock.now())).id
        of_key = NewKey(owner, KeyKind.INFERENCE, "mine", routing=policies.get("key", NO_POLICY))
        return Tenant(database, clock, rings, await keys.create(session, order=of_key, now=clock.now()))


async def test_both_bind_a_key_and_none_where_none_is_set(
    database: Database, clock: FixedClock, rings: list[KeyRing]
) -> None:
    free, bound = (
        await a_tenant(database, clock, rings),
        await a_tenant(database, clock, rings, organization=WHOLE, key=OWN),
    )

    assert await free.bound_by() == [()] * 2
    assert await bound.bound_by() == [(WHOLE, OWN)] * 2


@pytest.mark.parametrize("of_key", [False, True], ids=["organization", "key"])
async def test_every_process_hears_of_a_change_and_no_stranger_is_bound_by_it(
    database: Database, clock: FixedClock, rings: list[KeyRing], *, of_key: bool
) -> None:
    tenant = await a_tenant(database, clock, rings)
    stranger = await a_tenant(database, clock, rings, key=OWN)
    await tenant.becomes_bound_by()

    for policy in (WHOLE, replace(WHOLE, zdr=False), NO_POLICY):
        await tenant.set(policy, of_key=of_key)
        await tenant.becomes_bound_by(*([] if policy == NO_POLICY else [policy]))

    assert await stranger.bound_by() == [(OWN,)] * 2
