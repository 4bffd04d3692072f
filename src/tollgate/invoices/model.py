"""An invoice as a value: whose month it is, which records it covers, its lines, and what they come to.

Every amount is kept twice: exact, as it was charged call by call, and rounded to the currency's minor unit, as it is
due. The rounded lines add up to the rounded total, and the exact ones to the exact total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Self
from zoneinfo import ZoneInfo

from tollgate.accounts.model import BillingMode, Organization
from tollgate.kit import money, period
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import AdjustmentId, InvoiceId, KeyId, OrganizationId, PaymentId, PriceVersionId, ProjectId
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.ledger.model import Adjustment, Favour
from tollgate.metering.model import BilledUsage, CallSummary
from tollgate.pricing.model import Unit

_MONTHS = 12
_UTC = ZoneInfo("UTC")


class InvoiceStatus(StrEnum):
    """Draft → finalised → paid, void or uncollectible; a draft is computed anew whenever it is looked at."""

    DRAFT = "draft"
    FINALISED = "finalised"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


class InvoiceKind(StrEnum):
    """What an invoice is for. Of each kind there is one per organization, currency and month."""

    USAGE = "usage"


class LineType(StrEnum):
    """What a line says: usage adds to the total, as charges do; favours and credits applied take away from it."""

    USAGE = "usage"
    ADJUSTMENT = "adjustment"
    CREDITS = "credits"


class PaymentKind(StrEnum):
    """Money that came in for an invoice, or went back: refunds and disputes take away what payments brought."""

    PAYMENT = "payment"
    REFUND = "refund"
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"

    @property
    def comes_in(self) -> bool:
        """Whether it adds to what is paid."""
        return self in {PaymentKind.PAYMENT, PaymentKind.DISPUTE_WON}


class PaymentMethod(StrEnum):
    """Where the money is: at Stripe, or wherever the operator says it is."""

    MANUAL = "manual"
    STRIPE = "stripe"


class NothingToInvoice(Conflict):
    """Nothing was used that is not invoiced already."""


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month by its name; which instants it holds depends on the time zone."""

    year: int
    number: int

    @classmethod
    def at(cls, instant: datetime, zone: ZoneInfo) -> Self:
        """The month that the zone's calendar shows at the instant."""
        day = period.local_date(instant, zone)
        return cls(day.year, day.month)

    @classmethod
    def named(cls, name: str) -> Self:
        """Read a name such as 2026-11.

        Raises:
            NotAMonth: it is none.
        """
        return cls.at(period.parse_month(name, _UTC).start, _UTC)

    @property
    def name(self) -> str:
        """As in 2026-11."""
        return f"{self.year:04}-{self.number:02}"

    @property
    def following(self) -> "Month":
        """The month after."""
        return Month(self.year + self.number // _MONTHS, self.number % _MONTHS + 1)

    @property
    def preceding(self) -> "Month":
        """The month before."""
        return Month(self.year, self.number - 1) if self.number > 1 else Month(self.year - 1, _MONTHS)

    def instants(self, zone: ZoneInfo) -> Period:
        """The instants of the month in the zone."""
        return period.month(self.year, self.number, zone)


@dataclass(frozen=True, slots=True)
class Window:
    """Which records an invoice covers, reproducible for ever.

    Those accepted before the period's end and settled up to the cut, without those of earlier invoices: accepted before
    `previous_end` and settled up to `previous_cut`. What was accepted before the period began is late usage.
    """

    period: Period
    cut: int
    previous_end: datetime | None
    previous_cut: int | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage that shares a line, with the project's name; `origin` is the earlier month that late usage belongs to."""

    billed: BilledUsage
    project_name: str | None
    origin: Month | None


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What the operator charged beside the usage, and gave: a favour pays what would be left due."""

    charges: Sequence[Adjustment] = ()
    favours: Sequence[Favour] = ()


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What an adjustment's line says: which it is, and why it was made."""

    id: AdjustmentId
    reason: str


@dataclass(frozen=True, slots=True)
class PricedUsage:
    """What a usage line bills: a quantity of one kind, used by one project at one model, at one unit price."""

    project_id: ProjectId | None
    project_name: str | None
    model: str
    kind: Kind
    tier: int
    """The prompt tokens at which the price tier begins; 0 where prices have no tiers."""
    price_version_id: PriceVersionId | None
    unit: Unit
    unit_price: Decimal
    quantity: int
    origin: Month | None
    """The earlier month that this late usage belongs to; `None` for usage of the period itself."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: usage, an adjustment, or the credits that paid for some of it, with an amount below zero."""

    n: int
    """Its place on the invoice, from 1."""
    type: LineType
    usage: PricedUsage | None
    """Of a usage line."""
    adjusted: Adjusted | None
    """Of an adjustment's line: a charge is above zero, a favour below."""
    amount_exact: Decimal
    amount: Decimal
    """The part of the rounded total that this line bears."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Total = subtotal (usage) + adjustments + credits (zero or below), exactly and in minor units.

    Only the total was rounded.
    """

    subtotal_exact: Decimal
    adjustments_exact: Decimal
    credits_exact: Decimal
    total_exact: Decimal
    subtotal: Decimal
    adjustments: Decimal
    credits: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True)
