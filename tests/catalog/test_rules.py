"""What may enter the catalogue. An address is judged by its text alone, in every notation resolvers read."""

import ipaddress
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from genai_prices.data import providers as price_list
from hypothesis import given
from hypothesis import strategies as st

from tollgate.catalog import known_providers, seed
from tollgate.catalog.model import DataPolicy, Endpoint, Format, Model, Provider
from tollgate.catalog.rules import (
    PERMISSION,
    base_url_of,
    check_addresses,
    check_base_url,
    check_endpoint,
    check_model,
    check_provider,
    credential_of,
    is_routable,
)
from tollgate.infra import settings
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.ids import EndpointId

PERMITTED = {PERMISSION: "1"}
LOCAL = Provider("local", "Local", Format.OPENAI_COMPATIBLE, "http://127.0.0.1:8080/v1")
MODEL = Model("meta/llama-4", "Llama 4", "", ("text",), ("text",), "o200k_base", datetime(2026, 1, 1, tzinfo=UTC))
ENDPOINT = Endpoint(
    id=EndpointId(UUID(int=1)),
    model="meta/llama-4",
    provider="groq",
    upstream_model="llama-4",
    context_length=8192,
    max_output=None,
    protocols=("openai",),
    supported_parameters=("temperature",),
    data_policy=DataPolicy(),
    supports_cancel=True,
    enabled=True,
)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v1",
        "https://localhost/v1",
        "https://LOCALHOST./v1",
        "https://service.localhost",
        "https://metadata.google.internal/computeMetadata",
        "https://printer.local",
        "https://127.0.0.1",
        "https://127.0.0.1.",
        "https://127.1",
        "https://2130706433",
        "https://0x7f000001",
        "https://0x7f.0.0.1",
        "https://0177.0.0.1",
        "https://10.0.0.8",
        "https://192.168.1.1:8443/v1",
        "https://172.16.0.1",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1",
        "https://0.0.0.0",
        "https://224.0.0.1",
        "https://255.255.255.255",
        "https://[::1]/v1",
        "https://[::]",
        "https://[::ffff:127.0.0.1]",
        "https://[fe80::1%25eth0]",
        "https://[fd00::1]",
        "https://[fec0::1]",
        "https://[::127.0.0.1]",
        "https://[::10.0.0.8]",
        "https://[::ffff:0:127.0.0.1]",
        "https://[64:ff9b::169.254.169.254]",
        "https://[64:ff9b::7f00:1]",
        "https://[64:ff9b:1::8.8.8.8]",
        "https://[2002:7f00:1::]",
        "https://[2002:a9fe:a9fe::1]",
        "https://[2002:c0a8:101:1::1]",
        "https://[2002:e000:1::]",
    ],
)
def test_private_addresses_and_plain_http_need_permission(url: str) -> None:
    with pytest.raises(InvalidRequest, match="TOLLGATE_ALLOW_PRIVATE_UPSTREAMS"):
        check_base_url(url, allow_private_upstreams=False)
    check_base_url(url, allow_private_upstreams=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://user@api.example.com",
        "https://user:secret@api.example.com",
        "https://api.example.com/v1#part",
        "https://api.example.com/v1?key=1",
        "https://api.example.com:99999",
        "https://api.example.com:0",
        "https://api.example.com/a b",
        "https://api.example.com\\@evil.example",
        "https://api.example.com\n",
        "https://[::1",
        "env:lower_base_url",
        "env:TOLLGATE_DATABASE_URL",
        "env:TOLLGATE_BASE_URL",
        "env:HOME",
        "env:OPENAI_API_KEY",
    ],
)
def test_what_is_no_plain_address_is_refused_whatever_is_permitted(url: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_base_url(url, allow_private_upstreams=True)
    assert refusal.value.field == "base_url"


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://8.8.8.8",
        "https://[2606:4700::1111]:8443",
        "https://[::ffff:8.8.8.8]",
        "https://[64:ff9b::8.8.8.8]",
        "https://[2002:808:808::1]",
        "env:MY_BASE_URL",
    ],
)
def test_public_https_addresses_are_accepted(url: str) -> None:
    check_base_url(url, allow_private_upstreams=False)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["::", "::ffff:", "::ffff:0:", "64:ff9b::", "2002::"]),
)
def test_ipv6_that_carries_ipv4_is_judged_as_what_it_carries(number: int, carrier: str) -> None:
    inner = ipaddress.IPv4Address(number)
    outer = f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1" if carrier == "2002::" else f"{carrier}{inner}"
    refused = []
    for address in (str(inner), outer):
        try:
            check_addresses("acme.test", [address])
        except InvalidRequest:
            refused.append(address)
    assert len(refused) in {0, 2}


