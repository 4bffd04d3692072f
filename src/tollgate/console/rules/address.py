"""Where this installation is called from outside, as sample code names it."""

import re

_HOST = re.compile(
    r"(?=[^:]{1,253}(:|$))[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?"
)
_FALLBACK = "localhost:8000"
PATH = "/api/v1"


def api_url(*, public_url: str | None, scheme: str, host: str | None) -> str:
    """The address of the interface: below what the operator said, or else below where the request was sent.

    A request's `Host` is whatever its sender wrote, so what is not plainly a host and a port is not repeated.
    """
    if public_url is not None:
        return public_url + PATH
    named = host if host is not None and _HOST.fullmatch(host) else _FALLBACK
    return f"{'https' if scheme == 'https' else 'http'}://{named}{PATH}"
