"""Ids are minted in the order of time, say what they name, and are the same in Python and in the database."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builders import seeded

from tollgate.kit import ids

instants = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds of the strategy
entropies = st.integers(min_value=0, max_value=(1 << 74) - 1)
uuids = st.builds(ids.uuid7, instants, entropies)


class TestMinting:
    @given(instants, entropies, entropies)
    def test_an_id_minted_a_millisecond_later_is_greater(self, at: datetime, one: int, other: int) -> None:
        later = at + timedelta(milliseconds=1) if at.year < 9999 else at - timedelta(milliseconds=1)
        first, second = sorted([at, later])
        assert ids.uuid7(first, one) < ids.uuid7(second, other)

    @given(instants, entropies)
    def test_an_id_is_a_uuid_of_version_seven(self, at: datetime, entropy: int) -> None:
        minted = ids.uuid7(at, entropy)
        assert (minted.version, minted.variant) == (7, "specified in RFC 4122")

    @given(instants, entropies)
    def test_an_id_keeps_its_millisecond(self, at: datetime, entropy: int) -> None:
        assert ids.minted_at(ids.uuid7(at, entropy)) == at.replace(microsecond=at.microsecond // 1000 * 1000)

    @given(instants, entropies, entropies)
    def test_all_entropy_is_kept(self, at: datetime, one: int, other: int) -> None:
        assert (ids.uuid7(at, one) == ids.uuid7(at, other)) == (one == other)

    @given(instants, entropies)
    def test_no_id_of_an_instant_is_below_its_lowest(self, at: datetime, entropy: int) -> None:
        assert ids.lowest_uuid7(at) <= ids.uuid7(at, entropy)


class TestDerivedIds:
    @given(uuids, st.text())
    def test_the_same_cause_and_purpose_give_the_same_id(self, cause: UUID, purpose: str) -> None:
        assert ids.derived_id(cause, purpose) == ids.derived_id(UUID(str(cause)), str(purpose))

    @given(uuids, st.text())
    def test_a_derived_id_keeps_the_millisecond_of_its_cause(self, cause: UUID, purpose: str) -> None:
        derived = ids.derived_id(cause, purpose)
        assert derived.int >> 80 == cause.int >> 80
        assert derived.version == 7

    @given(uuids)
    def test_an_id_that_is_none_is_shown_as_none(self, identifier: UUID) -> None:
        assert ids.typed_or_none("gen", identifier) == ids.typed("gen", identifier)
        assert ids.typed_or_none("gen", None) is None

    @given(uuids, st.text(), st.text())
    def test_another_purpose_gives_another_id(self, cause: UUID, one: str, other: str) -> None:
        assert (ids.derived_id(cause, one) == ids.derived_id(cause, other)) == (one == other)


class TestTypedIds:
    @given(uuids, st.sampled_from(["gen", "key", "org", "prj", "inv"]))
    def test_a_typed_id_is_read_back(self, identifier: UUID, prefix: str) -> None:
        assert ids.parse(prefix, ids.typed(prefix, identifier)) == identifier

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "gen",
            "gen_",
            "0198c0de-0000-7000-8000-000000000001",
            "key_0198c0de-0000-7000-8000-000000000001",
            "gen-0198c0de-0000-7000-8000-000000000001",
            "gen_0198c0de-0000-7000-8000-00000000000",
            "gen_0198c0de-0000-7000-8000-00000000000g",
            "gen_0198c0de000070008000000000000001----",
            "gen_{198c0de-0000-7000-8000-00000000001}",
            "gen_0_98c0de-0000-7000-8000-000000000001",
            "gen_ 198c0de-0000-7000-8000-000000000001",
            "gen_\N{FULLWIDTH DIGIT ZERO}198c0de-0000-7000-8000-000000000001",
            "gen_0198c0de-0000-7000-8000-000000000001\n",
        ],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ids.NotAnId, match="is no id: it has to be gen_ and a UUID"):
            ids.parse("gen", text)

    def test_the_message_does_not_repeat_more_than_it_must(self) -> None:
        with pytest.raises(ids.NotAnId) as refused:
            ids.parse("gen", "x" * 10_000)
        assert len(str(refused.value)) < 200


async def test_the_database_derives_the_same_ids(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    chance = seeded(7)
    causes = [UUID(int=chance.getrandbits(128)) for _ in range(500)]
    purposes = ["".join(chance.choices("charge:Grüße 💶\n\"'\\", k=chance.randrange(40))) for _ in causes]
    rows = await pool.fetch(
        "SELECT derived_id(c, p) FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS t (c, p, n) ORDER BY n",
        causes,
        purposes,
    )
    assert [row[0] for row in rows] == [ids.derived_id(*each) for each in zip(causes, purposes, strict=True)]


async def test_the_database_has_the_same_lowest_ids(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    chance = seeded(7)
    first = datetime(1970, 1, 1, tzinfo=UTC)
    instants = [first + timedelta(microseconds=chance.randrange(10**16)) for _ in range(500)]
    rows = await pool.fetch(
        "SELECT lowest_uuid7(t) FROM unnest($1::timestamptz[]) WITH ORDINALITY AS i (t, n) ORDER BY n", instants
    )
    assert [row[0] for row in rows] == [ids.lowest_uuid7(instant) for instant in instants]
