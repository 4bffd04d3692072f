"""What operators do to organizations, keys, limits and credit, and what clocks do: in the product, and in its model."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from tests.books.endings import UNIT
from tests.books.model import Call, Grant, Hold, Key, Organization
from tests.books.world import World
from tests.metering.scene import Caller

from tollgate.accounts.model import NO_LIMITS
from tollgate.kit.ids import OrganizationId
from tollgate.ledger.model import GrantCategory, GrantTerms

Thing = TypeVar("Thing")

ODD = Decimal("0.000000000007")
ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "America/Havana")
ORGANIZATIONS_MAX = 3
CALLERS_MAX = 9

picks = st.integers(0, 999)
"""Which one of what there is, counted round and round."""
scope_names = st.sampled_from(["organization", "project", "key"])
spans = st.sampled_from([None, 0.001, 1, 45, 3600, 15 * 3600, 6 * 86_400])
"""Seconds from now, or never."""
sized_limits = st.one_of(
    st.tuples(
        st.sampled_from(["total", "daily", "weekly", "monthly"]),
        st.one_of(st.none(), st.integers(0, 300).map(lambda size: size * UNIT)),
    ),
    st.tuples(st.just("rpm"), st.one_of(st.none(), st.integers(0, 8))),
    st.tuples(st.just("tpm"), st.one_of(st.none(), st.integers(0, 300))),
    st.tuples(st.just("concurrency"), st.one_of(st.none(), st.integers(0, 8))),
)


class Customers(RuleBasedStateMachine):
    """New organizations on the world's database, and their model."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.world.begin()
        self.organizations: dict[OrganizationId, Organization] = {}
        self.callers: list[Caller] = []
        self.steps = 0
        self.is_changed = False

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    def one(self, things: Sequence[Thing], pick: int) -> Thing:
        return things[pick % len(things)]

    @property
    def owners(self) -> list[Organization]:
        return list(self.organizations.values())

    @property
    def grants(self) -> list[tuple[Organization, Grant]]:
        return [(owner, grant) for owner in self.owners for grant in owner.grants]

    @property
    def holds(self) -> list[Hold]:
        return [hold for owner in self.owners for hold in owner.holds.values()]

    @property
    def calls(self) -> list[Call]:
        return [call for owner in self.owners for call in owner.calls.values()]

    def is_void(self, caller: Caller) -> bool:
        return self.organizations[caller.organization_id].keys[caller.key_id].is_void(self.now)

    # Who there is.

    @initialize(credit=st.one_of(st.integers(30, 300), st.integers(1000, 9000)), zone=st.sampled_from(ZONES))
    def begin(self, credit: int, zone: str) -> None:
        self.open_organization(Decimal(0), zone, with_project=True)
        self.grant(0, (credit, False), 50, GrantCategory.PAID, None)

    @precondition(lambda self: len(self.organizations) < ORGANIZATIONS_MAX)
    @rule(
        credit_limit=st.sampled_from([Decimal(0), 200 * UNIT, None]),
        zone=st.sampled_from(ZONES),
        with_project=st.booleans(),
    )
    def open_organization(self, credit_limit: Decimal | None, zone: str, *, with_project: bool) -> None:
        opened = self.world.open_organization(credit_limit, zone)
        self.organizations[opened.id] = Organization(opened.id, ZoneInfo(zone), credit_limit)
        project_id = self.world.open_project(opened.id) if with_project else None
        for _ in range(2):
            self._add_key(self.world.make_key(opened.id, project_id, None), None)

    @precondition(lambda self: 0 < len(self.callers) < CALLERS_MAX)
    @rule(pick=picks, with_project=st.booleans(), seconds=spans)
    def make_key(self, pick: int, *, with_project: bool, seconds: float | None) -> None:
        other = self.one(self.callers, pick)
        expires_at = None if seconds is None else self.now + timedelta(seconds=seconds)
        project_id = other.project_id if with_project else None
        self._add_key(self.world.make_key(other.organization_id, project_id, expires_at), expires_at)

    def _add_key(self, caller: Caller, expires_at: datetime | None) -> None:
        self.callers.append(caller)
        self.organizations[caller.organization_id].keys[caller.key_id] = Key(caller.key_id, expires_at)

    @precondition(lambda self: self.callers)
    @rule(pick=picks, how=st.sampled_from(["disable", "enable", "enable", "enable", "revoke"]))
    def change_key(self, pick: int, how: str) -> None:
        caller = self.one(self.callers, pick)
        key = self.organizations[caller.organization_id].keys[caller.key_id]
        if how == "revoke" and sum(not self.is_void(other) for other in self.callers) > 2:
            self.world.revoke_key(caller.organization_id, caller.key_id)
            key.revoked = True
        else:
            self.world.disable_key(caller.organization_id, caller.key_id, disabled=how == "disable")
            key.disabled = key.disabled if key.revoked else how == "disable"

    @precondition(lambda self: self.callers)
    @rule(pick=picks, scope=scope_names, limits=st.lists(sized_limits, min_size=1, max_size=3))
    def limit(self, pick: int, scope: str, limits: list[tuple[str, Any]]) -> None:
        caller, sizes = self.one(self.callers, pick), dict(limits)
        scope_id = caller.scopes.get(scope, caller.organization_id)
        owner = self.organizations[caller.organization_id]
        owner.limits[scope_id] = replace(owner.limits.get(scope_id, NO_LIMITS), **sizes)
        assert self.world.limit(owner.id, scope_id, lambda before: replace(before, **sizes)) == owner.limits[scope_id]

    # Credit.

    @precondition(lambda self: self.organizations)
    @rule(
        pick=picks,
        size=st.tuples(st.one_of(st.integers(1, 100), st.integers(500, 2000)), st.booleans()),
        priority=st.sampled_from([10, 50]),
        category=st.sampled_from(GrantCategory),
        seconds=spans,
    )
    def grant(self, pick: int, size: tuple[int, bool], priority: int, category: GrantCategory, seconds: Any) -> None:
        owner = self.one(self.owners, pick)
        expires_at = None if seconds is None else self.now + timedelta(seconds=seconds)
        amount = size[0] * UNIT + (ODD if size[1] else 0)
        terms = GrantTerms(amount, "USD", category, "", priority=priority, expires_at=expires_at)
        grant_id = self.world.grant(owner.id, terms)
        assert grant_id is not None
        owner.give(Grant(grant_id, category, priority, amount, self.now, expires_at))
        self.is_changed = True

    @precondition(lambda self: self.organizations)
    @rule(pick=picks, reference=st.sampled_from("ab"), size=st.sampled_from([70, 70, 80]))
    def top_up(self, pick: int, reference: str, size: int) -> None:
        owner = self.one(self.owners, pick)
        terms = GrantTerms(size * UNIT, "USD", GrantCategory.PAID, "a transfer", reference=reference)
        known = next((grant for grant in owner.grants if grant.reference == reference), None)
        told = [self.world.grant(owner.id, terms) for _ in range(2)]
        if known is None:
            assert told[0] is not None
            known = Grant(told[0], terms.category, 50, terms.amount, self.now, reference=reference)
            owner.give(known)
        assert told == [known.id if known.amount == terms.amount else None] * 2
        self.is_changed = True

    @precondition(lambda self: self.grants)
    @rule(pick=picks)
    def void(self, pick: int) -> None:
        owner, grant = self.one(self.grants, pick)
        is_possible = grant.voided_at is not None or owner.can_void(grant, self.now)
        assert self.world.void(owner.id, grant.id) == is_possible
        if is_possible:
            owner.void(grant, self.now)
        self.is_changed = True

    @precondition(lambda self: self.organizations)
    @rule(pick=picks, size=st.integers(-50, 50).filter(bool))
    def adjust(self, pick: int, size: int) -> None:
        owner = self.one(self.owners, pick)
        adjustment_id, from_credits = self.world.adjust(owner.id, size * UNIT)
        assert from_credits == owner.adjust(adjustment_id, size * UNIT, self.now)
        self.is_changed = True

    @precondition(lambda self: any(grant.ends_at <= self.now and not grant.is_closed for _, grant in self.grants))
    @rule()
    def end_grants(self) -> None:
        self.world.end_grants()
        for owner in self.owners:
            owner.end_grants(self.now)
        self.is_changed = True

    @precondition(lambda self: self.organizations)
    @rule(pick=picks)
    def cut(self, pick: int) -> None:
        owner = self.one(self.owners, pick)
        assert self.world.cut(owner.id) == owner.cut
        owner.cut += 1
        self.is_changed = True
