"""What calls that are not admitted yet take up is bounded for each organization."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.gateway.room import ROOM_BODIES, Place, Room
from tollgate.kit.errors import Unavailable
from tollgate.kit.ids import OrganizationId

ONE, OTHER = OrganizationId(UUID(int=1)), OrganizationId(UUID(int=2))


def fits(place: Place, size: int) -> bool:
    try:
        place.take(size)
    except Unavailable:
        return False
    return True


def test_a_few_of_the_largest_bodies_fit_and_no_more_and_another_organization_has_room_of_its_own() -> None:
    room = Room(10)
    assert [fits(room.of(ONE), 10) for _ in range(ROOM_BODIES + 1)] == [*[True] * ROOM_BODIES, False]
    assert fits(room.of(OTHER), 10)


def test_who_leaves_makes_room_once() -> None:
    room = Room(10)
    places = [room.of(ONE) for _ in range(ROOM_BODIES)]
    for place in places:
        place.take(10)
    places[0].leave()
    places[0].leave()
    assert fits(room.of(ONE), 10)
    with pytest.raises(Unavailable) as refused:
        places[0].take(1)
    assert refused.value.retry_after_seconds == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30))))
def test_whatever_comes_and_goes_leaves_all_the_room_there_was(pieces: list[tuple[int, int]]) -> None:
    room = Room(10)
    places = [room.of(ONE) for _ in range(6)]
    for number, size in pieces:
        fits(places[number], size)
    for place in places:
        place.leave()
    assert fits(room.of(ONE), ROOM_BODIES * 10)
