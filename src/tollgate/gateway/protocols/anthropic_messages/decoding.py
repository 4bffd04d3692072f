"""A message request: bytes to `Request`, decoded as far as routing and metering need.

Wire format: https://platform.claude.com/docs/en/api/messages/create and …/count_tokens
"""

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from tollgate.gateway.model import Attribution, Request, Wire
from tollgate.gateway.protocols import envelope
from tollgate.gateway.protocols.anthropic_messages import metered, prompt
from tollgate.kit.errors import InvalidRequest

_VERSIONS = ("2023-06-01", "2026-10-21")
"""The later one refuses some of what the earlier takes, and answers the same; SDKs of late 2026 send it.

https://platform.claude.com/docs/en/api/versioning
"""
_HEADERS = ("anthropic-version", "anthropic-beta")
_HEADER = re.compile(r"[!-~ ]{1,4000}")
_ALWAYS_ALLOWED = frozenset({"model", "messages", "max_tokens", "stream", "system"})
_CONFIGURED = frozenset({"effort", "format"})
"""What stands in `output_config`."""
_CATALOGUE_NAMES: Mapping[str, str] = {
    "stop_sequences": "stop", "thinking": "reasoning", "effort": "reasoning", "format": "response_format",
    "output_format": "response_format",
}  # fmt: skip
"""What the catalogue calls a parameter that has another name here."""
_MESSAGES_MAX = 10_000
_PAIRS_MAX = 16

_MESSAGES = msgspec.json.Decoder(
    Annotated[tuple[dict[str, msgspec.Raw], ...], msgspec.Meta(max_length=_MESSAGES_MAX)] | None
)
_LIMIT = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] | None)
"""Zero is a limit: the prompt is cached and nothing is written."""
_METADATA = msgspec.json.Decoder(
    Annotated[dict[envelope.Text, envelope.Text | None], msgspec.Meta(max_length=_PAIRS_MAX)] | None
)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


class _Asked(envelope.Asked):
    """The fields that the gateway reads, but for the messages."""

    stream: bool | None = None


_ASKED = envelope.Form(_Asked)
_COUNTED = envelope.Form(envelope.Asked)


def decode(body: bytes, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request for a message. Of the headers, those that are Anthropic's own matter.

    Raises:
        InvalidRequest: it is not JSON, has more parts than a conversation has, a field the gateway needs is missing or
            has the wrong form, or what it costs could not be told.
    """
    fields = envelope.opened(body, metered.REFUSED)
    limit = envelope.field(fields, "max_tokens", _LIMIT)
    if limit is None:
        raise InvalidRequest(
            "Say in max_tokens how long the answer may be: this format demands it.", field="max_tokens"
        )
    asked = _ASKED.read(body, fields)
    return _request(fields, asked, headers or {}, limit=limit, stream=asked.stream is True)


def count_tokens(body: bytes, headers: Mapping[str, str] | None = None) -> Request:
    """Read a request to count the tokens of a prompt: that for a message, without an answer's length.

    Raises:
        InvalidRequest: as in `decode`.
    """
    fields = envelope.opened(body, metered.REFUSED)
    asked = _COUNTED.read(body, fields)
    return _request(fields, asked, headers or {}, limit=None, stream=False)


def _request(
    fields: Mapping[str, msgspec.Raw],
    asked: envelope.Asked,
    headers: Mapping[str, str],
    *,
    limit: int | None,
    stream: bool,
) -> Request:
    models = envelope.models(asked)
    messages = envelope.field(fields, "messages", _MESSAGES)
    if not messages:
        raise InvalidRequest("Give at least one message.", field="messages")
    metered.check(fields)
    return Request(
        wire=Wire.MESSAGES,
        fields=envelope.for_provider(fields),
        models=models,
        prompt=prompt.of(messages, fields),
        parameters=_parameters(fields),
        stream=stream,
        include_usage=True,
        max_tokens=limit,
        choices=1,
        service_tier=metered.service_tier(fields),
        preferences=envelope.preferences(asked),
        attribution=_attribution(fields, asked),
        headers=_own_headers(headers),
    )


def _parameters(fields: Mapping[str, msgspec.Raw]) -> frozenset[str]:
    """The optional fields used, as the catalogue calls them."""
    output = envelope.used(envelope.field(fields, "output_config", _FIELDS) or {}, always_allowed=frozenset())
    names = envelope.used(fields, always_allowed=_ALWAYS_ALLOWED) - {"output_config"} | output & _CONFIGURED
    return frozenset(_CATALOGUE_NAMES.get(name, name) for name in names)


def _attribution(fields: Mapping[str, msgspec.Raw], asked: envelope.Asked) -> Attribution:
    """Whom the call is for. Anthropic's own `metadata` holds the user; whatever else is in it is the caller's."""
    metadata = {name: value for name, value in (envelope.field(fields, "metadata", _METADATA) or {}).items() if value}
    user = metadata.pop("user_id", None)
    return Attribution(
        user=asked.user or user,
        session_id=asked.session_id,
        metadata=metadata or None,
    )


def _own_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Anthropic's own headers, for calls that are passed."""
    own = {name: headers[name] for name in _HEADERS if headers.get(name)}
    for name, value in own.items():
        if _HEADER.fullmatch(value) is None:
            raise InvalidRequest(f"The header {name} is not one of Anthropic's.", field=name)
    # Another version may tell usage in another way.
    if own.get("anthropic-version", _VERSIONS[0]) not in _VERSIONS:
        told = " and ".join(_VERSIONS)
        raise InvalidRequest(f"Versions {told} are spoken here, and no other.", field="anthropic-version")
    return own
