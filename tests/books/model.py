"""An organization's books in plain Python, by billing-rules §4 to §6.

Nothing is counted as it happens: every figure is added up from what there is: grants, holds, and calls that ended.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from tollgate.accounts.model import NO_LIMITS, Limits
from tollgate.kit import period
from tollgate.kit.ids import AdjustmentId, CallId, GrantId, KeyId, OrganizationId
from tollgate.ledger.model import GrantCategory
from tollgate.metering.model import Admission, AdmissionRequest, CallRecord, Settled, Settlement

NOTHING = Decimal(0)
ENDLESS = Decimal("Infinity")
NEVER = datetime.max.replace(tzinfo=UTC)
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MONEY_LIMITS = {"total": None, "daily": "day", "weekly": "week", "monthly": "month"}
_PERIODS = {"day": period.day_of, "week": period.week_of, "month": period.month_of}

Windows: TypeAlias = dict[str, datetime]
"""When the day, the week, the month and the minute began."""
NO_WINDOWS: Windows = dict.fromkeys(("day", "week", "month", "minute"), BEFORE_ALL)


def windows_of(at: datetime, zone: ZoneInfo) -> Windows:
    """The calendar windows of the zone that the instant falls in."""
    windows = {name: of(at, zone).start for name, of in _PERIODS.items()}
    return {**windows, "minute": at.replace(second=0, microsecond=0)}


def millisecond_of(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND


def scopes_of(who: "AdmissionRequest | CallRecord") -> dict[str, UUID]:
    """The scopes that bound a call, the widest first."""
    scopes = {"organization": who.organization_id, "project": who.project_id, "key": who.key_id}
    return {name: scope for name, scope in scopes.items() if scope is not None}


@dataclass(slots=True)
class Key:
    """Whether an API key still opens anything."""

    id: KeyId
    expires_at: datetime | None
    disabled: bool = False
    revoked: bool = False

    def is_void(self, now: datetime) -> bool:
        return self.revoked or self.disabled or (self.expires_at is not None and self.expires_at <= now)


@dataclass(slots=True)
class Grant:
    """Credit: granted = burned + expired + voided + remaining."""

    id: GrantId
    category: GrantCategory
    priority: int
    amount: Decimal
    created_at: datetime
    expires_at: datetime | None = None
    reference: str | None = None
    voided_at: datetime | None = None
    is_closed: bool = False
    burned: Decimal = NOTHING
    expired: Decimal = NOTHING
    voided: Decimal = NOTHING

    @property
    def remaining(self) -> Decimal:
        return self.amount - self.burned - self.expired - self.voided

    @property
    def account(self) -> str:
        return f"credits:{self.id}"

    @property
    def source(self) -> str:
        return "cash" if self.category is GrantCategory.PAID else "promotions"

    @property
    def ends_at(self) -> datetime:
        return min(self.expires_at or NEVER, self.voided_at or NEVER)

    def is_live(self, now: datetime) -> bool:
        """Whether anything new is admitted on it: by no clock once it was voided, and by each until it expires."""
        return self.voided_at is None and (self.expires_at or NEVER) > now

    @property
    def burn_order(self) -> tuple[Any, ...]:
        """Priority, soonest expiry, promotional first, oldest."""
        is_paid = self.category is GrantCategory.PAID
        return (self.priority, self.expires_at or NEVER, is_paid, self.created_at, self.id)


@dataclass(slots=True)
class Hold:
    """A call under way."""

    request: AdmissionRequest
    accepted_at: datetime
    amount: Decimal
    windows: Windows
    is_lost: bool = False
    """Whether its lease is over."""
    letter: Settlement | None = None
    """What to record of it then."""


@dataclass(slots=True)
class Call:
    """A call that ended. It counts in the windows it was held in, or was accepted in if it never held."""

    record: CallRecord
    windows: Windows
    from_credits: Decimal
    overrun: Decimal
    cut: int


@dataclass(slots=True)
class Organization:
    """One customer, and all there is of it."""

    id: OrganizationId
    zone: ZoneInfo
    credit_limit: Decimal | None
    keys: dict[UUID, Key] = field(default_factory=dict)
    limits: dict[UUID, Limits] = field(default_factory=dict)
    grants: list[Grant] = field(default_factory=list)
    holds: dict[CallId, Hold] = field(default_factory=dict)
    calls: dict[CallId, Call] = field(default_factory=dict)
    taken: list[tuple[AdmissionRequest, datetime]] = field(default_factory=list)
    """What was ever admitted, and in which minute."""
    opened: dict[UUID, Windows] = field(default_factory=dict)
    """The windows that each scope's counter stands in."""
    debits: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    credits: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    cut: int = 0
    keeps_within: bool = True
    """Whether all it was charged had been held: then it never owes more than its credit limit."""

    # Money.

    def post(self, debit: str, credit: str, amount: Decimal) -> None:
        if amount > 0:
            for account in (debit, credit):
                self.debits[account] += amount if account == debit else 0
                self.credits[account] += amount if account == credit else 0

    def give(self, grant: Grant) -> None:
        self.grants.append(grant)
        self.post(grant.source, grant.account, grant.amount)

    @property
    def owed(self) -> Decimal:
        return self.debits.get("unbilled", NOTHING) - self.credits.get("unbilled", NOTHING)

    def available(self, now: datetime) -> Decimal:
        """Credits and credit limit, less what is held and what was spent beyond credits."""
        credits_ = sum((grant.remaining for grant in self.grants if grant.is_live(now)), NOTHING)
        held = sum((hold.amount for hold in self.holds.values()), NOTHING)
        return (ENDLESS if self.credit_limit is None else self.credit_limit) + credits_ - self.owed - held

    def charge(self, amount: Decimal, at: datetime) -> Decimal:
        """Burn the grants that had not ended, in their order; the rest is unbilled. Answers what grants paid."""
        due = amount
        for grant in sorted(self.grants, key=lambda grant: grant.burn_order):
            if grant.ends_at > at:
                part = min(due, grant.remaining)
                grant.burned += part
                due -= part
                self.post(grant.account, "revenue", part)
        self.post("unbilled", "revenue", due)
        return amount - due

    def adjust(self, adjustment_id: AdjustmentId, amount: Decimal, now: datetime) -> Decimal:
        """In the customer's favour it is a grant; else a charge, of which it answers what grants paid."""
        if amount > 0:
            self.give(Grant(GrantId(adjustment_id), GrantCategory.PROMOTIONAL, 50, amount, created_at=now))
            return NOTHING
        self.keeps_within = False
        return self.charge(-amount, now)

    def can_void(self, grant: Grant, now: datetime) -> bool:
        return (grant.expires_at is None or grant.expires_at > now) and grant.remaining > 0

    def void(self, grant: Grant, now: datetime) -> None:
        """From now on nothing is admitted on it; it still pays for what was accepted before."""
        if grant.voided_at is None:
            grant.voided_at = now
            if any(hold.accepted_at >= now for hold in self.holds.values()):
                self.keeps_within = False  # a clock stepped back over these, and the grant is none of theirs any more
            self.end_grants(now)

    def end_grants(self, now: datetime) -> None:
        """Post what is left of grants that ended and that no call under way may still burn."""
        for grant in self.grants:
            ended = grant.ends_at <= now and not grant.is_closed
            if ended and not any(self._may_burn(hold, grant) for hold in self.holds.values()):
                grant.is_closed = True
                left = grant.remaining
                if grant.ends_at == grant.expires_at:
                    grant.expired = left
                    self.post(grant.account, "breakage", left)
                else:
                    grant.voided = left
                    self.post(grant.account, grant.source, left)

    @staticmethod
    def _may_burn(hold: Hold, grant: Grant) -> bool:
        # A call's id tells the millisecond: what was accepted in that of the end counts as before.
        return millisecond_of(hold.accepted_at) <= millisecond_of(grant.ends_at)

    def steps_back(self, before: datetime, after: datetime) -> None:
        """The clock went back: grants that had expired are live again, though calls accepted later cannot burn them."""
        if any(after < (grant.expires_at or NEVER) <= before for grant in self.grants if grant.is_live(after)):
            self.keeps_within = False

    # What limits count.

    def windows_at(self, now: datetime) -> Windows:
        """The windows that are open: those of the clock, but none that is over is opened again."""
        opened = self.opened.get(self.id, NO_WINDOWS)
        return {name: max(start, opened[name]) for name, start in windows_of(now, self.zone).items()}

    def used(self, scope: UUID, window: str | None, windows: Windows) -> Decimal:
        """What the scope's calls cost, ever or in a window."""
        return sum(
            (
                call.record.amount
                for call in self.calls.values()
                if scope in scopes_of(call.record).values()
                and (window is None or call.windows[window] == windows[window])
            ),
            NOTHING,
        )

    def held(self, scope: UUID, window: str | None, windows: Windows) -> Decimal:
        """What is held for calls of the scope, ever or in a window."""
        return sum(
            (hold.amount for hold in self.holds_of(scope) if window is None or hold.windows[window] == windows[window]),
            NOTHING,
        )

    def holds_of(self, scope: UUID) -> list[Hold]:
        return [hold for hold in self.holds.values() if scope in scopes_of(hold.request).values()]

    def requests(self, scope: UUID, minute: datetime) -> int:
        """How many of the scope's requests were admitted in the minute."""
        return sum(scope in scopes_of(request).values() and taken == minute for request, taken in self.taken)

    def tokens(self, scope: UUID, minute: datetime) -> int:
        """The tokens of the scope's calls in the minute: truly once they ended, and until then what they asked for."""
        of_holds = sum(hold.request.tokens for hold in self.holds_of(scope) if hold.windows["minute"] == minute)
        ended = (call for call in self.calls.values() if scope in scopes_of(call.record).values())
        return of_holds + sum(call.record.tokens for call in ended if call.windows["minute"] == minute)

    # Calls.

    def decide(self, request: AdmissionRequest, now: datetime, revision: int) -> Admission:
        """What a request must be answered, by the first bound that cannot carry it."""
        nobody = Admission(request.call_id, "admitted", None, None, None, None)
        key = self.keys.get(request.key_id)
        if key is None or key.is_void(now):
            return nobody._replace(outcome="key")
        if request.currency != "USD":
            return nobody._replace(outcome="currency")
        if request.revision != revision:
            return nobody._replace(outcome="stale")
        return _Bounds(self, request, self.windows_at(now)).answer(now)

    def hold(self, hold: Hold) -> None:
        self.holds[hold.request.call_id] = hold
        self.taken.append((hold.request, hold.windows["minute"]))

    def open_windows(self, scopes: Iterable[UUID], windows: Windows) -> None:
        for scope in scopes:
            self.opened[scope] = windows

    def settle(self, records: Sequence[CallRecord], now: datetime) -> list[Settled]:
        """Record calls of one batch that ended, oldest first; those that were recorded before change nothing."""
        windows, answers = self.windows_at(now), []
        for record in sorted(records, key=self._charge_order()):
            if record.call_id in self.calls:
                earlier = self.calls[record.call_id].record.amount
                answers.append(Settled(record.call_id, False, NOTHING, earlier))  # noqa: FBT003 - a tuple's second field
                continue
            hold = self.holds.pop(record.call_id, None)
            overrun = NOTHING if hold is None else max(record.amount - hold.amount, NOTHING)
            if overrun or (hold is None and record.amount):
                self.keeps_within = False
            counted = windows_of(record.accepted_at, self.zone) if hold is None else hold.windows
            # A window that is not open yet will begin at zero: its call came from a clock ahead of this one.
            counted = {name: start if start <= windows[name] else BEFORE_ALL for name, start in counted.items()}
            from_credits = self.charge(record.amount, record.accepted_at)
            self.calls[record.call_id] = Call(record, counted, from_credits, overrun, self.cut)
            self.open_windows(scopes_of(record).values(), windows)
            answers.append(Settled(record.call_id, True, overrun, record.amount))  # noqa: FBT003 - as above
        return answers

    def _charge_order(self) -> Any:
        # Ids tell the millisecond of acceptance; within one, whatever a grant's end lies between stays in order.
        ends = sorted(grant.ends_at for grant in self.grants if grant.remaining > 0)
        return lambda record: (sum(end <= record.accepted_at for end in ends), record.call_id)

    def release(self, now: datetime) -> int:
        """Give back the holds that nobody renews and of which there is no letter; answers how many."""
        lost = [hold for hold in self.holds.values() if hold.is_lost and hold.letter is None]
        windows = self.windows_at(now)
        for hold in lost:
            del self.holds[hold.request.call_id]
            self.open_windows(scopes_of(hold.request).values(), windows)
        return len(lost)


