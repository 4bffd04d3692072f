"""What a translator of a wire format offers: the faces of the modules in `protocols` and `providers`.

A client and a provider who speak the same format get each other's bytes, but for what has to change: such a call is
*passed*. Any other call is *translated* through the neutral form. Either way the provider's module reads what the
answer says about itself, and that alone is billed; the client's module writes what the client is told.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from tollgate.gateway.model import Access, Answer, Candidate, Receipt, Request, UpstreamRequest, Wire
from tollgate.gateway.neutral import Completion, Conversation, Delta, Feature
from tollgate.kit.errors import TollgateError


class Writer(Protocol):
    """A stream on its way to a client: its end, once the call is settled or has failed."""

    def end(self, receipt: Receipt) -> bytes:
        """The last events: what was kept back, with usage and cost, and the format's own terminator."""

    def fail(self, error: TollgateError, status: int) -> bytes:
        """The last events of a stream that broke off, or whose settlement is not known."""


class Outlet(Writer, Protocol):
    """A provider's events as they leave for the client: its own, or made from those of another format."""

    def take(self, event: bytes, data: bytes) -> bytes:
        """What to send now of a provider's event: in the client's own format most often the event as it is.

        Empty for what has to wait for the settlement: usage, and whatever says that the answer is complete.
        """

    def pass_on(self, events: bytes) -> bytes:
        """What to send of events that came together and are quiet: the same as of each of them, one after the other."""


class Rendering(Writer, Protocol):
    """A stream whose provider speaks another format."""

    def render(self, delta: Delta) -> bytes:
        """The client's events for one thing the provider said; empty for what has to wait for the settlement."""


class ClientFormat(Protocol):
    """What every module of `protocols` offers."""

    WIRE: Wire

    def decode(self, body: bytes, headers: Mapping[str, str]) -> Request:
        """Read a request body as far as routing and metering need. Header names are lower case.

        Raises:
            InvalidRequest: it is not JSON, or a field that the gateway needs is missing or has the wrong form.
        """

    def passed_answer(self, body: bytes, receipt: Receipt) -> bytes:
        """A whole answer in this very format: the same fields, with model, provider, usage and cost."""


class ConversationalClient(ClientFormat, Protocol):
    """A module of `protocols` whose calls are conversations: they stream, and can be translated."""

    NAMES: Mapping[Feature, str]
    """What this format calls the parameter by which a client uses a feature."""

    def conversation(self, request: Request) -> Conversation:
        """What the request means.

        Raises:
            InvalidRequest: a field has a form that means nothing in this format.
        """

    def rendered_answer(self, completion: Completion, request: Request, receipt: Receipt) -> bytes:
        """A whole answer that came in another format."""

    def passage(self, request: Request, *, model: str) -> Outlet:
        """A stream in this very format; `model` is our name for what serves it."""

    def rendering(self, request: Request, *, model: str, generation_id: str, created: int) -> Rendering:
        """A stream that comes in another format; `created` in seconds since 1970."""


class Reader(Protocol):
    """A provider's stream under way, read for what it says about itself."""

    answer: Answer
    """What is known so far. Of several usages the last one counts, or field by field the largest: never the sum."""

    def look(self, data: bytes) -> bool:
        """Take note of an event's data, if it tells something; whether the event could belong to this format at all.

        An event that says nothing of usage, finish or errors may be waved through undecoded.
        """

    def find_telling(self, events: bytes, start: int) -> int:
        """Where in these events of a stream that has begun, of a line of data each, the first is to be looked into.

        It stands somewhere in that event. -1 if from the start on none of them could tell `look` anything, is the last,
        or has anything an outlet has to hold back.
        """

    def is_last(self, data: bytes) -> bool:
        """Whether the format says that nothing comes after this event."""

    def deltas(self, data: bytes) -> Iterable[Delta]:
        """What an event adds to the answer. Events that mean nothing add nothing; nothing is ever raised."""


class ProviderFormat(Protocol):
    """What every module of `providers` offers."""

    WIRE: Wire

    def read_answer(self, body: bytes) -> Answer | None:
        """What a whole answer says about itself; `None` if it is no answer in this format at all."""

    def read_error(self, body: bytes) -> str | None:
        """The provider's own words in the body of a refusal, if it has any we can show."""


class PassingProvider(ProviderFormat, Protocol):
    """A module of `providers` whose format clients speak as well."""

    def passed_request(
        self, request: Request, candidate: Candidate, *, access: Access, output_cap: int | None
    ) -> UpstreamRequest:
        """The request of a client who speaks this very format: its own fields, under the provider's model name."""


class ConversationalProvider(ProviderFormat, Protocol):
    """A module of `providers` whose calls are conversations."""

    EXPRESSES: frozenset[Feature]
    """The features of a conversation that this format can say."""

    def translated_request(
        self, conversation: Conversation, request: Request, candidate: Candidate, *, access: Access,
        output_cap: int | None,
    ) -> UpstreamRequest:  # fmt: skip
        """The request of a client who speaks another format; the conversation uses nothing beyond `EXPRESSES`."""

    def completion(self, body: bytes) -> Completion:
        """What a whole answer means; called only where `read_answer` read one, and never raises."""

    def reader(self) -> Reader:
        """A stream about to begin."""

    def text_of(self, events: Iterable[bytes]) -> str:
        """Everything the model wrote in the data of these events: what to count if the provider counted nothing."""
