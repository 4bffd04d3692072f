"""The API's shapes of what the operator does with an organization's credit, and of how metering is doing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias

import msgspec

from tollgate.health.model import Fault, Trouble
from tollgate.infra import web
from tollgate.infra.web import Amount, Body, Instant
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.ledger.model import PRIORITY_DEFAULT, AdjustmentOrder, GrantCategory, GrantTerms
from tollgate.metering.status import InLedger, OnDisk

_REFERENCE = r"^[!-~]([ -~]*[!-~])?$"
"""Two references that look the same are the same: ASCII, and no blanks around it."""
_Reason: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class CreateGrant(Body, kw_only=True, frozen=True):
    """Credit for an organization."""

    amount: Amount
    category: GrantCategory | None = None
    priority: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    expires_at: Instant | None = None
    reason: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    reference: Annotated[str, msgspec.Meta(pattern=_REFERENCE, max_length=200)] | None = None
    """What the top-up is called elsewhere. The same reference again, on the same terms, answers the same grant."""

    def terms(self, currency: str) -> GrantTerms:
        """What is granted, in the organization's currency."""
        return GrantTerms(
            amount=self.amount,
            currency=currency,
            category=self.category or GrantCategory.PAID,
            reason=self.reason or "",
            priority=PRIORITY_DEFAULT if self.priority is None else self.priority,
            expires_at=self.expires_at,
            reference=self.reference,
        )


class VoidGrant(Body, kw_only=True, frozen=True):
    """Why a grant is taken back."""

    reason: _Reason


class CreateAdjustment(Body, kw_only=True, frozen=True):
    """What to give an organization (`"1.50"`) or to charge it (`"-1.50"`), and why; the reason is on its invoice."""

    amount: str
    reason: _Reason

    def order(self, currency: str) -> AdjustmentOrder:
        """What is adjusted, in the organization's currency."""
        return AdjustmentOrder(web.amount(self.amount, "amount"), currency, self.reason)


class LedgerView(msgspec.Struct, kw_only=True, frozen=True):
    """The ledger. If it is not reachable, whatever only it can know is `null`."""

    reachable: bool
    swept_at: datetime | None
    """When leases were last looked after; older than a minute: nobody does."""


class InFlightView(msgspec.Struct, kw_only=True, frozen=True):
    """Calls that are not settled, in all processes of all hosts."""

    holds: int
    held: Mapping[str, str]
    """What is held for them, by currency."""
    oldest_at: datetime | None
    """When the oldest of them was accepted."""


class UnpricedView(msgspec.Struct, kw_only=True, frozen=True):
    """Calls that used something without a price. They are charged nothing, and hold up their invoice."""

    calls: int
    oldest_at: datetime | None


class StatisticsView(msgspec.Struct, kw_only=True, frozen=True):
    """What the worker has not folded yet of how endpoints did: up to half a minute's worth; it is in every figure."""

    waiting: int
    oldest_at: datetime | None
    """When the calls of the oldest of it were recorded."""


class SpoolView(msgspec.Struct, kw_only=True, frozen=True):
    """What lies on the disk of the host that answers, for this ledger; another host has its own."""

    host: str
    waiting: int
    """Settlements that the ledger does not have yet; they are sent until it does."""
    oldest_at: datetime | None
    """Since when the oldest of them has waited."""
    refused: int
    """Settlements that the ledger never takes as they are: `tollgate spool list` shows them."""
    unreadable: int
    """Processes whose files cannot be read; what is in them is not counted."""
    processes: int
    """Processes that live."""
    left_behind: int
    """Processes that are gone and that nobody has taken over from yet."""


class TroubleView(msgspec.Struct, kw_only=True, frozen=True):
    """An endpoint that calls avoid, or try last."""

    endpoint: str
    model: str
    provider: str
    fault: Fault
    since: datetime
    until: datetime
    """When a call tries it again, or a look at whether it can be reached."""

    @classmethod
    def of(cls, trouble: Trouble) -> "TroubleView":
        circuit = trouble.circuit
        return cls(
            endpoint=typed("ep", trouble.endpoint_id),
            model=trouble.model,
            provider=trouble.provider,
            fault=circuit.fault,
            since=circuit.opened_at,
            until=circuit.until,
        )


class StatusView(msgspec.Struct, kw_only=True, frozen=True):
    """How metering is doing."""

    ledger: LedgerView
    in_flight: InFlightView | None
    orphans: int | None
    """Of the calls in flight, those whose lease is over: their host is lost, and the next sweep settles them."""
    unpriced: UnpricedView | None
    statistics: StatisticsView | None
    spool: SpoolView | None
    """`null` while the process starts."""
    outbox_age_seconds: int | None
    """How long what is due to be sent to webhooks has waited for a worker; zero if nothing is due."""
    providers: list[TroubleView] | None
    """The endpoints in trouble, the longest first; none is good news, `null` is that the ledger does not tell."""

    @classmethod
    def of(cls, ledger: InLedger | None, disk: OnDisk | None, *, host: str, now: datetime) -> "StatusView":
        return cls(
            ledger=LedgerView(reachable=ledger is not None, swept_at=None if ledger is None else ledger.swept_at),
            in_flight=None if ledger is None else _in_flight(ledger),
            orphans=None if ledger is None else ledger.orphans,
            unpriced=None
            if ledger is None
            else UnpricedView(calls=ledger.unpriced, oldest_at=ledger.unpriced_oldest_at),
            statistics=None
            if ledger is None
            else StatisticsView(waiting=ledger.statistics.samples, oldest_at=ledger.statistics.oldest_at),
            spool=None if disk is None else _spool(disk, host),
            outbox_age_seconds=None if ledger is None else _waited(ledger.outbox.due_since, now),
            providers=None if ledger is None else [TroubleView.of(trouble) for trouble in ledger.troubles],
        )


def _in_flight(ledger: InLedger) -> InFlightView:
    held = {currency: amount_text(amount) for currency, amount in ledger.held.items()}
    return InFlightView(holds=ledger.holds, held=held, oldest_at=ledger.oldest_at)


def _waited(since: datetime | None, now: datetime) -> int:
    return 0 if since is None else max(0, (now - since) // timedelta(seconds=1))


def _spool(disk: OnDisk, host: str) -> SpoolView:
    return SpoolView(
        host=host,
        waiting=disk.waiting,
        oldest_at=disk.oldest_at,
        refused=disk.refused,
        unreadable=disk.unreadable,
        processes=disk.processes,
        left_behind=disk.left_behind,
    )
