"""What an invoice says, as JSON text: written once when it is issued, and served from then on as it was written.

Status and amount due are not in it, because they change; everything in it never does.
"""

import json
from collections.abc import Sequence
from decimal import Decimal

from tollgate.agreements.model import Address, TaxId, TaxTreatment
from tollgate.invoices.model import Heading, Invoice, Line, LineType, PricedUsage
from tollgate.kit import instants, money
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
                "start": instants.text(heading.window.period.start),
                "end": instants.text(heading.window.period.end),
                "timezone": heading.timezone,
            },
            "cut": heading.window.cut,
            "issued_at": instants.text_or_none(heading.issued_at),
            "due_at": instants.text_or_none(heading.due_at),
            **_parties(invoice),
            "lines": [_line(line, heading.currency) for line in invoice.lines],
            "unpriced": [_unpriced(usage) for usage in invoice.unpriced],
            **_parts(invoice),
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


def _parties(invoice: Invoice) -> dict[str, object]:
    """Between whom, under which tax and on which terms; what was never said is left out, as in documents of before."""
    billing, issuer = invoice.terms.billing, invoice.terms.issuer
    said: dict[str, object] = {}
    if issuer is not None:
        said["issuer"] = {
            "name": issuer.name,
            "address": _address(issuer.address),
            "tax_ids": _tax_ids(issuer.tax_ids),
            "registration": issuer.registration,
            "email": issuer.email,
        }
    if billing.says_something:
        said["customer"] = {
            "name": billing.legal_name or invoice.heading.customer_name,
            "address": None if billing.address is None else _address(billing.address),
            "tax_ids": _tax_ids(billing.tax_ids),
            "email": billing.email,
            "purchase_order": billing.purchase_order,
            "notes": billing.notes,
        }
    if invoice.heading.tax.treatment is not TaxTreatment.NONE:
        said["tax"] = _tax(invoice.heading)
    instructions = None if issuer is None else issuer.instructions
    return {**said, "payment": {"term_days": billing.term_days, "instructions": instructions}}


def _address(address: Address) -> dict[str, object]:
    return {
        "lines": list(address.lines),
        "city": address.city,
        "postal_code": address.postal_code,
        "country": address.country,
    }


def _tax_ids(tax_ids: Sequence[TaxId]) -> list[dict[str, str]]:
    return [{"type": tax_id.type, "value": tax_id.value} for tax_id in tax_ids]


def _tax(heading: Heading) -> dict[str, object]:
    tax = heading.tax
    return {
        "treatment": tax.treatment,
        "label": tax.label,
        "rate": money.amount_text(tax.rate),
        "net": rounded(heading.net, heading.currency),
        "amount": rounded(tax.amount, heading.currency),
        "note": tax.note,
    }


def _parts(invoice: Invoice) -> dict[str, str]:
    """The totals that are said only where there is a line of their type; those of tax are with the tax."""
    heading = invoice.heading
    said: dict[str, str] = {}
    for kind in (LineType.ADJUSTMENT, LineType.FEE, LineType.COMMITMENT, LineType.DISCOUNT):
        if any(line.type is kind for line in invoice.lines):
            said[f"{kind.total}_exact"] = money.amount_text(getattr(heading.totals, f"{kind.total}_exact"))
            said[kind.total] = rounded(getattr(heading.totals, kind.total), heading.currency)
    return said


def rounded(amount: Decimal, currency: str) -> str:
    """An amount of whole minor units with all decimals of its currency: `0.00` in USD, `0` in JPY."""
    return format(money.from_minor_units(money.to_minor_units(amount, currency), currency), "f")


def _line(line: Line, currency: str) -> dict[str, object]:
    return {
        "n": line.n,
        "type": line.type,
        "description": description(line),
        **(dict.fromkeys(_USAGE_FIELDS) if line.usage is None else _usage(line.usage)),
        "origin": line.origin.name if line.origin else None,
        "amount": rounded(line.amount, currency),
        "amount_exact": money.amount_text(line.amount_exact),
        "late": line.origin is not None,
        **({} if line.adjusted is None else {"adjustment": typed("adj", line.adjusted.id)}),
        **_agreement(line),
    }


def _agreement(line: Line) -> dict[str, str]:
    prefix = {LineType.FEE: "sub", LineType.COMMITMENT: "cmt", LineType.DISCOUNT: "dsc"}.get(line.type)
    if prefix is None or line.agreed is None or line.agreed.agreement_id is None:
        return {}
    return {"agreement": typed(prefix, line.agreed.agreement_id)}


def description(line: Line) -> str:
    """What the line is for, in words."""
    if line.usage is not None:
        return _usage_description(line.usage)
    if line.agreed is not None:
        return line.agreed.wording
    return "Credits applied" if line.adjusted is None else f"Adjustment: {line.adjusted.reason}"


def _usage_description(usage: PricedUsage) -> str:
    what = usage.kind.replace("_", " ") + (" tokens" if usage.kind in TOKEN_KINDS else "")
    where = f" in calls of at least {usage.tier:,} prompt tokens" if usage.tier else ""
    when = f", used in {usage.origin.name}" if usage.origin else ""
    return f"{usage.model}: {what}{where}{when}"


_USAGE_FIELDS = ("project", "model", "kind", "tier", "price_version", "quantity", "unit", "unit_price")


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
    }


def _unpriced(usage: BilledUsage) -> dict[str, object]:
    return {"model": usage.model, "kind": usage.kind, "quantity": usage.quantity}