@given(st.text(max_size=60).map("https://".__add__))
def test_any_text_is_either_accepted_or_refused_as_a_request(text: str) -> None:
    with suppress(InvalidRequest):
        check_base_url(text, allow_private_upstreams=False)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "Groq"}, "slug"),
        ({"slug": ""}, "slug"),
        ({"slug": "a/b"}, "slug"),
        ({"name": " "}, "name"),
        ({"credential": "sk-proj-verysecret"}, "credential"),
        ({"credential": "env:"}, "credential"),
        ({"credential": "env:_API_KEY"}, "credential"),
        ({"credential": "env:TOLLGATE_DATABASE_URL"}, "credential"),
        ({"credential": "env:TOLLGATE_API_KEY"}, "credential"),
        ({"credential": "env:HOME"}, "credential"),
        ({"credential": "env:PGPASSWORD"}, "credential"),
        ({"credential": "env:AWS_SECRET_ACCESS_KEY"}, "credential"),
        ({"credential": "env:DATABASE_URL"}, "credential"),
        ({"credential": "env:A" + "_A" * 200}, "credential"),
        ({"base_url": None}, "base_url"),
        ({"status_page": "javascript:alert(1)"}, "status_page"),
        ({"status_page": "http://[::1"}, "status_page"),
        ({"status_page": "https://[x]/"}, "status_page"),
        ({"regions": ("",)}, "regions"),
    ],
)
def test_a_provider_that_could_not_be_called_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_provider(replace(LOCAL, **change), allow_private_upstreams=True)  # type: ignore[arg-type]  # one field each
    assert refusal.value.field == field


def test_a_secret_given_as_a_credential_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_provider(replace(LOCAL, credential="sk-proj-verysecret"), allow_private_upstreams=True)
    assert "verysecret" not in refusal.value.message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"slug": "llama-4"}, "slug"),
        ({"slug": "meta/llama/4"}, "slug"),
        ({"slug": "meta/llama:free"}, "slug"),
        ({"slug": "Meta/Llama"}, "slug"),
        ({"name": ""}, "name"),
        ({"description": "x" * 4001}, "description"),
        ({"input_modalities": ("text", "taste")}, "input_modalities"),
        ({"output_modalities": ("smell",)}, "output_modalities"),
        ({"tokenizer": "gpt2"}, "tokenizer"),
    ],
)
def test_a_model_that_could_not_be_named_or_metered_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_model(replace(MODEL, **change))  # type: ignore[arg-type]  # one field each
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"upstream_model": ""}, "upstream_model"),
        ({"context_length": 0}, "context_length"),
        ({"max_output": 2**31}, "max_output"),
        ({"protocols": ()}, "protocols"),
        ({"protocols": ("grpc",)}, "protocols"),
        ({"supported_parameters": ("Top P",)}, "supported_parameters"),
        ({"ignorable_parameters": ("top_p", "")}, "ignorable_parameters"),
        ({"data_policy": DataPolicy(logging="")}, "data_policy.logging"),
    ],
)
def test_an_endpoint_that_no_client_could_speak_to_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        check_endpoint(replace(ENDPOINT, **change))  # type: ignore[arg-type]  # one field each
    assert refusal.value.field == field


