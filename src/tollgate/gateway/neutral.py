"""The neutral form: what a conversation and its answer mean, whatever wire format says it.

Only calls that cross from one wire format to another pass through here: a client's request becomes a `Conversation`,
which becomes a provider's request; a provider's answer becomes a `Completion`, or `Delta`s if it streams, which become
the client's answer. N client formats and M provider formats so need N + M translators.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Role(StrEnum):
    """Who says something."""

    SYSTEM = "system"
    """Instructions; OpenAI's `developer` as well."""
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """Results of tool calls."""


class Feature(StrEnum):
    """What a conversation may use beyond plain text, named as the catalogue names parameters."""

    MAX_TOKENS = "max_tokens"
    TEMPERATURE = "temperature"
    TOP_P = "top_p"
    TOP_K = "top_k"
    STOP = "stop"
    SEED = "seed"
    PRESENCE_PENALTY = "presence_penalty"
    FREQUENCY_PENALTY = "frequency_penalty"
    LOGIT_BIAS = "logit_bias"
    LOGPROBS = "logprobs"
    TOP_LOGPROBS = "top_logprobs"
    CHOICES = "n"
    """More than one answer."""
    TOOLS = "tools"
    TOOL_CHOICE = "tool_choice"
    PARALLEL_TOOL_CALLS = "parallel_tool_calls"
    RESPONSE_FORMAT = "response_format"
    REASONING = "reasoning"
    """An effort or a budget."""
    VERBOSITY = "verbosity"
    SERVICE_TIER = "service_tier"
    IMAGES = "images"
    IMAGE_URLS = "image_urls"
    """Images that the provider has to fetch."""
    AUDIO = "audio"
    FILES = "files"
    FILE_URLS = "file_urls"
    FILE_IDS = "file_ids"
    """Images or files uploaded to one provider before, which no other one has."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A mark up to which the provider is asked to remember the prompt."""

    ttl: str | None = None
    """`5m`, `1h`, or the provider's default."""


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Words by which the model declined to answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Inline:
    """Data that came with the conversation."""

    media_type: str
    """As in `image/png`, `audio/wav`, `application/pdf`."""
    base64: str


@dataclass(frozen=True, slots=True)
class Link:
    """Where the data can be fetched."""

    url: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What a provider calls data that it already has."""

    id: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture."""

    source: Inline | Link | Uploaded
    detail: str | None = None
    """`low`, `high` or `auto`."""
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound."""

    source: Inline


@dataclass(frozen=True, slots=True)
class File:
    """A document."""

    source: Inline | Link | Uploaded
    name: str | None = None
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought before it spoke, with what its provider wants back to recognise it."""

    text: str
    """Empty where the thoughts are hidden."""
    signature: str | None = None
    """The provider's proof, or the encrypted thoughts themselves; opaque."""
    origin: str | None = None
    """The wire format whose providers understand the signature: the value of a `Wire`."""
    redacted: bool = False
    """Whether the signature stands for thoughts that are not shown."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model wants called."""

    id: str
    name: str
    arguments: str
    """JSON text of an object, as the model wrote it."""
    signature: str | None = None
    """Gemini's proof of the thoughts behind the call."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a called function returned."""

    call_id: str
    parts: tuple[Text | Image | File, ...]
    name: str | None = None
    """The function's name; where a format leaves it out, it is looked up among the calls before."""
    failed: bool = False
    cache: Cache | None = None

    @property
    def told(self) -> tuple[Text | Image | File, ...]:
        """The parts for formats in which only words can say that the call failed."""
        return (Text("The tool failed."), *self.parts) if self.failed else self.parts


Part = Text | Refusal | Image | Audio | File | Reasoning | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. Tool results stand in messages of their own role."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call."""

    name: str
    description: str | None
    schema: Mapping[str, Any] | None
    """JSON Schema of its arguments; `None` takes none."""
    strict: bool | None = None
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether the model has to call a function."""

    mode: str
    """`auto`, `none`, `required` (some function) or `named` (the one of this name)."""
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """The form an answer has to have: any JSON object, or one of a schema."""

    schema: Mapping[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """How much the model is to think."""

    effort: str | None = None
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`."""
    budget_tokens: int | None = None
    shown: bool | None = None
    """Whether thoughts are wanted in the answer."""

    @property
    def is_off(self) -> bool:
        """Whether the model is not to think at all."""
        return self.effort == "none" or (self.effort is None and self.budget_tokens == 0)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A request for an answer. `None` leaves a setting to the provider."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    """Output tokens of each answer, reasoning included."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    choices: int = 1
    response_format: ResponseFormat | None = None
    reasoning: Thinking | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    """`None` leaves it to the account, `default` is the standard one; any other by its name, as prices know it."""
    others: tuple[str, ...] = field(default=(), compare=False)
    """The client's own names of parameters that have no meaning outside its format."""

    def features(self) -> Iterator[Feature]:
        """What the conversation uses that not every format can say."""
        given = {one.name for one in fields(self) if getattr(self, one.name) not in (None, ())}
        yield from (feature for feature in _SETTINGS if feature.value in given)
        if self.choices > 1:
            yield Feature.CHOICES
        parts = [part for message in self.messages for part in message.parts]
        parts += [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
        yield from dict.fromkeys(feature for part in parts for feature in _part_features(part))


_SETTINGS = tuple(
    feature for feature in Feature
    if feature not in {Feature.CHOICES, Feature.IMAGES, Feature.IMAGE_URLS, Feature.AUDIO, Feature.FILES,
                       Feature.FILE_URLS, Feature.FILE_IDS}
)  # fmt: skip
"""The features that are settings of the same name."""


def _part_features(part: Part) -> Iterator[Feature]:
    match part:
        case Image(source=source):
            yield Feature.IMAGES
            links = Feature.IMAGE_URLS
        case File(source=source):
            yield Feature.FILES
            links = Feature.FILE_URLS
        case Audio():
            yield Feature.AUDIO
            return
        case _:
            return
    if isinstance(source, Link):
        yield links
    elif isinstance(source, Uploaded):
        yield Feature.FILE_IDS


class Stop(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model was done, or met a stop sequence."""
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    """The provider or the model declined."""
    PAUSE = "pause"
    """A long turn was interrupted and can be continued (Anthropic's `pause_turn`)."""
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was, and what else was likely in its place."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer of a completion: text, refusals, reasoning and tool calls in the order they came."""

    parts: tuple[Text | Refusal | Reasoning | ToolCall, ...]
    stop: Stop | None
    native_stop: str | None
    """The provider's own word for it."""
    stop_sequence: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More words of an answer."""

    text: str
    choice: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    """More words of a refusal."""

    text: str
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More thoughts; a signature, if any, closes the thought it comes with."""

    text: str
    signature: str | None = None
    origin: str | None = None
    redacted: bool = False
    choice: int = 0


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A tool call that begins, if it has an id, or more of its arguments."""

    slot: int
    """Which of the answer's tool calls this is, from 0 on."""
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class StopDelta:
    """The answer's end."""

    stop: Stop
    native_stop: str | None
    stop_sequence: str | None = None
    choice: int = 0


Delta = TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta | StopDelta
