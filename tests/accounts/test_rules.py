"""What may be said of organizations and projects, and what may change."""

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec import UNSET, structs

from tollgate.accounts import rules
from tollgate.accounts.model import NO_LIMITS, BillingMode, Limits, Organization, OrganizationStatus, Project
from tollgate.accounts.schemas import LimitsChange
from tollgate.infra.web import Amount
from tollgate.kit.errors import Conflict, InvalidRequest
from tollgate.kit.ids import OrganizationId, ProjectId

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ACME = Organization(
    id=OrganizationId(UUID(int=1)),
    name="Acme",
    billing_mode=BillingMode.PREPAID,
    credit_limit=Decimal(0),
    timezone="UTC",
    currency="USD",
    status=OrganizationStatus.ACTIVE,
    created_at=NOW,
)

amounts = st.decimals(0, 10**9, places=6).map(Amount)
changes = st.builds(
    LimitsChange,
    total=st.none() | st.just(UNSET) | amounts,
    monthly=st.none() | st.just(UNSET) | amounts,
    rpm=st.none() | st.just(UNSET) | st.integers(0, 10**12),
)


class TestNames:
    @given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200))
    def test_may_be_anything_people_write(self, name: str) -> None:
        assume(name.strip())

        rules.check_name(name)

    @given(st.text(), st.characters(categories=["Cc"]), st.text())
    def test_hold_no_control_characters(self, before: str, control: str, after: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            rules.check_name(before + control + after)

        assert refused.value.field == "name"
        assert unicodedata.category(control) == "Cc"

    @pytest.mark.parametrize("name", ["", " ", "\u3000", "a" * 201, "\ud800"])
    def test_are_neither_empty_nor_endless(self, name: str) -> None:
        with pytest.raises(InvalidRequest):
            rules.check_name(name)


class TestOrganizations:
    def test_may_change_what_their_books_do_not_rest_on(self) -> None:
        after = replace(ACME, name="B", timezone="Asia/Tokyo", credit_limit=None, status=OrganizationStatus.CLOSED)

        rules.check_organization_change(ACME, after)

    @pytest.mark.parametrize(
        ("after", "reason"),
        [
            (replace(ACME, currency="EUR"), "kept in USD"),
            (replace(ACME, billing_mode=BillingMode.POSTPAID), "created prepaid"),
        ],
    )
    def test_keep_what_their_books_rest_on(self, after: Organization, reason: str) -> None:
        with pytest.raises(Conflict, match=reason):
            rules.check_organization_change(ACME, after)

    @given(st.text(max_size=5))
    def test_have_a_currency_of_three_capital_letters(self, currency: str) -> None:
        assume(not (len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()))

        with pytest.raises(InvalidRequest) as refused:
            rules.check_organization(replace(ACME, currency=currency))

        assert refused.value.field == "currency"

    def test_have_no_negative_credit_limit(self) -> None:
        with pytest.raises(InvalidRequest):
            rules.check_organization(replace(ACME, credit_limit=Decimal("-0.01")))


class TestProjects:
    def test_are_usable_until_they_are_archived(self) -> None:
        project = Project(ACME.id, ProjectId(UUID(int=2)), "p", created_at=NOW, archived_at=None)

        rules.check_usable(project)
        with pytest.raises(Conflict):
            rules.check_usable(replace(project, archived_at=NOW))


class TestLimitsChange:
    @given(changes)
    def test_made_twice_is_made_once(self, change: LimitsChange) -> None:
        once = change.applied_to(NO_LIMITS)

        assert change.applied_to(once) == once

    @given(changes, changes)
    def test_leaves_alone_what_it_does_not_name(self, first: LimitsChange, second: LimitsChange) -> None:
        before = first.applied_to(Limits(concurrency=1))
        after = second.applied_to(before)

        for name, value in structs.asdict(second).items():
            assert getattr(after, name) == (getattr(before, name) if value is UNSET else value)
