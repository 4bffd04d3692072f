"""The state machine: whatever operators, callers, workers and clocks do, the database must be as the model says."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from tests.books import figures
from tests.books.customers import Customers, picks, scope_names, sized_limits
from tests.books.endings import UNIT, Ending, ended, endings
from tests.books.model import Hold, scopes_of, windows_of
from tests.metering.scene import Caller

from tollgate.kit.checks import Severity
from tollgate.kit.ids import CallId
from tollgate.ledger.model import GrantCategory
from tollgate.metering.model import Admission, AdmissionRequest, Settled, Settlement

MICROSECOND = timedelta(microseconds=1)
EXAMINED_EVERY = 25
"""After so many steps the doctor looks, too."""

units = st.integers(0, 60)
about_now = st.sampled_from([-1001, -1, 0, 0, 999])
"""Microseconds."""
asks = st.fixed_dictionaries(
    {
        "pick": picks,
        "sizes": st.tuples(units, units),
        "tokens": units,
        "only_asks": st.sampled_from([False, False, False, True]),
        "age": st.sampled_from([0, 0, 0, 0.001, 0.7, 3]),
        "oddness": st.sampled_from([{}] * 9 + [{"currency": "EUR"}, {"revision": -1}]),
    }
)


class Books(Customers):
    """One example: new organizations on the world's database, what calls they make, and their model."""

    # Calls.

    @precondition(lambda self: self.callers)
    @rule(batch=st.lists(asks, min_size=1, max_size=4))
    def admit(self, batch: list[dict[str, Any]]) -> None:
        self._admit([self._request(**ask) for ask in batch])

    @precondition(lambda self: self.callers)
    @rule(pick=picks, count=st.integers(2, 6), size=st.integers(1, 30), tokens=units)
    def admit_alike(self, pick: int, count: int, size: int, tokens: int) -> None:
        """Calls of one size from one key: a budget carries so many of them."""
        alike: dict[str, Any] = {"pick": pick, "sizes": (size, size), "tokens": tokens, "only_asks": False}
        self._admit([self._request(**alike, age=0, oddness={}) for _ in range(count)])

    @precondition(lambda self: self.callers)
    @rule(
        pick=picks,
        scope=scope_names,
        limits=st.lists(sized_limits, min_size=1, max_size=3),
        count=st.integers(1, 5),
        sizes=st.tuples(units, units),
    )
    def admit_under_limits(
        self, pick: int, scope: str, limits: list[tuple[str, Any]], count: int, sizes: tuple[int, int]
    ) -> None:
        """Limits that were set a moment ago, and calls that come up against them."""
        self.limit(pick, scope, limits)
        alike: dict[str, Any] = {"pick": pick, "sizes": sizes, "tokens": sizes[1], "only_asks": False}
        self._admit([self._request(**alike, age=0, oddness={}) for _ in range(count)])

    @precondition(lambda self: self.callers)
    @rule(picked=st.lists(picks, min_size=1, max_size=4), most=st.sampled_from([0, 20, 20, 80, 80, 5000]), tokens=units)
    def admit_what_fits(self, picked: list[int], most: int, tokens: int) -> None:
        """Calls that would take a lot and content themselves with what is left."""
        modest: dict[str, Any] = {"sizes": (most, 1), "tokens": tokens, "only_asks": False}
        self._admit([self._request(pick=pick, **modest, age=0, oddness={}) for pick in picked])

    @precondition(lambda self: self.callers)
    @rule(picked=st.lists(picks, min_size=1, max_size=3), size=units, ending=endings, seconds=st.sampled_from([0, 2]))
    def call(self, picked: list[int], size: int, ending: Ending, seconds: int) -> None:
        """Calls that end before anything else happens."""
        alike: dict[str, Any] = {"sizes": (size, size), "tokens": size, "only_asks": False, "age": 0.001, "oddness": {}}
        asked = [self._request(pick=pick, **alike) for pick in picked]
        self._admit(asked)
        self.world.clock.at += timedelta(seconds=seconds)
        begun = {request.call_id for request, _ in asked}
        self._settle([self._end_of(hold, ending) for hold in self.holds if hold.request.call_id in begun])

    def _request(self, *, pick: int, **ask: Any) -> tuple[AdmissionRequest, datetime]:
        # Keys that open nothing are tried again and again, but not most of the time.
        callers = self.callers if pick % 9 == 0 else [each for each in self.callers if not self.is_void(each)]
        return self._request_of(caller=self.one(callers or self.callers, pick), **ask)

    def _request_of(
        self, *, caller: Caller, sizes: tuple[int, int], age: float, oddness: dict[str, Any], **rest: Any
    ) -> tuple[AdmissionRequest, datetime]:
        accepted_at = self.now - timedelta(seconds=age)
        ordinary = {"currency": "USD", "revision": self.world.revision, **oddness}
        request = AdmissionRequest(
            caller.organization_id,
            self.world.call_id(accepted_at),
            caller.project_id,
            caller.key_id,
            hold_least=min(sizes) * UNIT,
            hold_most=max(sizes) * UNIT,
            **rest,
            **ordinary,
        )
        return request, accepted_at

    def _admit(self, asked: list[tuple[AdmissionRequest, datetime]]) -> None:
        expected: list[Admission] = []
        windows = {owner.id: owner.windows_at(self.now) for owner in self.owners}
        taken: list[AdmissionRequest] = []
        for request, accepted_at in asked:
            owner = self.organizations[request.organization_id]
            answer = owner.decide(request, self.now, self.world.revision)
            expected.append(answer)
            if answer.outcome == "admitted" and not request.only_asks:
                taken.append(request)
                owner.hold(Hold(request, accepted_at, answer.amount or Decimal(0), windows[owner.id]))
                assert request.hold_most == 0 or owner.available(self.now) >= 0
        for request in taken:
            owner = self.organizations[request.organization_id]
            owner.open_windows(scopes_of(request).values(), windows[owner.id])
        found = self.world.admit([request for request, _ in asked])
        for (request, _), answer, wanted in zip(asked, found, expected, strict=True):
            assert answer == wanted, f"{request}\nis answered  {answer}\ninstead of   {wanted}"
        self.world.outcomes.update(answer.outcome for answer in found)
        self.is_changed = True

    @precondition(lambda self: self.holds)
    @rule(batch=st.lists(st.tuples(picks, endings), min_size=1, max_size=5), twice=st.booleans())
    def settle(self, batch: list[tuple[int, Ending]], *, twice: bool) -> None:
        """Calls under way, and the last one told again."""
        chosen = {self.one(self.holds, pick).request.call_id: (pick, ending) for pick, ending in batch}
        settlements = [self._end_of(self.one(self.holds, pick), ending) for pick, ending in chosen.values()]
        self._settle(settlements)
        if twice:
            self._settle(settlements[-1:] * 2)

    @precondition(lambda self: self.holds)
    @rule(ending=endings, seconds=st.sampled_from([0, 0.02, 5]))
    def settle_all(self, ending: Ending, seconds: float) -> None:
        self.world.clock.at += timedelta(seconds=seconds)
        self._settle([self._end_of(hold, ending) for hold in reversed(self.holds)])

    @precondition(lambda self: self.calls)
    @rule(pick=picks, ending=endings)
    def settle_again(self, pick: int, ending: Ending) -> None:
        """A call that ended long ago, and how it is told to have ended this time."""
        record = self.one(self.calls, pick).record
        caller = Caller(record.organization_id, record.project_id, record.key_id)
        self._settle([ended(ending, caller, record.call_id, record.accepted_at)])

    @precondition(lambda self: self.callers)
    @rule(
        batch=st.lists(
            st.tuples(picks, endings, st.sampled_from([0, 0.001, 2, 61, 3600, 90_000])), min_size=1, max_size=3
        ),
        held=st.one_of(st.none(), st.tuples(picks, endings)),
    )
    def settle_what_never_held(self, batch: list[tuple[int, Ending, float]], held: tuple[int, Ending] | None) -> None:
        """Calls that were served while the ledger was away, perhaps in one batch with one that held."""
        settlements = []
        for pick, ending, ago in batch:
            accepted_at = self.now - timedelta(seconds=ago)
            call_id = self.world.call_id(accepted_at)
            settlements.append(ended(ending, self.one(self.callers, pick), call_id, accepted_at))
        if held is not None and self.holds:
            settlements.insert(0, self._end_of(self.one(self.holds, held[0]), held[1]))
        self._settle(settlements)

    def _end_of(self, hold: Hold, ending: Ending) -> Settlement:
        request = hold.request
        caller = Caller(request.organization_id, request.project_id, request.key_id)
        return ended(ending, caller, request.call_id, hold.accepted_at, hold.amount)

    def _settle(self, settlements: list[Settlement]) -> None:
        if not settlements:
            return
        found = {answer.call_id: answer for answer in self.world.settle(settlements)}
        wanted = self._record(settlements)
        self.world.outcomes["settled"] += sum(answer.recorded for answer in found.values())
        assert found == wanted, f"is answered  {found}\ninstead of   {wanted}"
        self.is_changed = True

    def _record(self, settlements: list[Settlement]) -> dict[CallId, Settled]:
        records = {settlement.call.call_id: settlement.call for settlement in settlements}
        return {
            answer.call_id: answer
            for owner in self.owners
            for answer in owner.settle(
                [each for each in records.values() if each.organization_id == owner.id], self.now
            )
        }

    # Processes that die.

    @precondition(lambda self: self.holds)
    @rule(
        batch=st.lists(st.tuples(picks, st.one_of(st.none(), endings), st.booleans()), min_size=1, max_size=4),
        is_swept=st.booleans(),
    )
    def lose(self, batch: list[tuple[int, Ending | None, bool]], *, is_swept: bool) -> None:
        """Some calls leave a letter, and the leases of some are over."""
        for pick, ending, is_lost in batch:
            hold = self.one(self.holds, pick)
            if ending is not None:
                hold.letter = self._end_of(hold, ending)
                self.world.checkpoint(hold.request.organization_id, hold.letter)
            if is_lost:
                hold.is_lost = True
                self.world.lose(hold.request.call_id)
        self.is_changed = True
        if is_swept:
            self.sweep(None)

    @precondition(lambda self: self.holds)
    @rule(picked=st.lists(picks, min_size=1, max_size=3), late=st.one_of(st.none(), endings))
    def give_back(self, picked: list[int], late: Ending | None) -> None:
        """Calls whose callers were told that the ledger is away; one of them may have gone on all the same."""
        unwanted = {hold.request.call_id: hold for hold in (self.one(self.holds, pick) for pick in picked)}
        self.world.give_back({call_id: hold.request.organization_id for call_id, hold in unwanted.items()})
        for hold in unwanted.values():
            hold.is_lost = True
        for owner in self.owners:
            self.world.outcomes["lost"] += owner.release(self.now)
        self.is_changed = True
        if late is not None:
            self._settle([self._end_of(next(iter(unwanted.values())), late)])

    @precondition(lambda self: any(hold.is_lost for hold in self.holds))
    @rule(late=st.one_of(st.none(), endings))
    def sweep(self, late: Ending | None) -> None:
        """What is lost is settled or given back; one of these calls may have been alive, and be told of now."""
        lost = [hold for hold in self.holds if hold.is_lost]
        assert self.world.sweep() == len(lost)
        self.world.outcomes["lost"] += len(lost)
        self._record([hold.letter for hold in lost if hold.letter is not None])
        for owner in self.owners:
            owner.release(self.now)
        self.is_changed = True
        if late is not None and lost:
            self._settle([self._end_of(lost[0], late)])

    # Time, and what comes first at the new one.

    @rule(seconds=st.sampled_from([0.0005, 0.001, 1, 17, 61, 3600, 5 * 3600, 86_400, 3 * 86_400, 9 * 86_400]))
    def wait(self, seconds: float) -> None:
        self.world.clock.at += timedelta(seconds=seconds)

    @precondition(lambda self: self.callers)
    @rule(
        pick=picks,
        window=st.sampled_from(["minute", "day", "week", "month"]),
        before=st.booleans(),
        back=st.sampled_from([0, 0, 0.001, 30]),
    )
    def wait_for_window(self, pick: int, window: str, *, before: bool, back: float) -> None:
        """Until a window begins, or the last instant before it; and perhaps back again."""
        caller, now = self.one(self.callers, pick), self.now
        zone = self.organizations[caller.organization_id].zone
        start = windows_of(now, zone)[window]
        at, step = start, timedelta(minutes=1) if window == "minute" else timedelta(hours=1)
        while windows_of(at, zone)[window] == start:
            at += step
        following = windows_of(at, zone)[window] - (MICROSECOND if before else timedelta(0))
        self.world.clock.at = max(following, now)
        self._admit_now(caller)
        if back:
            self._step_back(back)
            self._admit_now(caller)

    @precondition(lambda self: self._ends())
    @rule(pick=picks, microseconds=about_now, ending=st.one_of(st.none(), endings))
    def wait_for_an_end(self, pick: int, microseconds: int, ending: Ending | None) -> None:
        """Until about the instant at which a grant or a key expires; and a call of that instant."""
        end, caller = self.one(self._ends(), pick)
        self._call_at(end + microseconds * MICROSECOND, caller, ending)

    @precondition(lambda self: self.callers)
    @rule(pick=picks, size=st.integers(1, 90), microseconds=about_now, ending=st.one_of(st.none(), endings))
    def outlast_a_grant(self, pick: int, size: int, microseconds: int, ending: Ending | None) -> None:
        """A grant for a second, and calls when it begins and about when it ends."""
        caller, end = self.one(self.callers, pick), self.now + timedelta(seconds=1)
        owner = self.organizations[caller.organization_id]
        self.grant(self.owners.index(owner), (size, False), 50, GrantCategory.PROMOTIONAL, 1)
        self._admit_now(caller)
        self._call_at(end + microseconds * MICROSECOND, caller, ending)

    def _call_at(self, at: datetime, caller: Caller, ending: Ending | None) -> None:
        self.world.clock.at = max(at, self.now)
        self._admit_now(caller)
        if ending is not None:
            self._settle([self._end_of(hold, ending) for hold in self.holds if hold.accepted_at == self.now])

    def _ends(self) -> list[tuple[datetime, Caller]]:
        ends: list[tuple[datetime, Caller]] = []
        for caller in self.callers:
            owner = self.organizations[caller.organization_id]
            expiries = [grant.expires_at for grant in owner.grants if not grant.is_closed]
            expiries.append(owner.keys[caller.key_id].expires_at)
            ends += [(end, caller) for end in expiries if end is not None and end > self.now]
        return ends

    @precondition(lambda self: self.callers)
    @rule(pick=picks, seconds=st.sampled_from([0.001, 1, 59, 3600]))
    def step_back(self, pick: int, seconds: float) -> None:
        self._step_back(seconds)
        self._admit_now(self.one(self.callers, pick))

    def _step_back(self, seconds: float) -> None:
        before = self.now
        self.world.clock.at -= timedelta(seconds=seconds)
        for owner in self.owners:
            owner.steps_back(before, self.now)

    def _admit_now(self, caller: Caller) -> None:
        """Ask for more than there is, which tells what is left, and take a little."""
        asked: dict[str, Any] = {"tokens": 3, "age": 0, "oddness": {}, "caller": caller}
        self._admit([self._request_of(sizes=(0, 9000), only_asks=True, **asked)])
        self._admit([self._request_of(sizes=(1, 20), only_asks=False, **asked)])

    # What must be so.

    @invariant()
    def the_tables_say_what_the_model_says(self) -> None:
        self.steps += 1
        self.world.steps += 1
        if self.is_changed:
            found = self.world.figures(self.organizations)
            assert not (different := figures.differences(figures.expected(self.owners), found)), "\n".join(different)
            assert not (broken := figures.broken_promises(self.owners)), "\n".join(broken)
            self.is_changed = False
        if self.steps % EXAMINED_EVERY == 0:
            for owner in self.owners:
                report = self.world.examine(owner.id)
                assert report.whole, report.of(Severity.ERROR)
            assert self.world.calls(self.organizations) == figures.call_rows(self.owners)

    def teardown(self) -> None:
        """Leave nothing that the next example's sweep would find."""
        if any(hold.is_lost for hold in self.holds):
            self.world.sweep()
