"""Reading what a client wrote into known forms, and naming the place where it has another."""

import re
from typing import TypeVar

import msgspec

from tollgate.gateway.wire import UNREADABLE
from tollgate.kit.errors import InvalidRequest

Form = TypeVar("Form")

_PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")


def read(value: msgspec.Raw, form: msgspec.json.Decoder[Form], where: str) -> Form:
    """The value in a form.

    Raises:
        InvalidRequest: it has another form; `where` it stands, and where in it the fault is, make the field.
    """
    try:
        return form.decode(value)
    except UNREADABLE as error:
        found = _PLACE.search(str(error))
        field = where if found is None else where + found["path"]
        reason = str(error) if found is None else str(error)[: found.start()]
        raise InvalidRequest(f"{field}: {reason}.", field=field) from error
