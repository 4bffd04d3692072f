"""How Stripe is asked for lists."""

from datetime import datetime
from typing import Any

PAGE = 100
"""The most that Stripe answers at once."""


def since(instant: datetime | None, **which: object) -> Any:
    """The parameters that ask for whatever was made at that instant or later; Stripe's instants are whole seconds.

    `which` narrows it down, `None` does not. The types of Stripe's library have one shape for each list.
    """
    created = {} if instant is None else {"created": {"gte": int(instant.timestamp())}}
    return {"limit": PAGE, **created, **{name: value for name, value in which.items() if value is not None}}
