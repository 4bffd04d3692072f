"""What is done to an invoice after it was issued, as values: voided, given up, credited.

A credit note says the opposite of what it credits: where the invoice has an amount above zero, the note has one below.
So the whole note is the negation of the invoice, and the sum of both is what is left.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from tollgate.invoices.model import LineType
from tollgate.kit import money
from tollgate.kit.ids import CreditNoteId, InvoiceId, KeyId, OrganizationId


class ActKind(StrEnum):
    """What the operator does with a whole invoice, and has to give a reason for."""

    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


@dataclass(frozen=True, slots=True)
class Act:
    """That it was done, by whom and why. Rows are only added."""

    organization_id: OrganizationId
    id: UUID
    invoice_id: InvoiceId
    kind: ActKind
    reason: str
    acted_at: datetime
    acted_by: KeyId | None


class Surplus(StrEnum):
    """What becomes of money that was paid for what is credited."""

    BALANCE = "balance"
    """It stays with us, and is owed to the customer until it is refunded."""
    CREDIT = "credit"
    """It becomes credit at once."""


@dataclass(frozen=True, slots=True)
class LineOrder:
    """How much of a line is to be credited: above zero, whatever the line's sign; `None` is all that is left of it."""

    n: int
    amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CreditOrder:
    """What is to be credited, and why: an amount, parts of some lines, or, if neither is said, all that is left."""

    reason: str
    amount: Decimal | None = None
    lines: tuple[LineOrder, ...] = ()
    surplus: Surplus = Surplus.BALANCE


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one line of an invoice: what is left of it, or what is credited of it."""

    n: int
    """The line's place on the invoice."""
    type: LineType
    amount: Decimal
    amount_exact: Decimal


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of an invoice's lines, and of the tax that they contain and no line says."""

    lines: tuple[Part, ...]
    contained_tax: Decimal

    @property
    def total(self) -> Decimal:
        """In minor units."""
        return money.total([line.amount for line in self.lines])

    @property
    def total_exact(self) -> Decimal:
        """Before rounding."""
        return money.total([line.amount_exact for line in self.lines])

    @property
    def tax(self) -> Decimal:
        """That of the lines of type `tax`, and what is contained in the others."""
        return money.total([self.contained_tax, *(line.amount for line in self.lines if line.type is LineType.TAX)])

    @property
    def negated(self) -> "Parts":
        """The same with the opposite sign."""
        lines = (
            Part(line.n, line.type, line.amount.copy_negate(), line.amount_exact.copy_negate()) for line in self.lines
        )
        return Parts(tuple(lines), self.contained_tax.copy_negate())


@dataclass(frozen=True, slots=True)
class CreditNote:
    """One credit note. It never changes."""

    organization_id: OrganizationId
    id: CreditNoteId
    invoice_id: InvoiceId
    number: str
    currency: str
    reason: str
    surplus: Surplus
    credited: Parts
    """What the note says: below zero where the invoice is above."""
    issued_at: datetime
    issued_by: KeyId | None
    document: str = ""
    """The JSON text of all of it, as it was written when it was issued."""

    @property
    def amount(self) -> Decimal:
        """What is taken from the invoice: above zero."""
        return self.credited.total.copy_negate()
