"""The API shapes of credit notes, and of what is done to whole invoices."""

import json
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Struct

from tollgate.infra.web import Amount, Body
from tollgate.invoices.acts import Act, ActKind, CreditNote, CreditOrder, LineOrder, Surplus
from tollgate.invoices.model import LineType
from tollgate.invoices.schemas.invoices import CustomerView, PeriodView, ProjectName, TierView
from tollgate.kit.ids import typed, typed_or_none

REASON_CHARACTERS_MAX = 500
_LINES_MAX = 1000
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_CHARACTERS_MAX)]


class GiveReason(Body, kw_only=True, frozen=True):
    """Why an invoice is voided or given up."""

    reason: Reason


class CreditLine(Body, kw_only=True, frozen=True):
    """A line to credit: as much as is said, above zero whatever the line's sign, or all that is left of it."""

    n: int
    amount: Amount | None = None


class IssueCreditNote(Body, kw_only=True, frozen=True):
    """What to credit: an amount, some lines, or, if neither is said, all that is left; and why."""

    reason: Reason
    amount: Amount | None = None
    lines: Annotated[list[CreditLine], msgspec.Meta(min_length=1, max_length=_LINES_MAX)] | None = None
    settle: Surplus = Surplus.BALANCE
    """What becomes of money that was paid for it: it is to be refunded, or becomes credit."""

    def order(self) -> CreditOrder:
        """The order as the service takes it."""
        lines = tuple(LineOrder(line.n, line.amount) for line in self.lines or ())
        return CreditOrder(self.reason, self.amount, lines, self.settle)


class CreditedInvoice(Struct, kw_only=True, frozen=True):
    """The invoice that a note credits."""

    id: str
    number: str
    issued_at: datetime


class CreditLineView(Struct, kw_only=True, frozen=True):
    """What is credited of the invoice's line `n`: below zero where the line is above."""

    n: int
    type: LineType
    description: str
    project: ProjectName | None
    model: str | None
    kind: str | None
    tier: TierView | None
    origin: str | None
    amount: str
    amount_exact: str


class CreditNoteView(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A credit note as it was written when it was issued: the opposite of what it credits, so below zero in sum.

    A field that is added here later needs a default and `omit_defaults`, so that notes of before keep their bytes.
    """

    id: str
    number: str
    kind: str
    invoice: CreditedInvoice
    organization: CustomerView
    period: PeriodView
    currency: str
    issued_at: datetime
    reason: str
    settle: Surplus
    lines: list[CreditLineView]
    tax_total: str
    total_exact: str
    total: str
    rounding: str
    issuer: dict[str, object] | None = None
    customer: dict[str, object] | None = None
    tax: dict[str, object] | None = None

    @classmethod
    def of(cls, note: CreditNote) -> "CreditNoteView":
        return msgspec.convert(json.loads(note.document), cls)


class ActView(Struct, kw_only=True, frozen=True):
    """That an invoice was voided or given up, when, by whom and why."""

    kind: ActKind
    reason: str
    acted_at: datetime
    acted_by: str | None

    @classmethod
    def of(cls, act: Act) -> "ActView":
        return cls(kind=act.kind, reason=act.reason, acted_at=act.acted_at, acted_by=typed_or_none("key", act.acted_by))


class CreditNoteSummary(Struct, kw_only=True, frozen=True):
    """A credit note in a list."""

    id: str
    number: str
    invoice: str
    currency: str
    total: str
    reason: str
    settle: Surplus
    issued_at: datetime

    @classmethod
    def of(cls, note: CreditNote) -> "CreditNoteSummary":
        return cls(
            id=typed("cn", note.id),
            number=note.number,
            invoice=typed("inv", note.invoice_id),
            currency=note.currency,
            total=json.loads(note.document)["total"],
            reason=note.reason,
            settle=note.surplus,
            issued_at=note.issued_at,
        )
