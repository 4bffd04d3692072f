"""The real SDKs as clients: OpenAI's and Anthropic's, for models of every provider, their own and the other's."""

import base64
import struct
from typing import Any

import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel
from tests.gateway.answers import COMPLETION_TOKENS, PROMPT_TOKENS, Saying, saying
from tests.gateway.fake_provider import body_of
from tests.gateway.installation import provider_of
from tests.gateway.matrix import PRICES, PROVIDERS
from tests.gateway.sdks import HELLO, PROMPT, USER, Sdks

from tollgate.catalog.model import Format
from tollgate.gateway.model import Wire

ARGUMENTS = {"location": "Paris", "days": 2}
CALL = Saying("Let me look.", calls=(("call_1", "get_weather", ARGUMENTS), ("call_2", "get_time", {"zone": "CET"})))
SCHEMA = {"type": "object", "properties": {"location": {"type": "string"}, "days": {"type": "integer"}}}
SHORT = PROMPT_TOKENS * 3 + COMPLETION_TOKENS * 15
"""What a call costs, in millionths of a US dollar."""


class GetWeather(BaseModel):
    """Tells the weather."""

    location: str
    days: int


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_client_chats_with_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, HELLO)
    raw = await sdks.openai.chat.completions.with_raw_response.create(model=model, messages=USER)
    answer: Any = raw.parse()
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (HELLO.words, "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS)
    assert round(answer.usage.cost * 1_000_000) == SHORT
    assert (answer.model, answer.provider) == (model, provider_of(model))
    found = await sdks.customer.generation(raw.headers["x-generation-id"])
    assert (found["status"], found["api"], found["model"]) == ("settled", "chat.completions", model)


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_client_streams_chats_with_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, HELLO)
    answer = await sdks.openai.chat.completions.create(
        model=model, messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks: list[Any] = [chunk async for chunk in answer]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == HELLO.words
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.total_tokens == PROMPT_TOKENS + COMPLETION_TOKENS


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_stream_helper_parses_calls_of_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, Saying(calls=CALL.calls[:1]))
    tools: Any = [pydantic_function_tool(GetWeather, name="get_weather")]
    async with sdks.openai.chat.completions.stream(model=model, messages=USER, tools=tools) as answer:
        kinds = {event.type async for event in answer}
        final = await answer.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    [call] = final.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(location="Paris", days=2)
    whole = await sdks.openai.chat.completions.parse(model=model, messages=USER, tools=tools)
    [call] = whole.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(location="Paris", days=2)
    assert whole.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_client_parses_answers_in_a_form_of_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, Saying('{"location": "Paris", "days": 2}'))
    answer = await sdks.openai.chat.completions.parse(model=model, messages=USER, response_format=GetWeather)
    assert answer.choices[0].message.parsed == GetWeather(location="Paris", days=2)
    assert '"days"' in sdks.heard(wire)[0]


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_client_asks_any_provider_for_responses(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, HELLO)
    raw = await sdks.openai.responses.with_raw_response.create(model=model, input=PROMPT, instructions="Be brief.")
    answer: Any = raw.parse()
    assert (answer.output_text, answer.status, answer.error) == (HELLO.words, "completed", None)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS)
    assert round(answer.usage.cost * 1_000_000) == SHORT
    found = await sdks.customer.generation(raw.headers["x-generation-id"])
    assert (found["status"], found["api"]) == ("settled", "responses")
    events: list[Any] = [
        event async for event in await sdks.openai.responses.create(model=model, input=PROMPT, stream=True)
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == HELLO.words
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[-1].type, events[-1].response.output_text) == ("response.completed", HELLO.words)
    assert round(events[-1].response.usage.cost * 1_000_000) == SHORT


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_responses_helper_reads_calls_of_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, CALL)
    tools: Any = [pydantic_function_tool(GetWeather, name="get_weather")["function"]]
    tools = [{"type": "function", **tool} for tool in tools]
    async with sdks.openai.responses.stream(model=model, input=PROMPT, tools=tools) as answer:
        final = await answer.get_final_response()
    calls: list[Any] = [item for item in final.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert GetWeather.model_validate_json(calls[0].arguments) == GetWeather(location="Paris", days=2)
    assert final.output_text == CALL.words


async def test_openais_client_embeds(sdks: Sdks) -> None:
    vector = base64.b64encode(struct.pack("<2f", 0.5, -0.5)).decode()
    body = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":"%s"}],"model":"x",' % vector.encode()
    usage = b'"usage":{"prompt_tokens":5,"total_tokens":5}}'
    model = await sdks.gateway.model(body_of(body + usage), prices={"prompt": "0.02"}, protocols=["embeddings"])
    answer: Any = await sdks.openai.embeddings.create(model=model, input="some words")
    assert (answer.data[0].embedding, answer.usage.total_tokens) == ([0.5, -0.5], 5)
    assert (answer.usage.cost, answer.model) == (1e-7, model)


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_anthropics_client_talks_with_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, HELLO)
    raw = await sdks.anthropic.messages.with_raw_response.create(
        model=model, messages=USER, max_tokens=100, system="Be brief."
    )
    answer: Any = await raw.parse()
    assert ([block.text for block in answer.content], answer.stop_reason) == ([HELLO.words], "end_turn")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (PROMPT_TOKENS, COMPLETION_TOKENS)
    assert round(answer.usage.cost * 1_000_000) == SHORT
    assert (answer.model, answer.provider) == (model, provider_of(model))
    assert raw.headers["request-id"] == raw.headers["x-generation-id"]
    found = await sdks.customer.generation(raw.headers["x-generation-id"])
    assert (found["status"], found["api"]) == ("settled", "messages")


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_anthropics_client_streams_from_any_provider(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, HELLO, CALL)
    async with sdks.anthropic.messages.stream(model=model, messages=USER, max_tokens=100) as answer:
        words = [text async for text in answer.text_stream]
        final: Any = await answer.get_final_message()
    assert "".join(words) == final.content[0].text == HELLO.words
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", COMPLETION_TOKENS)
    assert final.usage.input_tokens == PROMPT_TOKENS
    async with sdks.anthropic.messages.stream(model=model, messages=USER, max_tokens=100, tools=TOOLS) as answer:
        final = await answer.get_final_message()
    assert [block.type for block in final.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in final.content[1:]] == [ARGUMENTS, {"zone": "CET"}]
    assert final.stop_reason == "tool_use"


