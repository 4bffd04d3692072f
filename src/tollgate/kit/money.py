"""Money: exact decimal amounts, or an exception.

Amounts flow from unit prices through charges and transfers to invoices without ever being rounded; the one
place that rounds them is `to_minor_units`, called once for an invoice's net, and for a fee's part of a month and for
tax, which are whole minor units as they are made. What a percentage makes of a unit price or an amount is rounded, by
`to_decimals`, to the decimals that are kept, before anything is charged by it. Amounts are
`Decimal`s that were made or combined under `EXACT`, a context that raises instead of rounding, and they are stored as
NUMERIC(38, 12).
"""

import decimal
import re
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import reduce

AMOUNT_DECIMALS = 12
"""Decimal places kept of an amount, everywhere: a price per million tokens with six decimals is exact."""

EXACT = decimal.Context(
    prec=38,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=-999999,
    Emax=999999,
    capitals=1,
    clamp=0,
    flags=[],
    traps=[decimal.Inexact, decimal.InvalidOperation, decimal.DivisionByZero, decimal.FloatOperation],
)
"""The arithmetic of money: 38 digits, and any result that would need rounding raises `decimal.Inexact`."""

ZERO = Decimal(0)

_HALF_AWAY_FROM_ZERO = decimal.Context(
    prec=EXACT.prec, rounding=decimal.ROUND_HALF_UP, traps=[decimal.InvalidOperation, decimal.FloatOperation]
)

MINOR_UNIT_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND"), 0),
    **dict.fromkeys(("VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""The decimals of currencies whose minor unit is not a hundredth (ISO 4217)."""

_PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class NotMoney(ValueError):
    """The text is not an exact amount of money."""


def parse_amount(text: str) -> Decimal:
    """Read a decimal string as an amount.

    Raises:
        NotMoney: the text is not a plain decimal number with at most 12 decimals and 26 digits before them; neither
            exponents, nor spaces, nor anything but digits, one point and a leading minus is plain.
    """
    if len(text) > 2 * EXACT.prec:
        raise NotMoney(f"an amount has at most {EXACT.prec} digits")
    if _PLAIN.fullmatch(text) is None:
        raise NotMoney(f"{text!r} is not a decimal number")
    amount = Decimal(text)
    if amount.adjusted() >= EXACT.prec - AMOUNT_DECIMALS:
        raise NotMoney(f"{text!r} is too large")
    if decimals_of(amount) > AMOUNT_DECIMALS:
        raise NotMoney(f"{text!r} has more than {AMOUNT_DECIMALS} decimals")
    return amount


def decimals_of(amount: Decimal) -> int:
    """The decimal places the amount really uses: 2 for 1.2500."""
    return len(amount_text(amount).partition(".")[2])


def amount_text(amount: Decimal) -> str:
    """The amount as it goes over the wire: plain notation, no trailing zeros, `"0"` for nothing."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"", "-0"} else text


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The amounts added up exactly; nothing for none.

    Raises:
        decimal.Inexact: the sum has more digits than amounts may have.
    """
    return reduce(EXACT.add, amounts, ZERO)


def minor_unit_decimals(currency: str) -> int:
    """How many decimals the currency's smallest coin has: 2 for USD, 0 for JPY, 3 for KWD."""
    return MINOR_UNIT_DECIMALS.get(currency, 2)


def to_decimals(value: Decimal, decimals: int) -> Decimal:
    """What a percentage made of a price or an amount, rounded to so many decimals, half away from zero."""
    rounded = value.quantize(Decimal(1).scaleb(-decimals, EXACT), context=_HALF_AWAY_FROM_ZERO)
    return EXACT.normalize(rounded)


def to_minor_units(amount: Decimal | Fraction, currency: str) -> int:
    """Round an amount to whole minor units, half away from zero. This is the only rounding of amounts there is.

    A part of an amount that no decimal is exact for, such as a third of a fee, comes as a fraction.
    """
    scaled = Fraction(amount) * 10 ** minor_unit_decimals(currency)
    doubled, unit = abs(scaled.numerator) * 2, scaled.denominator
    rounded = (doubled + unit) // (2 * unit)
    return int(rounded) if scaled >= 0 else -int(rounded)


def from_minor_units(units: int, currency: str) -> Decimal:
    """The exact amount of a whole number of minor units: 1234 USD cents are 12.34."""
    return Decimal(units).scaleb(-minor_unit_decimals(currency), EXACT)
