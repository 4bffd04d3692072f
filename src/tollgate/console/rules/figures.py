"""Figures as they are read: counts, measures, shares and days. What is not known is `-`, never zero."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from tollgate.console.model import ABSENT, NO_FIGURE, Figure
from tollgate.statistics.model import Tally

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_STEPS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))
_HUNDREDTHS = 100
_MS_PER_SECOND = 1000


def count(number: int) -> str:
    """A count on a base of a thousand, to two decimals, half up: `1.05M` for 1,047,576, and `128K` for 128,000."""
    for place, (step, letter) in enumerate(_STEPS):
        hundredths = (2 * number * _HUNDREDTHS + step) // (2 * step)
        if number >= step:
            # What rounds up to a thousand of one step is one of the next: 999,999 is 1M and not 1000K.
            if hundredths >= 1000 * _HUNDREDTHS and place:
                above, letter_above = _STEPS[place - 1]
                return f"{_trimmed((2 * number * _HUNDREDTHS + above) // (2 * above))}{letter_above}"
            return f"{_trimmed(hundredths)}{letter}"
    return str(number)


def _trimmed(hundredths: int) -> str:
    whole, rest = divmod(hundredths, _HUNDREDTHS)
    return f"{whole}.{rest:02}".rstrip("0").rstrip(".") if rest else str(whole)


def exact_count(number: int) -> str:
    """A count in as few letters as say it exactly: `200K` for 200,000, and `200,001` for one more."""
    for step, letter in _STEPS:
        if number >= step and number * _HUNDREDTHS % step == 0:
            return f"{_trimmed(number * _HUNDREDTHS // step)}{letter}"
    return f"{number:,}"


def tokens(number: int | None) -> Figure:
    """A number of tokens; `-` if it is not known."""
    if number is None:
        return NO_FIGURE
    return Figure(count(number), f"{number:,} tokens", str(number))


def rounded(value: float | None, decimals: int) -> str:
    """A measure to so many decimals, half up; `-` if there is none."""
    if value is None:
        return ABSENT
    return str(Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


def seconds(milliseconds: float | None) -> Figure:
    """A time as `1.17 s`; `-` without samples."""
    if milliseconds is None:
        return NO_FIGURE
    return Figure(
        f"{rounded(milliseconds / _MS_PER_SECOND, 2)} s", f"{rounded(milliseconds, 0)} ms", repr(milliseconds)
    )


def tokens_per_second(value: float | None) -> Figure:
    """A speed as `53.2 tps`; `-` without samples."""
    if value is None:
        return NO_FIGURE
    return Figure(f"{rounded(value, 1)} tps", f"{rounded(value, 2)} tokens per second", repr(value))


def share(tally: Tally) -> str:
    """The share that was served as `99.98 %`, rounded down: only what never failed is 100. `-` without any."""
    counted = tally.ok + tally.failed
    if not counted:
        return ABSENT
    whole, rest = divmod(tally.ok * 100 * _HUNDREDTHS // counted, _HUNDREDTHS)
    return f"{whole}.{rest:02} %"


def uptime(tally: Tally) -> Figure:
    """The share that was served, and of how many calls."""
    counted = tally.ok + tally.failed
    if not counted:
        return NO_FIGURE
    return Figure(share(tally), f"{tally.ok:,} of {counted:,} calls were served", repr(tally.uptime))


def types(modalities: Sequence[str]) -> str:
    """What is read or written as `text, image`; `-` if it is not known."""
    return ", ".join(modalities) or ABSENT


def day(when: date) -> str:
    """`Apr 14, 2025`."""
    return f"{_MONTHS[when.month - 1]} {when.day}, {when.year}"


def short_day(when: date) -> str:
    """`Apr 14`."""
    return f"{_MONTHS[when.month - 1]} {when.day}"


def hour(when: datetime) -> str:
    """`Oct 10, 2025 – 3 PM`."""  # noqa: RUF002 - the dash is what people read
    return f"{day(when)} – {clock_hour(when)}"  # noqa: RUF001 - as above


def clock_hour(when: datetime) -> str:
    """`3 PM`."""
    return f"{when.hour % 12 or 12} {'AM' if when.hour < 12 else 'PM'}"  # noqa: PLR2004 - half a day
