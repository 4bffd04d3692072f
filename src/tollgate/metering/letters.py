"""Letters: settlements as bytes, for whoever has to record a call in the place of a process that cannot."""

import msgspec

from tollgate.metering import rules
from tollgate.metering.model import Settlement

_DECODER = msgspec.json.Decoder(Settlement)
_ENCODER = msgspec.json.Encoder(decimal_format="string")


class Unreadable(ValueError):
    """The bytes are no settlement of this version."""


def written(settlement: Settlement) -> bytes:
    """The settlement as JSON: amounts as text, records as arrays in the order of their fields.

    What a caller or a provider wrote in characters that no encoding has is left out: who, what and how much remain.
    """
    try:
        return _ENCODER.encode(settlement)
    except UnicodeEncodeError:
        return _ENCODER.encode(rules.bare(settlement))


def read(letter: bytes | str) -> Settlement:
    """The settlement that was written.

    Raises:
        Unreadable: it was not written by `written`.
    """
    try:
        return _DECODER.decode(letter)
    except (msgspec.DecodeError, TypeError) as error:
        raise Unreadable(str(error)) from error
