"""Which webhooks are Stripe's."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOON
from tests.payments.stripe_double import WEBHOOK_SECRET, sign

from tollgate.payments.model import StripeEvent
from tollgate.payments.rules.signatures import TOLERANCE, NotFromStripe
from tollgate.payments.stripe_client import StripeClient

DOOR = StripeClient("sk_test_1", webhook_secrets=("whsec_old", WEBHOOK_SECRET))
EVENT: dict[str, Any] = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "created": int(NOON.timestamp()),
    "livemode": False,
    "data": {"object": {"id": "in_1", "object": "invoice", "status": "paid"}},
}
SECONDS = int(NOON.timestamp())


def read(payload: bytes, signature: str | None) -> StripeEvent:
    return DOOR.read_event(payload, signature, now=NOON)


@pytest.mark.parametrize("secret", ["whsec_old", WEBHOOK_SECRET])
def test_an_event_is_believed_if_one_of_our_secrets_signed_it(secret: str) -> None:
    payload = json.dumps(EVENT).encode()

    event = read(payload, sign(payload, SECONDS, secret))

    assert event == StripeEvent("evt_1", "invoice.paid", "in_1", is_live=False, created_at=NOON)


@pytest.mark.parametrize("header", [None, "", "t=1", "v1=abc", "t=1,v1=abc", "garbage", "t=x,v1=y", "t=,v1=", "é"])
def test_without_a_signature_nothing_is_believed(header: str | None) -> None:
    with pytest.raises(NotFromStripe):
        read(json.dumps(EVENT).encode(), header)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_no_byte_of_a_signed_body_can_be_changed(place: int, other: bytes) -> None:
    payload = json.dumps(EVENT).encode()
    forged = payload[:place] + other + payload[place + len(other) :]
    if forged == payload:
        return
    with pytest.raises(NotFromStripe):
        read(forged, sign(payload, SECONDS))


@pytest.mark.parametrize("way", [-1, 1])
def test_a_signature_is_good_for_five_minutes_either_way(way: int) -> None:
    payload, edge = json.dumps(EVENT).encode(), SECONDS + way * int(TOLERANCE.total_seconds())

    assert read(payload, sign(payload, edge)).id == "evt_1"
    with pytest.raises(NotFromStripe, match="another time"):
        read(payload, sign(payload, edge + way))


@pytest.mark.parametrize("when", ["{}", "+{}", " {}", "0{}", "{:_}"])
def test_an_old_signature_is_not_made_fresh_by_a_second_moment_beside_it(when: str) -> None:
    payload = json.dumps(EVENT).encode()
    stale = when.format(SECONDS - 86_400)
    mark = sign(payload, int(stale)).partition("v1=")[2]

    with pytest.raises(NotFromStripe, match="another time"):
        read(payload, f"t={stale},t={SECONDS},v1={mark}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"[" * 10_000,
        json.dumps({**EVENT, "object": "v2.core.event"}).encode(),
        json.dumps({**EVENT, "id": 7}).encode(),
        json.dumps({**EVENT, "id": "evt_'; --"}).encode(),
        json.dumps({**EVENT, "id": "evt_\x00"}).encode(),
        json.dumps({**EVENT, "type": "a" * 300}).encode(),
        json.dumps({**EVENT, "created": 10**30}).encode(),
        json.dumps({**EVENT, "created": "soon"}).encode(),
        json.dumps({**EVENT, "data": {}}).encode(),
    ],
)
def test_what_is_signed_and_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(NotFromStripe, match="not an event"):
        read(body, sign(body, SECONDS))


def test_an_event_may_be_about_what_has_no_id() -> None:
    payload = json.dumps({**EVENT, "data": {"object": {"object": "balance"}}}).encode()

    assert read(payload, sign(payload, SECONDS)).object_id == ""


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(NotFromStripe):
        read(b"\xff\xfe", f"t={SECONDS},v1=00")


def test_the_moment_of_the_check_is_ours() -> None:
    payload = json.dumps(EVENT).encode()
    later = NOON + timedelta(days=400)

    assert DOOR.read_event(payload, sign(payload, int(later.timestamp())), now=later).id == "evt_1"
