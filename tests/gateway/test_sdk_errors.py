"""Errors as the SDKs raise them: each in its client's own class, with what a person needs to act on."""

from typing import Any

import anthropic
import openai
import pytest
from tests.gateway.fake_provider import body_of
from tests.gateway.installation import provider_of
from tests.gateway.matrix import PROVIDERS
from tests.gateway.sdks import HELLO, PROMPT, USER, Sdks

from tollgate.gateway.model import Wire


async def test_errors_are_the_clients_own_classes(sdks: Sdks) -> None:
    gateway = sdks.gateway
    model = await sdks.model(Wire.CHAT, HELLO)
    poor = await gateway.customer(None)
    hasty = await gateway.customer(limits={"rpm": 1})
    await hasty.ask(model)
    stranger = (gateway.sdk("sk-tg-nobody"), gateway.anthropic_sdk("sk-tg-nobody"))
    cases: list[tuple[Any, str, type[Exception], type[Exception], str, str]] = [
        (stranger, model, openai.AuthenticationError, anthropic.AuthenticationError, "authentication", ""),
        ((poor.client, poor.anthropic), model, openai.APIStatusError, anthropic.APIStatusError,
         "insufficient_credit", "billing_error"),
        ((sdks.openai, sdks.anthropic), "no/model", openai.NotFoundError, anthropic.NotFoundError, "model_not_found",
         "not_found_error"),
        ((hasty.client, hasty.anthropic), model, openai.RateLimitError, anthropic.RateLimitError, "rate_limit", ""),
    ]  # fmt: skip
    for (openais, anthropics), name, openai_class, anthropic_class, ours, theirs in cases:
        with pytest.raises(openai_class) as raised:
            await openais.chat.completions.create(model=name, messages=USER)
        assert (raised.value.type, raised.value.body["message"] != "") == (ours, True)  # type: ignore[attr-defined]  # an APIStatusError
        with pytest.raises(openai_class):
            await openais.responses.create(model=name, input=PROMPT)
        with pytest.raises(anthropic_class) as told:
            await anthropics.messages.create(model=name, messages=USER, max_tokens=10)
        error: Any = told.value
        assert error.type == (theirs or f"{ours}_error")
        assert error.api_message


async def test_bad_requests_name_the_field_in_either_shape(sdks: Sdks) -> None:
    model = await sdks.model(Wire.MESSAGES, HELLO)
    with pytest.raises(openai.BadRequestError) as raised:
        await sdks.openai.chat.completions.create(model=model, messages=USER, logit_bias={"5": 1})
    body: Any = raised.value.body
    assert (body["type"], body["metadata"]["field"]) == ("invalid_request", "logit_bias")
    with pytest.raises(anthropic.BadRequestError) as told:
        await sdks.anthropic.messages.create(model=model, messages=[], max_tokens=10)
    assert told.value.type == "invalid_request_error"
    assert "message" in str(told.value.api_message)
    assert not sdks.heard(Wire.MESSAGES)


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_refusals_of_a_provider_reach_both_clients(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, HELLO)
    words = b'{"type": "error", "error": {"type": "x", "message": "the prompt is odd", "code": 400}}'
    sdks.gateway.provider.behaviours[provider_of(model)] = body_of(words, 400)
    with pytest.raises(openai.BadRequestError) as raised:
        await sdks.openai.chat.completions.create(model=model, messages=USER)
    assert "the prompt is odd" in raised.value.response.text
    with pytest.raises(anthropic.BadRequestError) as told:
        await sdks.anthropic.messages.create(model=model, messages=USER, max_tokens=10)
    assert told.value.request_id == told.value.response.headers["x-generation-id"]
