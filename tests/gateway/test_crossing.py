"""What a client asks of a provider in another format: said in its words, refused by name, or left out by permission."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from tests.gateway import asking
from tests.gateway.answers import Saying, saying
from tests.gateway.fake_provider import refusal
from tests.gateway.installation import Customer, Installation, provider_of
from tests.gateway.matrix import CLIENTS, FORMATS, PATHS, PRICES, PROVIDERS, Matrix, protocols_of

from tollgate.catalog.model import Format
from tollgate.gateway.model import Wire

CHAT, RESPONSES, MESSAGES, GEMINI = Wire.CHAT, Wire.RESPONSES, Wire.MESSAGES, Wire.GENERATE_CONTENT
HELLO = Saying("Hello!")
REFUSED = None
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
TOOLS: Mapping[Wire, Any] = {client: asking.body(client, asking.TOOLS)["tools"] for client in CLIENTS}
Said = tuple[str, Any] | None
"""Where a provider's request says it, and what; or that it cannot say it."""

CROSSINGS: list[tuple[Wire, dict[str, Any], Mapping[Wire, Said]]] = [
    (CHAT, {"temperature": 0.5}, {RESPONSES: ("temperature", 0.5), MESSAGES: ("temperature", 0.5),
                                  GEMINI: ("generationConfig.temperature", 0.5)}),
    (CHAT, {"top_p": 0.5}, {RESPONSES: ("top_p", 0.5), MESSAGES: ("top_p", 0.5),
                            GEMINI: ("generationConfig.topP", 0.5)}),
    (CHAT, {"stop": ["x"]}, {RESPONSES: REFUSED, MESSAGES: ("stop_sequences", ["x"]),
                             GEMINI: ("generationConfig.stopSequences", ["x"])}),
    (CHAT, {"seed": 7}, {RESPONSES: REFUSED, MESSAGES: REFUSED, GEMINI: ("generationConfig.seed", 7)}),
    (CHAT, {"logit_bias": {"5": 1}}, {RESPONSES: REFUSED, MESSAGES: REFUSED, GEMINI: REFUSED}),
    (CHAT, {"n": 2}, {RESPONSES: REFUSED, MESSAGES: REFUSED, GEMINI: ("generationConfig.candidateCount", 2)}),
    (CHAT, {"logprobs": True}, {MESSAGES: REFUSED, GEMINI: ("generationConfig.responseLogprobs", True)}),
    (CHAT, {"parallel_tool_calls": False, "tools": TOOLS[CHAT]},
     {RESPONSES: ("parallel_tool_calls", False), MESSAGES: ("tool_choice.disable_parallel_tool_use", True),
      GEMINI: REFUSED}),
    (CHAT, {"tool_choice": "required", "tools": TOOLS[CHAT]},
     {RESPONSES: ("tool_choice", "required"), MESSAGES: ("tool_choice.type", "any"),
      GEMINI: ("toolConfig.functionCallingConfig.mode", "ANY")}),
    (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "A", "schema": SCHEMA}}},
     {RESPONSES: ("text.format.schema", SCHEMA), MESSAGES: ("output_config.format.schema", SCHEMA),
      GEMINI: ("generationConfig.responseJsonSchema", SCHEMA)}),
    (CHAT, {"prediction": {"type": "content", "content": "x"}},
     {RESPONSES: REFUSED, MESSAGES: REFUSED, GEMINI: REFUSED}),
    (CHAT, {"store": True}, {RESPONSES: REFUSED, MESSAGES: REFUSED, GEMINI: REFUSED}),
    (MESSAGES, {"top_k": 5}, {CHAT: ("top_k", 5), RESPONSES: REFUSED, GEMINI: ("generationConfig.topK", 5)}),
    (MESSAGES, {"stop_sequences": ["x"]}, {CHAT: ("stop", ["x"]), RESPONSES: REFUSED,
                                           GEMINI: ("generationConfig.stopSequences", ["x"])}),
    (MESSAGES, {"tool_choice": {"type": "tool", "name": "get_weather"}, "tools": TOOLS[MESSAGES]},
     {CHAT: ("tool_choice.function.name", "get_weather"), RESPONSES: ("tool_choice.name", "get_weather"),
      GEMINI: ("toolConfig.functionCallingConfig.allowedFunctionNames", ["get_weather"])}),
    (MESSAGES, {"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}]},
     {CHAT: REFUSED, RESPONSES: REFUSED, GEMINI: REFUSED}),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "A", "schema": SCHEMA}}},
     {CHAT: ("response_format.json_schema.schema", SCHEMA), MESSAGES: ("output_config.format.schema", SCHEMA),
      GEMINI: ("generationConfig.responseJsonSchema", SCHEMA)}),
    (RESPONSES, {"truncation": "auto"}, {CHAT: REFUSED, MESSAGES: REFUSED, GEMINI: REFUSED}),
    (RESPONSES, {"tool_choice": "required", "tools": TOOLS[RESPONSES]},
     {CHAT: ("tool_choice", "required"), MESSAGES: ("tool_choice.type", "any"),
      GEMINI: ("toolConfig.functionCallingConfig.mode", "ANY")}),
]  # fmt: skip
CELLS = [
    (client, given, provider, said) for client, given, all_said in CROSSINGS for provider, said in all_said.items()
]


