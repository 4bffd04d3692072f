"""Amounts as Stripe writes them: whole numbers of a currency's smallest unit, with exceptions of Stripe's own.

Stripe's rules: most currencies have two decimals; some none; five have three, of which the last must be zero; and ISK
and UGX, which have none any more, are still written with two, which must be zero. HUF and TWD have two like others
(only payouts made by hand are bound to whole ones). https://docs.stripe.com/currencies
"""

from decimal import Decimal

from tollgate.kit import money
from tollgate.payments.model import NotChargeable

_WITHOUT_DECIMALS = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
)
_WITH_THREE = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
_WRITTEN_WITH_TWO = frozenset({"ISK", "UGX"})
_UNKNOWN_TO_STRIPE = frozenset({"CLF", "IQD", "LYD", "UYI", "UYW"})
"""Those of our list of unusual minor units that Stripe has no rule for."""
_DIGITS_MAX = 12
"""The most digits that Stripe takes in any currency. In most it takes eight, and says so itself."""


def decimals_written(currency: str) -> int:
    """How many decimals Stripe's whole numbers of the currency stand for."""
    if currency in _WITHOUT_DECIMALS:
        return 0
    return 3 if currency in _WITH_THREE else 2


def decimals_taken(currency: str) -> int:
    """How many decimals an amount in the currency may have that Stripe is to take."""
    if currency in _WITHOUT_DECIMALS or currency in _WRITTEN_WITH_TWO:
        return 0
    return 2


def to_stripe(amount: Decimal, currency: str) -> int:
    """The amount as Stripe writes it, exactly; below zero for what is taken away.

    Raises:
        NotChargeable: Stripe cannot write it; the message says why.
    """
    if currency in _UNKNOWN_TO_STRIPE:
        raise NotChargeable(f"Stripe does not take {currency}.", field="currency")
    decimals = decimals_taken(currency)
    if money.decimals_of(amount) > decimals:
        raise NotChargeable(
            f"Stripe takes {currency} with {decimals} decimals at most, not {money.amount_text(amount)}.",
            field="amount",
        )
    units = int(amount.scaleb(decimals_written(currency), money.EXACT))
    if len(str(abs(units))) > _DIGITS_MAX:
        raise NotChargeable(
            f"{money.amount_text(amount)} {currency} is more than Stripe takes at once.", field="amount"
        )
    return units


def from_stripe(units: int, currency: str) -> Decimal:
    """The amount that Stripe's whole number stands for.

    Raises:
        TypeError: it is no whole number, whatever else JSON has.
    """
    if type(units) is not int:
        raise TypeError(f"{units!r} is not a whole number")
    return Decimal(units).scaleb(-decimals_written(currency), money.EXACT)
