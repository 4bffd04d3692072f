"""Crossing: how a client's call reaches an endpoint: passed on in its own format, or translated to another. Pure.

What the endpoint's format cannot say is named, so that the caller learns which parameter it was; unless the catalogue
says that the endpoint may leave it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from msgspec import structs

from tollgate.catalog.model import Endpoint, Provider
from tollgate.gateway import formats, streams
from tollgate.gateway.model import Access, Answer, Candidate, Receipt, Request, UpstreamRequest, Wire
from tollgate.gateway.neutral import Conversation, Feature
from tollgate.gateway.translation import Outlet, Reader, Rendering

_UNSET: Mapping[Feature, Any] = {Feature.CHOICES: 1, Feature.STOP: (), Feature.TOOLS: ()}
"""What leaving a setting out makes of it, where that is not `None`."""
_FIELD = {Feature.CHOICES: "choices"}
"""Settings whose field has another name."""
_CONTENT = frozenset({
    Feature.IMAGES, Feature.IMAGE_URLS, Feature.AUDIO, Feature.FILES, Feature.FILE_URLS, Feature.FILE_IDS,
})  # fmt: skip
"""What is part of the prompt itself: nothing may leave it out."""
_NEVER_LEFT_OUT = frozenset({
    "model", "messages", "input", "system", "instructions", "stream", "stream_options", "n", "max_tokens",
    "max_completion_tokens", "max_output_tokens",
})  # fmt: skip
"""What a request is not the same without, or costs more without, whatever the catalogue says."""


@dataclass(frozen=True, slots=True)
class Way:
    """How one endpoint can be spoken to."""

    wire: Wire | None
    """`None`: not at all."""
    unsayable: tuple[str, ...] = ()
    """What the call uses that the endpoint's format cannot say, in the client's words."""


class Crossing:
    """One request and the ways it can take."""

    def __init__(self, request: Request) -> None:
        self.request = request
        """What the caller asked."""
        self._understood: Conversation | None = None

    @property
    def is_understood(self) -> bool:
        """Whether somebody had to know what the request means, and not only of which form it is."""
        return self._understood is not None

    @property
    def _conversation(self) -> Conversation:
        """What the request means; only calls that need translation are looked into so far."""
        if self._understood is None:
            self._understood = formats.CONVERSING[self.request.wire].conversation(self.request)
        return self._understood

    def way_to(self, endpoint: Endpoint, provider: Provider) -> Way:
        """How the endpoint can be spoken to.

        Raises:
            InvalidRequest: the request would have to be translated, and means nothing in its own format.
        """
        spoken = formats.wires_of(endpoint, provider)
        if self.request.wire in spoken:
            return Way(self.request.wire)
        wire = next((wire for wire in spoken if wire in formats.ANSWERING), None)
        if wire is None or self.request.wire not in formats.CONVERSING:
            return Way(None)
        names = (*map(self._name_of, self._foreign_to(wire, provider)), *self._conversation.others)
        ignorable = set(endpoint.ignorable_parameters) - {self._name_of(feature) for feature in _CONTENT}
        return Way(wire, tuple(name for name in names if name not in ignorable))

    def to(self, candidate: Candidate) -> "Speech":
        """How to speak with an endpoint of the plan."""
        request, wire = self.request, candidate.wire
        ignorable = set(candidate.endpoint.ignorable_parameters) - _NEVER_LEFT_OUT
        if wire is request.wire:
            if ignorable:
                kept = {name: value for name, value in request.fields.items() if name not in ignorable}
                request = structs.replace(request, fields=kept)
            return _Passed(request, wire)
        foreign = self._foreign_to(wire, candidate.provider)
        ignored = [feature for feature in self._conversation.features() if self._name_of(feature) in ignorable]
        left_out: dict[str, Any] = {
            _FIELD.get(feature, feature.value): _UNSET.get(feature)
            for feature in {*foreign, *ignored} - _CONTENT - {Feature.MAX_TOKENS}
        }
        return _Translated(request, wire, replace(self._conversation, **left_out))

    def _foreign_to(self, wire: Wire, provider: Provider) -> list[Feature]:
        said = formats.expressed(wire, provider)
        return [feature for feature in self._conversation.features() if feature not in said]

    def _name_of(self, feature: Feature) -> str:
        return formats.CONVERSING[self.request.wire].NAMES.get(feature, feature.value)


class Speech(Protocol):
    """How one call is spoken with one endpoint."""

    def ask(self, candidate: Candidate, *, access: Access, output_cap: int | None) -> UpstreamRequest:
        """The request to send."""

    def read_answer(self, body: bytes) -> Answer | None:
        """What a whole answer says about itself; `None` if it is none."""

    def read_error(self, body: bytes) -> str | None:
        """The provider's own words in a refusal."""

    def reader(self) -> Reader:
        """A stream about to begin."""

    def text_of(self, events: list[bytes]) -> str:
        """Everything the model wrote in the data of these events."""

    def answer(self, body: bytes, receipt: Receipt) -> bytes:
        """A whole answer as the client gets it."""

    def outlet(self, reader: Reader, *, model: str, generation_id: str, created: int) -> Outlet:
        """A stream as the client gets it."""


