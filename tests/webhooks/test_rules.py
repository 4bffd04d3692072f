"""What holds of events, whatever they are of; when they are sent again, and how they are signed."""

import hashlib
import hmac
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.conftest import NOON

from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import OrganizationId
from tollgate.webhooks import rules
from tollgate.webhooks.model import DeliveryState, EventType, Fate, NewWebhook, Outcome
from tollgate.webhooks.rules import CHANCES, TRIED_FOR, event, fate

CAUSES = st.builds(UUID, int=st.integers(0, 2**128 - 1))
CHANCE = st.integers(0, CHANCES - 1)
FAILURES = st.builds(
    Outcome,
    status=st.none() | st.integers(100, 599).filter(lambda status: status // 100 != 2 and status != 410),
    error=st.none(),
    answer=st.just(""),
    milliseconds=st.just(1),
)
NO = Outcome(500, None, "", 1)


@given(CAUSES, CAUSES, st.sampled_from(EventType), st.sampled_from(EventType))
def test_two_events_share_an_id_only_if_one_cause_brought_about_the_same(
    cause: UUID, other: UUID, kind: EventType, other_kind: EventType
) -> None:
    owner = OrganizationId(UUID(int=1))
    first, second = event(owner, cause, kind, {}, now=NOON), event(owner, other, other_kind, {}, now=NOON)

    assert (first.id == second.id) == ((cause, kind) == (other, other_kind))


class TestFate:
    @given(FAILURES, st.integers(1, 10**6), CHANCE, st.timedeltas(timedelta(0), TRIED_FOR - timedelta(microseconds=1)))
    def test_what_fails_is_tried_again_later_and_within_72_hours(
        self, outcome: Outcome, attempt: int, chance: int, passed: timedelta
    ) -> None:
        followed = fate(outcome, attempt=attempt, first_at=NOON, now=NOON + passed, chance=chance)

        assert followed.state is DeliveryState.PENDING
        assert followed.next_at is not None
        assert NOON + passed < followed.next_at <= NOON + TRIED_FOR
        assert followed.next_at - NOON - passed <= timedelta(hours=7, minutes=12)  # six hours and a fifth

    @given(FAILURES, st.integers(1, 10**6), CHANCE, st.timedeltas(TRIED_FOR, timedelta(days=999)))
    def test_after_72_hours_it_is_given_up(
        self, outcome: Outcome, attempt: int, chance: int, passed: timedelta
    ) -> None:
        followed = fate(outcome, attempt=attempt, first_at=NOON, now=NOON + passed, chance=chance)
        assert followed == Fate(DeliveryState.FAILED, None)

    @given(st.integers(200, 299), st.integers(1, 99), st.timedeltas(timedelta(0), timedelta(days=9)))
    def test_any_2xx_is_the_end(self, status: int, attempt: int, passed: timedelta) -> None:
        done = Outcome(status, None, "", 1)
        followed = fate(done, attempt=attempt, first_at=NOON, now=NOON + passed, chance=0)
        assert followed == Fate(DeliveryState.DELIVERED, None)

    def test_gone_is_the_end_too(self) -> None:
        gone = Outcome(410, None, "", 1)
        assert fate(gone, attempt=1, first_at=NOON, now=NOON, chance=0).state is DeliveryState.FAILED
        assert rules.is_gone(gone)

    @given(st.lists(CHANCE, min_size=60, max_size=60))
    def test_from_first_to_last_the_waits_double_and_the_last_try_is_at_the_end(self, chances: list[int]) -> None:
        now, waits = NOON, []
        for attempt, chance in enumerate(chances, start=1):
            following = fate(NO, attempt=attempt, first_at=NOON, now=now, chance=chance).next_at
            if following is None:
                break
            waits.append(following - now)
            now = following

        assert now == NOON + TRIED_FOR
        assert 20 <= len(waits) <= 30
        for earlier, later in pairwise(waits[:11]):
            assert earlier * 4 / 3 <= later <= earlier * 3  # doubled, and each a fifth longer or shorter
        assert timedelta(seconds=8) <= waits[0] <= timedelta(seconds=12)

    @given(st.integers(1, 30), CHANCE, CHANCE)
    def test_chance_spreads_what_failed_together(self, attempt: int, one: int, other: int) -> None:
        assume(one < other)
        first, second = (
            fate(NO, attempt=attempt, first_at=NOON, now=NOON, chance=each).next_at for each in (one, other)
        )
        assert first is not None
        assert second is not None
        assert first < second


class TestSignature:
    @given(st.binary(), st.binary(), st.lists(st.text(), min_size=1, max_size=2), st.datetimes(datetime(2000, 1, 1)))  # noqa: DTZ001 - made aware below
    def test_it_is_of_the_second_and_the_body_by_each_secret(
        self, body: bytes, other: bytes, secrets: list[str], at: datetime
    ) -> None:
        at = at.replace(tzinfo=NOON.tzinfo)
        header = rules.signature(body, secrets, now=at)

        second, *marks = (part.split("=", 1) for part in header.split(","))
        assert second == ["t", str(int(at.timestamp()))]
        expected = [
            hmac.new(secret.encode(), f"{second[1]}.".encode() + body, hashlib.sha256).hexdigest() for secret in secrets
        ]
        assert [tuple(mark) for mark in marks] == [("v1", each) for each in expected]
        assert (rules.signature(other, secrets, now=at) == header) == (other == body)

    @given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
    def test_secrets_are_as_different_as_what_they_are_made_of(self, one: bytes, other: bytes) -> None:
        assert (rules.secret_text(one) == rules.secret_text(other)) == (one == other)
        assert rules.secret_text(one).startswith("whsec-")
        assert len(rules.secret_text(one)) == 49


class TestEndpoints:
    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com/", "ftp://example.com/", "example.com", "https://", "https://user@example.com/",
            "https://user:pass@example.com/", "https://example.com/#part", "https://example.com/a b",
            "https://example.com/\\a", "https://exämple.com/", "https://127.0.0.1/", "https://[::1]/",
            "https://[::ffff:10.0.0.1]/", "https://localhost/", "https://169.254.169.254/latest", "https://2130706433/",
            "https://example.com:0/", "https://example.com:99999/", "https://[::1", f"https://example.com/{'a' * 2000}",
        ],
    )  # fmt: skip
    def test_what_cannot_or_must_not_be_sent_to_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            rules.check_webhook(NewWebhook(url), private=False)
        assert refused.value.field == "url"

    @given(st.text())
    def test_any_text_passes_or_is_refused_by_name(self, url: str) -> None:
        fields = []
        try:
            rules.check_webhook(NewWebhook(url), private=False)
        except InvalidRequest as refused:
            fields.append(refused.field)
        assert fields in ([], ["url"])

    def test_what_is_public_passes_and_by_permission_what_is_not(self) -> None:
        rules.check_webhook(NewWebhook("https://hooks.example.com:8443/a?b=c"), private=False)
        rules.check_webhook(NewWebhook("http://127.0.0.1:8080/a"), private=True)
        with pytest.raises(InvalidRequest):
            rules.check_addresses("hooks.example.com", ["8.8.8.8", "10.0.0.1"])
        rules.check_addresses("hooks.example.com", ["8.8.8.8"])
        assert rules.host_of("https://hooks.example.com:8443/a") == "hooks.example.com"

    @pytest.mark.parametrize(
        ("webhook", "field"),
        [
            (NewWebhook("https://example.com/", types=()), "types"),
            (NewWebhook("https://example.com/", description="a" * 501), "description"),
        ],
    )
    def test_no_types_are_not_all_and_descriptions_are_short(self, webhook: NewWebhook, field: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            rules.check_webhook(webhook, private=False)
        assert refused.value.field == field


class TestAnswers:
    @given(st.binary(), st.binary(), st.text(min_size=1))
    def test_what_is_kept_of_them_is_short_text_without_secrets(self, before: bytes, after: bytes, secret: str) -> None:
        kept = rules.readable(
            before + secret.encode(errors="replace") + after, [secret.encode(errors="replace").decode()]
        )
        assert len(kept) <= 500
        assert all(each.isprintable() or each == "\n" for each in kept)

    def test_a_secret_that_is_sent_back_is_not_kept(self) -> None:
        sent = "you said whsec-abc_DEF-1 v1=" + "0f" * 32 + " sk-tg-abc-def, hunter2"
        assert rules.readable(sent.encode(), ["hunter2"]) == "you said … … …, …"
