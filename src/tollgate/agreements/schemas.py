"""The API shapes of billing details, the issuer, subscriptions, commitments and discounts."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from tollgate.agreements.model import (
    CHARGED,
    NO_TAX,
    TERM_DAYS_DEFAULT,
    Address,
    Agreement,
    AgreementKind,
    AgreementOrder,
    BillingDetails,
    Issuer,
    TaxId,
    TaxTerms,
    TaxTreatment,
)
from tollgate.agreements.rules.billing import note_of
from tollgate.infra.web import Amount, Body
from tollgate.kit import period
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.kit.period import NotAMonth

_UTC = ZoneInfo("UTC")
_Days = Annotated[int, Meta(ge=0, le=10**6)]


class AddressBody(Body, kw_only=True, frozen=True):
    """A postal address; `country` is an ISO 3166-1 alpha-2 code."""

    lines: tuple[str, ...]
    city: str
    country: str
    postal_code: str = ""

    def address(self) -> Address:
        return Address(self.lines, self.city, self.postal_code, self.country)


class TaxIdBody(Body, kw_only=True, frozen=True):
    """A number that a state knows a business by; `type` says which, such as `eu_vat`."""

    type: str
    value: str


class TaxBody(Body, kw_only=True, frozen=True):
    """The tax on an organization's invoices: how it stands there, and the rate in percent."""

    treatment: TaxTreatment
    rate: Amount | None = None
    label: str | None = None
    note: str | None = None

    def terms(self) -> TaxTerms:
        if self.rate is None and self.treatment in CHARGED:
            raise InvalidRequest(f"tax.rate: say the rate of {self.treatment} tax; 0 if it is none.", field="tax.rate")
        rate = NO_TAX.rate if self.rate is None else Decimal(self.rate)
        return TaxTerms(self.treatment, rate, NO_TAX.label if self.label is None else self.label, self.note)


class OwnDetails(Body, kw_only=True, frozen=True):
    """What an organization says of itself; what is left out or `null` is said no more."""

    address: AddressBody | None = None
    email: str | None = None
    purchase_order: str | None = None

    def applied_to(self, details: BillingDetails) -> BillingDetails:
        return replace(
            details,
            address=None if self.address is None else self.address.address(),
            email=self.email,
            purchase_order=self.purchase_order,
        )


class AllDetails(OwnDetails, kw_only=True, frozen=True):
    """Everything an organization's invoices say of it; what is left out or `null` takes its default."""

    legal_name: str | None = None
    tax_ids: tuple[TaxIdBody, ...] = ()
    notes: str | None = None
    term_days: _Days | None = None
    tax: TaxBody | None = None

    def applied_to(self, details: BillingDetails) -> BillingDetails:
        return replace(
            super().applied_to(details),
            legal_name=self.legal_name,
            tax_ids=_tax_ids(self.tax_ids),
            notes=self.notes,
            term_days=TERM_DAYS_DEFAULT if self.term_days is None else self.term_days,
            tax=NO_TAX if self.tax is None else self.tax.terms(),
        )


class IssuerBody(Body, kw_only=True, frozen=True):
    """Who issues the invoices of this installation."""

    name: str
    address: AddressBody
    tax_ids: tuple[TaxIdBody, ...] = ()
    registration: str | None = None
    email: str | None = None
    instructions: str | None = None
    """How to pay: a bank account, and what to name there."""

    def issuer(self) -> Issuer:
        return Issuer(
            self.name,
            self.address.address(),
            _tax_ids(self.tax_ids),
            registration=self.registration,
            email=self.email,
            instructions=self.instructions,
        )


def _tax_ids(given: tuple[TaxIdBody, ...]) -> tuple[TaxId, ...]:
    return tuple(TaxId(each.type, each.value) for each in given)


class AddressView(Struct, kw_only=True, frozen=True):
    """A postal address."""

    lines: tuple[str, ...]
    city: str
    postal_code: str
    country: str

    @classmethod
    def of(cls, address: Address) -> "AddressView":
        return cls(lines=address.lines, city=address.city, postal_code=address.postal_code, country=address.country)


class TaxIdView(Struct, kw_only=True, frozen=True):
    """A number that a state knows a business by."""

    type: str
    value: str


class TaxTermsView(Struct, kw_only=True, frozen=True):
    """The tax on invoices from now on; `note` is what they say of it."""

    treatment: TaxTreatment
    rate: str
    label: str
    note: str | None

    @classmethod
    def of(cls, tax: TaxTerms) -> "TaxTermsView":
        return cls(treatment=tax.treatment, rate=amount_text(tax.rate), label=tax.label, note=note_of(tax))


class DetailsView(Struct, kw_only=True, frozen=True):
    """How an organization is invoiced from now on."""

    legal_name: str | None
    address: AddressView | None
    tax_ids: list[TaxIdView]
    email: str | None
    purchase_order: str | None
    notes: str | None
    term_days: int
    tax: TaxTermsView

    @classmethod
    def of(cls, details: BillingDetails) -> "DetailsView":
        return cls(
            legal_name=details.legal_name,
            address=None if details.address is None else AddressView.of(details.address),
            tax_ids=[TaxIdView(type=each.type, value=each.value) for each in details.tax_ids],
            email=details.email,
            purchase_order=details.purchase_order,
            notes=details.notes,
            term_days=details.term_days,
            tax=TaxTermsView.of(details.tax),
        )


