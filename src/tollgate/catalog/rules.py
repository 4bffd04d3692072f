"""What may enter the catalogue, and whether an endpoint's provider can be reached from this environment."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from tollgate.catalog.model import Alias, Endpoint, Format, Model, Provider
from tollgate.kit import addresses
from tollgate.kit.errors import InvalidRequest
from tollgate.kit.slugs import MODEL_SLUG, PROVIDER_SLUG

TOKENIZERS = frozenset({"o200k_base", "cl100k_base"})
"""The vocabularies that ship with the gateway."""
PROTOCOLS = frozenset({"openai", "responses", "embeddings", "anthropic"})
"""What clients speak, and how an endpoint can be reached: `openai` is Chat Completions, `anthropic` Messages."""
MODALITIES = frozenset({"text", "image", "audio", "video", "file", "embedding"})
PERMISSION = "TOLLGATE_ALLOW_PRIVATE_UPSTREAMS"
"""The variable that permits http and private networks, as the installation's settings read it."""

_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEY_REFERENCE = re.compile(
    r"env:(?!TOLLGATE_|DATABASE_|PG|STRIPE_|AWS_(?!API_KEY$)|GITHUB_TOKEN$|GITLAB_|SSH_)(?=.{3,128}$)"
    r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+"
)
"""A variable's name in several words, and none of the installation's own or of another service's."""
_ADDRESS_REFERENCE = re.compile(r"env:(?!TOLLGATE_|DATABASE_)[A-Z][A-Z0-9_]{0,99}_(URL|ENDPOINT|HOST|API_BASE)")
_TEXT_CHARACTERS_MAX = 4000
_LENGTH_MAX = 2**31 - 1
TIMEOUT_SECONDS_MAX = 3600

_OPEN_FORMATS = frozenset({Format.OPENAI_COMPATIBLE, Format.SANDBOX})
"""Formats whose providers may ask for no credential."""


def credential_of(provider: Provider, environment: Mapping[str, str]) -> str | None:
    """The key to present to the provider; `None` if it has none or the environment does not hold it.

    What is read here is sent to the provider, so the installation's own variables and those that open other doors
    cannot be named: `TOLLGATE_…`, `DATABASE_…`, `PG…`, `STRIPE_…`, `AWS_…` and their like read nothing.
    """
    return _read(provider.credential, _KEY_REFERENCE, environment)


def base_url_of(provider: Provider, environment: Mapping[str, str]) -> str | None:
    """Where the provider is, without a trailing slash; `None` if that is not known here, or not permitted.

    The text behind a reference is held to the rules of `check_base_url`, and so is an address that was entered while
    private networks were permitted.
    """
    url = provider.base_url
    if url is not None and url.startswith("env:"):
        url = _read(url, _ADDRESS_REFERENCE, environment)
    return url.rstrip("/") if url and _is_permitted(url, environment) else None


def _read(reference: str | None, permitted: re.Pattern[str], environment: Mapping[str, str]) -> str | None:
    if reference is None or not permitted.fullmatch(reference):
        return None
    return environment.get(reference.removeprefix("env:")) or None


def _is_permitted(url: str, environment: Mapping[str, str]) -> bool:
    return _is_address(url, private=False) or (
        environment.get(PERMISSION) in {"1", "true"} and _is_address(url, private=True)
    )


@lru_cache(maxsize=1024)
def _is_address(url: str, *, private: bool) -> bool:
    """Whether `check_base_url` accepts the text as an address. Cached because routing asks about the same few."""
    try:
        _check_address(url, allow_private_upstreams=private)
    except InvalidRequest:
        return False
    return True


def is_routable(provider: Provider, environment: Mapping[str, str]) -> bool:
    """Whether calls can be sent to the provider from here: an address, and a credential if one is needed."""
    if provider.format is Format.SANDBOX:
        return True
    if base_url_of(provider, environment) is None:
        return False
    if provider.credential is None:
        return provider.format in _OPEN_FORMATS
    return credential_of(provider, environment) is not None


