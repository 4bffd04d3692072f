"""What an invoice says, as JSON text: written once when it is issued, and served from then on as it was written.

Status and amount due are not in it, because they change; everything in it never does.
"""

import json
from datetime import datetime
from decimal import Decimal

from tollgate.invoices.model import Invoice, Line, PricedUsage
from tollgate.kit import money
from tollgate.kit.ids import typed, typed_or_none
from tollgate.kit.tokens import TOKEN_KINDS
from tollgate.metering.model import BilledUsage


def write(invoice: Invoice) -> str:
    """The JSON text of an invoice, a draft or one about to be issued."""
    heading, totals = invoice.heading, invoice.heading.totals
    return json.dumps(
        {
            "id": typed("inv", heading.id),
            "number": heading.number,
            "kind": heading.kind,
            "organization": {
                "id": typed("org", heading.organization_id),
                "name": heading.customer_name,
                "billing_mode": heading.billing_mode,
            },
            "currency": heading.currency,
            "period": {
                "month": heading.month.name,
                "start": instant(heading.window.period.start),
                "end": instant(heading.window.period.end),
                "timezone": heading.timezone,
            },
            "cut": heading.window.cut,
            "issued_at": instant(heading.issued_at),
            "due_at": instant(heading.due_at),
            "lines": [_line(line, heading.currency) for line in invoice.lines],
            "unpriced": [_unpriced(usage) for usage in invoice.unpriced],
            **_adjustments(invoice),
            "subtotal_exact": money.amount_text(totals.subtotal_exact),
            "credits_exact": money.amount_text(totals.credits_exact),
            "total_exact": money.amount_text(totals.total_exact),
            "subtotal": rounded(totals.subtotal, heading.currency),
            "credits": rounded(totals.credits, heading.currency),
            "total": rounded(totals.total, heading.currency),
            "rounding": money.amount_text(money.EXACT.subtract(totals.total, totals.total_exact)),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _adjustments(invoice: Invoice) -> dict[str, str]:
    """Their totals, said only where there are any, as invoices of before adjustments say none."""
    if not any(line.adjusted for line in invoice.lines):
        return {}
    heading = invoice.heading
    return {
        "adjustments_exact": money.amount_text(heading.totals.adjustments_exact),
        "adjustments": rounded(heading.totals.adjustments, heading.currency),
    }


def rounded(amount: Decimal, currency: str) -> str:
    """An amount of whole minor units with all decimals of its currency: `0.00` in USD, `0` in JPY."""
    return format(money.from_minor_units(money.to_minor_units(amount, currency), currency), "f")


def instant(at: datetime | None) -> str | None:
    """The instant as JSON has it, or nothing."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _line(line: Line, currency: str) -> dict[str, object]:
    return {
        "n": line.n,
        "type": line.type,
        "description": description(line),
        **(dict.fromkeys(_USAGE_FIELDS) if line.usage is None else _usage(line.usage)),
        "amount": rounded(line.amount, currency),
        "amount_exact": money.amount_text(line.amount_exact),
        "late": line.usage is not None and line.usage.origin is not None,
        **({} if line.adjusted is None else {"adjustment": typed("adj", line.adjusted.id)}),
    }


def description(line: Line) -> str:
    """What the line is for, in words."""
    usage = line.usage
    if usage is None:
        return "Credits applied" if line.adjusted is None else f"Adjustment: {line.adjusted.reason}"
    what = usage.kind.replace("_", " ") + (" tokens" if usage.kind in TOKEN_KINDS else "")
    where = f" in calls of at least {usage.tier:,} prompt tokens" if usage.tier else ""
    when = f", used in {usage.origin.name}" if usage.origin else ""
    return f"{usage.model}: {what}{where}{when}"


_USAGE_FIELDS = ("project", "model", "kind", "tier", "price_version", "quantity", "unit", "unit_price", "origin")


def _usage(usage: PricedUsage) -> dict[str, object]:
    project = None
    if usage.project_id is not None:
        project = {"id": typed("prj", usage.project_id), "name": usage.project_name}
    return {
        "project": project,
        "model": usage.model,
        "kind": usage.kind,
        "tier": {"gte": usage.tier},
        "price_version": typed_or_none("price", usage.price_version_id),
        "quantity": usage.quantity,
        "unit": usage.unit,
        "unit_price": money.amount_text(usage.unit_price),
        "origin": usage.origin.name if usage.origin else None,
    }


def _unpriced(usage: BilledUsage) -> dict[str, object]:
    return {"model": usage.model, "kind": usage.kind, "quantity": usage.quantity}
