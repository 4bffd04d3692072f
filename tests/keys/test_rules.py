"""Laws of the key text, and who is let in."""

import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tollgate.accounts.model import OrganizationStatus
from tollgate.keys import rules
from tollgate.keys.model import ApiKey, Standing
from tollgate.kit.errors import AuthenticationFailed, InvalidRequest, PermissionDenied
from tollgate.kit.ids import KeyId, OrganizationId
from tollgate.kit.principal import KeyKind, Principal

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SECRET = bytes(range(32))
KEY = rules.compose(KeyKind.INFERENCE, public_id="7Hn2kQ0xPz4L", secret=SECRET)

kinds = st.sampled_from(KeyKind)
public_ids = st.binary(min_size=32, max_size=32).map(rules.public_id)
secrets = st.binary(min_size=32, max_size=32)

PRINCIPAL = Principal(KeyKind.INFERENCE, KeyId(UUID(int=1)), OrganizationId(UUID(int=2)), None, None, None)
STANDING = Standing(
    principal=PRINCIPAL,
    secret_hash=rules.secret_hash(SECRET),
    disabled=False,
    revoked_at=None,
    organization_status=OrganizationStatus.ACTIVE,
    project_archived=False,
)


class TestText:
    @given(kinds, public_ids, secrets)
    def test_is_read_back_as_it_was_composed(self, kind: KeyKind, public_id: str, secret: bytes) -> None:
        presented = rules.parse_presented(rules.compose(kind, public_id=public_id, secret=secret))

        assert (presented.kind, presented.public_id, presented.secret) == (kind, public_id, secret)

    @given(kinds, public_ids, secrets, st.integers(0, 67), st.characters())
    def test_with_one_wrong_character_is_refused(
        self, kind: KeyKind, public_id: str, secret: bytes, place: int, character: str
    ) -> None:
        text = rules.compose(kind, public_id=public_id, secret=secret)
        assume(text[place] != character)

        with pytest.raises(AuthenticationFailed):
            rules.parse_presented(text[:place] + character + text[place + 1 :])

    @given(kinds, public_ids, secrets, st.integers(0, 66))
    def test_with_two_neighbours_swapped_is_refused(
        self, kind: KeyKind, public_id: str, secret: bytes, place: int
    ) -> None:
        text = rules.compose(kind, public_id=public_id, secret=secret)
        assume(text[place] != text[place + 1])

        with pytest.raises(AuthenticationFailed):
            rules.parse_presented(text[:place] + text[place + 1] + text[place] + text[place + 2 :])

    @pytest.mark.parametrize("place", range(len(KEY)))
    def test_survives_no_other_letter_at_any_place(self, place: int) -> None:
        for letter in ALPHABET.replace(KEY[place], ""):
            with pytest.raises(AuthenticationFailed):
                rules.parse_presented(KEY[:place] + letter + KEY[place + 1 :])

    @given(st.text())
    def test_of_any_other_kind_is_refused_with_no_other_error(self, text: str) -> None:
        with pytest.raises(AuthenticationFailed):
            rules.parse_presented(text)

    @pytest.mark.parametrize("text", ["", KEY + "\n", KEY[:-1], f" {KEY}", KEY.lower(), KEY.replace("sk-tg", "sk-or")])
    def test_almost_right_is_refused(self, text: str) -> None:
        with pytest.raises(AuthenticationFailed):
            rules.parse_presented(text)

    def test_whose_secret_is_larger_than_any_is_refused(self) -> None:
        begun = "sk-tg-7Hn2kQ0xPz4L-" + "z" * 43

        with pytest.raises(AuthenticationFailed):
            rules.parse_presented(begun + rules._checksum(begun))

    def test_has_the_length_the_documents_promise(self) -> None:
        assert len(KEY) == 6 + 12 + 1 + 43 + 6


class TestLabel:
    @given(kinds, public_ids, secrets)
    def test_reveals_nothing_of_the_secret(self, kind: KeyKind, public_id: str, secret: bytes) -> None:
        text = rules.compose(kind, public_id=public_id, secret=secret)

        label = rules.label(text)

        shown_first, shown_last = label.split("…")
        assert text.startswith(shown_first)
        assert len(shown_first) < text.index(public_id) + len(public_id)
        assert text.endswith(shown_last)
        assert len(shown_last) <= 6

    def test_looks_as_the_documents_show_it(self) -> None:
        assert rules.label(KEY) == f"sk-tg-7Hn…{KEY[-4:]}"