def check_provider(provider: Provider, *, allow_private_upstreams: bool) -> None:
    """Refuse a provider that could not be called, or that must not be.

    Raises:
        InvalidRequest: naming the field at fault.
    """
    if not PROVIDER_SLUG.fullmatch(provider.slug):
        raise InvalidRequest("A provider's slug is lower-case letters, digits, '.', '_' and '-'.", field="slug")
    _check_text(provider.name, "name")
    if provider.credential is not None and not _KEY_REFERENCE.fullmatch(provider.credential):
        raise InvalidRequest(
            "Name the environment variable that holds the key, as in env:OPENAI_API_KEY, and none that belongs to the "
            "installation or to another service: TOLLGATE_…, DATABASE_…, PG…, STRIPE_…, AWS_….",
            field="credential",
        )
    if provider.base_url is not None:
        check_base_url(provider.base_url, allow_private_upstreams=allow_private_upstreams)
    elif provider.format is not Format.SANDBOX:
        raise InvalidRequest("A provider needs a base_url, such as https://api.openai.com/v1.", field="base_url")
    if provider.status_page is not None:
        _check_status_page(provider.status_page)
    for region in provider.regions:
        _check_text(region, "regions")


def _check_status_page(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidRequest(f"This is not a URL: {error}.", field="status_page") from error
    if parts.scheme not in {"http", "https"}:
        raise InvalidRequest("A status page is an http or https URL.", field="status_page")


def check_base_url(base_url: str, *, allow_private_upstreams: bool) -> None:
    """Refuse a URL that is no plain https address of the public network (http and private ones by permission).

    Only what the text itself says is judged; what its name leads to, by `check_addresses`. The text of a variable is
    judged when it is read, by `base_url_of`.

    Raises:
        InvalidRequest: with the reason.
    """
    if not _ADDRESS_REFERENCE.fullmatch(base_url):
        _check_address(base_url, allow_private_upstreams=allow_private_upstreams)


def _check_address(base_url: str, *, allow_private_upstreams: bool) -> None:
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"This is not a URL: {error}.", field="base_url") from error
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise InvalidRequest(
            "A base_url is an http or https URL, or env:NAME of a variable that does not belong to the installation "
            "and ends in _URL, _ENDPOINT, _HOST or _API_BASE.",
            field="base_url",
        )
    if "@" in parts.netloc or parts.fragment or parts.query or addresses.is_unprintable(base_url):
        raise InvalidRequest("A base_url has no user, password, query, fragment or blanks.", field="base_url")
    if allow_private_upstreams:
        return
    if parts.scheme == "http":
        raise InvalidRequest(f"Use https. {_HOW_TO_PERMIT}", field="base_url")
    if addresses.is_private(host):
        raise InvalidRequest(f"{host} is not on the public network. {_HOW_TO_PERMIT}", field="base_url")


def name_of(base_url: str) -> str | None:
    """The name in an address that passed `check_base_url`; `None` if it is a reference to a variable."""
    return None if _ADDRESS_REFERENCE.fullmatch(base_url) else urlsplit(base_url).hostname


def check_addresses(name: str, found: Iterable[str]) -> None:
    """Refuse a name of which any address is outside the public network.

    Raises:
        InvalidRequest: naming the address, with `base_url` as the field.
    """
    for address in found:
        if addresses.is_private(address):
            raise InvalidRequest(
                f"{name} leads to {address}, which is not on the public network. {_HOW_TO_PERMIT}", field="base_url"
            )


_HOW_TO_PERMIT = f"Set {PERMISSION}=1 to permit http and private networks."