def test_a_sound_catalogue_is_accepted() -> None:
    check_provider(seed.SANDBOX, allow_private_upstreams=False)
    check_provider(LOCAL, allow_private_upstreams=True)
    check_model(MODEL)
    check_endpoint(ENDPOINT)


def test_a_refused_reference_says_which_names_can_be_used() -> None:
    with pytest.raises(InvalidRequest, match=r"none that belongs to the installation or to another service"):
        check_provider(replace(LOCAL, credential="env:HOME"), allow_private_upstreams=True)
    with pytest.raises(InvalidRequest, match=r"does not belong to the installation"):
        check_base_url("env:HOME", allow_private_upstreams=True)


@pytest.mark.parametrize("name", ["TOLLGATE_DATABASE_URL", "TOLLGATE_API_KEY", "AWS_SECRET_ACCESS_KEY", "HOME"])
def test_a_reference_that_came_in_another_way_reads_nothing(name: str) -> None:
    named = replace(seed.OPENAI, base_url=f"env:{name}", credential=f"env:{name}")

    assert credential_of(named, {name: "secret"}) is None
    assert base_url_of(named, {name: "https://api.example.com"}) is None
    assert not is_routable(named, {name: "https://api.example.com"})


def test_a_provider_of_the_price_list_can_be_referred_to() -> None:
    for listed in price_list:
        provider = known_providers.provider_of(listed.id, listed.name)
        check_provider(provider, allow_private_upstreams=False)
        named = [text.removeprefix("env:") for text in (provider.base_url, provider.credential) if text is not None]
        assert is_routable(provider, dict.fromkeys(named, "https://api.example.com")), provider.slug


@pytest.mark.parametrize(
    ("text", "permitted", "routable"),
    [
        ("https://mine.openai.azure.com", "", True),
        ("http://mine.openai.azure.com", "", False),
        ("http://mine.openai.azure.com", "1", True),
        ("https://169.254.169.254/latest", "", False),
        ("https://169.254.169.254/latest", "0", False),
        ("https://10.0.0.8", "true", True),
        ("mine.openai.azure.com", "1", False),
        ("https://user:secret@mine.openai.azure.com", "1", False),
        ("env:AZURE_OPENAI_ENDPOINT", "1", False),
    ],
)
def test_an_address_from_the_environment_is_held_to_the_same_rules(
    text: str, permitted: str, *, routable: bool
) -> None:
    environment = {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": text, PERMISSION: permitted}

    assert is_routable(seed.AZURE, environment) is routable
    assert base_url_of(seed.AZURE, environment) == (text if routable else None)


@pytest.mark.parametrize("text", ["", "0", "false", "1", "true"])
def test_the_permission_is_read_as_the_settings_read_it(text: str) -> None:
    environment = {PERMISSION: text, "TOLLGATE_DATABASE_URL": "postgresql://"}

    assert is_routable(LOCAL, environment) is settings.read(environment).allow_private_upstreams


def test_a_local_provider_without_a_credential_can_be_called() -> None:
    assert is_routable(LOCAL, PERMITTED)
    assert not is_routable(replace(LOCAL, credential="env:LOCAL_API_KEY"), PERMITTED)
    assert not is_routable(replace(LOCAL, credential="env:LOCAL_API_KEY"), PERMITTED | {"LOCAL_API_KEY": ""})
    assert not is_routable(replace(seed.OPENAI, credential=None), PERMITTED)


def test_a_local_provider_is_not_called_once_the_permission_is_gone() -> None:
    assert not is_routable(LOCAL, {})


def test_a_base_url_has_no_slash_at_its_end() -> None:
    assert base_url_of(replace(LOCAL, base_url="https://8.8.8.8/v1/"), {}) == "https://8.8.8.8/v1"
