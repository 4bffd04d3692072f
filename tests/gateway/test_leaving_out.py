"""What the operator lets an endpoint leave out is left out, passed or translated; and what makes the call never is."""

import json
from typing import Any

import pytest
from tests.gateway.builders import a_candidate, a_provider, a_request, an_endpoint
from tests.gateway.fake_provider import body_of, chunk, spoken, stream
from tests.gateway.installation import Installation

from tollgate.catalog.model import Format
from tollgate.gateway.crossing import Crossing
from tollgate.gateway.model import Access, Candidate, Request
from tollgate.gateway.protocols import anthropic_messages, openai_chat

HERE = Access("https://x.test", None)


def sent(request: Request, candidate: Candidate) -> Any:
    return json.loads(Crossing(request).to(candidate).ask(candidate, access=HERE, output_cap=None).body)


def from_messages(**fields: Any) -> Request:
    said = [{"role": "user", "content": "hi"}]
    return anthropic_messages.decode(json.dumps({"model": "m/m", "max_tokens": 9, "messages": said, **fields}).encode())


def test_a_passed_call_goes_without_it() -> None:
    asked = a_request(seed=7, max_tokens=5, frobnicate=True)
    lenient = a_candidate(ignorable_parameters=("seed", "frobnicate", "messages", "max_tokens"))
    assert sent(asked, lenient).keys() == {"model", "messages", "max_tokens"}
    assert sent(asked, a_candidate())["seed"] == 7


def test_a_translated_call_goes_without_it_though_it_could_be_said() -> None:
    asked = from_messages(top_k=5, temperature=0.5)
    lenient = a_candidate(speaks=Format.OPENAI_COMPATIBLE, ignorable_parameters=("temperature", "max_tokens"))
    assert sent(asked, lenient) == {"model": "upstream-name", "top_k": 5, "max_tokens": 9, "messages": [
        {"role": "user", "content": "hi"},
    ]}  # fmt: skip


@pytest.mark.parametrize(("speaks", "unsayable"), [
    (Format.OPENAI, ("top_k",)), (Format.AZURE_OPENAI, ("top_k",)), (Format.OPENAI_COMPATIBLE, ()),
])  # fmt: skip
def test_openai_is_not_told_what_only_servers_like_it_know(speaks: Format, unsayable: tuple[str, ...]) -> None:
    way = Crossing(from_messages(top_k=5)).way_to(an_endpoint(), a_provider(format=speaks))
    assert way.unsayable == unsayable


def test_a_stream_has_our_name_for_the_model_wherever_its_usage_stands() -> None:
    passage = openai_chat.passage(a_request(stream=True), model="acme/model")
    first = json.dumps({"model": "theirs", "choices": [{"delta": {"content": "a"}}]}).encode()
    last = json.dumps({"model": "theirs", "choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1}})
    shown = [passage.take(b"data: " + data + b"\n\n", data) for data in (first, last.encode())]
    assert [json.loads(event[6:])["model"] for event in shown] == ["acme/model", "acme/model"]


async def test_an_error_in_place_of_a_stream_is_told_in_its_own_words(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await gateway.model(body_of(b'{"error": {"message": "Out of capacity"}}'))
    answer = await customer.ask(model, stream=True)
    assert answer.status_code == 502
    assert answer.json()["error"]["metadata"]["provider_message"] == "Out of capacity"
    other = await gateway.model(body_of(b"<html>"))
    assert "format" in (await customer.ask(other, stream=True)).json()["error"]["message"]


async def test_an_attempt_whose_stream_broke_off_says_so(gateway: Installation) -> None:
    customer = await gateway.customer()
    await customer.ask(await gateway.model(stream([*spoken(), chunk(error={"message": "no"})])), stream=True)
    [attempt] = await customer.attempts()
    assert (attempt["status"], attempt["error"]) == ("served", "provider_error")
