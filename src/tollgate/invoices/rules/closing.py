"""When an invoice may be issued, under which number, and what that does to the ledger."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tollgate.accounts.model import Organization
from tollgate.invoices.model import Heading, Invoice, InvoiceStatus, Month, NothingToInvoice
from tollgate.invoices.rules.lines import lacks_price
from tollgate.kit import money
from tollgate.kit.errors import Conflict
from tollgate.kit.ids import GrantId, derived_id, typed
from tollgate.ledger.model import RECEIVABLE, REVENUE, ROUNDING, TAX, UNBILLED, Transfer, credits_of
from tollgate.metering.model import BilledUsage


def check_may_close(organization: Organization, month: Month, last: Heading | None, now: datetime) -> None:
    """Months close in order, and not before they began.

    Raises:
        Conflict: the month has not begun.
        NothingToInvoice: a later one is closed already, and this one had nothing.
    """
    if month.instants(organization.zone).start > now:
        raise Conflict(f"{month.name} has not begun in {organization.timezone}.", field="month")
    if last is not None and month <= last.month:
        raise NothingToInvoice(
            f"{month.name} had nothing to invoice when {last.month.name} was closed ({last.number}); "
            "what arrives for it now goes on the next invoice.",
            field="month",
        )


def check_nothing_skipped(month: Month, skipped: Sequence[BilledUsage], *, dues: bool) -> None:
    """An earlier month with usage, a fee or a minimum closes first.

    Raises:
        Conflict: there is one.
    """
    if dues or any_in_between(skipped):
        what = "a fee or a minimum" if dues else "usage"
        raise Conflict(
            f"There is {what} before {month.name} that is not invoiced yet: close the earlier months first.",
            field="month",
        )


def any_in_between(skipped: Sequence[BilledUsage]) -> bool:
    """Whether the months since the last invoice hold usage of their own. Late usage of months before does not count."""
    return any(is_invoiced(usage) and not usage.late for usage in skipped)


def is_invoiced(usage: BilledUsage) -> bool:
    """Whether the usage belongs on an invoice: what has a price, or must get one first."""
    return usage.unit_price is not None or lacks_price(usage)


def check_billable(invoice: Invoice) -> None:
    """An invoice is issued over usage that all has a price, and not over nothing.

    Raises:
        Conflict: some usage has no price; the message and the metadata say which.
        NothingToInvoice: there is no usage, no charge, and nothing was agreed.
    """
    if invoice.unpriced:
        raise _lacks_prices(invoice)
    if not invoice.lines:
        raise NothingToInvoice(f"There is nothing to invoice for {invoice.heading.month.name}.", field="month")


def _lacks_prices(invoice: Invoice) -> Conflict:
    """What has no price, which calls used it, and what to do about it."""
    used = [(usage.model, usage.kind.value, usage.quantity) for usage in invoice.unpriced]
    told = ", ".join(f"{quantity} {kind} of {model}" for model, kind, quantity in used)
    calls = [typed("gen", call_id) for call_id in invoice.unpriced_calls]
    such_as = f" (calls such as {', '.join(calls)})" if calls else ""
    return Conflict(
        f"{invoice.heading.month.name} cannot be invoiced while some of its usage has no price: {told}{such_as}. "
        "Give it one with a re-rate: POST /admin/rerate, or `tollgate rerate`.",
        metadata={
            "unpriced": [{"model": model, "kind": kind, "quantity": count} for model, kind, count in used],
            "calls": calls,
            "resolve": "/api/v1/admin/rerate",
        },
    )


def series(now: datetime) -> str:
    """The series that numbers the invoices issued now: a new one every year of UTC, each without gaps."""
    return f"TG-{now.astimezone(UTC).year}"


def issue(invoice: Invoice, *, serial: int, now: datetime) -> Invoice:
    """The draft, finalised under its number; paid at once if nothing is due."""
    nothing_due = invoice.heading.totals.total == 0
    heading = replace(
        invoice.heading,
        number=f"{series(now)}-{serial:06}",
        status=InvoiceStatus.PAID if nothing_due else InvoiceStatus.FINALISED,
        issued_at=now,
        due_at=None if nothing_due else now + timedelta(days=invoice.terms.billing.term_days),
        paid_at=now if nothing_due else None,
    )
    return replace(invoice, heading=heading)


def favours_used(invoice: Invoice, *, now: datetime) -> Iterator[tuple[GrantId, Transfer]]:
    """What the favours on the invoice pay: from their grants to `unbilled`, so that it ends at what is due."""
    for line in invoice.lines:
        if line.adjusted is not None and line.amount_exact < 0:
            grant_id = GrantId(line.adjusted.id)
            yield (
                grant_id,
                _transfer(invoice.heading, credits_of(grant_id), UNBILLED, line.amount_exact.copy_negate(), now=now),
            )


def postings(heading: Heading, *, now: datetime) -> tuple[Transfer, ...]:
    """What issuing the invoice does to the ledger: `unbilled` becomes `receivable`, which then is the rounded total.

    Usage and charges are in `unbilled` since they were recorded; what was agreed beside them, and tax, joins them now.
    """
    totals = heading.totals
    moves = [
        ("fees:", UNBILLED, REVENUE, totals.fees_exact),
        ("commitments:", UNBILLED, REVENUE, totals.commitments_exact),
        ("discounts:", UNBILLED, REVENUE, totals.discounts_exact),
        ("tax:", UNBILLED, TAX, totals.tax_exact),
        # Tax that is contained in what was sold is not revenue.
        ("tax:", REVENUE, TAX, money.EXACT.subtract(heading.tax.amount, totals.tax_exact)),
        ("", RECEIVABLE, UNBILLED, totals.total_exact),
        ("", RECEIVABLE, ROUNDING, money.EXACT.subtract(totals.total, totals.total_exact)),
    ]
    return tuple(
        _transfer(heading, debit, credit, amount, now=now, what=what)
        if amount > 0
        else _transfer(heading, credit, debit, amount.copy_negate(), now=now, what=what)
        for what, debit, credit, amount in moves
        if amount
    )


def _transfer(heading: Heading, debit: str, credit: str, amount: Decimal, *, now: datetime, what: str = "") -> Transfer:
    return Transfer(
        organization_id=heading.organization_id,
        id=derived_id(heading.id, f"{what}{debit}:{credit}"),
        debit_account=debit,
        credit_account=credit,
        amount=amount,
        currency=heading.currency,
        cause="invoice",
        cause_id=heading.id,
        reverses_id=None,
        occurred_at=now,
        posted_at=now,
    )
