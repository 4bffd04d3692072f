"""Identity: fresh ids, whichever process and however many."""

import os
from datetime import UTC, datetime
from uuid import UUID

from tollgate.infra import identity
from tollgate.kit import ids

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def test_every_id_is_another_one_however_many_are_minted_at_an_instant() -> None:
    assert len({identity.new_id(NOW) for _ in range(2_000)}) == 2_000


def test_an_id_is_a_uuid_of_its_instant_to_whoever_looks() -> None:
    minted = identity.new_id(NOW)
    plain = UUID(str(minted))
    assert isinstance(minted, UUID)
    assert (minted, hash(minted), minted.bytes) == (plain, hash(plain), plain.bytes)
    assert (minted.version, ids.minted_at(minted)) == (7, NOW)


def test_a_forked_process_mints_other_ids_than_its_parent() -> None:
    identity.new_id(NOW)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, b"".join(identity.new_id(NOW).bytes for _ in range(20)))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 16 * 20)
    os.close(reading)
    os.close(writing)
    minted = {identity.new_id(NOW).bytes for _ in range(20)}
    assert minted.isdisjoint(told[start : start + 16] for start in range(0, len(told), 16))
    assert len(told) == 16 * 20
