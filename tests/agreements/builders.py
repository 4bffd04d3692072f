"""Agreements and details: ordinary in whatever a test does not say."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from tollgate.agreements.model import Address, Agreement, AgreementKind, AgreementOrder, BillingDetails, Days, TaxId
from tollgate.kit.ids import AgreementId, OrganizationId

MADE = datetime(2026, 9, 1, tzinfo=UTC)
NOVEMBER = Days(date(2026, 11, 1), date(2026, 12, 1))
BERLIN = Address(("Hauptstr. 1",), "Berlin", "10115", "DE")
ACME = BillingDetails(
    legal_name="Acme Corporation",
    address=BERLIN,
    tax_ids=(TaxId("eu_vat", "DE123456789"),),
    email="invoices@acme.example",
    purchase_order="PO 4711",
    notes="Cost centre 12",
)


def _an_agreement(kind: AgreementKind, **changes: Any) -> Agreement:
    values: dict[str, Any] = {
        "organization_id": OrganizationId(UUID(int=1)),
        "id": AgreementId(UUID(int=5)),
        "kind": kind,
        "name": None,
        "amount": None,
        "percent": None,
        "currency": "USD",
        "starts_on": date(2026, 9, 1),
        "ends_on": None,
        "created_at": MADE,
        "created_by": None,
    }
    return Agreement(**{**values, **changes})


def a_subscription(fee: str = "30", **changes: Any) -> Agreement:
    return _an_agreement(AgreementKind.SUBSCRIPTION, **{"name": "Platform", "amount": Decimal(fee), **changes})


def a_commitment(amount: str = "100", **changes: Any) -> Agreement:
    return _an_agreement(AgreementKind.COMMITMENT, **{"amount": Decimal(amount), **changes})


def a_discount(percent: str = "10", **changes: Any) -> Agreement:
    return _an_agreement(AgreementKind.DISCOUNT, **{"percent": Decimal(percent), **changes})


def an_order(kind: AgreementKind = AgreementKind.SUBSCRIPTION, **changes: Any) -> AgreementOrder:
    ordinary: dict[AgreementKind, dict[str, Any]] = {
        AgreementKind.SUBSCRIPTION: {"amount": Decimal(30), "name": "Platform"},
        AgreementKind.COMMITMENT: {"amount": Decimal(100)},
        AgreementKind.DISCOUNT: {"percent": Decimal(10)},
    }
    return AgreementOrder(
        **{"kind": kind, "starts_on": date(2026, 11, 1), "ends_on": None, **ordinary[kind], **changes}
    )
