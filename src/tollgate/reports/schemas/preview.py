"""The API shapes of what prices would have changed."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from tollgate.kit import money
from tollgate.kit.ids import typed
from tollgate.kit.money import amount_text
from tollgate.kit.tokens import Kind
from tollgate.pricing.effects import Effect
from tollgate.pricing.model import CURRENCY
from tollgate.pricing.schemas import PublishPrice
from tollgate.reports.model import Preview


class PreviewPrice(PublishPrice, kw_only=True, frozen=True):
    """A version that might be published, and the calls to try it on."""

    month: str | None = None
    """Which month of UTC, as in 2026-11; the last one that is over, unless said."""


class EffectView(Struct, kw_only=True, frozen=True):
    """What calls did cost, and what they would have cost, before any discount."""

    calls: int
    amount: str
    new_amount: str
    difference: str
    unpriced: list[Kind]
    """What was used and is not priced by the new prices: such calls would be `unpriced`, and `new_amount` lacks it."""


class OrganizationEffectView(EffectView, kw_only=True, frozen=True):
    """The effect on one organization."""

    organization: str


class PreviewView(EffectView, kw_only=True, frozen=True):
    """The effect on everyone together, and on each organization."""

    start: datetime
    end: datetime
    currency: str
    organizations: list[OrganizationEffectView]

    @classmethod
    def of(cls, preview: Preview) -> "PreviewView":
        return cls(
            **_shown(preview.total),
            start=preview.window.start,
            end=preview.window.end,
            currency=CURRENCY,
            organizations=[
                OrganizationEffectView(organization=typed("org", organization_id), **_shown(effect))
                for organization_id, effect in sorted(preview.by_organization.items())
            ],
        )


def _shown(effect: Effect) -> dict[str, Any]:
    return {
        "calls": effect.calls,
        "amount": amount_text(effect.amount),
        "new_amount": amount_text(effect.new_amount),
        "difference": amount_text(money.EXACT.subtract(effect.new_amount, effect.amount)),
        "unpriced": [kind for kind in Kind if kind in effect.unpriced],
    }
