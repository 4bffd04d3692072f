"""The parts of a stored document that are printed, as docs/invoices.md describes them.

Whatever a document of before does not have is absent here too, and what it says beside this is of no concern.
"""

from datetime import datetime

import msgspec
from msgspec import Struct


class Named(Struct, frozen=True):
    """A project or an organization, by its name at issue."""

    name: str


class Month(Struct, frozen=True):
    """The calendar month, such as 2026-11, of the time zone."""

    month: str
    timezone: str


class Tier(Struct, frozen=True):
    """The prompt tokens from which a price is for."""

    gte: int


class Line(Struct, frozen=True):
    """One line, of any type."""

    n: int
    type: str
    description: str
    amount: str
    amount_exact: str
    project: Named | None = None
    model: str | None = None
    kind: str | None = None
    tier: Tier | None = None
    quantity: int | None = None
    unit: str | None = None
    unit_price: str | None = None
    origin: str | None = None


class Unpriced(Struct, frozen=True):
    """Usage that waits for a price."""

    model: str
    kind: str
    quantity: int


class Address(Struct, frozen=True):
    """Where a letter would go; the country by its two letters."""

    lines: tuple[str, ...] = ()
    city: str | None = None
    postal_code: str | None = None
    country: str | None = None


class TaxId(Struct, frozen=True):
    """A number under which an authority knows somebody."""

    type: str
    value: str


class Issuer(Struct, frozen=True):
    """Who invoices."""

    name: str
    address: Address | None = None
    tax_ids: tuple[TaxId, ...] = ()
    registration: str | None = None
    email: str | None = None


class Customer(Struct, frozen=True):
    """Who is invoiced."""

    name: str
    address: Address | None = None
    tax_ids: tuple[TaxId, ...] = ()
    email: str | None = None
    purchase_order: str | None = None
    notes: str | None = None


class Tax(Struct, frozen=True):
    """How the document treats tax. `net` and `amount` are in whole minor units, `rate` in percent."""

    treatment: str
    label: str
    rate: str
    net: str
    amount: str
    note: str | None = None


class Payment(Struct, frozen=True):
    """When and how to pay."""

    term_days: int | None = None
    instructions: str | None = None


class Sums(Struct, frozen=True):
    """A sum for each type of line, where there are lines of it, and the total."""

    subtotal_exact: str
    credits_exact: str
    total_exact: str
    subtotal: str
    credits: str
    total: str
    rounding: str
    adjustments_exact: str | None = None
    adjustments: str | None = None
    fees_exact: str | None = None
    fees: str | None = None
    commitments_exact: str | None = None
    commitments: str | None = None
    discounts_exact: str | None = None
    discounts: str | None = None


class InvoiceSaid(Sums, kw_only=True, frozen=True):
    """An invoice, or a draft: that has no number."""

    number: str | None
    organization: Named
    currency: str
    period: Month
    issued_at: datetime | None
    due_at: datetime | None
    lines: tuple[Line, ...]
    unpriced: tuple[Unpriced, ...] = ()
    issuer: Issuer | None = None
    customer: Customer | None = None
    tax: Tax | None = None
    payment: Payment | None = None


def read_invoice(document: str) -> InvoiceSaid:
    """Read an invoice's document."""
    return msgspec.json.decode(document, type=InvoiceSaid)


class Origin(Struct, frozen=True):
    """The invoice that a credit note is of."""

    number: str
    issued_at: datetime


class CreditNoteSaid(Struct, kw_only=True, frozen=True):
    """A credit note."""

    number: str
    invoice: Origin
    organization: Named
    currency: str
    period: Month
    issued_at: datetime
    reason: str
    lines: tuple[Line, ...]
    total_exact: str
    total: str
    rounding: str
    settle: str | None = None
    issuer: Issuer | None = None
    customer: Customer | None = None
    tax: Tax | None = None


def read_credit_note(document: str) -> CreditNoteSaid:
    """Read a credit note's document."""
    return msgspec.json.decode(document, type=CreditNoteSaid)


class _Kind(Struct):
    kind: str


def kind_of(document: str) -> str:
    """Which kind of document this is, such as `usage` or `credit_note`."""
    return msgspec.json.decode(document, type=_Kind).kind
