"""Calendar months by their names, in whichever time zone."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Self
from zoneinfo import ZoneInfo

from tollgate.agreements.model import Days
from tollgate.kit import period
from tollgate.kit.period import Period

_MONTHS = 12
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month by its name; which instants it holds depends on the time zone."""

    year: int
    number: int

    @classmethod
    def at(cls, instant: datetime, zone: ZoneInfo) -> Self:
        """The month that the zone's calendar shows at the instant."""
        day = period.local_date(instant, zone)
        return cls(day.year, day.month)

    @classmethod
    def named(cls, name: str) -> Self:
        """Read a name such as 2026-11.

        Raises:
            NotAMonth: it is none.
        """
        return cls.at(period.parse_month(name, _UTC).start, _UTC)

    @property
    def name(self) -> str:
        """As in 2026-11."""
        return f"{self.year:04}-{self.number:02}"

    @property
    def following(self) -> "Month":
        """The month after."""
        return Month(self.year + self.number // _MONTHS, self.number % _MONTHS + 1)

    @property
    def preceding(self) -> "Month":
        """The month before."""
        return Month(self.year, self.number - 1) if self.number > 1 else Month(self.year - 1, _MONTHS)

    @property
    def days(self) -> Days:
        """The days of the month."""
        return Days(date(self.year, self.number, 1), date(self.following.year, self.following.number, 1))

    def instants(self, zone: ZoneInfo) -> Period:
        """The instants of the month in the zone."""
        return period.month(self.year, self.number, zone)
