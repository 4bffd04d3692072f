"""Door: who presents a key with a call, and whether they still may when the rest of it has come."""

from collections.abc import Iterable
from typing import NamedTuple

from tollgate.infra.database import DATABASE_AWAY
from tollgate.keys import rules as keys
from tollgate.keys.service import KeyRing
from tollgate.kit.clock import Clock
from tollgate.kit.errors import LedgerUnavailable
from tollgate.kit.principal import KeyKind, Principal


class Proof(NamedTuple):
    """Who presented a key, and the edition of all keys in which it was found."""

    principal: Principal
    edition: int | None


class Door:
    """Where calls come in."""

    def __init__(self, ring: KeyRing, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock

    async def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Proof:
        """Whose inference key is in these headers; nothing of the call is read before."""
        edition = self._ring.edition
        try:
            principal = await self._ring.authenticate(keys.presented_in(headers), self._clock.now())
        except DATABASE_AWAY as error:
            raise LedgerUnavailable(metadata={"retry_after_seconds": 1}) from error
        keys.check_kind(principal, KeyKind.INFERENCE)
        return Proof(principal, edition)

    def still_holds(self, proof: Proof) -> bool:
        """Whether a key may surely do what it might when it was proven: nothing has changed, and it did not expire."""
        expires_at = proof.principal.expires_at
        is_unchanged = proof.edition is not None and proof.edition == self._ring.edition
        return is_unchanged and (expires_at is None or self._clock.now() < expires_at)