@pytest.mark.parametrize(
    ("client", "given", "provider", "said"), CELLS, ids=[f"{one[0]}-{next(iter(one[1]))}-{one[2]}" for one in CELLS]
)
async def test_a_setting_is_said_or_refused_by_name(
    matrix: Matrix, client: Wire, given: dict[str, Any], provider: Wire, said: Said
) -> None:
    body = asking.body(client, asking.PLAIN) | given
    answer = await matrix.post(client, provider, saying(provider, HELLO), body)
    if said is None:
        assert answer.status_code == 400, answer.text
        assert next(iter(given)) in answer.json()["error"]["message"]
        return
    assert answer.status_code == 200, answer.text
    path, value = said
    at = matrix.served.json
    for name in path.split("."):
        at = at[name]
    assert at == value


@pytest.mark.parametrize("provider", [RESPONSES, MESSAGES, GEMINI])
async def test_who_did_not_ask_sees_no_usage_whoever_answers(matrix: Matrix, provider: Wire) -> None:
    body = {**asking.body(CHAT, asking.PLAIN), "stream": True}
    answer = await matrix.post(CHAT, provider, saying(provider, HELLO), body)
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "usage" not in answer.text
    assert (await matrix.record())["status"] == "settled"


async def _ask(gateway: Installation, customer: Customer, client: Wire, body: Mapping[str, Any]) -> httpx.Response:
    address = gateway.base_url.removesuffix("/v1") + PATHS[client]
    return await gateway.http.post(address, json=body, headers={"x-api-key": customer.key})


async def _model(gateway: Installation, *providers: Wire, **endpoint: Any) -> str:
    """A model with an endpoint in each of these formats, the first one the cheapest."""
    model = await gateway.model(prices=PRICES)
    for place, wire in enumerate(providers):
        await gateway.endpoint(
            model, provider_of(model, place), saying(wire, HELLO), prices={**PRICES, "completion": str(15 + place)},
            format=FORMATS[wire], protocols=protocols_of(wire), credential="env:ACME_API_KEY", **endpoint,
        )  # fmt: skip
    return model


async def test_what_an_endpoint_may_ignore_is_left_out(gateway: Installation) -> None:
    customer = await gateway.customer()
    model = await _model(gateway, MESSAGES, ignorable_parameters=["seed", "prediction"])
    asked = asking.body(CHAT, asking.PLAIN) | {"model": model, "seed": 7, "prediction": {"type": "content"}}
    answer = await _ask(gateway, customer, CHAT, asked)
    assert answer.status_code == 200, answer.text
    [served] = gateway.provider.served_by(provider_of(model))
    assert served.json.keys() & {"seed", "prediction"} == set()


async def test_a_call_goes_where_its_settings_can_be_said(gateway: Installation) -> None:
    customer, model = await gateway.customer(), await _model(gateway, MESSAGES, CHAT)
    for extra, place in (({}, 0), ({"seed": 7}, 1)):
        answer = await _ask(gateway, customer, CHAT, asking.body(CHAT, asking.PLAIN) | {"model": model, **extra})
        assert answer.headers["x-tollgate-provider"] == provider_of(model, place)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_call_falls_back_on_providers_of_other_formats(
    gateway: Installation, client: Wire, *, streams: bool
) -> None:
    customer, model = await gateway.customer(), await _model(gateway, *PROVIDERS)
    for place in range(len(PROVIDERS) - 1):
        gateway.provider.behaviours[provider_of(model, place)] = refusal(503)
    body = asking.body(client, asking.PLAIN, stream=streams) | {"model": model}
    answer = await _ask(gateway, customer, client, body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tollgate-provider"] == provider_of(model, len(PROVIDERS) - 1)
    call = await customer.call()
    assert (call["status"], json.loads(call["quantities"])) == ("settled", {"prompt": 100, "completion": 20})
    assert [row["status"] for row in await customer.attempts()] == ["failed"] * (len(PROVIDERS) - 1) + ["served"]
    asked = [asking.read(wire, gateway.provider.served_by(provider_of(model, place))[0].json)
             for place, wire in enumerate(PROVIDERS)]  # fmt: skip
    assert len({(one.system, one.said) for one in asked}) == 1


async def test_azure_and_openai_are_asked_where_they_answer(gateway: Installation) -> None:
    customer = await gateway.customer()
    for format_, wire, client in (
        (Format.OPENAI, CHAT, CHAT), (Format.OPENAI, RESPONSES, RESPONSES), (Format.AZURE_OPENAI, CHAT, CHAT),
    ):  # fmt: skip
        model = await gateway.model(
            saying(wire, HELLO), prices=PRICES, format=format_, credential="env:ACME_API_KEY", protocols=["openai"]
        )
        answer = await _ask(gateway, customer, client, asking.body(client, asking.PLAIN) | {"model": model})
        assert answer.status_code == 200, answer.text
        [served] = gateway.provider.served_by(provider_of(model))
        operation = {CHAT: "/chat/completions", RESPONSES: "/responses"}[wire]
        prefix = "/openai/v1" if format_ is Format.AZURE_OPENAI else ""
        assert served.path == f"/{provider_of(model)}{prefix}{operation}"
        shown = "api-key" if format_ is Format.AZURE_OPENAI else "authorization"
        assert "the-secret-of-the-operator" in served.headers[shown]


@pytest.mark.parametrize(
    ("provider", "path", "header"),
    [(MESSAGES, "/messages", "x-api-key"), (GEMINI, "/models/upstream-name:generateContent", "x-goog-api-key")],
)
async def test_others_are_asked_where_they_answer(matrix: Matrix, provider: Wire, path: str, header: str) -> None:
    await matrix.post(CHAT, provider, saying(provider, HELLO), asking.body(CHAT, asking.PLAIN))
    assert matrix.served.path.endswith(path)
    assert matrix.served.headers[header] == "the-secret-of-the-operator"
