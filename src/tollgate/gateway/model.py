"""What the gateway passes around: a decoded request, a planned route, an upstream's reply, a call and how it ended.

What a request is decoded into is a `Struct`, and what is only passed on (`UpstreamRequest`, `Receipt`) a named tuple:
either takes a tenth of the time to make that a frozen data class takes. An attempt and its answer are data classes. The
structs are frozen and hold nothing that could come to refer to them, so no cycle leads through one, and the collector
of garbage need not look at them (`gc=False`).
"""

from collections.abc import Awaitable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, StrEnum, auto
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from tollgate.catalog.model import NO_TIMEOUTS, Endpoint, Model, Provider, Timeouts
from tollgate.kit.ids import AttemptId, OrganizationId
from tollgate.kit.tokens import UsageQuantities
from tollgate.metering.model import AttemptStatus
from tollgate.pricing.model import Charge, PriceVersion

Session: TypeAlias = tuple[OrganizationId, bytes]
"""Whose session it is, and what tells it from the organization's others: 16 bytes."""


class Wire(StrEnum):
    """A wire format: what goes over a connection, whoever is at its other end."""

    CHAT = "chat.completions"
    """OpenAI Chat Completions, and the many servers compatible with it."""
    RESPONSES = "responses"
    """OpenAI Responses."""
    EMBEDDINGS = "embeddings"
    """OpenAI Embeddings."""
    MESSAGES = "messages"
    """Anthropic Messages."""
    GENERATE_CONTENT = "generate_content"
    """Gemini; no client speaks it here."""


class Preferences(msgspec.Struct, frozen=True, gc=False):
    """How a caller wants its call routed: the body's `provider` object."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    sort: str | None = None
    max_prompt_price: Decimal | None = None
    max_completion_price: Decimal | None = None
    """In US dollars per million tokens."""
    data_collection: str = "allow"
    zdr: bool = False
    """Zero data retention: only endpoints that log nothing and train on nothing."""
    require_parameters: bool = False


class Attribution(msgspec.Struct, frozen=True, gc=False):
    """Whom a call is for, in the caller's own words. It never reaches a provider."""

    user: str | None = None
    session_id: str | None = None
    metadata: Mapping[str, str] | None = None


class BlobKind(Enum):
    """What data in base64 says it is."""

    AUDIO = auto()
    """Sound, or film."""
    DOCUMENT = auto()
    """Pages; and whatever does not say what it is."""
    TEXT = auto()
    IMAGE = auto()
    """A picture that came as a file."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Data that came in base64."""

    kind: BlobKind
    size: int
    """In bytes, decoded: three quarters of its characters."""


class Prompt(msgspec.Struct, frozen=True, gc=False):
    """What of a request counts as prompt."""

    texts: tuple[str, ...]
    messages: int
    images: int
    tokens: int = 0
    """What came as tokens instead of text: ids that were counted, not read."""
    blobs: tuple[Blob, ...] = ()
    elsewhere: bool = False
    """Whether more of it is where its provider has to fetch it: a file by address, the results of tools it runs."""


class PromptTokens(msgspec.Struct, frozen=True, gc=False):
    """How long a prompt is, as far as it can be told before a provider has read it."""

    likely: int
    """What it counts for where its provider does not tell."""
    most: int
    """What a provider may count at most; never less than is likely."""
    counted: bool = True
    """Whether its texts were counted; else likely is judged by samples of them, and most by their bytes."""

    def nearest(self, count: int) -> int:
        """The count itself if it is between the two, else the one it is beyond."""
        return min(max(count, self.likely), self.most)


