"""Accesses: where a provider is, and by which key, is what the catalogue says of it now, however often it was asked."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import a_provider

from tollgate.catalog import rules as catalog
from tollgate.catalog.model import Provider
from tollgate.gateway.model import Access
from tollgate.gateway.outlook import Outlook
from tollgate.gateway.service import Gateway, Surroundings

ENVIRONMENT = {"ONE_KEY": "one", "OTHER_KEY": "other"}
PROVIDERS = [
    a_provider(slug, base_url=base_url, credential=credential)
    for slug in ("acme", "umbrella")
    for base_url in ("https://a.test", "https://b.test/")
    for credential in (None, "env:ONE_KEY", "env:OTHER_KEY", "env:NO_KEY")
]


@given(st.lists(st.sampled_from(PROVIDERS), max_size=20))
def test_an_access_that_was_kept_is_the_one_that_the_catalogue_tells(providers: list[Provider]) -> None:
    nobody: Any = None
    gateway = Gateway(
        keys=nobody,
        outlook=Outlook(nobody, nobody, nobody, ENVIRONMENT),
        meter=nobody,
        upstreams={},
        clock=nobody,
        surroundings=Surroundings(body_bytes_max=1, drain_seconds=1, status_of=lambda _: 500),
    )
    for provider in providers:
        base_url = catalog.base_url_of(provider, ENVIRONMENT) or ""
        assert gateway._access(provider) == Access(base_url, catalog.credential_of(provider, ENVIRONMENT))