class Heading:
    """All of an invoice but its lines. The customer's name, time zone and billing mode are as they were at issue."""

    organization_id: OrganizationId
    id: InvoiceId
    """Follows from organization, kind, currency and month, so that a draft and its finalised invoice share it."""
    number: str | None
    status: InvoiceStatus
    kind: InvoiceKind
    currency: str
    month: Month
    window: Window
    timezone: str
    billing_mode: BillingMode
    customer_name: str
    totals: Totals
    issued_at: datetime | None
    due_at: datetime | None
    paid_at: datetime | None
    amount_paid: Decimal = money.ZERO
    """What was paid for it and not given back."""
    amount_credited: Decimal = money.ZERO
    """What credit notes took from it."""

    @property
    def amount_due(self) -> Decimal:
        """What is still to be paid; never below zero."""
        return money.ZERO if self.status is InvoiceStatus.VOID else max(self.balance, money.ZERO)

    @property
    def balance(self) -> Decimal:
        """What was invoiced and neither paid nor credited; below zero for what the customer is to get back."""
        invoiced = money.ZERO if self.status is InvoiceStatus.VOID else self.totals.total
        return money.EXACT.subtract(money.EXACT.subtract(invoiced, self.amount_credited), self.amount_paid)


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice with its lines: `1, 2, 3, …`, in the order in which they are read."""

    heading: Heading
    lines: tuple[Line, ...]
    unpriced: tuple[BilledUsage, ...]
    """Of a draft: usage without a price. While there is any, the invoice cannot be finalised."""
    document: str | None
    """Of an invoice that was issued: the JSON text of everything that never changes, as it was written then."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """One call's part of a usage line: `quantity` at the line's unit price."""

    call: CallSummary
    usage: PricedUsage
    """What the line bills."""
    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that came in for an invoice, or went back. Rows are only added; the id follows from what is recorded."""

    organization_id: OrganizationId
    id: PaymentId
    invoice_id: InvoiceId
    kind: PaymentKind
    method: PaymentMethod
    amount: Decimal
    """Above zero, whichever way it went."""
    currency: str
    reference: str | None
    """What it is called elsewhere: a payment's id at Stripe, or a bank transfer's number."""
    occurred_at: datetime
    recorded_at: datetime
    recorded_by: KeyId | None


@dataclass(frozen=True, slots=True)
class PaymentOrder:
    """What the operator says was paid; `None` is all that is due, and now."""

    amount: Decimal | None = None
    reference: str | None = None
    paid_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """What came of closing a month: an invoice, a failure with its reason, or neither where nothing was used."""

    organization: Organization
    month: Month
    invoice: Heading | None
    failure: str | None
    broken: bool = False
    """Whether it was the database that failed, which may pass by itself."""


@dataclass(frozen=True, slots=True)
class ClosingFailure:
    """A month that could not be closed when it was last tried. It is tried again until it can."""

    organization_id: OrganizationId
    month: Month
    reason: str
    since: datetime
    """When it failed first."""
    last_at: datetime
    attempts: int
