"""How numbers, days, addresses and usage are written on paper. No digit is added or lost."""

from calendar import monthrange
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime

from tollgate.invoices.rules.papers.paper import Note, Sum
from tollgate.invoices.rules.papers.reading import Address, Line, TaxId
from tollgate.kit.tokens import TOKEN_KINDS

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_UNITS = {"per_million_tokens": "/ million tokens", "per_count": "each", "per_second": "/ second"}
_TAX_IDS = {"eu_vat": "VAT ID", "gb_vat": "VAT ID", "us_ein": "EIN"}


def number(plain: str) -> str:
    """A plain decimal number with its thousands apart, and with a minus as wide as a digit."""
    sign, digits = ("\N{MINUS SIGN}", plain[1:]) if plain.startswith("-") else ("", plain)
    whole, point, decimals = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{decimals}"


def amounts(exact: str, amount: str) -> Sum:
    """An amount before and after rounding."""
    return Sum(number(exact), number(amount))


def day(at: datetime) -> str:
    """The day of an instant in UTC, as the document has it: `1 December 2026`."""
    return _day(utc_day(at))


def _day(given: date) -> str:
    return f"{given.day} {_MONTHS[given.month - 1]} {given.year}"


def utc_day(at: datetime) -> date:
    """The day of UTC that numbers invoices, too."""
    return at.astimezone(UTC).date()


def month(name: str) -> str:
    """`2026-11` as `November 2026`."""
    first = first_day(name)
    return f"{_MONTHS[first.month - 1]} {first.year}"


def days(name: str) -> str:
    """`2026-11` as `1 to 30 November 2026`."""
    first = first_day(name)
    return f"1 to {monthrange(first.year, first.month)[1]} {month(name)}"


def first_day(name: str) -> date:
    """The first day of a month such as `2026-11`."""
    return date.fromisoformat(f"{name}-01")


def usage(line: Line) -> str:
    """What a line of usage counts, and in which calls."""
    kind = line.kind or ""
    what = kind.replace("_", " ").capitalize() + (" tokens" if kind in TOKEN_KINDS else "")
    tier = line.tier.gte if line.tier is not None else 0
    return what + (f", calls of {tier:,} or more" if tier else "")


def unit(name: str | None) -> str:
    """What a unit price is for."""
    return "" if name is None else _UNITS.get(name, name.replace("_", " "))


def address(given: Address | None) -> Iterator[str]:
    """An address line by line, the country by its two letters."""
    if given is not None:
        yield from given.lines
        city = " ".join(filter(None, [given.postal_code, given.city]))
        yield from filter(None, [", ".join(filter(None, [city, given.country]))])


def tax_ids(given: Sequence[TaxId]) -> Iterator[str]:
    """Tax ids, each with what it is."""
    for each in given:
        yield f"{_TAX_IDS.get(each.type, each.type.replace('_', ' ').upper())} {each.value}"


def paragraphs(text: str | None) -> tuple[str, ...]:
    """A text by its lines, without the empty ones."""
    return tuple(line.strip() for line in (text or "").splitlines() if line.strip())


def how_to_read(timezone: str, attachment: str) -> Note:
    """What is said at the end of every document."""
    told = (
        "Amounts before rounding are what was charged call by call.",
        "Only the total is rounded; its lines bear whole minor units so that they add up to it.",
        f"The period is one of {timezone}; days of issue and payment are of UTC.",
        f"This file holds the document as data, too: {attachment}.",
    )
    return Note("How to read this", told)
