"""What a top-up may be, what is asked of Stripe for it, and what Stripe's answer means for it."""

from datetime import datetime, timedelta
from decimal import Decimal

from tollgate.agreements.model import TaxTerms, TaxTreatment
from tollgate.agreements.rules import billing
from tollgate.kit import ids, money
from tollgate.kit.backoff import doubled
from tollgate.kit.errors import InvalidRequest, NotFound
from tollgate.kit.ids import OrganizationId, TopUpId
from tollgate.ledger.model import REFUNDABLE, STRIPE_CLEARING, TAX, GrantCategory, GrantTerms, Transfer
from tollgate.payments.model import CheckoutOrder, CheckoutSession, Metadata, PaymentIntent, SessionState
from tollgate.payments.records import TopUp, TopUpStatus, Verdict
from tollgate.payments.rules.amounts import decimals_taken, to_stripe
from tollgate.webhooks import rules as webhooks
from tollgate.webhooks.model import Event, EventType

PAGE_LASTS = timedelta(hours=12)
"""How long a page waits for the customer. Stripe wants half an hour to a day; and it keeps a key's answer for a day, so
no key of a top-up is used again once its answer may be forgotten."""
OPENED_BEFORE_END = timedelta(minutes=35)
"""How long before its end a page can be opened at the latest."""
LEFT_TO_THE_REQUEST = timedelta(seconds=30)
"""How long opening a page is left to the request that asked for the top-up, before a worker looks after it."""
OPEN_MAX = 5
"""How many top-ups of an organization may wait at once."""
_LEAST, _MOST = Decimal(1), Decimal(100_000)
_LEAST_WHOLE, _MOST_WHOLE = Decimal(100), Decimal(10_000_000)
_SOON, _LATER = timedelta(seconds=5), timedelta(minutes=5)
_SOON_MOST, _LATER_MOST = timedelta(minutes=10), timedelta(hours=6)
_AFTER_END = timedelta(minutes=1)
_OVER = frozenset({"requires_payment_method", "canceled"})


def check_amount(amount: Decimal, currency: str) -> None:
    """A top-up is neither tiny nor huge, and Stripe can take it.

    Raises:
        InvalidRequest: it is not so; `field` says of what.
    """
    are_whole = not decimals_taken(currency)
    least, most = (_LEAST_WHOLE, _MOST_WHOLE) if are_whole else (_LEAST, _MOST)
    if not least <= amount <= most:
        raise InvalidRequest(f"A top-up is {least} to {most} {currency}.", field="amount")
    to_stripe(amount, currency)


def wanted(top_up: TopUp) -> CheckoutOrder:
    """The page to open: the same for the same top-up and customer, whenever it is asked for."""
    lines = [("Credit", top_up.amount)]
    if top_up.tax:
        lines.append(("Tax", top_up.tax))
    return CheckoutOrder(
        customer_id=top_up.customer_id or "",
        reference=ids.typed("tup", top_up.id),
        currency=top_up.currency,
        lines=lines,
        success_url=top_up.success_url,
        cancel_url=top_up.cancel_url,
        expires_at=top_up.expires_at,
        metadata={"organization": ids.typed("org", top_up.organization_id), "top_up": ids.typed("tup", top_up.id)},
    )


def key(top_up: TopUp) -> str:
    """The idempotency key of opening its page."""
    return f"top-up:{top_up.id}:{top_up.attempt}"


def named_in(metadata: Metadata) -> tuple[OrganizationId, TopUpId] | None:
    """The top-up that something at Stripe says it is for, if it is for one."""
    try:
        owner = ids.parse("org", metadata.get("organization", ""))
        return OrganizationId(owner), TopUpId(ids.parse("tup", metadata.get("top_up", "")))
    except ids.NotAnId:
        return None


def judge(top_up: TopUp, page: CheckoutSession, intent: PaymentIntent | None) -> Verdict:
    """What the page, and the payment made on it, mean for the top-up. Only what fits in every respect is paid."""
    doubt = _doubt(top_up, page)
    if doubt is not None:
        return Verdict(TopUpStatus.PARKED, doubt)
    if page.state is SessionState.OPEN:
        return Verdict(TopUpStatus.OPEN)
    if page.state is SessionState.EXPIRED:
        return Verdict(TopUpStatus.EXPIRED)
    if intent is None:
        return Verdict(TopUpStatus.PARKED, "The page is complete, and there is no payment.")
    return _judge_payment(top_up, page, intent)


