"""Addresses: whether a host that somebody entered lies on the public network, in whatever notation it is written."""

import ipaddress
import re

_NUMERIC_HOST = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.IGNORECASE)
_RESERVED_NAMES = frozenset({"localhost", "local", "internal", "localdomain"})

_CARRIERS_OF_IPV4 = tuple(
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
"""Networks of IPv6 whose addresses end in an IPv4 address: compatible, mapped, and the two kinds translators know."""

_PRIVATE_IPV6 = tuple(ipaddress.IPv6Network(network) for network in ("fec0::/10", "64:ff9b:1::/48"))
"""Networks of IPv6 that are private though Python, or an older one, does not say so."""


def is_private(host: str) -> bool:
    """Whether the host is an address outside the public network, in any notation, or a name reserved for one."""
    name = host.rstrip(".").lower()
    if name.rpartition(".")[2] in _RESERVED_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        # Resolvers also read 127.1, 2130706433 and 0x7f000001 as IPv4 addresses; nobody needs them.
        return bool(_NUMERIC_HOST.fullmatch(name.rpartition(".")[2]))
    if isinstance(address, ipaddress.IPv6Address):
        if any(address in network for network in _PRIVATE_IPV6):
            return True
        address = _carried_by(address) or address
    return not address.is_global or address.is_multicast


def is_unprintable(text: str) -> bool:
    """Whether something in the text of an address cannot be seen, or is read differently by different programs."""
    return any(character.isspace() or not character.isprintable() or character == "\\" for character in text)


def _carried_by(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this one may be handed on to; `None` if it carries none."""
    if address.sixtofour is not None:
        return address.sixtofour
    if any(address in network for network in _CARRIERS_OF_IPV4):
        return ipaddress.IPv4Address(address.packed[-4:])
    return None
