"""The API shapes of invoices. What an issued invoice says comes from its document, not from today's code."""

import json
from datetime import datetime

import msgspec
from msgspec import Struct

from tollgate.accounts.model import BillingMode
from tollgate.infra.web import Body
from tollgate.invoices.model import Contribution, Heading, Invoice, InvoiceKind, InvoiceStatus, LineType
from tollgate.invoices.rules import document
from tollgate.invoices.schemas.parties import AddresseeView, IssuerView, PaymentTermsView, TaxView
from tollgate.kit import instants
from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.money import amount_text


class CloseMonth(Body, kw_only=True, frozen=True):
    """The month to close, such as 2026-11, in the organization's own time zone."""

    month: str


class CustomerView(Struct, kw_only=True, frozen=True):
    """Who is invoiced, as it was at issue."""

    id: str
    name: str
    billing_mode: BillingMode


class PeriodView(Struct, kw_only=True, frozen=True):
    """The calendar month in the customer's time zone: from `start` up to but not including `end`."""

    month: str
    start: datetime
    end: datetime
    timezone: str


class ProjectName(Struct, kw_only=True, frozen=True):
    """A project and its name at issue."""

    id: str
    name: str


class TierView(Struct, kw_only=True, frozen=True):
    """The price tier of calls that read at least so many prompt tokens."""

    gte: int


class LineView(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One line. `late` usage belongs to the earlier month `origin` and arrived after that was invoiced."""

    n: int
    type: LineType
    description: str
    project: ProjectName | None
    model: str | None
    kind: str | None
    tier: TierView | None
    price_version: str | None
    quantity: int | None
    unit: str | None
    unit_price: str | None
    origin: str | None
    amount: str
    amount_exact: str
    late: bool
    adjustment: str | None = None
    """Of an adjustment's line: which it is. A charge is above zero, a favour below."""
    agreement: str | None = None
    """Of a line of a fee, a commitment or a discount: the subscription, commitment or discount that it is from."""


class UnpricedView(Struct, kw_only=True, frozen=True):
    """Usage without a price; as long as a draft has any, it cannot be finalised."""

    model: str
    kind: str
    quantity: int


class InvoiceView(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """An invoice. Amounts are in whole minor units; those called exact are what was charged, before rounding.

    A field that is added here later needs a default and `omit_defaults`, so that invoices of before keep their bytes.
    """

    id: str
    number: str | None
    status: InvoiceStatus
    kind: InvoiceKind
    organization: CustomerView
    currency: str
    period: PeriodView
    cut: int
    issued_at: datetime | None
    due_at: datetime | None
    lines: list[LineView]
    unpriced: list[UnpricedView]
    subtotal_exact: str
    credits_exact: str
    total_exact: str
    subtotal: str
    credits: str
    total: str
    rounding: str
    amount_due: str
    issuer: IssuerView | None = None
    customer: AddresseeView | None = None
    tax: TaxView | None = None
    payment: PaymentTermsView | None = None
    adjustments_exact: str | None = None
    adjustments: str | None = None
    fees_exact: str | None = None
    fees: str | None = None
    commitments_exact: str | None = None
    commitments: str | None = None
    discounts_exact: str | None = None
    discounts: str | None = None
    amount_paid: str | None = None
    """What was paid for it and not given back, where anything was."""
    amount_credited: str | None = None
    """What credit notes took from it, where any did."""
    paid_at: datetime | None = None

    @classmethod
    def of(cls, invoice: Invoice) -> "InvoiceView":
        heading = invoice.heading
        said = json.loads(invoice.document or document.write(invoice))
        return msgspec.convert({**said, **_changing(heading)}, cls)


def _changing(heading: Heading) -> dict[str, object]:
    """What an issued invoice's document does not say, because it changes."""
    said: dict[str, object] = {
        "status": heading.status,
        "amount_due": document.rounded(heading.amount_due, heading.currency),
    }
    for name in ("amount_paid", "amount_credited"):
        if getattr(heading, name):
            said[name] = document.rounded(getattr(heading, name), heading.currency)
    if heading.paid_at is not None:
        said["paid_at"] = instants.text_or_none(heading.paid_at)
    return said


class InvoiceSummary(Struct, kw_only=True, frozen=True):
    """An invoice in a list."""

    id: str
    number: str | None
    status: InvoiceStatus
    kind: InvoiceKind
    currency: str
    period: PeriodView
    issued_at: datetime | None
    due_at: datetime | None
    total: str
    amount_due: str

    @classmethod
    def of(cls, heading: Heading) -> "InvoiceSummary":
        return cls(
            id=typed("inv", heading.id),
            number=heading.number,
            status=heading.status,
            kind=heading.kind,
            currency=heading.currency,
            period=PeriodView(
                month=heading.month.name,
                start=heading.window.period.start,
                end=heading.window.period.end,
                timezone=heading.timezone,
            ),
            issued_at=heading.issued_at,
            due_at=heading.due_at,
            total=document.rounded(heading.totals.total, heading.currency),
            amount_due=document.rounded(heading.amount_due, heading.currency),
        )


class LineCallView(Struct, kw_only=True, frozen=True):
    """One call behind a line: `quantity` at the unit price makes `amount`; all of them make the line's exact one."""

    id: str
    accepted_at: datetime
    status: str
    key: str
    model: str
    provider: str | None
    price_version: str | None
    kind: str
    quantity: int
    unit: str
    unit_price: str
    amount: str

    @classmethod
    def of(cls, part: Contribution) -> "LineCallView":
        call, usage = part.call, part.usage
        return cls(
            id=typed("gen", call.id),
            accepted_at=call.accepted_at,
            status=call.status,
            key=typed("key", call.key_id),
            model=call.model,
            provider=call.provider,
            price_version=typed_or_none("price", call.price_version_id),
            kind=usage.kind,
            quantity=part.quantity,
            unit=usage.unit,
            unit_price=amount_text(usage.unit_price),
            amount=amount_text(part.amount),
        )
