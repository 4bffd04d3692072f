"""What Stripe's objects say, read into values of our own; of API version 2026-10-28.

An object may stand inside another as its id or whole ("expanded"); both are read.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from tollgate.payments.model import (
    BalanceTransaction,
    Charge,
    CheckoutSession,
    Dispute,
    InvoiceState,
    NotTheirs,
    PaymentIntent,
    Payout,
    Refund,
    RefundState,
    SessionState,
    StoredMethod,
    StripeBalance,
    StripeCustomer,
    StripeError,
    StripeEvent,
    StripeInvoice,
)
from tollgate.payments.rules.amounts import from_stripe

Raw = Mapping[str, Any]
Value = TypeVar("Value")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CARD_LIKE = ("card", "link", "sepa_debit", "us_bank_account", "bacs_debit", "au_becs_debit", "acss_debit")


def read(raw: Raw, reading: Callable[[Raw], Value]) -> Value:
    """The object, read.

    Raises:
        StripeError: it is not what Stripe says that its objects are.
    """
    try:
        return reading(raw)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise StripeError("Stripe answered with something that cannot be read.") from error


def theirs(value: Value, is_theirs: bool) -> Value:  # noqa: FBT001 - reads as a condition
    """The value, if it is the one that was asked for.

    Raises:
        NotTheirs: it is not.
    """
    if not is_theirs:
        raise NotTheirs("Stripe answered with an object that was not asked for.")
    return value


def identifier(given: Any) -> str | None:
    """The id of an object that is given whole, or by it."""
    found = given.get("id") if isinstance(given, Mapping) else given
    return found if isinstance(found, str) else None


def customer(raw: Raw) -> StripeCustomer:
    """A customer; of a deleted one little more than its id is known."""
    settings = raw.get("invoice_settings") or {}
    return StripeCustomer(
        id=raw["id"],
        name=raw.get("name"),
        metadata=_metadata(raw),
        default_payment_method_id=identifier(settings.get("default_payment_method")),
        is_deleted=bool(raw.get("deleted")),
    )


def method(raw: Raw) -> StoredMethod:
    """A stored payment method."""
    kind = raw["type"]
    details = (raw.get(kind) or {}) if kind in _CARD_LIKE else {}
    return StoredMethod(
        id=raw["id"],
        type=kind,
        customer_id=identifier(raw.get("customer")),
        brand=details.get("brand") or details.get("bank_name"),
        last4=details.get("last4"),
        expires_month=details.get("exp_month"),
        expires_year=details.get("exp_year"),
    )


def invoice(raw: Raw) -> StripeInvoice:
    """An invoice, fetched with its payments."""
    if raw.get("deleted"):
        return _thrown_away(raw)
    currency = _currency(raw)
    payments: Sequence[Raw] = (raw.get("payments") or {}).get("data") or ()
    by_default = sorted(payments, key=lambda each: not each.get("is_default"))
    intents = (identifier((each.get("payment") or {}).get("payment_intent")) for each in by_default)
    moments = raw.get("status_transitions") or {}
    return StripeInvoice(
        id=raw["id"],
        customer_id=identifier(raw.get("customer")),
        number=raw.get("number"),
        state=InvoiceState(raw["status"]),
        currency=currency,
        total=from_stripe(raw["total"], currency),
        amount_due=from_stripe(raw["amount_due"], currency),
        amount_paid=from_stripe(raw["amount_paid"], currency),
        amount_remaining=from_stripe(raw["amount_remaining"], currency),
        is_paid_elsewhere=bool(raw.get("amount_paid_off_stripe")),
        payment_intent_ids=tuple(each for each in intents if each is not None),
        hosted_url=raw.get("hosted_invoice_url"),
        metadata=_metadata(raw),
        created_at=_at(raw["created"]),
        paid_at=_at_or_none(moments.get("paid_at")),
    )


def _thrown_away(raw: Raw) -> StripeInvoice:
    nothing = Decimal(0)
    return StripeInvoice(
        id=raw["id"],
        customer_id=None,
        number=None,
        state=InvoiceState.DELETED,
        currency="",
        total=nothing,
        amount_due=nothing,
        amount_paid=nothing,
        amount_remaining=nothing,
        is_paid_elsewhere=False,
        payment_intent_ids=(),
        hosted_url=None,
        metadata={},
        created_at=_EPOCH,
        paid_at=None,
    )


def payment_intent(raw: Raw) -> PaymentIntent:
    """A payment intent."""
    currency, error = _currency(raw), raw.get("last_payment_error") or {}
    return PaymentIntent(
        id=raw["id"],
        customer_id=identifier(raw.get("customer")),
        status=raw["status"],
        currency=currency,
        amount=from_stripe(raw["amount"], currency),
        amount_received=from_stripe(raw["amount_received"], currency),
        latest_charge_id=identifier(raw.get("latest_charge")),
        error_code=error.get("code"),
        decline_code=error.get("decline_code"),
        metadata=_metadata(raw),
    )


def charge(raw: Raw) -> Charge:
    """A charge."""
    currency = _currency(raw)
    return Charge(
        id=raw["id"],
        customer_id=identifier(raw.get("customer")),
        payment_intent_id=identifier(raw.get("payment_intent")),
        status=raw["status"],
        currency=currency,
        amount=from_stripe(raw["amount"], currency),
        amount_refunded=from_stripe(raw["amount_refunded"], currency),
        is_disputed=bool(raw.get("disputed")),
        failure_code=raw.get("failure_code"),
        balance_transaction_id=identifier(raw.get("balance_transaction")),
        created_at=_at(raw["created"]),
    )


def session(raw: Raw) -> CheckoutSession:
    """A Checkout page, fetched with its set-up if it is one."""
    currency = raw["currency"].upper() if raw.get("currency") else None
    total, setup = raw.get("amount_total"), raw.get("setup_intent")
    stored = setup.get("payment_method") if isinstance(setup, Mapping) else None
    return CheckoutSession(
        id=raw["id"],
        customer_id=identifier(raw.get("customer")),
        mode=raw["mode"],
        state=SessionState(raw["status"]),
        is_paid=raw.get("payment_status") == "paid",
        url=raw.get("url"),
        currency=currency,
        amount=None if total is None or currency is None else from_stripe(total, currency),
        payment_intent_id=identifier(raw.get("payment_intent")),
        setup_method_id=identifier(stored),
        reference=raw.get("client_reference_id"),
        metadata=_metadata(raw),
        expires_at=_at(raw["expires_at"]),
    )


def refund(raw: Raw) -> Refund:
    """A refund."""
    currency = _currency(raw)
    return Refund(
        id=raw["id"],
        charge_id=identifier(raw.get("charge")),
        payment_intent_id=identifier(raw.get("payment_intent")),
        state=RefundState(raw["status"]),
        currency=currency,
        amount=from_stripe(raw["amount"], currency),
        failure_reason=raw.get("failure_reason"),
        balance_transaction_id=identifier(raw.get("balance_transaction")),
        failure_balance_transaction_id=identifier(raw.get("failure_balance_transaction")),
        metadata=_metadata(raw),
        created_at=_at(raw["created"]),
    )


def dispute(raw: Raw) -> Dispute:
    """A dispute."""
    currency = _currency(raw)
    return Dispute(
        id=raw["id"],
        charge_id=identifier(raw["charge"]) or "",
        payment_intent_id=identifier(raw.get("payment_intent")),
        status=raw["status"],
        reason=raw["reason"],
        currency=currency,
        amount=from_stripe(raw["amount"], currency),
        balance_transactions=tuple(balance_transaction(each) for each in raw.get("balance_transactions") or ()),
        created_at=_at(raw["created"]),
    )


def balance_transaction(raw: Raw) -> BalanceTransaction:
    """A movement of the balance."""
    currency = _currency(raw)
    return BalanceTransaction(
        id=raw["id"],
        type=raw["type"],
        reporting_category=raw["reporting_category"],
        currency=currency,
        amount=from_stripe(raw["amount"], currency),
        fee=from_stripe(raw["fee"], currency),
        net=from_stripe(raw["net"], currency),
        source_id=identifier(raw.get("source")),
        created_at=_at(raw["created"]),
        available_at=_at(raw["available_on"]),
    )


def payout(raw: Raw) -> Payout:
    """A payout."""
    currency = _currency(raw)
    return Payout(
        id=raw["id"],
        status=raw["status"],
        currency=currency,
        amount=from_stripe(raw["amount"], currency),
        is_automatic=bool(raw["automatic"]),
        arrives_at=_at(raw["arrival_date"]),
        created_at=_at(raw["created"]),
    )


def event(raw: Raw) -> StripeEvent:
    """An event; of what it brings along, only the id of what it is about is read."""
    return StripeEvent(
        id=raw["id"],
        type=raw["type"],
        object_id=identifier((raw["data"])["object"]) or "",
        is_live=bool(raw["livemode"]),
        created_at=_at(raw["created"]),
    )


def balances(raw: Raw) -> list[StripeBalance]:
    """What is at Stripe, by currency."""
    sums: dict[str, dict[str, int]] = {}
    for part in ("available", "pending"):
        for each in raw[part]:
            of_currency = sums.setdefault(_currency(each), {"available": 0, "pending": 0})
            of_currency[part] += each["amount"]
    return [
        StripeBalance(currency, from_stripe(amounts["available"], currency), from_stripe(amounts["pending"], currency))
        for currency, amounts in sorted(sums.items())
    ]


def _currency(raw: Raw) -> str:
    currency: str = raw["currency"]
    return currency.upper()


def _metadata(raw: Raw) -> dict[str, str]:
    return {str(name): str(value) for name, value in (raw.get("metadata") or {}).items()}


def _at(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


def _at_or_none(seconds: int | None) -> datetime | None:
    return None if seconds is None else _at(seconds)
