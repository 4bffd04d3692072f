"""Where Stripe's pages may lead back to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollgate.kit.errors import InvalidRequest
from tollgate.payments.rules import links


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.test/thanks?session={CHECKOUT_SESSION_ID}&a=%20#top",
        "https://[2001:db8::1]:8443/",
        "http://localhost:3000/back",
        "http://127.0.0.1/",
        "http://[::1]:8000",
    ],
)
def test_pages_lead_back_over_https_or_to_the_customers_own_machine(url: str) -> None:
    links.check(url, "success_url")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.test",
        "http://shop.test/",
        "http://127.0.0.1.shop.test/",
        "ftp://shop.test",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://",
        "https:///path",
        "https://a@shop.test",
        "https://localhost:99999999",
        "https://shop.test:0",
        "https://shop.test/a b",
        "https://shop.test/\n",
        "https://shöp.test",
        'https://shop.test/"',
        "https://[::1",
        "https://shop.test/" + "a" * 2000,
    ],
)
def test_nothing_else_is_a_link(url: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        links.check(url, "return_url")
    assert refused.value.field == "return_url"


@given(st.text())
def test_no_text_is_more_than_refused(url: str) -> None:
    try:
        links.check(url, "return_url")
    except InvalidRequest:
        return
    assert url.startswith(("https://", "http://", "HTTP"))
