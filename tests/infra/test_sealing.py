"""Secrets that are sealed open again for their owner, by the same key, and for nobody else."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.infra import sealing, settings
from tollgate.infra.sealing import CannotOpen, Seal
from tollgate.infra.settings import BadSetting, Settings

GIVEN = Settings("postgresql://nowhere/none", sealing_key="k" * 32)


@given(secret=st.binary(max_size=100), owner=st.binary(max_size=20), other=st.binary(max_size=20))
def test_what_is_sealed_opens_for_its_owner_alone(secret: bytes, owner: bytes, other: bytes) -> None:
    sealed = Seal(GIVEN).seal(secret, owner=owner)

    assert Seal(GIVEN).open(sealed, owner=owner) == secret
    assert len(secret) < 8 or secret not in sealed
    if other != owner:
        with pytest.raises(CannotOpen):
            Seal(GIVEN).open(sealed, owner=other)


def test_another_key_opens_nothing_and_is_told_by_its_fingerprint() -> None:
    ours, theirs = Seal(GIVEN), Seal(replace(GIVEN, sealing_key="l" * 32))
    assert ours.fingerprint != theirs.fingerprint
    with pytest.raises(CannotOpen):
        theirs.open(ours.seal(b"secret", owner=b""), owner=b"")
    with pytest.raises(CannotOpen):
        ours.open(b"short", owner=b"")


def test_without_a_setting_the_key_is_a_file_that_all_processes_share_and_others_cannot_read(tmp_path: Path) -> None:
    kept = Settings("postgresql://nowhere/none", data_dir=tmp_path / "data")
    first, second = Seal(kept), Seal(kept)
    file = tmp_path / "data" / sealing.FILE

    assert not file.exists()
    assert first.fingerprint == second.fingerprint
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == [sealing.FILE]
    same = Seal(replace(kept, sealing_key=file.read_text().strip()))
    assert same.fingerprint == first.fingerprint  # what another host is to be given


def test_a_key_that_is_too_short_is_refused() -> None:
    environment = {"TOLLGATE_DATABASE_URL": "postgresql://nowhere/none", "TOLLGATE_SEALING_KEY": "k" * 31}
    with pytest.raises(BadSetting, match="TOLLGATE_SEALING_KEY"):
        settings.read(environment)
    assert settings.read({**environment, "TOLLGATE_SEALING_KEY": "k" * 32}).sealing_key == "k" * 32
