"""Which month an invoice is for, and which records it covers."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.invoices.builders import BORN, DECEMBER, NOVEMBER, OCTOBER, SEPTEMBER, an_organization, at

from tollgate.accounts.model import Organization
from tollgate.invoices.model import Heading, Month
from tollgate.invoices.rules import lines, windows
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import InvoiceId, OrganizationId, uuid7

ZONES = st.sampled_from(sorted(available_timezones() - {"localtime"}))
MONTHS = st.builds(Month, st.integers(2020, 2035), st.integers(1, 12))


def issued(organization: Organization, month: Month, *, last: Heading | None = None, cut: int = 0) -> Heading:
    return lines.draft(organization, month, windows.window(organization, month, last, cut), ()).heading


class TestMonth:
    @pytest.mark.parametrize("text", ["", "2026", "2026-13", "2026-1", "2026-11-01", "November", "0000-01"])
    def test_is_refused_by_the_name_of_its_field(self, text: str) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            windows.parse_month(text)
        assert refusal.value.field == "month"

    @given(MONTHS)
    def test_is_read_back_from_its_name(self, month: Month) -> None:
        assert windows.parse_month(month.name) == month

    @given(MONTHS)
    def test_lies_between_its_neighbours(self, month: Month) -> None:
        assert month.preceding < month < month.following
        assert month.preceding.following == month == month.following.preceding


class TestWindow:
    def test_of_a_first_invoice_reaches_back_to_everything(self) -> None:
        window = windows.window(an_organization(), NOVEMBER, last=None, cut=4)

        scope = windows.records(window, window.period)
        assert (scope.start, scope.end, scope.cut, scope.previous) == (at(11, 1, 0), at(12, 1, 0), 4, None)

    def test_leaves_out_what_the_last_invoice_took(self) -> None:
        organization = an_organization()
        october = issued(organization, OCTOBER, cut=3)

        window = windows.window(organization, NOVEMBER, october, cut=8)

        assert windows.records(window, window.period).previous == (at(11, 1, 0), 3)

    @given(MONTHS, st.lists(ZONES, min_size=2, max_size=4))
    def test_periods_tile_even_when_the_time_zone_changes(self, month: Month, zones: list[str]) -> None:
        last: Heading | None = None
        for zone in zones:
            heading = issued(an_organization(timezone=zone), month, last=last)
            assert heading.window.period.start < heading.window.period.end
            if last is not None:
                assert heading.window.period.start == last.window.period.end
            last, month = heading, month.following

    @given(MONTHS, ZONES, ZONES)
    def test_late_usage_has_exactly_one_origin(self, month: Month, before: str, after: str) -> None:
        last = issued(an_organization(timezone=before), month.preceding)
        organization = an_organization(timezone=after)
        window = windows.window(organization, month, last, cut=1)

        newer = windows.origin_instants(window, month, month.preceding, organization.zone)
        older = windows.origin_instants(window, month, month.preceding.preceding, organization.zone)
        assert newer.end == window.period.start
        assert older.end == newer.start


class TestOpenMonths:
    def test_begin_with_the_organization(self) -> None:
        assert windows.open_months(an_organization(), None, at(11, 22)) == [SEPTEMBER, OCTOBER, NOVEMBER]

    def test_follow_the_last_invoice(self) -> None:
        organization = an_organization()

        assert windows.open_months(organization, issued(organization, OCTOBER), at(11, 22)) == [NOVEMBER]

    def test_go_on_when_the_running_month_is_closed_already(self) -> None:
        organization = an_organization()

        assert windows.open_months(organization, issued(organization, NOVEMBER), at(11, 22)) == [DECEMBER]

    def test_are_never_none(self) -> None:
        born_in_the_future = replace(an_organization(), created_at=at(12, 24))

        assert windows.open_months(born_in_the_future, None, at(11, 22)) == [NOVEMBER]

    @pytest.mark.parametrize(
        ("now", "due"),
        [
            (at(12, 1, 4, 59), [SEPTEMBER, OCTOBER]),  # New York is at 23:59 of 30 November
            (at(12, 1, 5, 59), [SEPTEMBER, OCTOBER]),  # November is over there, the hour of grace is not
            (at(12, 1, 6, 0), [SEPTEMBER, OCTOBER, NOVEMBER]),
        ],
    )
    def test_are_due_when_they_and_the_grace_are_over(self, now: datetime, due: list[Month]) -> None:
        organization = an_organization(timezone="America/New_York", created_at=at(9, 2))

        assert windows.due_months(organization, None, now=now, grace=timedelta(hours=1)) == due


class TestInvoiceId:
    def test_is_another_one_for_each_organization_currency_and_month(self) -> None:
        ids = {
            windows.invoice_id(OrganizationId(uuid7(BORN, entropy)), currency, month)
            for entropy in (1, 2)
            for currency in ("USD", "EUR")
            for month in (OCTOBER, NOVEMBER)
        }
        assert len(ids) == 8

    @given(st.integers(0, (1 << 74) - 1), st.integers(0, 10**12))
    def test_leads_back_to_the_organization(self, entropy: int, milliseconds: int) -> None:
        organization_id = OrganizationId(uuid7(BORN + timedelta(milliseconds=milliseconds), entropy))

        invoice_id = windows.invoice_id(organization_id, "USD", NOVEMBER)
        above = windows.above_organization_of(invoice_id)

        assert windows.may_be_of(organization_id, invoice_id)
        assert organization_id < above
        assert (above.int >> 80) - (organization_id.int >> 80) == 1

    def test_of_nothing_leads_nowhere_without_failing(self) -> None:
        highest = UUID(int=(1 << 128) - 1)

        assert windows.above_organization_of(InvoiceId(highest)) == highest


def test_a_zone_of_its_own_cuts_the_month() -> None:
    kathmandu = an_organization(timezone="Asia/Kathmandu")

    period = windows.window(kathmandu, NOVEMBER, last=None, cut=0).period

    assert period == NOVEMBER.instants(ZoneInfo("Asia/Kathmandu"))
    assert (period.start, period.end) == (at(10, 31, 18, 15), at(11, 30, 18, 15))
