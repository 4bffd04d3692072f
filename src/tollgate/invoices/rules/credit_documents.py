"""What a credit note says, as JSON text: written once when it is issued, and served from then on as it was written.

Whoever is named on the invoice's own document is named on the note as there, so the two always belong together.
"""

import json
from typing import Any

from tollgate.invoices.acts import CreditNote, Part
from tollgate.invoices.model import Invoice
from tollgate.invoices.rules import document
from tollgate.invoices.rules.document import rounded
from tollgate.kit import instants, money
from tollgate.kit.ids import typed

_AS_ON_THE_INVOICE = ("organization", "issuer", "customer", "period")
_AS_ON_THE_LINE = ("project", "model", "kind", "tier", "origin")
_OF_TAX = ("treatment", "label", "rate", "note")


def write(note: CreditNote, invoice: Invoice) -> str:
    """The JSON text of a credit note of the invoice. Amounts are below zero where the invoice's are above."""
    said: dict[str, Any] = json.loads(invoice.document or document.write(invoice))
    lines = {line["n"]: line for line in said["lines"]}
    credited, currency = note.credited, note.currency
    return json.dumps(
        {
            "id": typed("cn", note.id),
            "number": note.number,
            "kind": "credit_note",
            "invoice": {"id": said["id"], "number": said["number"], "issued_at": said["issued_at"]},
            **{name: said[name] for name in _AS_ON_THE_INVOICE if name in said},
            **_tax(note, said.get("tax")),
            "currency": currency,
            "issued_at": instants.text(note.issued_at),
            "reason": note.reason,
            "settle": note.surplus.value,
            "lines": [_line(part, lines[part.n], currency) for part in credited.lines],
            "tax_total": rounded(credited.tax, currency),
            "total_exact": money.amount_text(credited.total_exact),
            "total": rounded(credited.total, currency),
            "rounding": money.amount_text(money.EXACT.subtract(credited.total, credited.total_exact)),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _tax(note: CreditNote, said: dict[str, Any] | None) -> dict[str, object]:
    if not said:
        return {}
    net = money.EXACT.subtract(note.credited.total, note.credited.tax)
    amounts = {"net": rounded(net, note.currency), "amount": rounded(note.credited.tax, note.currency)}
    return {"tax": {**{name: said[name] for name in _OF_TAX if name in said}, **amounts}}


def _line(part: Part, said: dict[str, Any], currency: str) -> dict[str, object]:
    return {
        "n": part.n,
        "type": part.type.value,
        "description": said["description"],
        **{name: said.get(name) for name in _AS_ON_THE_LINE},
        "amount": rounded(part.amount, currency),
        "amount_exact": money.amount_text(part.amount_exact),
    }
