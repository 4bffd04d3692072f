"""Sealing: secrets that have to be read again are kept so that whoever has the database alone cannot read them.

The key is the setting `sealing_key`, or a file in the data directory that the first process to need it makes. Hosts
that share a database must share the key: its fingerprint tells whether they do.
"""

import hmac
import os
import secrets
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tollgate.infra.settings import Settings

FILE = "sealing.key"
_NONCE_BYTES = 12
_KEY_BYTES = 32


class CannotOpen(Exception):
    """This was sealed with another key, for another owner, or was tampered with."""


class Seal:
    """Seals and opens with one key. The key is read, or made, when it is first needed."""

    def __init__(self, settings: Settings) -> None:
        self._given = settings.sealing_key
        self._file = settings.data_dir / FILE

    def seal(self, secret: bytes, *, owner: bytes) -> bytes:
        """The secret as it may be stored; it opens for the same owner only."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, owner)

    def open(self, sealed: bytes, *, owner: bytes) -> bytes:
        """The secret again.

        Raises:
            CannotOpen: this key did not seal it, or for another owner.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner)
        except (InvalidTag, ValueError) as error:  # a few bytes are no nonce
            raise CannotOpen from error

    @cached_property
    def fingerprint(self) -> bytes:
        """Tells this key from any other, and tells nothing of it."""
        return hmac.digest(self._key, b"tollgate sealing fingerprint", "sha256")

    @cached_property
    def _cipher(self) -> AESGCM:
        return AESGCM(self._key)

    @cached_property
    def _key(self) -> bytes:
        material = (self._given or _kept_in(self._file)).encode()
        return HKDF(SHA256(), length=_KEY_BYTES, salt=None, info=b"tollgate sealing key").derive(material)


def _kept_in(file: Path) -> str:
    """The key in the file, which is made, whole and only for us, if there is none yet."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        ours = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(ours, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(secrets.token_urlsafe(_KEY_BYTES) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):  # another process was first, and its key is everybody's
            os.link(ours, file)
        ours.unlink()
    return file.read_text().strip()
