"""Fallback: what a provider's refusal means for the next endpoint and for the caller."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway import fallback
from tollgate.kit.errors import InvalidRequest, ProviderFailed, RateLimited, TollgateError


@pytest.mark.parametrize(("status", "message", "next_one"), [
    (None, "no connection", True), (500, "", True), (429, "", True), (401, "", True), (404, "", True), (302, "", True),
    (200, "not JSON", True), (400, "bad seed", False), (413, "too large", False), (422, "no", False),
    (400, "This model's maximum context length is 8192 tokens.", True), (400, "prompt is too long: 9 > 8", True),
])  # fmt: skip
def test_the_next_endpoint_is_tried_where_it_may_succeed(status: int | None, message: str, next_one: object) -> None:
    assert fallback.may_try_next(status, message) is next_one


@pytest.mark.parametrize(("status", "family"), [
    (400, InvalidRequest), (413, InvalidRequest), (422, InvalidRequest), (429, RateLimited), (401, ProviderFailed),
    (403, ProviderFailed), (404, ProviderFailed), (500, ProviderFailed), (301, ProviderFailed),
])  # fmt: skip
def test_a_refusal_is_told_in_our_terms(status: int, family: type[TollgateError]) -> None:
    error = fallback.refusal(status, {}, "their words")
    assert type(error) is family
    hidden = status in {401, 403}
    assert ("their words" in json.dumps([error.message, error.metadata])) is not hidden


@pytest.mark.parametrize(("given", "seconds"), [
    ("7", 7), ("0", 1), ("99999", 3600), ("", 1), ("-5", 1), ("1.5", 1), ("Wed, 21 Oct 2026 07:28:00 GMT", 1),
    ("9" * 5000, 1), ("\u0663", 1),
])  # fmt: skip
def test_a_rate_limit_says_when_to_come_back(given: str, seconds: int) -> None:
    assert fallback.refusal(429, {"retry-after": given}, None).retry_after_seconds == seconds


@given(st.integers(100, 599), st.dictionaries(st.just("retry-after"), st.text()), st.none() | st.text())
def test_no_refusal_raises(status: int, headers: dict[str, str], words: str | None) -> None:
    error = fallback.refusal(status, headers, words)
    assert error.message
    assert len(error.message) <= 1000