TOOLS: Any = [
    {"name": "get_weather", "description": "Tells the weather.", "input_schema": SCHEMA},
    {"name": "get_time", "description": "Tells the time.", "input_schema": {"type": "object", "properties": {}}},
]


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_anthropics_client_goes_round_a_loop_of_tools(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, CALL, HELLO)
    messages = list(USER)
    first = await sdks.anthropic.messages.create(model=model, messages=messages, max_tokens=100, tools=TOOLS)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [(call.name, call.input) for call in calls] == [("get_weather", ARGUMENTS), ("get_time", {"zone": "CET"})]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name} said so"} for call in calls]
    messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    second: Any = await sdks.anthropic.messages.create(model=model, messages=messages, max_tokens=100, tools=TOOLS)
    assert second.content[0].text == HELLO.words
    last = sdks.heard(wire)[1]
    assert "get_weather said so" in last
    assert "get_time said so" in last
    assert CALL.words in last


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_client_goes_round_a_loop_of_tools(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, CALL, HELLO)
    messages = list(USER)
    functions = [{"name": tool["name"], "parameters": tool["input_schema"]} for tool in TOOLS]
    tools: Any = [{"type": "function", "function": function} for function in functions]
    first = await sdks.openai.chat.completions.create(model=model, messages=messages, tools=tools)
    message: Any = first.choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["get_weather", "get_time"]
    messages.append(message)
    messages += [
        {"role": "tool", "tool_call_id": call.id, "content": f"{call.function.name} said so"}
        for call in message.tool_calls
    ]
    second = await sdks.openai.chat.completions.create(model=model, messages=messages, tools=tools)
    assert second.choices[0].message.content == HELLO.words
    last = sdks.heard(wire)[1]
    assert "get_weather said so" in last
    assert "get_time said so" in last


@pytest.mark.parametrize("wire", PROVIDERS)
async def test_openais_client_goes_round_a_loop_of_responses(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, CALL, HELLO)
    items: list[Any] = list(USER)
    tools: Any = [{"type": "function", "name": tool["name"], "parameters": tool["input_schema"], "strict": False}
                  for tool in TOOLS]  # fmt: skip
    first = await sdks.openai.responses.create(model=model, input=items, tools=tools)
    items += first.output
    for call in first.output:
        if call.type == "function_call":
            output = f"{call.name} said so"
            items.append({"type": "function_call_output", "call_id": call.call_id, "output": output})
    second = await sdks.openai.responses.create(model=model, input=items, tools=tools)
    assert second.output_text == HELLO.words
    last = sdks.heard(wire)[1]
    assert "get_weather said so" in last
    assert "get_time said so" in last