@dataclass(slots=True)
class _Bounds:
    """Everything that bounds one request, in order: the balance, then limits from the widest scope to the narrowest."""

    organization: Organization
    request: AdmissionRequest
    windows: Windows
    requests: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each scope looked at that limits requests: what is left, the place of the scope, the limit."""
    tokens: list[tuple[int, int, int]] = field(default_factory=list)

    def answer(self, now: datetime) -> Admission:
        request, room = self.request, self.request.hold_most
        refusal: tuple[str, Decimal, str, Decimal | None, datetime | None] | None = None
        if room > 0:
            room = min(room, self.organization.available(now))
            if room < request.hold_least:
                refusal = ("balance", max(room, NOTHING), "organization", None, None)
        for name, scope in scopes_of(request).items():
            limits = self.organization.limits.get(scope, NO_LIMITS)
            if refusal is None and request.hold_most > 0:
                for bound, cap, left in self._money_left(scope, limits):
                    room = min(room, left)
                    if room < request.hold_least:
                        refusal = (bound, max(room, NOTHING), name, cap, self._end_of(MONEY_LIMITS[bound]))
                        break
            if refusal is None:
                broken = next(self._broken_rates(scope, limits), None)
                refusal = (
                    None if broken is None else (broken[0], Decimal(broken[1]), name, Decimal(broken[2]), broken[3])
                )
        outcome = ("admitted", room, None, None, None) if refusal is None else refusal
        return Admission(request.call_id, *outcome, *self._rates_left(is_admitted=refusal is None))

    def _money_left(self, scope: UUID, limits: Limits) -> Iterator[tuple[str, Decimal, Decimal]]:
        for bound, window in MONEY_LIMITS.items():
            cap = getattr(limits, bound)
            if cap is not None:
                taken = [part(scope, window, self.windows) for part in (self.organization.used, self.organization.held)]
                yield bound, cap, cap - sum(taken)

    def _broken_rates(self, scope: UUID, limits: Limits) -> Iterator[tuple[str, int, int, datetime | None]]:
        minute, place = self.windows["minute"], len(self.requests) + len(self.tokens)
        requests, tokens = self.organization.requests(scope, minute), self.organization.tokens(scope, minute)
        if limits.rpm is not None:
            self.requests.append((max(limits.rpm - requests, 0), -place, limits.rpm))
        if limits.tpm is not None:
            self.tokens.append((max(limits.tpm - tokens, 0), -place, limits.tpm))
        following = minute + timedelta(minutes=1)
        if limits.rpm is not None and requests + 1 > limits.rpm:
            yield "rpm", 0, limits.rpm, following
        if limits.tpm is not None and tokens + self.request.tokens > limits.tpm:
            yield "tpm", max(limits.tpm - tokens, 0), limits.tpm, following
        if limits.concurrency is not None and len(self.organization.holds_of(scope)) + 1 > limits.concurrency:
            yield "concurrency", 0, limits.concurrency, None

    def _end_of(self, window: str | None) -> datetime | None:
        return None if window is None else _PERIODS[window](self.windows[window], self.organization.zone).end

    def _rates_left(self, *, is_admitted: bool) -> Iterator[Any]:
        """The rates of which least is left, the narrower scope's of equal ones, after the call if it was admitted."""
        takes = is_admitted and not self.request.only_asks
        for rates, taken in ((self.requests, 1), (self.tokens, self.request.tokens)):
            left, _, limit = min(rates, default=(None, None, None))
            yield from (limit, left - taken if takes and left is not None else left)
        yield self.windows["minute"] + timedelta(minutes=1) if self.requests or self.tokens else None
