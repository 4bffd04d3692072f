"""What was agreed as values: who is invoiced by whom, under which tax, and for what beside usage.

Nothing here changes what was invoiced: an invoice takes down what it says when it is issued.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from tollgate.kit import money
from tollgate.kit.ids import AgreementId, KeyId, OrganizationId

TERM_DAYS_DEFAULT = 14
"""How long after its issue an invoice is due, unless something else is agreed."""


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address; `country` is an ISO 3166-1 alpha-2 code."""

    lines: tuple[str, ...]
    city: str
    postal_code: str
    country: str


@dataclass(frozen=True, slots=True)
class TaxId:
    """A number that a state knows a business by; `type` says which, such as `eu_vat`."""

    type: str
    value: str


class TaxTreatment(StrEnum):
    """How tax stands on an invoice: not at all, added, contained, or owed by the customer."""

    NONE = "none"
    EXCLUSIVE = "exclusive"
    INCLUSIVE = "inclusive"
    REVERSE_CHARGE = "reverse_charge"


CHARGED = frozenset({TaxTreatment.EXCLUSIVE, TaxTreatment.INCLUSIVE})
"""The treatments under which tax is charged, at a rate."""


@dataclass(frozen=True, slots=True)
class TaxTerms:
    """The tax on an organization's invoices."""

    treatment: TaxTreatment = TaxTreatment.NONE
    rate: Decimal = money.ZERO
    """Percent of the net amount, with four decimals at most; zero where no tax is charged."""
    label: str = "VAT"
    note: str | None = None
    """What an invoice has to say of it, such as why none is charged."""


NO_TAX = TaxTerms()


@dataclass(frozen=True, slots=True)
class BillingDetails:
    """How an organization is addressed on its invoices, and on which terms it pays them."""

    legal_name: str | None = None
    address: Address | None = None
    tax_ids: tuple[TaxId, ...] = ()
    email: str | None = None
    purchase_order: str | None = None
    """What the customer wants to read on its invoices, such as the number of its order."""
    notes: str | None = None
    """What else every invoice says, printed as it is."""
    term_days: int = TERM_DAYS_DEFAULT
    tax: TaxTerms = NO_TAX

    @property
    def says_something(self) -> bool:
        """Whether there is anything to address an invoice by."""
        said = (self.legal_name, self.address, self.email, self.purchase_order, self.notes)
        return bool(self.tax_ids) or any(part is not None for part in said)


NO_DETAILS = BillingDetails()


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues the installation's invoices."""

    name: str
    address: Address
    tax_ids: tuple[TaxId, ...] = ()
    registration: str | None = None
    """Its entry in a register of companies."""
    email: str | None = None
    instructions: str | None = None
    """How to pay: a bank account, and what to name there."""


_PREFIXES = {"subscription": "sub", "commitment": "cmt", "discount": "dsc"}


class AgreementKind(StrEnum):
    """What an agreement is for."""

    SUBSCRIPTION = "subscription"
    COMMITMENT = "commitment"
    DISCOUNT = "discount"

    @property
    def prefix(self) -> str:
        """How its ids begin in the API."""
        return _PREFIXES[self.value]


@dataclass(frozen=True, slots=True)
class Days:
    """The days from `start` up to but not including `end`, in whatever calendar names them."""

    start: date
    end: date

    def __len__(self) -> int:
        return max((self.end - self.start).days, 0)

    @property
    def last(self) -> date:
        """The last of them."""
        return self.end - timedelta(days=1)

    def within(self, other: "Days") -> "Days":
        """The days that both have; none of them if there are none."""
        return Days(max(self.start, other.start), min(self.end, other.end))


@dataclass(frozen=True, slots=True)
class AgreementOrder:
    """What is to be agreed. Either an amount (of money) or a percentage, as the kind wants it."""

    kind: AgreementKind
    starts_on: date
    ends_on: date | None
    """The first day that is not part of it; `None` until it is ended."""
    amount: Decimal | None = None
    percent: Decimal | None = None
    name: str | None = None
    """What the plan is called, of a subscription."""
    currency: str | None = None
    """`None` is the organization's own, and no other can be."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A subscription, a minimum commitment or a discount. Nothing of it ever changes but its end.

    A subscription runs by days of the organization's calendar; commitments and discounts by whole months of it, so
    that they start and end on the first of one.
    """

    organization_id: OrganizationId
    id: AgreementId
    kind: AgreementKind
    name: str | None
    amount: Decimal | None
    """Of a subscription the fee of a whole month, of a commitment the least that a month's usage comes to."""
    percent: Decimal | None
    """Of a discount."""
    currency: str
    starts_on: date
    ends_on: date | None
    """The first day that is not part of it; one that is also its first was taken back before it began."""
    created_at: datetime
    created_by: KeyId | None
    ended_at: datetime | None = None
    """When its end was set by hand."""
    ended_by: KeyId | None = None

    def days_in(self, month: Days) -> Days:
        """The days of the month that it is in force on."""
        ends_on = month.end if self.ends_on is None else self.ends_on
        return Days(self.starts_on, ends_on).within(month)

    def covers(self, month: Days) -> bool:
        """Whether it is in force on any day of the month."""
        return len(self.days_in(month)) > 0


@dataclass(frozen=True, slots=True)
class Dues:
    """The days of an organization's months that wait for their invoice, and since when its last one is issued."""

    organization_id: OrganizationId
    days: Days
    since: datetime | None