SIGNED = Saying("Done.", thought="Let me think.", signature="c2lnbmVkIGJ5IHRoZSBwcm92aWRlcg==")
SIGNED_CALL = Saying(calls=CALL.calls[:1], thought="Let me think.", signature=SIGNED.signature)


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", [Wire.MESSAGES, Wire.RESPONSES, Wire.GENERATE_CONTENT])
async def test_signatures_of_thoughts_come_back_through_openais_client(
    sdks: Sdks, wire: Wire, *, streams: bool
) -> None:
    model = await sdks.model(wire, SIGNED_CALL, HELLO)
    function = {"name": "get_weather", "parameters": SCHEMA}
    asked: Any = {"model": model, "tools": [{"type": "function", "function": function}], "reasoning_effort": "low"}
    if streams:
        async with sdks.openai.chat.completions.stream(messages=USER, **asked) as answer:
            final: Any = await answer.get_final_completion()
        message = final.choices[0].message.model_dump(exclude_none=True)
    else:
        whole = await sdks.openai.chat.completions.create(messages=USER, **asked)
        message = whole.choices[0].message.model_dump(exclude_none=True)
    assert message["reasoning"] == SIGNED.thought
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "18 degrees"}
    turns: Any = [*USER, message, result]
    await sdks.openai.chat.completions.create(messages=turns, **asked)
    assert SIGNED.signature in sdks.heard(wire)[1]


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", [Wire.MESSAGES, Wire.RESPONSES, Wire.GENERATE_CONTENT])
async def test_signatures_of_thoughts_come_back_through_anthropics_client(
    sdks: Sdks, wire: Wire, *, streams: bool
) -> None:
    model = await sdks.model(wire, SIGNED_CALL, HELLO)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked: Any = {"model": model, "max_tokens": 2000, "tools": TOOLS, "thinking": thinking}
    if streams:
        async with sdks.anthropic.messages.stream(messages=USER, **asked) as answer:
            first: Any = await answer.get_final_message()
    else:
        first = await sdks.anthropic.messages.create(messages=USER, **asked)
    assert first.content[0].thinking == SIGNED.thought
    result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "18 degrees"}
    turns: Any = [*USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    await sdks.anthropic.messages.create(messages=turns, **asked)
    assert SIGNED.signature in sdks.heard(wire)[1]


@pytest.mark.parametrize("wire", [Wire.MESSAGES, Wire.RESPONSES, Wire.GENERATE_CONTENT])
async def test_signatures_of_thoughts_come_back_through_responses(sdks: Sdks, wire: Wire) -> None:
    model = await sdks.model(wire, SIGNED_CALL, HELLO)
    tool = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}
    asked: Any = {
        "model": model, "tools": [tool], "reasoning": {"effort": "low"}, "store": False,
        "include": ["reasoning.encrypted_content"],
    }  # fmt: skip
    first = await sdks.openai.responses.create(input=USER, **asked)
    items: list[Any] = [*USER, *first.output]
    call: Any = first.output[-1]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"})
    await sdks.openai.responses.create(input=items, **asked)
    assert SIGNED.signature in sdks.heard(wire)[1]


async def test_anthropics_client_reaches_openais_model_by_its_name(sdks: Sdks) -> None:
    """The promise of the model page: `openai/gpt-4.1-mini` speaks both protocols."""
    model, provider = "openai/gpt-4.1-mini", "openai-of-the-sdks"
    await sdks.gateway.endpoint(
        model, provider, saying(Wire.CHAT, HELLO), prices=PRICES, format=Format.OPENAI, credential="env:ACME_API_KEY"
    )
    answer: Any = await sdks.anthropic.messages.create(model=f"{model}:{provider}", messages=USER, max_tokens=100)
    assert (answer.content[0].text, answer.model, answer.provider) == (HELLO.words, model, provider)


async def test_both_clients_reach_the_sandbox(sdks: Sdks) -> None:
    chat = await sdks.openai.chat.completions.create(model="sandbox/echo", messages=USER)
    assert chat.choices[0].message.content == PROMPT
    response = await sdks.openai.responses.create(model="sandbox/echo", input=PROMPT)
    assert response.output_text == PROMPT
    message: Any = await sdks.anthropic.messages.create(model="sandbox/echo", messages=USER, max_tokens=100)
    assert message.content[0].text == PROMPT
    async with sdks.anthropic.messages.stream(model="sandbox/echo", messages=USER, max_tokens=3) as answer:
        final: Any = await answer.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 3)


async def test_anthropics_client_counts_tokens(sdks: Sdks) -> None:
    model = await sdks.model(Wire.CHAT, HELLO)
    counted = await sdks.anthropic.messages.count_tokens(model=model, messages=USER, system="Be brief.", tools=TOOLS)
    assert 10 < counted.input_tokens < 200
    assert not sdks.heard(Wire.CHAT)


async def test_both_clients_list_models(sdks: Sdks) -> None:
    model = await sdks.model(Wire.CHAT, HELLO)
    listed = [one.id async for one in await sdks.openai.models.list()]
    assert {model, "sandbox/echo"} <= set(listed)
    retrieved = await sdks.openai.models.retrieve(model)
    assert (retrieved.id, retrieved.object, retrieved.owned_by) == (model, "model", model.partition("/")[0])
    page = await sdks.anthropic.models.list(limit=1000)
    [found] = [one for one in page.data if one.id == model]
    assert (found.type, found.display_name) == ("model", "A model")
    assert (await sdks.anthropic.models.retrieve(model)).id == model
