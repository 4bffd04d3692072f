"""What may be done to a whole invoice after it was issued: voiding it, and giving it up."""

from dataclasses import replace
from datetime import datetime

from tollgate.invoices.acts import Act
from tollgate.invoices.model import Heading, Invoice, InvoiceStatus
from tollgate.invoices.rules import paying
from tollgate.invoices.rules.windows import invoice_id
from tollgate.kit.errors import Conflict
from tollgate.ledger.model import Transfer

VOID_CAUSE = "invoice_void"
"""Why transfers of an invoice were taken back; the cause's id is the invoice's."""
WRITE_OFF_CAUSE = "uncollectible"
"""Why what is due was written off; the cause's id is the invoice's."""


def revised(drafted: Invoice, revision: int) -> Invoice:
    """The draft of a month of which so many invoices were voided, under an id of its own."""
    heading = drafted.heading
    return replace(
        drafted,
        heading=replace(heading, id=invoice_id(heading.organization_id, heading.currency, heading.month, revision)),
    )


def check_may_void(heading: Heading, newest: Heading | None) -> None:
    """Only the newest invoice of an organization is voided, and only while it is neither paid nor credited.

    What came after an earlier one would no longer take up where the one before it ended.

    Raises:
        Conflict: it is not the newest, or something of it was paid, credited or given up.
    """
    if heading.totals.total == 0:
        raise Conflict(
            f"Nothing was due on {heading.number}, so there is nothing to take back. "
            "What credits paid for is given again by an adjustment in the customer's favour."
        )
    if heading.status is not InvoiceStatus.FINALISED or heading.amount_paid != 0 or heading.amount_credited != 0:
        raise Conflict(
            f"{heading.number} is {_standing(heading)}, so it cannot be voided. A credit note takes back what it says."
        )
    if newest is None or newest.id != heading.id:
        later = "another invoice" if newest is None else newest.number
        raise Conflict(
            f"{heading.number} is not the organization's newest invoice, {later} is, so it cannot be voided. "
            "A credit note takes back what it says."
        )


def _standing(heading: Heading) -> str:
    if heading.status is InvoiceStatus.FINALISED:
        return "credited in part" if heading.amount_credited else "paid in part"
    return heading.status.value


def voided(heading: Heading) -> Heading:
    """The invoice once it is void."""
    return replace(heading, status=InvoiceStatus.VOID)


def check_may_give_up(heading: Heading) -> None:
    """Only an invoice of which something is due can be given up.

    Raises:
        Conflict: nothing is due.
    """
    if heading.amount_due == 0:
        raise Conflict(f"Nothing is due on {heading.number}: it is {heading.status}.")


def given_up(heading: Heading) -> Heading:
    """The invoice once nobody expects it to be paid."""
    return replace(heading, status=InvoiceStatus.UNCOLLECTIBLE)


def write_off(before: Heading, act: Act, *, now: datetime) -> tuple[Transfer, ...]:
    """What giving the invoice up does to the ledger: what is due is no longer expected, and is lost."""
    return paying.written_off(before, given_up(before), cause=(WRITE_OFF_CAUSE, before.id), of=act.id, now=now)