class InstallationIssuerView(Struct, kw_only=True, frozen=True):
    """Who issues the invoices of this installation from now on."""

    name: str
    address: AddressView
    tax_ids: list[TaxIdView]
    registration: str | None
    email: str | None
    instructions: str | None

    @classmethod
    def of(cls, issuer: Issuer) -> "InstallationIssuerView":
        return cls(
            name=issuer.name,
            address=AddressView.of(issuer.address),
            tax_ids=[TaxIdView(type=each.type, value=each.value) for each in issuer.tax_ids],
            registration=issuer.registration,
            email=issuer.email,
            instructions=issuer.instructions,
        )


class Subscribe(Body, kw_only=True, frozen=True):
    """A plan with a monthly fee, from one day of the organization's calendar up to but not including another."""

    name: str
    fee: Amount
    starts_on: date
    ends_on: date | None = None
    currency: str | None = None

    def order(self) -> AgreementOrder:
        return AgreementOrder(
            AgreementKind.SUBSCRIPTION,
            self.starts_on,
            self.ends_on,
            amount=self.fee,
            name=self.name,
            currency=self.currency,
        )


class Commit(Body, kw_only=True, frozen=True):
    """The least that each month's usage comes to, from one month to another, both included."""

    amount: Amount
    from_month: str
    to_month: str | None = None
    currency: str | None = None

    def order(self) -> AgreementOrder:
        starts_on, ends_on = _months(self.from_month, self.to_month)
        return AgreementOrder(AgreementKind.COMMITMENT, starts_on, ends_on, amount=self.amount, currency=self.currency)


class GiveDiscount(Body, kw_only=True, frozen=True):
    """The percentage that is taken off each month's usage that credits do not pay, both months included."""

    percent: Amount
    from_month: str
    to_month: str | None = None

    def order(self) -> AgreementOrder:
        starts_on, ends_on = _months(self.from_month, self.to_month)
        return AgreementOrder(AgreementKind.DISCOUNT, starts_on, ends_on, percent=self.percent)


class EndSubscription(Body, kw_only=True, frozen=True):
    """The first day that is not part of it; `null` is as early as may be."""

    ends_on: date | None = None

    def day(self) -> date | None:
        return self.ends_on


class EndMonthly(Body, kw_only=True, frozen=True):
    """The last month that is part of it; `null` is as early as may be."""

    to_month: str | None = None

    def day(self) -> date | None:
        return None if self.to_month is None else _month_after(self.to_month, "to_month")


class SubscriptionView(Struct, kw_only=True, frozen=True):
    """A subscription; `ends_on` is the first day that is not part of it."""

    id: str
    organization: str
    name: str | None
    fee: str
    currency: str
    starts_on: date
    ends_on: date | None
    created_at: datetime
    ended_at: datetime | None
    """When its end was set by hand."""

    @classmethod
    def of(cls, agreement: Agreement) -> "SubscriptionView":
        return cls(
            id=typed(agreement.kind.prefix, agreement.id),
            organization=typed("org", agreement.organization_id),
            name=agreement.name,
            fee=amount_text(agreement.amount or NO_TAX.rate),
            currency=agreement.currency,
            starts_on=agreement.starts_on,
            ends_on=agreement.ends_on,
            created_at=agreement.created_at,
            ended_at=agreement.ended_at,
        )


class MonthlyView(Struct, kw_only=True, frozen=True):
    """A commitment, which has an amount, or a discount, which has a percentage; both months are part of it.

    One that was taken back before it began has a last month before its first.
    """

    id: str
    organization: str
    amount: str | None
    percent: str | None
    currency: str
    from_month: str
    to_month: str | None
    created_at: datetime
    ended_at: datetime | None
    """When its end was set by hand."""

    @classmethod
    def of(cls, agreement: Agreement) -> "MonthlyView":
        last = None if agreement.ends_on is None else agreement.ends_on - timedelta(days=1)
        return cls(
            id=typed(agreement.kind.prefix, agreement.id),
            organization=typed("org", agreement.organization_id),
            amount=None if agreement.amount is None else amount_text(agreement.amount),
            percent=None if agreement.percent is None else amount_text(agreement.percent),
            currency=agreement.currency,
            from_month=f"{agreement.starts_on:%Y-%m}",
            to_month=None if last is None else f"{last:%Y-%m}",
            created_at=agreement.created_at,
            ended_at=agreement.ended_at,
        )


def _months(first: str, last: str | None) -> tuple[date, date | None]:
    return _month(first, "from_month").start.date(), None if last is None else _month_after(last, "to_month")


def _month_after(name: str, field: str) -> date:
    return _month(name, field).end.date()


def _month(name: str, field: str) -> period.Period:
    try:
        return period.parse_month(name, _UTC)
    except NotAMonth as error:
        raise InvalidRequest(f"{field}: {error}.", field=field) from error
