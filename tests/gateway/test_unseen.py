"""What only the provider can count: the caller who hangs up before it is told must not have it for nothing."""

import json
from decimal import Decimal
from typing import Any

import pytest
from tests.gateway.builders import a_candidate, a_request, an_endpoint

from tollgate.gateway import bounds, estimates, unseen
from tollgate.gateway.model import PromptTokens, Request
from tollgate.gateway.protocols import anthropic_messages, openai_responses
from tollgate.kit.tokens import Kind
from tollgate.pricing.model import PriceItem, Unit

FILE = {"type": "file", "file": {"file_id": "file-1"}}
PDF = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
SEARCH_PRICE = Decimal("0.01")
LINK = {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}}


def said(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def chat(**fields: Any) -> Request:
    return unseen.noted(a_request(**fields))


def messages(**fields: Any) -> Request:
    body = {"model": "acme/model", "max_tokens": 9, "messages": said("hi"), **fields}
    return unseen.noted(anthropic_messages.decode(json.dumps(body).encode(), {}))


def responses(**fields: Any) -> Request:
    body = {"model": "acme/model", "input": "hi", **fields}
    return unseen.noted(openai_responses.decode(json.dumps(body).encode(), {}))


@pytest.mark.parametrize("request_", [
    chat(reasoning_effort="high"), chat(reasoning={"effort": "low"}), chat(modalities=["text", "audio"]),
    chat(messages=said([PDF])), chat(messages=said([FILE])), responses(include=["reasoning.encrypted_content"]),
    responses(tools=[{"type": "web_search"}]), responses(reasoning={"effort": "low"}), messages(tools=[SEARCH]),
    messages(thinking={"type": "enabled", "budget_tokens": 1024}),
])  # fmt: skip
def test_a_provider_is_read_to_its_usage_where_our_count_cannot_stand_in_for_it(request_: Request) -> None:
    assert unseen.is_counted_by_provider_alone(request_, an_endpoint())


@pytest.mark.parametrize("request_", [
    chat(), chat(reasoning_effort="none"), chat(modalities=["text"]), chat(reasoning=None), chat(tools=[]),
    chat(tools=[{"type": "function", "function": {"name": "f"}}]), responses(), responses(include=[]), messages(),
    messages(thinking={"type": "disabled"}), messages(tools=[{"name": "f", "input_schema": {"type": "object"}}]),
    messages(messages=said([LINK])),
])  # fmt: skip
def test_a_provider_is_stopped_where_it_can(request_: Request) -> None:
    assert not unseen.is_counted_by_provider_alone(request_, an_endpoint())


def test_a_model_that_is_known_to_think_is_read_to_its_usage() -> None:
    assert unseen.is_counted_by_provider_alone(chat(), an_endpoint(supported_parameters=("reasoning",)))


@pytest.mark.parametrize(("request_", "searches"), [
    (messages(tools=[SEARCH]), 3), (messages(tools=[SEARCH | {"max_uses": None}]), unseen.SEARCHES_UNLESS_TOLD),
    (responses(tools=[{"type": "web_search"}]), unseen.SEARCHES_UNLESS_TOLD), (messages(), 0), (chat(), 0),
])  # fmt: skip
def test_searches_are_bounded(request_: Request, searches: int) -> None:
    assert request_.searches == searches


def test_searches_are_held_for() -> None:
    search = PriceItem(kind=Kind.WEB_SEARCH, unit_price=SEARCH_PRICE, unit=Unit.PER_COUNT)
    dear, request = a_candidate("1", "2", search), messages(tools=[SEARCH])
    prompt = PromptTokens(10, 10)
    more = bounds.of(request, [dear], prompt).least - bounds.of(messages(), [dear], prompt).least
    assert more == 3 * SEARCH_PRICE


@pytest.mark.parametrize("request_", [
    chat(messages=said([FILE])), messages(messages=said([LINK])), messages(tools=[SEARCH]),
    messages(mcp_servers=[{"type": "url", "url": "https://x.test", "name": "x"}]),
])  # fmt: skip
def test_what_a_provider_fetches_itself_is_held_for_as_the_whole_context(request_: Request) -> None:
    prompt = estimates.prompt_tokens(request_.prompt, counted=10)
    assert bounds.longest_prompt(request_, a_candidate(context_length=200_000), prompt) == 200_000
    assert bounds.longest_prompt(request_, a_candidate(), prompt) > 1_000_000