def check_model(model: Model) -> None:
    """Refuse a model that could not be named or metered.

    Raises:
        InvalidRequest: naming the field at fault.
    """
    if not MODEL_SLUG.fullmatch(model.slug):
        raise InvalidRequest(
            "A model's slug is author/name: lower-case letters, digits, '.', '_' and '-'.", field="slug"
        )
    _check_text(model.name, "name")
    if len(model.description) > _TEXT_CHARACTERS_MAX:
        raise InvalidRequest(f"A description has at most {_TEXT_CHARACTERS_MAX} characters.", field="description")
    _check_known(model.input_modalities, MODALITIES, "input_modalities")
    _check_known(model.output_modalities, MODALITIES, "output_modalities")
    _check_members((model.tokenizer,), TOKENIZERS, "tokenizer")
    if model.deprecated_at is not None and model.retires_at is not None and model.retires_at < model.deprecated_at:
        raise InvalidRequest("A model is deprecated before it retires.", field="retires_at")


def check_replacement(model: Model, replacements: Mapping[str, str | None]) -> None:
    """Refuse a model that would be replaced by itself, by nothing there is, or in a circle.

    `replacements` has every other model, with what it is replaced by.

    Raises:
        InvalidRequest: naming `replaced_by`.
    """
    line, following = [model.slug], model.replaced_by
    while following is not None:
        line.append(following)
        if following in line[:-1]:
            raise InvalidRequest(f"This leads back: {' → '.join(line)}.", field="replaced_by")
        if following not in replacements:
            raise InvalidRequest(f"There is no model {following[:200]!r}.", field="replaced_by")
        following = replacements[following]


def check_alias(alias: Alias) -> None:
    """Refuse an alias that no call could name.

    Raises:
        InvalidRequest: naming the field at fault.
    """
    if not MODEL_SLUG.fullmatch(alias.slug):
        raise InvalidRequest(
            "An alias is author/name, as a model's slug is: lower-case letters, digits, '.', '_' and '-'.", field="slug"
        )


def check_endpoint(endpoint: Endpoint) -> None:
    """Refuse an endpoint that no client could speak to.

    Raises:
        InvalidRequest: naming the field at fault.
    """
    _check_text(endpoint.upstream_model, "upstream_model")
    _check_length(endpoint.context_length, "context_length")
    _check_length(endpoint.max_output, "max_output")
    for name in ("connect_seconds", "first_byte_seconds", "idle_seconds"):
        seconds: int | None = getattr(endpoint.timeouts, name)
        if seconds is not None and not 0 < seconds <= TIMEOUT_SECONDS_MAX:
            raise InvalidRequest(f"A timeout is 1 to {TIMEOUT_SECONDS_MAX} seconds.", field=f"timeouts.{name}")
    _check_members(endpoint.protocols, PROTOCOLS, "protocols")
    _check_parameters(endpoint.supported_parameters, "supported_parameters")
    _check_parameters(endpoint.ignorable_parameters, "ignorable_parameters")
    for field in ("logging", "moderation"):
        value: str | None = getattr(endpoint.data_policy, field)
        if value is not None:
            _check_text(value, f"data_policy.{field}")


def _check_text(text: str, field: str) -> None:
    if not 0 < len(text.strip()) <= len(text) <= _TEXT_CHARACTERS_MAX:
        raise InvalidRequest(f"{field} is 1 to {_TEXT_CHARACTERS_MAX} characters of text.", field=field)


def _check_members(values: tuple[str, ...], known: frozenset[str], field: str) -> None:
    if not values:
        raise InvalidRequest(f"{field} names at least one of: {', '.join(sorted(known))}.", field=field)
    _check_known(values, known, field)


def _check_known(values: tuple[str, ...], known: frozenset[str], field: str) -> None:
    for value in values:
        if value not in known:
            raise InvalidRequest(f"{value[:80]!r} is not one of: {', '.join(sorted(known))}.", field=field)


def _check_parameters(names: tuple[str, ...], field: str) -> None:
    for name in names:
        if not _PARAMETER.fullmatch(name):
            raise InvalidRequest(f"{name[:80]!r} is not a parameter's name.", field=field)


def _check_length(tokens: int | None, field: str) -> None:
    if tokens is not None and not 0 < tokens <= _LENGTH_MAX:
        raise InvalidRequest(f"{field} is a number of tokens above zero.", field=field)
