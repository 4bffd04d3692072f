"""What Stripe says, as values: customers, invoices, payments, what became of them; and what can go wrong on the way.

Amounts are `Decimal`s of the currency (12.34 USD), never Stripe's whole numbers of its smallest unit, and currencies
are capital letters. Ids are Stripe's own text (`cus_…`, `in_…`). `None` is what Stripe does not say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from tollgate.kit.errors import Conflict, InvalidRequest, ProviderFailed, ProviderUnavailable

Metadata = Mapping[str, str]


class StripeError(ProviderFailed):
    """Stripe did not do what it was asked."""


class StripeDeclined(StripeError):
    """The customer's bank or Stripe declined the payment. The same key is answered the same way again.

    `code` is Stripe's word for it, such as card_declined or authentication_required; `decline_code` the bank's.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None,
        decline_code: str | None = None,
        payment_intent_id: str | None = None,
        charge_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.decline_code = decline_code
        self.payment_intent_id = payment_intent_id
        self.charge_id = charge_id


class StripeAway(StripeError, ProviderUnavailable):
    """Stripe may have done it or not. Ask again with the same key, or look.

    `is_replay` says that this is the answer that an earlier request with the key got, kept by Stripe: the key stays
    spent, so look whether it was done, and otherwise ask with another.
    """

    type = ProviderUnavailable.type

    def __init__(self, message: str, *, is_replay: bool = False) -> None:
        super().__init__(message)
        self.is_replay = is_replay


class StripeUnsure(StripeAway):
    """No answer came: the connection failed, or the time ran out."""


class StripeBusy(StripeAway):
    """Stripe has too much to do, is in trouble, or works on the object or under the key right now (409, 429, 5xx)."""


class StripeRefused(StripeError):
    """Stripe refuses the request as it is: asking again does not help. `param` is the part at fault."""

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class StripeKeySpent(StripeRefused):
    """The idempotency key was used for a request that said something else."""


class StripeMissing(StripeRefused):
    """Stripe has no such object, or it was deleted."""


class StripeUnauthorised(StripeError):
    """Stripe does not accept our secret key, or does not let it do that."""


class NotTheirs(StripeError):
    """Stripe answered with an object that is not the one that was asked for."""


class NotConfigured(Conflict):
    """Payments by Stripe are not set up here: TOLLGATE_STRIPE_SECRET_KEY is not set."""


class NotChargeable(InvalidRequest):
    """Stripe cannot take this amount in this currency."""


class InvoiceState(StrEnum):
    """Of an invoice at Stripe."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    UNCOLLECTIBLE = "uncollectible"
    VOID = "void"
    DELETED = "deleted"
    """A draft that was thrown away."""


class SessionState(StrEnum):
    """Of a Checkout page."""

    OPEN = "open"
    COMPLETE = "complete"
    EXPIRED = "expired"


class RefundState(StrEnum):
    """Of a refund. Pending ones may succeed or fail, and one that succeeded may still fail days later."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class StripeCustomer:
    """An organization, as Stripe knows it."""

    id: str
    name: str | None
    metadata: Metadata
    default_payment_method_id: str | None
    is_deleted: bool


@dataclass(frozen=True, slots=True)
class StoredMethod:
    """What a customer pays with. Brand, last four digits and expiry are of cards, and of what Stripe treats as such."""

    id: str
    type: str
    """Stripe's word, such as card or sepa_debit."""
    customer_id: str | None
    brand: str | None
    last4: str | None
    expires_month: int | None
    expires_year: int | None


@dataclass(frozen=True, slots=True)
class StripeInvoice:
    """An invoice at Stripe, which mirrors one of ours."""

    id: str
    customer_id: str | None
    number: str | None
    state: InvoiceState
    currency: str
    total: Decimal
    amount_due: Decimal
    amount_paid: Decimal
    amount_remaining: Decimal
    is_paid_elsewhere: bool
    """It was marked paid without a payment at Stripe."""
    payment_intent_ids: tuple[str, ...]
    """Of every payment of it, the default one first."""
    hosted_url: str | None
    """Where the customer can pay it, once it is finalised."""
    metadata: Metadata
    created_at: datetime
    paid_at: datetime | None


