"""Errors carry what a caller can act on."""

from collections.abc import Iterator

import pytest

from tollgate.kit import errors
from tollgate.kit.errors import InvalidRequest, LimitExceeded, PaymentRequired, RateLimited, TollgateError


def families(root: type[TollgateError]) -> Iterator[type[TollgateError]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from families(child)


@pytest.mark.parametrize("family", [*families(TollgateError)])
def test_every_family_says_what_went_wrong_unless_told_better(family: type[TollgateError]) -> None:
    assert family().message == (family.__doc__ or "").strip() != ""
    assert family("The kettle is empty.").message == "The kettle is empty."


@pytest.mark.parametrize("family", [*families(TollgateError)])
def test_every_family_stands_in_the_tree_of_the_docstring(family: type[TollgateError]) -> None:
    assert family.__name__ in (errors.__doc__ or "")
    assert family.type != "internal"


def test_the_field_at_fault_is_part_of_the_metadata() -> None:
    error = InvalidRequest("limits.monthly is below zero.", field="limits.monthly", metadata={"given": "-1"})
    assert error.metadata == {"given": "-1", "field": "limits.monthly"}


def test_the_metadata_given_is_not_changed() -> None:
    given: dict[str, object] = {}
    InvalidRequest(field="name", metadata=given)
    assert given == {}


def test_waiting_helps_only_where_the_error_says_so() -> None:
    assert RateLimited(metadata={"retry_after_seconds": 7}).retry_after_seconds == 7
    assert LimitExceeded().retry_after_seconds is None
    assert issubclass(LimitExceeded, PaymentRequired)
