"""The API shapes of payments."""

from datetime import datetime

from msgspec import Struct

from tollgate.infra.web import Amount, Body
from tollgate.invoices.model import Payment, PaymentKind, PaymentMethod, PaymentOrder, RefundOrder
from tollgate.invoices.rules import document
from tollgate.kit.ids import typed


class MarkPaid(Body, kw_only=True, frozen=True):
    """A payment that was made elsewhere: all that is due, and now, if nothing else is said."""

    amount: Amount | None = None
    reference: str | None = None
    paid_at: datetime | None = None

    def order(self) -> PaymentOrder:
        """The payment as the service takes it."""
        return PaymentOrder(self.amount, self.reference, self.paid_at)


class MarkRefunded(Body, kw_only=True, frozen=True):
    """Money that was given back elsewhere: all that is to be given back, and now, if nothing else is said."""

    amount: Amount | None = None
    reference: str | None = None
    refunded_at: datetime | None = None

    def order(self) -> RefundOrder:
        """The refund as the service takes it."""
        return RefundOrder(self.amount, self.reference, self.refunded_at)


class PaymentView(Struct, kw_only=True, frozen=True):
    """Money that came in for an invoice, or went back by a refund or a dispute."""

    id: str
    invoice: str
    kind: PaymentKind
    method: PaymentMethod
    amount: str
    currency: str
    reference: str | None
    occurred_at: datetime
    recorded_at: datetime

    @classmethod
    def of(cls, payment: Payment) -> "PaymentView":
        return cls(
            id=typed("pay", payment.id),
            invoice=typed("inv", payment.invoice_id),
            kind=payment.kind,
            method=payment.method,
            amount=document.rounded(payment.amount, payment.currency),
            currency=payment.currency,
            reference=payment.reference,
            occurred_at=payment.occurred_at,
            recorded_at=payment.recorded_at,
        )
