"""The links that Stripe's pages lead back by."""

import re
from urllib.parse import urlsplit

from tollgate.kit.errors import InvalidRequest

_LENGTH_MAX = 2000
_PLAIN = re.compile(r"[!#-;=?-\[\]_a-z{}~%]+")
"""Printable ASCII without blanks, quotes and angle brackets; braces because Stripe fills in {CHECKOUT_SESSION_ID}."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def check(url: str, field: str) -> None:
    """A link leads somewhere over https, or over http to the very machine of the customer, for trying things out.

    Raises:
        InvalidRequest: it does not; `field` names it.
    """
    if len(url) > _LENGTH_MAX or not _PLAIN.fullmatch(url):
        raise InvalidRequest(f"{field} is not a URL of at most {_LENGTH_MAX} plain characters.", field=field)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"{field} is not a URL.", field=field) from error
    is_reachable = bool(host) and port != 0 and parts.username is None and parts.password is None
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not (is_reachable and is_safe):
        raise InvalidRequest(f"{field} is https://…, or http://… on loopback, without a user.", field=field)
