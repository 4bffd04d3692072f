"""What metering passes around: requests for holds, records of calls that ended, and sums of such records.

The named tuples stand in the order of the database's composite types of the same names, which they become.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from tollgate.kit.ids import AttemptId, CallId, EndpointId, KeyId, OrganizationId, PriceVersionId, ProjectId
from tollgate.kit.tokens import Kind, UsageQuantities
from tollgate.pricing.model import PriceVersion


class CallStatus(StrEnum):
    """How a call ended, for its customer."""

    SETTLED = "settled"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INSURED = "insured"
    RECOVERED = "recovered"
    UNPRICED = "unpriced"


class AttemptStatus(StrEnum):
    """How one try at one endpoint ended."""

    SERVED = "served"
    FAILED = "failed"
    CANCELLED = "cancelled"


class AdmissionRequest(NamedTuple):
    """What one call asks to hold before it is made."""

    organization_id: OrganizationId
    call_id: CallId
    project_id: ProjectId | None
    key_id: KeyId
    hold_least: Decimal
    """The prompt and the least output worth having: below this the call is refused."""
    hold_most: Decimal
    """The worst case: more than this is never held."""
    tokens: int
    """What counts against tokens per minute until the call is settled."""
    currency: str
    revision: int
    """Of the catalogue and prices the call was planned with; another one in force means: plan again."""
    only_asks: bool = False
    """Whether to answer what would be held, and hold nothing."""


class Admission(NamedTuple):
    """The answer to one request: `outcome` is `admitted`, `stale`, or what refused it."""

    call_id: CallId
    outcome: str
    amount: Decimal | None
    """Held; or, for a refusal, what the bound still had."""
    scope: str | None
    limit_amount: Decimal | None
    resets_at: datetime | None
    requests_limit: int | None = None
    """Requests per minute, of the scope that has least of them left; `None` where none limits them. Likewise tokens."""
    requests_left: int | None = None
    tokens_limit: int | None = None
    tokens_left: int | None = None
    minute_end: datetime | None = None


class CallRecord(NamedTuple):
    """One call that ended, as it enters the books."""

    organization_id: OrganizationId
    call_id: CallId
    """Minted at `accepted_at`, to the millisecond: by its id a call is found in its month."""
    project_id: ProjectId | None
    key_id: KeyId
    accepted_at: datetime
    requested_model: str
    model: str
    provider: str | None
    endpoint_id: EndpointId | None
    api: str
    streamed: bool
    status: CallStatus
    estimated: bool
    anomalous: bool
    finish_reason: str | None
    native_finish_reason: str | None
    latency_ms: int | None
    generation_ms: int | None
    quantities: str
    """JSON: counts by kind."""
    tokens: int
    price_version_id: PriceVersionId | None
    tier: int
    currency: str
    origin_amount: Decimal
    amount: Decimal
    provider_cost: Decimal | None
    user_id: str | None
    session_id: str | None
    metadata: str | None
    """JSON: the caller's own pairs."""
    estimate: str | None = None
    """JSON: our own counts, of the kinds where the provider's figure is far from ours; that one is charged."""


class ChargeRecord(NamedTuple):
    """One kind's part of a call's charge, as it enters the rollups."""

    call_id: CallId
    kind: Kind
    unit: str | None
    unit_price: Decimal | None
    quantity: int
    origin_amount: Decimal
    amount: Decimal


class AttemptRecord(NamedTuple):
    """One try at one endpoint."""

    organization_id: OrganizationId
    id: AttemptId
    call_id: CallId
    ordinal: int
    endpoint_id: EndpointId
    provider: str
    status: AttemptStatus
    http_status: int | None
    error: str | None
    latency_ms: int | None
    provider_cost: Decimal | None
    upstream_id: str | None
    usage: str | None
    """JSON: the provider's usage object as it came."""


class Settlement(NamedTuple):
    """Everything that one ended call leaves behind; recorded together or not at all."""

    call: CallRecord
    charges: tuple[ChargeRecord, ...]
    attempts: tuple[AttemptRecord, ...]


class Begun(NamedTuple):
    """A call whose first attempt is about to reach its provider: what it leaves behind if its process dies now follows.

    Every call is written down like this, and hardly any is read again: so it is what is at hand, and nothing reckoned.
    """

    organization_id: OrganizationId
    call_id: CallId
    project_id: ProjectId | None
    key_id: KeyId
    accepted_at: datetime
    requested_model: str
    model: str
    provider: str
    endpoint_id: EndpointId
    api: str
    streamed: bool
    user_id: str | None
    session_id: str | None
    metadata: str | None
    attempt_id: AttemptId
    prompt_tokens: int
    """What the prompt counts for where its provider does not tell."""
    costs_us: bool
    """Whether its provider charges us at all."""
    price: PriceVersion


class Settled(NamedTuple):
    """What recording a settlement found."""

    call_id: CallId
    recorded: bool
    """False if the call had been recorded before."""
    overrun: Decimal
    """How much the charge exceeded the hold."""
    recorded_amount: Decimal
    """What the call is recorded at: if it had been before, the amount of then."""


@dataclass(frozen=True, slots=True)
class RecordScope:
    """The records one invoice covers: accepted before `end`, settled up to `cut`, and on no earlier invoice.

    `previous` is the end and the cut of the invoice before, whose records are left out.
    """

    start: datetime
    end: datetime
    cut: int
    previous: tuple[datetime, int] | None


@dataclass(frozen=True, slots=True)
class OpenTime:
    """The records of an organization that are on no invoice yet, of calls that were accepted before `end`.

    `previous` is the end and the cut of its last invoice.
    """

    organization_id: OrganizationId
    end: datetime
    previous: tuple[datetime, int] | None


@dataclass(frozen=True, slots=True)
class BilledUsage:
    """The sum of a scope's records that share a price: what becomes one line of an invoice."""

    project_id: ProjectId | None
    model: str
    kind: Kind
    tier: int
    price_version_id: PriceVersionId | None
    """By which it is charged; `None` for what insured calls used, which nobody is charged for."""
    unit: str | None
    unit_price: Decimal | None
    """`None` without a price: until there is one, if it is not free."""
    late: bool
    """Accepted before the scope's start, settled after the invoice of that time was cut."""
    calls: int
    quantity: int
    amount: Decimal
    credits_amount: Decimal


@dataclass(frozen=True, slots=True)
class BilledLine:
    """Names the records behind one invoice line."""

    project_id: ProjectId | None
    model: str
    kind: Kind
    tier: int
    price_version_id: PriceVersionId | None


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One recorded call, in short."""

    id: CallId
    accepted_at: datetime
    project_id: ProjectId | None
    key_id: KeyId
    model: str
    provider: str | None
    status: CallStatus
    quantities: UsageQuantities
    amount: Decimal
    price_version_id: PriceVersionId | None