def _doubt(top_up: TopUp, page: CheckoutSession) -> str | None:
    if (page.reference, page.mode) != (ids.typed("tup", top_up.id), "payment"):
        return "The page at Stripe is for something else."
    if page.customer_id != top_up.customer_id:
        return "The page at Stripe is another customer's."
    if (page.amount, page.currency) != (top_up.total, top_up.currency):
        return f"The page at Stripe is over {_said(page.amount, page.currency)}, not {_asked(top_up)}."
    return None


def _judge_payment(top_up: TopUp, page: CheckoutSession, intent: PaymentIntent) -> Verdict:
    if named_in(intent.metadata) != (top_up.organization_id, top_up.id) or intent.customer_id != top_up.customer_id:
        return Verdict(TopUpStatus.PARKED, "The payment is for something else.", intent.id)
    if not page.is_paid:
        if intent.status in _OVER:
            return Verdict(TopUpStatus.FAILED, f"The money did not arrive: {intent.error_code}.", intent.id)
        return Verdict(TopUpStatus.PROCESSING, payment_intent_id=intent.id)
    if (intent.status, intent.amount_received, intent.currency) != ("succeeded", top_up.total, top_up.currency):
        received = _said(intent.amount_received, intent.currency)
        return Verdict(TopUpStatus.PARKED, f"Stripe received {received}, not {_asked(top_up)}.", intent.id)
    return Verdict(TopUpStatus.PAID, payment_intent_id=intent.id)


def _asked(top_up: TopUp) -> str:
    return _said(top_up.total, top_up.currency)


def _said(amount: Decimal | None, currency: str | None) -> str:
    return "nothing" if amount is None else f"{money.amount_text(amount)} {currency}"


def next_look(top_up: TopUp, now: datetime) -> datetime | None:
    """When to look after it again, if nothing is heard of it meanwhile."""
    if not top_up.status.is_waiting:
        return None
    if top_up.status is TopUpStatus.OPENING:
        return now + doubled(_SOON, _SOON_MOST, times=top_up.tries)
    later = now + doubled(_LATER, _LATER_MOST, times=top_up.tries)
    return later if top_up.expires_at <= now else min(later, top_up.expires_at + _AFTER_END)


def terms(top_up: TopUp) -> GrantTerms:
    """The credit it becomes: the same whenever it is told, so that it is granted once."""
    return GrantTerms(
        amount=top_up.amount,
        currency=top_up.currency,
        category=GrantCategory.PAID,
        reason="Top-up",
        reference=ids.typed("tup", top_up.id),
    )


def tax_on(amount: Decimal, terms: TaxTerms, currency: str) -> Decimal:
    """The tax that is paid on top of the credit: where invoices add tax to what they bill, top-ups do.

    Credit is no part of what invoices tax, so this is where it is taxed. Where prices contain the tax, or the customer
    owes it, nothing is added.
    """
    return billing.tax_on(amount, terms, currency) if terms.treatment is TaxTreatment.EXCLUSIVE else money.ZERO


def postings(top_up: TopUp, now: datetime) -> list[Transfer]:
    """What was paid arrives: what credit is made of, and back into which it goes if it is voided; and the tax."""
    money_in = _posting(top_up, REFUNDABLE, top_up.amount, now)
    return [money_in, _posting(top_up, TAX, top_up.tax, now)] if top_up.tax else [money_in]


def _posting(top_up: TopUp, account: str, amount: Decimal, now: datetime) -> Transfer:
    return Transfer(
        organization_id=top_up.organization_id,
        id=ids.derived_id(top_up.id, account),
        debit_account=STRIPE_CLEARING,
        credit_account=account,
        amount=amount,
        currency=top_up.currency,
        cause="top_up",
        cause_id=top_up.id,
        reverses_id=None,
        occurred_at=now,
        posted_at=now,
    )


def telling(top_up: TopUp, now: datetime) -> Event:
    """What is told of one that is paid."""
    data = {
        "top_up": ids.typed("tup", top_up.id),
        "grant": ids.typed_or_none("grt", top_up.grant_id),
        "amount": money.amount_text(top_up.amount),
        "tax": money.amount_text(top_up.tax),
        "currency": top_up.currency,
    }
    return webhooks.event(top_up.organization_id, top_up.id, EventType.TOP_UP_PAID, data, now=now)


def found(top_up: TopUp | None) -> TopUp:
    """The top-up.

    Raises:
        NotFound: there is none.
    """
    if top_up is None:
        raise NotFound("The organization has no such top-up.")
    return top_up