class TestPresentedIn:
    @pytest.mark.parametrize(
        "headers",
        [
            [(b"authorization", b"Bearer sk-tg-x")],
            [(b"authorization", b"bearer  sk-tg-x ")],
            [(b"x-api-key", b"sk-tg-x")],
            [(b"x-goog-api-key", b"sk-tg-x")],
            [(b"authorization", b"Basic abc"), (b"x-api-key", b"sk-tg-x")],
            [(b"authorization", b"Bearer sk-tg-x"), (b"x-api-key", b"other")],
        ],
    )
    def test_finds_the_key_wherever_a_client_puts_it(self, headers: list[tuple[bytes, bytes]]) -> None:
        assert rules.presented_in(headers) == "sk-tg-x"

    @pytest.mark.parametrize(
        "headers",
        [[], [(b"authorization", b"")], [(b"authorization", b"Bearer ")], [(b"x-api-key", b"")], [(b"cookie", b"k")]],
    )
    def test_asks_for_a_key_where_there_is_none(self, headers: list[tuple[bytes, bytes]]) -> None:
        with pytest.raises(AuthenticationFailed, match="Bearer"):
            rules.presented_in(headers)


class TestStanding:
    def test_good_lets_in(self) -> None:
        rules.check_standing(STANDING, NOW)

    @pytest.mark.parametrize(
        ("standing", "error", "reason"),
        [
            (replace(STANDING, revoked_at=NOW), AuthenticationFailed, "revoked"),
            (replace(STANDING, disabled=True), AuthenticationFailed, "disabled"),
            (
                replace(STANDING, principal=replace(PRINCIPAL, expires_at=NOW)),
                AuthenticationFailed,
                "expired at 2026-11-22T12:00:00Z",
            ),
            (
                replace(STANDING, organization_status=OrganizationStatus.SUSPENDED),
                PermissionDenied,
                "organization of this API key is suspended",
            ),
            (
                replace(STANDING, organization_status=OrganizationStatus.CLOSED),
                PermissionDenied,
                "organization of this API key is closed",
            ),
            (replace(STANDING, project_archived=True), PermissionDenied, "project of this API key is archived"),
        ],
    )
    def test_bad_keeps_out_and_says_why(self, standing: Standing, error: type[Exception], reason: str) -> None:
        with pytest.raises(error, match=reason):
            rules.check_standing(standing, NOW)

    def test_lets_in_until_the_instant_of_expiry(self) -> None:
        expiring = replace(PRINCIPAL, expires_at=NOW + timedelta(microseconds=1))

        rules.check_standing(replace(STANDING, principal=expiring), NOW)

    @given(secrets)
    def test_is_proven_by_its_own_secret_alone(self, secret: bytes) -> None:
        presented = rules.parse_presented(rules.compose(KeyKind.INFERENCE, public_id="7Hn2kQ0xPz4L", secret=secret))

        assert rules.is_secret_of(STANDING, presented) is (secret == SECRET)

    def test_is_not_proven_by_its_secret_under_another_kind(self) -> None:
        presented = rules.parse_presented(rules.compose(KeyKind.OPERATOR, public_id="7Hn2kQ0xPz4L", secret=SECRET))

        assert not rules.is_secret_of(STANDING, presented)

    def test_is_compared_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[bytes, bytes]] = []

        def compare(first: bytes, second: bytes) -> bool:
            compared.append((first, second))
            return first == second

        monkeypatch.setattr(hmac, "compare_digest", compare)

        assert rules.is_secret_of(STANDING, rules.parse_presented(KEY))
        assert compared == [(rules.secret_hash(SECRET), STANDING.secret_hash)]


class TestCheckKey:
    KEY = ApiKey(
        organization_id=OrganizationId(UUID(int=2)),
        id=KeyId(UUID(int=1)),
        kind=KeyKind.INFERENCE,
        name="mine",
        project_id=None,
        public_id="7Hn2kQ0xPz4L",
        label="sk-tg-7Hn…abcd",
        models=("openai/gpt-4.1-mini",),
        tags=("a", "b"),
        expires_at=None,
        disabled=False,
        revoked_at=None,
        created_at=NOW,
        created_by=None,
    )

    def test_accepts_a_proper_key(self) -> None:
        rules.check_key(self.KEY)
        rules.check_key(replace(self.KEY, models=None, tags=()))
        rules.check_key(replace(self.KEY, models=()))

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"tags": ("a", "a")}, "tags"),
            ({"tags": ("",)}, "tags"),
            ({"tags": ("a,b",)}, "tags"),
            ({"tags": ("a\x00",)}, "tags"),
            ({"tags": tuple(str(number) for number in range(33))}, "tags"),
            ({"models": ("gpt-4.1-mini",)}, "models"),
            ({"models": ("openai/",)}, "models"),
            ({"models": ("openai/gpt/4",)}, "models"),
            ({"models": ("OpenAI/gpt-4.1",)}, "models"),
            ({"models": ("a/b",) * 501}, "models"),
        ],
    )
    def test_names_what_is_wrong(self, change: dict[str, object], field: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            rules.check_key(replace(self.KEY, **change))  # type: ignore[arg-type]  # each change is of its field's type

        assert refused.value.field == field

    @pytest.mark.parametrize("year", [2025, 9999])
    def test_expiry_lies_ahead_within_the_calendar(self, year: int) -> None:
        with pytest.raises(InvalidRequest):
            rules.check_expiry(datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC), NOW)