@dataclass(frozen=True, slots=True)
class InvoiceOrder:
    """An invoice to make at Stripe: a draft that nothing happens to by itself."""

    customer_id: str
    number: str
    """Ours; unique in a Stripe account."""
    currency: str
    metadata: Metadata
    days_until_due: int | None = None
    """`None` is collected from what the customer stored; otherwise Stripe asks for the money, to be paid by then."""
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ItemOrder:
    """One line to add to a draft at Stripe; an amount below zero takes away."""

    customer_id: str
    invoice_id: str
    amount: Decimal
    currency: str
    description: str
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class PaymentIntent:
    """One wish of a customer to pay, through all its attempts."""

    id: str
    customer_id: str | None
    status: str
    """Stripe's word: succeeded, processing, requires_payment_method, requires_action, canceled, …"""
    currency: str
    amount: Decimal
    amount_received: Decimal
    latest_charge_id: str | None
    error_code: str | None
    """Why the last attempt failed."""
    decline_code: str | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Charge:
    """One attempt to take money."""

    id: str
    customer_id: str | None
    payment_intent_id: str | None
    status: str
    """Stripe's word: succeeded, pending or failed."""
    currency: str
    amount: Decimal
    amount_refunded: Decimal
    is_disputed: bool
    failure_code: str | None
    balance_transaction_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """A page at Stripe on which a customer pays, or stores what to pay with."""

    id: str
    customer_id: str | None
    mode: str
    """Stripe's word: payment or setup."""
    state: SessionState
    is_paid: bool
    url: str | None
    """Only while it is open."""
    currency: str | None
    amount: Decimal | None
    """What is to be paid in all, or was."""
    payment_intent_id: str | None
    setup_method_id: str | None
    """Of a complete set-up: what was stored."""
    reference: str | None
    """What we called it: `client_reference_id`."""
    metadata: Metadata
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CheckoutOrder:
    """A page to open at Stripe, for one payment."""

    customer_id: str
    reference: str
    currency: str
    lines: Sequence[tuple[str, Decimal]]
    """What the customer reads that this is for, each with its amount."""
    success_url: str
    cancel_url: str
    expires_at: datetime
    """At least half an hour and at most a day from now."""
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Refund:
    """Money that goes back to a customer."""

    id: str
    charge_id: str | None
    payment_intent_id: str | None
    state: RefundState
    currency: str
    amount: Decimal
    failure_reason: str | None
    balance_transaction_id: str | None
    failure_balance_transaction_id: str | None
    metadata: Metadata
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Dispute:
    """A payment that a customer's bank takes back."""

    id: str
    charge_id: str
    payment_intent_id: str | None
    status: str
    """Stripe's word: needs_response, under_review, won, lost, warning_…, prevented, …"""
    reason: str
    currency: str
    amount: Decimal
    balance_transactions: tuple["BalanceTransaction", ...]
    """What it moved: the amount and a fee away, and back if it was won."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BalanceTransaction:
    """One movement of our balance at Stripe: net = amount - fee, both below zero for what goes away."""

    id: str
    type: str
    """Stripe's word: charge, payment, refund, adjustment, stripe_fee, payout, …"""
    reporting_category: str
    currency: str
    amount: Decimal
    fee: Decimal
    net: Decimal
    source_id: str | None
    """The charge, refund, dispute or payout that it is of."""
    created_at: datetime
    available_at: datetime


@dataclass(frozen=True, slots=True)
class Payout:
    """Money that Stripe paid to our bank."""

    id: str
    status: str
    """Stripe's word: pending, in_transit, paid, failed, canceled."""
    currency: str
    amount: Decimal
    is_automatic: bool
    """Stripe chose the time, and can say which movements it is made of."""
    arrives_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """Word of Stripe that something happened; what it is about is fetched. Events come late, twice, in any order."""

    id: str
    type: str
    object_id: str
    """Of what it is about; empty for what has none, such as the balance."""
    is_live: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StripeBalance:
    """What is at Stripe in one currency."""

    currency: str
    available: Decimal
    pending: Decimal