class _Passed:
    """The endpoint speaks the client's own format."""

    def __init__(self, request: Request, wire: Wire) -> None:
        self._request = request
        self._provider = formats.PASSING[wire]
        self._wire = wire
        self.read_answer = self._provider.read_answer
        self.read_error = self._provider.read_error

    def ask(self, candidate: Candidate, *, access: Access, output_cap: int | None) -> UpstreamRequest:
        """The client's own request, under the provider's name for the model."""
        return self._provider.passed_request(self._request, candidate, access=access, output_cap=output_cap)

    def reader(self) -> Reader:
        """A stream about to begin."""
        return formats.ANSWERING[self._wire].reader()

    def text_of(self, events: list[bytes]) -> str:
        """Everything the model wrote."""
        return formats.ANSWERING[self._wire].text_of(events)

    def answer(self, body: bytes, receipt: Receipt) -> bytes:
        """The provider's own answer, with model, provider and cost."""
        return formats.CLIENTS[self._wire].passed_answer(body, receipt)

    def outlet(self, reader: Reader, *, model: str, generation_id: str, created: int) -> Outlet:
        """The provider's own events."""
        del reader, generation_id, created
        return formats.CONVERSING[self._wire].passage(self._request, model=model)


class _Translated:
    """The endpoint speaks another format."""

    def __init__(self, request: Request, wire: Wire, conversation: Conversation) -> None:
        self._request = request
        self._provider = formats.ANSWERING[wire]
        self._client = formats.CONVERSING[request.wire]
        self._conversation = conversation
        self.read_answer = self._provider.read_answer
        self.read_error = self._provider.read_error
        self.reader = self._provider.reader
        self.text_of = self._provider.text_of

    def ask(self, candidate: Candidate, *, access: Access, output_cap: int | None) -> UpstreamRequest:
        """The conversation in the endpoint's format."""
        return self._provider.translated_request(
            self._conversation, self._request, candidate, access=access, output_cap=output_cap
        )

    def answer(self, body: bytes, receipt: Receipt) -> bytes:
        """What the provider answered, in the client's format."""
        return self._client.rendered_answer(self._provider.completion(body), self._request, receipt)

    def outlet(self, reader: Reader, *, model: str, generation_id: str, created: int) -> Outlet:
        """The client's own events for what the provider says."""
        rendering = self._client.rendering(self._request, model=model, generation_id=generation_id, created=created)
        return _Rendered(reader, rendering)


class _Rendered:
    """A stream in one format, made from one in another."""

    def __init__(self, reader: Reader, rendering: Rendering) -> None:
        self._reader = reader
        self._rendering = rendering
        self.end = rendering.end
        self.fail = rendering.fail

    def take(self, event: bytes, data: bytes) -> bytes:
        """The client's events for one of the provider's."""
        del event
        return b"".join(self._rendering.render(delta) for delta in self._reader.deltas(data))

    def pass_on(self, events: bytes) -> bytes:
        """The client's events for several of the provider's."""
        return b"".join(self.take(b"", data) for data in streams.data_in(events))
