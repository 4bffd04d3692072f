"""Conversations and completions for the laws of translation: anything the neutral form can say, or a part of it.

Everything drawn is canonical, so that what comes back from a translation can be compared by `==`: thoughts come before
words, words before tool calls; a tool's results follow its calls at once, in their order, under its name.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum, auto
from functools import cache
from typing import Any

from hypothesis import strategies as st
from tests.gateway.builders import a_request
from tests.gateway.deltas import collected, deltas_of

from tollgate.gateway.model import Request, Wire
from tollgate.gateway.neutral import (
    Audio,
    Cache,
    Choice,
    Completion,
    Conversation,
    Feature,
    File,
    Image,
    Inline,
    Link,
    Message,
    Reasoning,
    Refusal,
    ResponseFormat,
    Role,
    Stop,
    Text,
    Thinking,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Uploaded,
)  # fmt: skip

__all__ = [
    "ALL", "Nuance", "answers", "asking", "collected", "completions", "conversations", "deltas_of", "merged", "told",
]  # fmt: skip


class Nuance(StrEnum):
    """What some formats can say and others cannot, without being a feature a client would miss."""

    CACHE = auto()
    """Marks up to which the prompt is to be remembered."""
    REFUSALS = auto()
    FAILURES = auto()
    """Tool results that are marked as failed."""
    RESULT_IMAGES = auto()
    """Images among the results of tools."""
    CALL_SIGNATURES = auto()
    UNSIGNED = auto()
    """Thoughts without a signature."""
    REDACTED = auto()
    """Thoughts that are nothing but a signature."""
    NO_LIMIT = auto()
    """Requests that leave the output limit to the provider."""
    STRICT = auto()
    """Functions and forms of answers that say whether they are strict."""
    FORMAT_NAMES = auto()
    """Forms of answers with a name and a description."""
    ANY_OBJECT = auto()
    """Forms of answers that are any JSON object."""
    BUDGETS = auto()
    """Thinking by a number of tokens; else by an effort."""
    SHOWN = auto()
    """Thinking that says whether thoughts are wanted in the answer."""


ALL = frozenset(Nuance)

WORDS = st.sampled_from(
    ["a", "é", " ", "\n", "two words", "\U0001f30d!", '"quoted"\\', "<|endoftext|>", "data: [DONE]", "{}"]
) | st.text("ab .,é\U0001f30d\n\"\\<|>{}[]:'\u2028\t0", min_size=1, max_size=12)
NAMES = st.text("abcxyz_09", min_size=1, max_size=8)
_NAMES_OF_TOOLS = st.lists(st.sampled_from(["f", "get_weather", "x9"]), max_size=2, unique=True)
PAYLOADS = st.sampled_from(["QUJD", "AAAA", "/+8="])
SCHEMAS: st.SearchStrategy[dict[str, Any]] = st.sampled_from([
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
])  # fmt: skip
ARGUMENTS = st.dictionaries(
    NAMES, st.none() | st.booleans() | st.integers(-9, 10**20) | WORDS | st.lists(st.integers(), max_size=2), max_size=3
).map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")))
EFFORTS = st.sampled_from(["none", "minimal", "low", "medium", "high"])
_TTLS = st.sampled_from([None, "5m", "1h"])


def _maybe(wanted: bool, strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:  # noqa: FBT001 - reads as "maybe, if"
    return st.none() | strategy if wanted else st.none()


@cache
def caches(nuances: frozenset[Nuance]) -> st.SearchStrategy[Cache | None]:
    """A cache mark, or none."""
    return _maybe(Nuance.CACHE in nuances, st.builds(Cache, _TTLS))


@cache
def texts(nuances: frozenset[Nuance]) -> st.SearchStrategy[Text]:
    """Words of a prompt."""
    return st.builds(Text, WORDS, caches(nuances))


@cache
def _sources(
    features: frozenset[Feature], media_types: tuple[str, ...], links: Feature
) -> st.SearchStrategy[Inline | Link | Uploaded]:
    sources: list[st.SearchStrategy[Any]] = [st.builds(Inline, st.sampled_from(media_types), PAYLOADS)]
    if links in features:
        sources.append(st.builds(Link, st.sampled_from(["https://x.test/a", "https://x.test/b?c=d"])))
    if Feature.FILE_IDS in features:
        sources.append(st.builds(Uploaded, st.sampled_from(["file-1", "file_2"])))
    return st.one_of(sources)


@cache
def images(features: frozenset[Feature], nuances: frozenset[Nuance]) -> st.SearchStrategy[Image]:
    """Pictures."""
    sources = _sources(features, ("image/png", "image/jpeg"), Feature.IMAGE_URLS)
    return st.builds(Image, sources, cache=caches(nuances))


@cache
def user_parts(features: frozenset[Feature], nuances: frozenset[Nuance]) -> st.SearchStrategy[Any]:
    """What a user can say."""
    parts: list[st.SearchStrategy[Any]] = [texts(nuances)]
    if Feature.IMAGES in features:
        parts.append(images(features, nuances))
    if Feature.AUDIO in features:
        parts.append(st.builds(Audio, st.builds(Inline, st.sampled_from(["audio/wav", "audio/mpeg"]), PAYLOADS)))
    if Feature.FILES in features:
        sources = _sources(features, ("application/pdf",), Feature.FILE_URLS)
        parts.append(st.builds(File, sources, st.just("a.pdf"), caches(nuances)).map(_named_if_inline))
    return st.one_of(parts)


def _named_if_inline(file: File) -> File:
    """Few formats name a file that they only point at."""
    return file if isinstance(file.source, Inline) else replace(file, name=None)


@cache
@st.composite
def thoughts(draw: st.DrawFn, nuances: frozenset[Nuance], origin: Wire | None) -> tuple[Reasoning, ...]:
    """What a model thought: signed thoughts first, and at most one unsigned after them."""
    parts: list[Reasoning] = []
    if origin is not None:
        signed: list[st.SearchStrategy[Reasoning]] = [st.builds(Reasoning, WORDS, NAMES, st.just(origin.value))]
        if Nuance.REDACTED in nuances:
            redacted = st.just(True)  # noqa: FBT003 - what a strategy draws has no name
            signed.append(st.builds(Reasoning, st.just(""), NAMES, st.just(origin.value), redacted))
        parts += draw(st.lists(st.one_of(signed), max_size=2))
    if Nuance.UNSIGNED in nuances and draw(st.booleans()):
        parts.append(Reasoning(draw(WORDS)))
    return tuple(parts)


@cache
@st.composite
def tool_calls(draw: st.DrawFn, nuances: frozenset[Nuance], names: tuple[str, ...], first: int) -> tuple[ToolCall, ...]:
    """Calls of some of the tools; their ids count from `first` on."""
    chosen = draw(st.lists(st.sampled_from(names), max_size=2))
    signatures = _maybe(Nuance.CALL_SIGNATURES in nuances, NAMES)
    return tuple(
        ToolCall(f"call_{first + number}", name, draw(ARGUMENTS), draw(signatures))
        for number, name in enumerate(chosen)
    )


@st.composite
def results(
    draw: st.DrawFn, calls: Sequence[ToolCall], features: frozenset[Feature], nuances: frozenset[Nuance]
) -> Message:
    """What the called tools returned."""
    pictured = Nuance.RESULT_IMAGES in nuances and Feature.IMAGES in features
    parts = st.builds(Text, WORDS) | images(features, frozenset()) if pictured else st.builds(Text, WORDS)
    failed = st.booleans() if Nuance.FAILURES in nuances else st.just(False)  # noqa: FBT003 - what a strategy draws has no name
    return Message(Role.TOOL, tuple(
        ToolResult(call.id, tuple(draw(st.lists(parts, min_size=1, max_size=2))), call.name, draw(failed),
                   draw(caches(nuances)))
        for call in calls
    ))  # fmt: skip


@st.composite
def exchanges(
    draw: st.DrawFn, features: frozenset[Feature], nuances: frozenset[Nuance], *, names: tuple[str, ...],
    origin: Wire | None,
) -> tuple[Message, ...]:  # fmt: skip
    """Messages that take turns and end with the user's or a tool's."""
    messages = []
    if draw(st.booleans()):
        messages.append(Message(Role.SYSTEM, tuple(draw(st.lists(texts(nuances), min_size=1, max_size=2)))))
    users = st.lists(user_parts(features, nuances), min_size=1, max_size=3).map(tuple)
    messages.append(Message(Role.USER, draw(users)))
    called = 0
    for _ in range(draw(st.integers(0, 2))):
        calls = draw(tool_calls(nuances, names, called)) if names else ()
        called += len(calls)
        said: list[Text | Refusal] = draw(st.lists(st.builds(Text, WORDS), min_size=not calls, max_size=1))
        if Nuance.REFUSALS in nuances and draw(st.booleans()):
            said = [Refusal(draw(WORDS))]
        messages.append(Message(Role.ASSISTANT, (*draw(thoughts(nuances, origin)), *said, *calls)))
        messages.append(draw(results(calls, features, nuances)) if calls else Message(Role.USER, draw(users)))
    return tuple(messages)


@st.composite
def conversations(
    draw: st.DrawFn, features: frozenset[Feature] = frozenset(Feature), nuances: frozenset[Nuance] = ALL, *,
    origin: Wire | None = None,
) -> Conversation:  # fmt: skip
    """A conversation that uses no other features and nuances; signed thoughts in it come from `origin`."""
    names = tuple(draw(_NAMES_OF_TOOLS)) if Feature.TOOLS in features else ()
    settings = draw(st.fixed_dictionaries({}, optional=_settings(features, nuances)))
    if names:
        settings["tools"] = tuple(draw(_tools(name, nuances)) for name in names)
        if Feature.TOOL_CHOICE in features:
            settings["tool_choice"] = draw(st.none() | _tool_choices(names))
        if Feature.PARALLEL_TOOL_CALLS in features:
            settings["parallel_tool_calls"] = draw(st.sampled_from([None, False]))
    if Feature.TOP_LOGPROBS in features and settings.get("logprobs"):
        settings["top_logprobs"] = draw(st.sampled_from([None, 1, 5]))
    if Nuance.NO_LIMIT not in nuances:
        settings.setdefault("max_tokens", 100)
    return Conversation(draw(exchanges(features, nuances, names=names, origin=origin)), **settings)


@cache
def _tools(name: str, nuances: frozenset[Nuance]) -> st.SearchStrategy[Tool]:
    strict = _maybe(Nuance.STRICT in nuances, st.booleans())
    return st.builds(Tool, st.just(name), st.none() | WORDS, SCHEMAS, strict, caches(nuances))


def _tool_choices(names: Sequence[str]) -> st.SearchStrategy[ToolChoice]:
    named = st.sampled_from(names).map(lambda name: ToolChoice("named", name))
    return st.sampled_from([ToolChoice("none"), ToolChoice("required")]) | named


@cache
def _formats(nuances: frozenset[Nuance]) -> st.SearchStrategy[ResponseFormat]:
    strict = _maybe(Nuance.STRICT in nuances, st.booleans())
    named = Nuance.FORMAT_NAMES in nuances
    schema = st.builds(ResponseFormat, SCHEMAS, NAMES if named else st.none(), _maybe(named, WORDS), strict)
    return schema | st.just(ResponseFormat()) if Nuance.ANY_OBJECT in nuances else schema


@cache
def _thinking(nuances: frozenset[Nuance]) -> st.SearchStrategy[Thinking]:
    shown = _maybe(Nuance.SHOWN in nuances, st.booleans())
    efforts = st.builds(Thinking, EFFORTS, shown=shown)
    if Nuance.BUDGETS not in nuances:
        return efforts
    return efforts | st.builds(Thinking, budget_tokens=st.sampled_from([1024, 2000]), shown=shown)


@cache
def _settings(features: frozenset[Feature], nuances: frozenset[Nuance]) -> dict[str, st.SearchStrategy[Any]]:
    """Values that ask for something: what is the documented default of a format may not come back."""
    settings: dict[Feature, st.SearchStrategy[Any]] = {
        Feature.MAX_TOKENS: st.integers(1, 5000),
        Feature.TEMPERATURE: st.sampled_from([0.0, 0.25, 0.5]),
        Feature.TOP_P: st.sampled_from([0.1, 0.9]),
        Feature.TOP_K: st.integers(1, 50),
        Feature.STOP: st.lists(WORDS, min_size=1, max_size=4, unique=True).map(tuple),
        Feature.SEED: st.integers(1, 10**9),
        Feature.PRESENCE_PENALTY: st.sampled_from([-1.5, 0.5]),
        Feature.FREQUENCY_PENALTY: st.sampled_from([-1.5, 0.5]),
        Feature.LOGIT_BIAS: st.dictionaries(
            st.sampled_from(["1", "50256"]), st.sampled_from([-100.0, 5.0]), min_size=1
        ),
        Feature.LOGPROBS: st.just(True),  # noqa: FBT003 - what a strategy draws has no name
        Feature.RESPONSE_FORMAT: _formats(nuances),
        Feature.REASONING: _thinking(nuances),
        Feature.VERBOSITY: st.sampled_from(["low", "high"]),
        Feature.SERVICE_TIER: st.sampled_from(["flex", "priority"]),
    }
    given = {feature.value: strategy for feature, strategy in settings.items() if feature in features}
    return {**given, "choices": st.integers(1, 3)} if Feature.CHOICES in features else given


def asking(conversation: Conversation, **fields: Any) -> Request:
    """The request a conversation belongs to, as far as metering reads it."""
    given = {"max_tokens": conversation.max_tokens, "n": conversation.choices, **fields}
    return a_request(**{name: value for name, value in given.items() if value is not None})


def merged(conversation: Conversation) -> Conversation:
    """The same conversation with neighbouring messages of one role made one."""
    messages: list[Message] = []
    for message in conversation.messages:
        if messages and messages[-1].role is message.role:
            messages[-1] = Message(message.role, messages[-1].parts + message.parts)
        else:
            messages.append(message)
    return replace(conversation, messages=tuple(messages))


LOGPROBS = st.builds(
    TokenLogprob,
    WORDS,
    st.sampled_from([-0.5, -9999.0, 0.0]),
    st.none() | st.lists(st.integers(0, 255), max_size=3).map(tuple),
    st.lists(st.builds(TokenLogprob, WORDS, st.just(-2.5), st.none()), max_size=2).map(tuple),
)


@st.composite
def answers(
    draw: st.DrawFn, nuances: frozenset[Nuance] = ALL, *, origin: Wire | None = None, logprobs: bool = False,
    stops: Sequence[Stop] = (Stop.STOP, Stop.LENGTH, Stop.CONTENT_FILTER),
) -> Choice:  # fmt: skip
    """One answer. It ended in tool calls if it has any, and never has both words and a refusal."""
    parts: list[Any] = [*draw(thoughts(nuances, origin)), *draw(st.lists(st.builds(Text, WORDS), max_size=1))]
    if Nuance.REFUSALS in nuances and draw(st.booleans()):
        parts = [part for part in parts if not isinstance(part, Text)] + [Refusal(draw(WORDS))]
    calls = draw(tool_calls(nuances, ("f", "g"), 0))
    stop = Stop.TOOL_CALLS if calls else draw(st.sampled_from(stops))
    spoken = any(isinstance(part, Text) for part in parts)
    likely = draw(st.none() | st.lists(LOGPROBS, min_size=1, max_size=2).map(tuple)) if logprobs and spoken else None
    return Choice((*parts, *calls), stop, stop.value, logprobs=likely)


def completions(
    nuances: frozenset[Nuance] = ALL, *, origin: Wire | None = None, choices_max: int = 1, logprobs: bool = False,
    stops: Sequence[Stop] = (Stop.STOP, Stop.LENGTH, Stop.CONTENT_FILTER),
) -> st.SearchStrategy[Completion]:  # fmt: skip
    """A whole answer, of one or more choices."""
    choice = answers(nuances, origin=origin, logprobs=logprobs, stops=stops)
    return st.lists(choice, min_size=1, max_size=choices_max).map(lambda choices: Completion(tuple(choices)))


def told(completion: Completion) -> Completion:
    """The answer without the provider's own words for its end, which only its own format has."""
    return Completion(tuple(
        replace(choice, native_stop=None, stop_sequence=None) for choice in completion.choices
    ))  # fmt: skip
