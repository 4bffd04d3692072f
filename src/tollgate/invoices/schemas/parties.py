"""The shapes of what an invoice says of its parties, its tax and its terms, as they were at issue."""

from msgspec import Struct

from tollgate.agreements.model import TaxTreatment


class InvoicedAddressView(Struct, kw_only=True, frozen=True):
    """A postal address; the country is an ISO 3166-1 alpha-2 code."""

    lines: list[str]
    city: str
    postal_code: str
    country: str


class InvoicedTaxIdView(Struct, kw_only=True, frozen=True):
    """A number that a state knows a business by, and which one it is."""

    type: str
    value: str


class IssuerView(Struct, kw_only=True, frozen=True):
    """Who issued the invoice."""

    name: str
    address: InvoicedAddressView
    tax_ids: list[InvoicedTaxIdView]
    registration: str | None
    email: str | None


class AddresseeView(Struct, kw_only=True, frozen=True):
    """To whom the invoice is addressed."""

    name: str
    address: InvoicedAddressView | None
    tax_ids: list[InvoicedTaxIdView]
    email: str | None
    purchase_order: str | None
    notes: str | None


class TaxView(Struct, kw_only=True, frozen=True):
    """The tax: `amount` is what `rate` percent of `net` come to, added to it, or contained in the total."""

    treatment: TaxTreatment
    label: str | None
    rate: str
    net: str
    amount: str
    note: str | None


class PaymentTermsView(Struct, kw_only=True, frozen=True):
    """Within how many days of its issue the invoice is due, and how it is paid."""

    term_days: int
    instructions: str | None
