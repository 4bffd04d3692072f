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
from tollgate.kit.ids import GrantId, derived_id
from tollgate.ledger.model import RECEIVABLE, ROUNDING, UNBILLED, Transfer, credits_of
from tollgate.metering.model import BilledUsage

PAYMENT_TERM = timedelta(days=14)
"""How long after its issue an invoice is due."""


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


def check_nothing_skipped(month: Month, skipped: Sequence[BilledUsage]) -> None:
    """An earlier month with usage closes first.

    Raises:
        Conflict: there is one.
    """
    if any_in_between(skipped):
        raise Conflict(
            f"There is usage before {month.name} that is not invoiced yet: close the earlier months first.",
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
        NothingToInvoice: there is no usage, and no charge.
    """
    if invoice.unpriced:
        used = [(usage.model, usage.kind.value, usage.quantity) for usage in invoice.unpriced]
        told = ", ".join(f"{quantity} {kind} of {model}" for model, kind, quantity in used)
        raise Conflict(
            f"{invoice.heading.month.name} cannot be invoiced while some of its usage has no price: {told}.",
            metadata={"unpriced": [{"model": model, "kind": kind, "quantity": count} for model, kind, count in used]},
        )
    if not invoice.lines:
        raise NothingToInvoice(f"There is nothing to invoice for {invoice.heading.month.name}.", field="month")


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
        due_at=None if nothing_due else now + PAYMENT_TERM,
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
    """What issuing the invoice does to the ledger: `unbilled` becomes `receivable`, which then is the rounded total."""
    exact = heading.totals.total_exact
    rounding = money.EXACT.subtract(heading.totals.total, exact)
    moves = [
        (RECEIVABLE, UNBILLED, exact),
        (RECEIVABLE, ROUNDING, rounding) if rounding > 0 else (ROUNDING, RECEIVABLE, rounding.copy_negate()),
    ]
    return tuple(_transfer(heading, debit, credit, amount, now=now) for debit, credit, amount in moves if amount)


def _transfer(heading: Heading, debit: str, credit: str, amount: Decimal, *, now: datetime) -> Transfer:
    return Transfer(
        organization_id=heading.organization_id,
        id=derived_id(heading.id, f"{debit}:{credit}"),
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
