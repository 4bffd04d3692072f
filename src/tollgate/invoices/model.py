"""An invoice as a value: whose month it is, which records it covers, its lines, and what they come to.

Every amount is kept twice: exact, as it was charged call by call, and rounded to the currency's minor unit, as it is
due. The rounded lines add up to the rounded total, and the exact ones to the exact total.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tollgate.accounts.model import BillingMode, Organization
from tollgate.agreements.model import NO_DETAILS, Agreement, BillingDetails, Issuer, TaxTreatment
from tollgate.invoices.month import Month as Month  # noqa: PLC0414 - part of the model, and of what it exports
from tollgate.kit import money
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import (
    AdjustmentId,
    AgreementId,
    CallId,
    InvoiceId,
    KeyId,
    OrganizationId,
    PaymentId,
    PriceVersionId,
    ProjectId,
)
from tollgate.kit.period import Period
from tollgate.kit.tokens import Kind
from tollgate.ledger.model import Adjustment, Favour
from tollgate.metering.model import BilledUsage, CallSummary
from tollgate.pricing.model import Unit


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
    """What a line says: usage adds to the total, as charges, fees and tax do; favours, discounts and credits lower it.

    A commitment adds what usage lacks to it, and takes that away again when late usage makes up for it.
    """

    USAGE = "usage"
    ADJUSTMENT = "adjustment"
    FEE = "fee"
    COMMITMENT = "commitment"
    DISCOUNT = "discount"
    CREDITS = "credits"
    TAX = "tax"

    @property
    def total(self) -> str:
        """What the sum of such lines is called among the totals."""
        plain = {LineType.USAGE: "subtotal", LineType.CREDITS: "credits", LineType.TAX: "tax"}
        return plain.get(self, f"{self.value}s")


class PaymentKind(StrEnum):
    """Money that came in for an invoice, or went back: refunds and disputes take away what payments brought.

    What a refund or dispute took comes in again if the refund fails, or the dispute is won.
    """

    PAYMENT = "payment"
    REFUND = "refund"
    REFUND_FAILED = "refund_failed"
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"

    @property
    def comes_in(self) -> bool:
        """Whether it adds to what is paid."""
        return self not in {PaymentKind.REFUND, PaymentKind.DISPUTE}


class PaymentMethod(StrEnum):
    """Where the money is: at Stripe, or wherever the operator says it is."""

    MANUAL = "manual"
    STRIPE = "stripe"
    CREDIT = "credit"
    """Of a refund alone: it became credit."""


class NothingToInvoice(Conflict):
    """Nothing was used that is not invoiced already."""


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
class Agreed:
    """What a line says of a fee, a commitment, a discount or tax, in the words that were used when it was issued."""

    agreement_id: AgreementId | None
    """`None` for tax."""
    wording: str
    origin: Month | None = None
    """The earlier month that it is for."""


@dataclass(frozen=True, slots=True)
class Tax:
    """The tax on an invoice: added to its net by a line of its own, contained in its total, or not charged."""

    treatment: TaxTreatment = TaxTreatment.NONE
    label: str | None = None
    rate: Decimal = money.ZERO
    """Percent."""
    amount: Decimal = money.ZERO
    note: str | None = None


NO_TAX = Tax()


@dataclass(frozen=True, slots=True)
class Invoiced:
    """What earlier invoices said of agreements, so that nothing is invoiced twice; void ones said nothing."""

    fees: frozenset[tuple[AgreementId, Month]] = frozenset()
    """Which month's fee of which subscription."""
    topped_up: Mapping[tuple[AgreementId, Month], Decimal] = field(default_factory=dict)
    """What was charged to reach a commitment in a month."""
    used_up: Mapping[tuple[AgreementId, Month], Decimal] = field(default_factory=dict)
    """What late usage of the month took of that again; above zero."""
    late: Mapping[Month, Decimal] = field(default_factory=dict)
    """What late usage of a month, on later invoices, came to."""


NOTHING_INVOICED = Invoiced()


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a month is invoiced: between whom, what was agreed, and what of that was invoiced before."""

    billing: BillingDetails = NO_DETAILS
    issuer: Issuer | None = None
    agreements: Sequence[Agreement] = ()
    """Everything that was ever agreed."""
    invoiced: Invoiced = NOTHING_INVOICED
    open_from: Month | None = None
    """The first month that can still be closed: what was agreed for earlier ones comes late."""


NO_TERMS = Terms()


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
    """One line: usage, an adjustment, something agreed, tax, or the credits that paid, with an amount below zero."""

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
    agreed: Agreed | None = None
    """Of a line of a fee, a commitment, a discount or tax."""

    @property
    def origin(self) -> Month | None:
        """The earlier month that the line belongs to; `None` for the invoice's own."""
        said = self.usage or self.agreed
        return None if said is None else said.origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """One sum per type of line, exactly and in minor units; all of them make the total, usage being the subtotal.

    Only the net was rounded, which is all but tax; tax counts as exact.
    """

    subtotal_exact: Decimal
    adjustments_exact: Decimal
    fees_exact: Decimal
    commitments_exact: Decimal
    discounts_exact: Decimal
    credits_exact: Decimal
    tax_exact: Decimal
    total_exact: Decimal
    subtotal: Decimal
    adjustments: Decimal
    fees: Decimal
    commitments: Decimal
    discounts: Decimal
    credits: Decimal
    tax: Decimal
    """Of tax that is added; what is contained in the total is no line, and not in here."""
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
    tax: Tax = NO_TAX

    @property
    def net(self) -> Decimal:
        """The total without the tax that was added to it or is contained in it."""
        return money.EXACT.subtract(self.totals.total, self.tax.amount)

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
    terms: Terms = NO_TERMS
    """Of a draft: what it was made under. Of an issued invoice, its document says what counts."""
    unpriced_calls: tuple[CallId, ...] = ()
    """Of a draft: the first of the calls that used it."""


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
class RefundOrder:
    """What the operator says was given back; `None` is all that is to be given back, and now."""

    amount: Decimal | None = None
    reference: str | None = None
    refunded_at: datetime | None = None


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