class Request(msgspec.Struct, frozen=True, gc=False):
    """A call as its caller asked for it, decoded as far as routing and metering need."""

    wire: Wire
    """What its caller speaks."""
    fields: Mapping[str, msgspec.Raw]
    """The body's own fields, still encoded, without those that are for the gateway alone."""
    models: tuple[str, ...]
    """The model asked for, and the ones to fall back to."""
    prompt: Prompt
    parameters: frozenset[str]
    """The names of the optional parameters used."""
    stream: bool
    include_usage: bool
    max_tokens: int | None
    choices: int
    """How many answers were asked for: `n`; embeddings are none."""
    service_tier: str | None
    preferences: Preferences
    attribution: Attribution
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Those of the caller's own headers that belong to its wire format."""
    searches: int = 0
    """How often the provider may search the web, at most."""
    hides: bool = False
    """Whether the provider may do what the caller is not shown: think, search, fetch."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint that can serve the call, with the price that will charge it and the reason it is where it is."""

    endpoint: Endpoint
    provider: Provider
    price: PriceVersion
    reason: str
    wire: Wire = Wire.CHAT
    """What the endpoint is spoken to in."""
    tiers: Mapping[str, PriceVersion] = field(default_factory=dict)
    """The prices by service tier, where it has more than one: it may serve another tier than was asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The endpoints to try, in order, and the ones left out, with reasons."""

    candidates: tuple[Candidate, ...]
    excluded: tuple[tuple[str, str], ...]
    """(endpoint as `model:provider`, reason)."""
    asked_for: Mapping[str, Model] = field(default_factory=dict)
    """By the slug of each model that may serve, the first one asked for that leads to it: another one if that is
    retired."""


class UpstreamRequest(NamedTuple):
    """One request to a provider, ready to be sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    stream: bool
    timeouts: Timeouts = NO_TIMEOUTS


@dataclass(frozen=True, slots=True)
class Access:
    """Where a provider is, and the key to present."""

    base_url: str
    credential: str | None


class Reply(Protocol):
    """What a provider answered: a status at once, then a whole body or its pieces.

    Whoever is interrupted while they wait for a piece can go on later, and has missed nothing; not so a whole body. How
    long the provider may be silent bounds the wait for each piece, and for the whole of a body that is short.
    """

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    async def body(self) -> bytes:
        """The whole body."""

    def piece(self) -> Awaitable[bytes]:
        """The next piece of the body as it comes; empty once it has ended."""

    async def close(self) -> None:
        """Let go of the connection; what has not been read is not wanted."""


class Upstream(Protocol):
    """A way to providers."""

    async def send(self, request: UpstreamRequest) -> Reply:
        """Send the request; answers when the reply's status is known.

        Raises:
            ProviderUnavailable, ProviderTimedOut: there is no reply.
        """


class Receipt(NamedTuple):
    """What a client is told about a call once it is settled."""

    generation_id: str
    model: str
    """The model that really served."""
    provider: str
    quantities: UsageQuantities
    estimated: bool
    """Whether the quantities are our own count."""
    charge: Charge


class Client(Protocol):
    """The caller's side of a call: what it is sent. Sending raises `ClientGone` once it is known to have hung up."""

    def staying(self) -> AbstractContextManager[None]:
        """A block that a caller who hangs up interrupts: it ends in `ClientGone` at once."""

    async def begin(self, status: int, headers: Mapping[str, str]) -> None: ...

    async def write(self, piece: bytes) -> None: ...

    async def finish(self, piece: bytes = b"") -> None: ...


class ClientGone(Exception):
    """The caller hung up."""


@dataclass(frozen=True, slots=True)
class UsageReading:
    """A provider's usage object, read. A half it does not tell is not in the quantities, and not known to be zero.

    What is in the quantities of a half that is not known is the least of it.
    """

    quantities: UsageQuantities
    raw: Mapping[str, Any]
    prompt_known: bool = True
    completion_known: bool = True
    anomalous: bool = False
    unknown: tuple[str, ...] = ()
    """Fields with a count that this translator does not know."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider's answer says about itself."""

    usage: UsageReading | None = None
    finish_reason: str | None = None
    """In OpenAI's words, where they have one: the value of a `neutral.Stop`."""
    native_finish_reason: str | None = None
    """In the provider's own."""
    upstream_id: str | None = None
    service_tier: str | None = None
    """The service tier that really served."""
    error: str | None = None
    text: str = ""
    """What was written to the caller; counted only where the provider counted nothing."""


NO_ANSWER = Answer()


@dataclass(slots=True)
class Attempt:
    """One try at one endpoint."""

    id: AttemptId
    candidate: Candidate
    began_at: datetime
    status: AttemptStatus = AttemptStatus.FAILED
    http_status: int | None = None
    error: str | None = None
    wait_seconds: int | None = None
    """How long its provider asked to be spared."""
    latency_ms: int | None = None
    answer: Answer = NO_ANSWER
    """What came of it; a failed attempt may have had its usage told."""
