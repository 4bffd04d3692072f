"""Instants: those that whoever asks may name, which every part can reckon with; and how they are written.

Near the ends of the calendar an instant overflows in some time zone, and the database calls the very ends infinite.
"""

from datetime import datetime

from tollgate.kit.errors import InvalidRequest

YEARS = range(2000, 9001)
"""Every time of these years exists in every time zone, in a UUIDv7 and in the database."""


def check(instant: datetime, field: str) -> None:
    """Refuse an instant outside `YEARS`; to be asked before anything is reckoned with it, even its time in UTC.

    Raises:
        InvalidRequest: naming the field.
    """
    if instant.year not in YEARS:
        raise InvalidRequest(
            f"{field}: the year {instant.year} is out of range; it can be {YEARS[0]} to {YEARS[-1]}.", field=field
        )


def text(instant: datetime) -> str:
    """The instant of UTC as the API and every document write it."""
    return instant.isoformat().replace("+00:00", "Z")


def text_or_none(instant: datetime | None) -> str | None:
    """As `text()`, or nothing."""
    return None if instant is None else text(instant)
