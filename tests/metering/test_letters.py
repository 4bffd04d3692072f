"""A letter says of a call exactly what its process would have recorded."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.kit.ids import AttemptId, CallId, EndpointId, KeyId, OrganizationId, PriceVersionId, ProjectId
from tollgate.kit.tokens import Kind
from tollgate.metering import letters, rules
from tollgate.metering.letters import Unreadable
from tollgate.metering.model import (
    AttemptRecord,
    AttemptStatus,
    Begun,
    CallRecord,
    CallStatus,
    ChargeRecord,
    Settlement,
)
from tollgate.pricing.model import STANDARD, PriceItem, PriceVersion, Unit

zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=3))])
instants = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - zones come beside
amounts = st.decimals(Decimal(-(10**26)), Decimal(10**26), allow_nan=False, allow_infinity=False, places=12)
odd = st.sampled_from(
    ["", "\0", '"\\', "\u2028", "\x7f\x1f", "naïve 🎲 \U0010ffff", "null", "\\u0000", '{"a": "\\u0000"}']
)
encodable = st.text(st.characters(codec="utf-8"), max_size=20) | odd
PRICES = [
    PriceVersion(
        id=PriceVersionId(UUID(int=number)),
        endpoint_id=EndpointId(UUID(int=1)),
        organization_id=None,
        service_tier=STANDARD,
        effective_from=datetime(2026, 11, 22, tzinfo=UTC),
        effective_to=None,
        items=tuple(
            PriceItem(kind, Decimal(number), Unit.PER_MILLION_TOKENS) for kind in (Kind.PROMPT, Kind.COMPLETION)
        ),
    )
    for number in range(1, 6)
]
OF_TYPE: dict[Any, st.SearchStrategy[Any]] = {
    **dict.fromkeys((OrganizationId, CallId, KeyId, AttemptId, EndpointId, ProjectId, PriceVersionId), st.uuids()),
    str: encodable,
    int: st.integers(-(2**63), 2**63 - 1),
    bool: st.booleans(),
    datetime: instants,
    Decimal: amounts | st.sampled_from([Decimal("1E+3"), Decimal("1E-12"), Decimal("-0.00")]),
    CallStatus: st.sampled_from(CallStatus),
    AttemptStatus: st.sampled_from(AttemptStatus),
    PriceVersion: st.sampled_from(PRICES),
    Kind: st.sampled_from(Kind),
}


def of_fields(record: Callable[..., Any]) -> dict[str, st.SearchStrategy[Any]]:
    """Any value for each field, whatever fields there will be."""
    return {
        name: OF_TYPE[kind] if kind in OF_TYPE else OF_TYPE[kind.__args__[0]] | st.none()
        for name, kind in get_type_hints(record).items()
    }


def records(of: Callable[..., Any]) -> st.SearchStrategy[Any]:
    """Records with any value in every field."""
    return st.builds(of, **of_fields(of))


def settlements() -> st.SearchStrategy[Settlement]:
    return st.builds(
        Settlement,
        records(CallRecord),
        st.lists(records(ChargeRecord), max_size=2).map(tuple),
        st.lists(records(AttemptRecord), max_size=2).map(tuple),
    )


class TestReading:
    @settings(max_examples=40)
    @given(settlements())
    def test_gives_back_what_was_written(self, settlement: Settlement) -> None:
        written = letters.written(settlement)
        assert letters.read(written) == letters.read(written.decode()) == settlement
        assert _types(letters.read(written)) == _types(settlement)

    @settings(max_examples=20)
    @given(settlements())
    def test_gives_back_every_amount_to_the_digit(self, settlement: Settlement) -> None:
        again = letters.read(letters.written(settlement))
        assert [str(each.amount) for each in again.charges] == [str(each.amount) for each in settlement.charges]

    @settings(max_examples=40)
    @given(settlements(), st.data())
    def test_of_half_a_letter_fails(self, settlement: Settlement, data: st.DataObject) -> None:
        written = letters.written(settlement)
        with pytest.raises(Unreadable):
            letters.read(written[: data.draw(st.integers(0, len(written) - 1))])

    @given(st.binary(max_size=50))
    def test_of_garbage_fails(self, garbage: bytes) -> None:
        with pytest.raises(Unreadable):
            letters.read(garbage)

    @pytest.mark.parametrize(
        "garbage",
        [b"", b"[]", b"{}", b"null", b"[[],[],[]]", b"\xff\xfe", b"[" * 100_000, b'["\\ud800"]', b"[1e999999]"],
        ids=lambda garbage: garbage[:12].decode(errors="replace"),
    )
    def test_of_what_is_nearly_one_fails(self, garbage: bytes) -> None:
        with pytest.raises(Unreadable):
            letters.read(garbage)

    @settings(max_examples=40)
    @given(settlements(), st.data())
    def test_of_a_letter_with_one_value_of_another_kind_fails_or_reads_as_one(
        self, settlement: Settlement, data: st.DataObject
    ) -> None:
        parts = json.loads(letters.written(settlement))
        place = data.draw(st.integers(0, len(parts[0]) - 1))
        parts[0][place] = data.draw(st.sampled_from([None, "", "x", -1, 1.5, [], {}, True, "NaN", "1e400", "\ud800"]))
        try:
            read = letters.read(json.dumps(parts))
        except Unreadable:
            return
        assert isinstance(read, Settlement)


class TestBeginning:
    @settings(max_examples=40)
    @given(st.lists(st.builds(Begun, **{**of_fields(Begun), "prompt_tokens": st.integers(0, 10**7)}), max_size=8))
    def test_says_what_follows_from_it_whichever_prices_were_written_before(self, calls: list[Begun]) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(letters, "_PRICES", {})
            patched.setattr(letters, "_PRICES_MAX", 2)
            for call in calls:
                assert letters.read(letters.begun(call)) == rules.settlement_of(call)
                assert len(letters._PRICES) <= 2


class TestWriting:
    @pytest.mark.parametrize("field", ["user_id", "session_id", "finish_reason", "native_finish_reason", "metadata"])
    def test_leaves_out_what_no_encoding_has_and_keeps_who_what_and_how_much(self, field: str) -> None:
        settlement = _an_ordinary_one()
        odd_words: dict[str, Any] = {field: "half a pair: \ud800"}
        odd_one = settlement._replace(call=settlement.call._replace(**odd_words))
        assert letters.read(letters.written(odd_one)) == rules.bare(settlement)

    def test_keeps_the_whole_of_what_has_an_encoding(self) -> None:
        settlement = _an_ordinary_one()
        assert letters.read(letters.written(settlement)).call.user_id == "someone"


def _an_ordinary_one() -> Settlement:
    call = CallRecord(
        organization_id=OrganizationId(UUID(int=1)), call_id=CallId(UUID(int=2)), project_id=None,
        key_id=KeyId(UUID(int=3)), accepted_at=datetime(2026, 11, 22, tzinfo=UTC), requested_model="a/b", model="a/b",
        provider="a", endpoint_id=None, api="chat", streamed=False, status=CallStatus.SETTLED, estimated=False,
        anomalous=False, finish_reason="stop", native_finish_reason="stop", latency_ms=1, generation_ms=2,
        quantities="{}", tokens=3, price_version_id=None, tier=0, currency="USD", origin_amount=Decimal(1),
        amount=Decimal(1), provider_cost=None, user_id="someone", session_id=None, metadata=None,
    )  # fmt: skip
    return Settlement(call, (), ())


def _types(settlement: Settlement) -> list[list[type]]:
    everything: list[NamedTuple] = [settlement.call, *settlement.charges, *settlement.attempts]
    return [[type(value) for value in record] for record in everything]
