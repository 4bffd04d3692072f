"""What holds of events, whatever they are of."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import NOON

from tollgate.kit.ids import OrganizationId
from tollgate.webhooks.model import EventType
from tollgate.webhooks.rules import event

CAUSES = st.builds(UUID, int=st.integers(0, 2**128 - 1))


@given(CAUSES, CAUSES, st.sampled_from(EventType), st.sampled_from(EventType))
def test_two_events_share_an_id_only_if_one_cause_brought_about_the_same(
    cause: UUID, other: UUID, kind: EventType, other_kind: EventType
) -> None:
    owner = OrganizationId(UUID(int=1))
    first, second = event(owner, cause, kind, {}, now=NOON), event(owner, other, other_kind, {}, now=NOON)

    assert (first.id == second.id) == ((cause, kind) == (other, other_kind))
