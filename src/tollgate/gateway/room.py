"""Room: how much of calls that are not admitted yet may lie in memory, for each organization, and arrive how long."""

from tollgate.gateway.patience import Patience
from tollgate.kit.errors import Unavailable
from tollgate.kit.ids import OrganizationId

BODY_SECONDS_MAX = 300.0
"""How long a body may take to arrive as a whole."""
ROOM_BODIES = 4
"""How many of the largest bodies fit at once, or as many smaller ones."""
_RETRY_SECONDS = 1


class Room:
    """What this process has of it."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = ROOM_BODIES * bytes_max
        self._taken: dict[OrganizationId, int] = {}
        self.arriving = Patience(BODY_SECONDS_MAX)
        """How long bodies are waited for."""

    def of(self, organization_id: OrganizationId) -> "Place":
        """A place for one call, still empty."""
        return Place(self, organization_id)

    def take(self, organization_id: OrganizationId, size: int) -> None:
        taken = self._taken.get(organization_id, 0) + size
        if taken > self._bytes_max:
            raise Unavailable(
                "Too many long requests of this organization are being read at once.",
                metadata={"retry_after_seconds": _RETRY_SECONDS},
            )
        self._taken[organization_id] = taken

    def leave(self, organization_id: OrganizationId, size: int) -> None:
        left = self._taken[organization_id] - size
        if left:
            self._taken[organization_id] = left
        else:
            del self._taken[organization_id]


class Place:
    """What one call takes up, from its first byte until it is admitted or refused."""

    def __init__(self, room: Room, organization_id: OrganizationId) -> None:
        self._room = room
        self._organization_id = organization_id
        self._size = 0

    def take(self, size: int) -> None:
        """Take up more.

        Raises:
            Unavailable: the organization has no room left.
        """
        self._room.take(self._organization_id, size)
        self._size += size

    def leave(self) -> None:
        """Give it all back; leaving twice changes nothing."""
        if self._size:
            self._room.leave(self._organization_id, self._size)
            self._size = 0
