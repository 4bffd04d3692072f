"""What is on the public network, and what only looks as if it were."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit.addresses import is_private, is_unprintable


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fec0::1",
        "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "::127.0.0.1", "2002:7f00:1::",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "2001::1", "localhost", "a.localhost.", "db.internal", "printer.local",
        "127.1", "2130706433", "0x7f000001", "0177.0.0.1",
    ],
)  # fmt: skip
def test_what_is_private_is_found_out_in_any_notation(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "example.com", "EXAMPLE.com.", "2606:4700::6812:203", "2002:808:808::"])
def test_what_is_public_is_not(host: str) -> None:
    assert not is_private(host)


@given(st.ip_addresses(v=4))
def test_an_address_is_no_more_public_for_being_carried_in_another(inner: IPv4Address) -> None:
    carriers = (int(IPv6Address("::ffff:0:0")), int(IPv6Address("64:ff9b::")))
    for carried in (IPv6Address(carrier | int(inner)) for carrier in carriers):
        assert is_private(str(carried)) == is_private(str(inner))


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(is_private(text), bool)
    assert isinstance(is_unprintable(text), bool)
