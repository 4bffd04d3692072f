"""OpenAI Responses, as clients speak it: what is read of a body, what is refused, and what passes on its way back."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.builders import a_receipt
from tests.gateway.corpus import Entry, entries

from tollgate.gateway import wire
from tollgate.gateway.model import Attribution, Preferences, Receipt, Wire
from tollgate.gateway.protocols import openai_responses
from tollgate.gateway.protocols.openai_responses import decode
from tollgate.gateway.providers import openai_responses as upstream
from tollgate.gateway.streams import data_of, name_of
from tollgate.gateway.translation import ConversationalClient
from tollgate.kit.errors import InvalidRequest, ProviderFailed, RateLimited, TollgateError
from tollgate.kit.tokens import Kind

CORPUS = entries(Wire.RESPONSES)
RECEIPT = a_receipt(
    {Kind.PROMPT: 4, Kind.INPUT_CACHE_READ: 2, Kind.INPUT_CACHE_WRITE_1H: 1, Kind.COMPLETION: 3},
    generation_id="gen_01939d2f-3a00-7000-8000-000000000000",
)


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "acme/model", "input": "hi", **fields}).encode()


def field_at_fault(given: bytes) -> str | None:
    with pytest.raises(InvalidRequest) as refused:
        decode(given)
    return refused.value.field


def test_the_package_is_a_translator() -> None:
    face: ConversationalClient = openai_responses
    assert face.WIRE is Wire.RESPONSES


def test_a_plain_body_says_what_is_asked_for_and_nothing_else() -> None:
    request = decode(body())
    assert (request.wire, request.models, request.stream) == (Wire.RESPONSES, ("acme/model",), False)
    assert (request.include_usage, request.max_tokens, request.choices) == (True, None, 1)
    assert (request.preferences, request.attribution, request.service_tier) == (Preferences(), Attribution(), None)
    assert request.parameters == frozenset()
    assert (request.prompt.texts, request.prompt.messages, request.prompt.images) == (("hi",), 1, 0)


def test_null_is_the_same_as_nothing() -> None:
    names = ("models", "stream", "max_output_tokens", "service_tier", "provider", "user", "session_id", "metadata",
             "background", "previous_response_id", "conversation", "prompt", "tools", "text", "n")  # fmt: skip
    plain, nulls = decode(body()), decode(body(**dict.fromkeys(names)))
    for name in ("models", "stream", "max_tokens", "choices", "preferences", "attribution", "parameters"):
        assert getattr(nulls, name) == getattr(plain, name)


def test_whom_the_call_is_for_stays_here() -> None:
    given_metadata = {"team": "blue"}
    request = decode(body(user="u", session_id="s", metadata=given_metadata, provider={"zdr": True}, models=["b/c"]))
    assert request.attribution == Attribution("u", "s", given_metadata)
    assert (request.models, request.preferences.zdr) == (("acme/model", "b/c"), True)
    assert request.fields.keys() == {"model", "input"}


def test_parameters_go_by_the_catalogues_names() -> None:
    text = {"format": {"type": "json_schema", "name": "a", "schema": {}}, "verbosity": "low"}
    request = decode(body(text=text, tools=[], reasoning={"effort": "low"}, store=False, temperature=None))
    assert request.parameters == {"response_format", "verbosity", "tools", "reasoning"}
    assert decode(body(text={"format": {"type": "text"}})).parameters == frozenset()


@pytest.mark.parametrize(("fields", "field"), [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"input": ["hi"]}, "input"),
    ({"model": ""}, "model"),
    ({"stream": 1}, "stream"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": True}, "max_output_tokens"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"type": 5}]}, "tools[0].type"),
    ({"text": 5}, "text"),
    ({"background": True}, "background"),
    ({"background": "yes"}, "background"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"context_management": [{"type": "compaction", "compact_threshold": 1000}]}, "context_management"),
    ({"context_management": {}}, "context_management"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": "hi"}, {"id": "msg_1"}]}, "input[1]"),
    ({"input": [{"type": None, "id": "msg_1"}]}, "input[0]"),
    ({"input": [{"role": "user", "content": ["a"] * 10_001}]}, "input"),
    ({"input": [{"role": "user", "content": [5]}]}, "input"),
])  # fmt: skip
def test_a_bad_field_is_named(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(body(**fields)) == field


@pytest.mark.parametrize("silent", [None, []])
def test_a_context_that_nobody_manages_passes(silent: object) -> None:
    assert decode(body(context_management=silent)).models == ("acme/model",)


@pytest.mark.parametrize("name", ["Input", "Instructions", "Max_Output_Tokens", "Background", "Store", "Prompt"])
def test_what_decides_over_a_call_is_written_as_documented(name: str) -> None:
    assert field_at_fault(body(**{name: None})) == name


@pytest.mark.parametrize("name", [
    "best_of", "max_completion_tokens", "max_gen_len", "max_length", "max_new_tokens", "max_tokens", "min_tokens", "n",
    "n_predict", "num_predict",
])  # fmt: skip
def test_what_would_let_a_server_write_more_than_was_held_for_is_refused(name: str) -> None:
    assert field_at_fault(body(max_output_tokens=1, **{name: 100_000})) == name


@pytest.mark.parametrize("tool", [
    {"type": "file_search", "vector_store_ids": ["vs_1"]}, {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "image_generation"}, {"type": "programmatic_tool_calling"}, {"type": "shell"}, {"type": "x_search"},
    {"type": "shell", "environment": {"type": "container_auto"}}, {}, {"type": None},
    {"type": "namespace", "name": "n", "tools": [{"type": "file_search"}]},
    {"type": "namespace", "name": "n", "tools": [{"type": "namespace", "tools": []}]},
])  # fmt: skip
def test_a_tool_whose_cost_no_answer_tells_is_refused_wherever_it_comes_from(tool: dict[str, Any]) -> None:
    function = {"type": "function", "name": "f"}
    assert field_at_fault(body(tools=[function, tool])) == "tools[1].type"
    for kind in ("additional_tools", "tool_search_output"):
        assert field_at_fault(body(input=[{"type": kind, "tools": [tool]}])) == "input[0].tools[0].type"


def test_a_tool_whose_cost_is_told_passes() -> None:
    tools = [
        {"type": "function", "name": "f"}, {"type": "custom", "name": "c"}, {"type": "web_search"},
        {"type": "web_search_preview"}, {"type": "mcp", "server_label": "l"}, {"type": "local_shell"},
        {"type": "shell", "environment": {"type": "local"}}, {"type": "apply_patch"}, {"type": "computer"},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]}, {"type": "tool_search"},
    ]  # fmt: skip
    assert decode(body(tools=tools, max_tool_calls=3)).parameters == {"tools", "max_tool_calls"}


def test_everything_the_model_reads_counts_as_prompt() -> None:
    picture = "data:image/png;base64," + "A" * 1000
    request = decode(body(
        instructions="Be brief.",
        input=[
            {"role": "user", "content": [
                {"type": "input_text", "text": "Look:"}, {"type": "input_image", "image_url": picture},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}",
             "status": "completed"},
            {"type": "function_call_output", "call_id": "call_1", "output": "18 degrees"},
            {"type": "function_call_output", "call_id": "call_2", "output": [
                {"type": "input_text", "text": "a picture"}, {"type": "input_image", "file_id": "file-1"},
            ]},
            {"type": "computer_call_output", "call_id": "c", "output": {
                "type": "computer_screenshot", "image_url": picture,
            }},
        ],
        tools=[{"type": "function", "name": "f"}], reasoning={"effort": "low"},
    ))  # fmt: skip
    assert request.prompt.images == 3
    assert request.prompt.messages == 6
    texts = request.prompt.texts
    for told in ("Be brief.", "Look:", "sealed", "f", "{}", "18 degrees", "a picture"):
        assert told in texts
    assert any("function" in text for text in texts)
    assert not any("AAAA" in text or text in {"rs_1", "fc_1", "completed"} for text in texts)


def test_no_prompt_hides_in_a_label_or_an_unknown_field() -> None:
    long = "word " * 100
    request = decode(body(input=[{"role": "user", "content": "hi", "id": long, "novel": long}], unheard_of=long))
    assert request.prompt.texts.count(long) == 3


FAITHFUL = rb"""{"model":"acme/model","input":[ {"role":"user","content":"\u00e9\ud83d\ude00\/\n"} ],
 "big":123456789012345678901234567890, "float": 1.10e-07 ,"deep":{"a":[null,{"b":0.30000000000000004}]}}"""


def test_fields_the_gateway_does_not_know_keep_their_bytes() -> None:
    fields = decode(FAITHFUL).fields
    assert bytes(fields["big"]) == b"123456789012345678901234567890"
    assert bytes(fields["float"]) == b"1.10e-07"
    assert bytes(fields["input"]) == rb'[ {"role":"user","content":"\u00e9\ud83d\ude00\/\n"} ]'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from([
    "message", "function_call", "function_call_output", "reasoning", "input_text", "input_image", "input_file",
    "output_text", "refusal", "summary_text", "web_search_call", "item_reference", "additional_tools", "function",
    "namespace", "json_schema", "user", "assistant", "system", "auto", "named",
])  # fmt: skip
NAMED = ("type", "role", "content", "output", "arguments", "call_id", "name", "summary", "encrypted_content", "text",
         "image_url", "file_data", "tools", "effort", "format", "schema", "environment", "detail")  # fmt: skip
HOSTILE = st.recursive(
    JSON | KINDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMED), inner | KINDS, max_size=5)
        | st.tuples(KINDS, st.dictionaries(st.sampled_from(NAMED), inner | KINDS, max_size=5)).map(
            lambda typed: {**typed[1], "type": typed[0]}
        )
    ),
    max_leaves=12,
)
FIELDS = ("input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "top_logprobs", "store",
          "temperature", "stream", "stream_options", "truncation", "parallel_tool_calls", "service_tier")  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), HOSTILE | st.lists(HOSTILE, max_size=3), min_size=1, max_size=2))
@settings(max_examples=100)
def test_no_request_raises_anything_but_a_refusal(fields: dict[str, Any]) -> None:
    with suppress(InvalidRequest):
        openai_responses.conversation(decode(body(**fields)))


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_refusal(given_body: bytes) -> None:
    with suppress(InvalidRequest):
        decode(given_body)


@given(st.integers(1, 3000))
@settings(max_examples=30)
def test_depth_is_refused_or_read(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    for name in (b"input", b"tools", b"text", b"novel"):
        with suppress(InvalidRequest):
            openai_responses.conversation(decode(b'{"model":"m","input":"x","%s":%s}' % (name, nested)))


def as_event(data: bytes) -> bytes:
    return wire.event(data, json.loads(data)["type"])


def passed(entry: Entry, receipt: Receipt = RECEIPT) -> list[bytes]:
    passage = openai_responses.passage(decode(body(stream=True)), model="acme/model")
    return [*(passage.take(as_event(data), data) for data in entry.stream), passage.end(receipt)]


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_passing_stream_keeps_its_bytes_but_for_model_provider_and_cost(entry: Entry) -> None:
    *pieces, held, last = passed(entry)
    assert held == b""
    for data, piece in zip(entry.stream, pieces, strict=False):
        if b'"response"' not in data:
            assert piece == as_event(data)
        else:
            told = json.loads(data)
            assert json.loads(data_of(piece)) == {**told, "response": {**told["response"], "model": "acme/model"}}
            assert name_of(piece) == told["type"].encode()
    theirs, ours = json.loads(entry.stream[-1]), json.loads(data_of(last))
    assert name_of(last) == theirs["type"].encode()
    usage = ours["response"]["usage"]
    assert b'"cost":0.0000007' in last
    assert usage["cost_details"][0]["unit_price"] == "0.1"
    told_usage = {**theirs["response"]["usage"], "cost": usage["cost"], "cost_details": usage["cost_details"]}
    named = {"model": "acme/model", "provider": "acme", "usage": told_usage}
    assert ours == {**theirs, "response": {**theirs["response"], **named}}


@pytest.mark.parametrize("entry", CORPUS, ids=lambda entry: entry.name)
def test_a_passing_answer_keeps_its_fields_but_for_model_provider_and_cost(entry: Entry) -> None:
    assert entry.whole is not None
    theirs, ours = json.loads(entry.whole), json.loads(openai_responses.passed_answer(entry.whole, RECEIPT))
    for name in ("cost", "cost_details"):
        del ours["usage"][name]
    assert ours == {**theirs, "model": "acme/model", "provider": "acme"}


def test_a_count_of_our_own_takes_the_place_of_the_totals() -> None:
    receipt = RECEIPT._replace(estimated=True)
    told = json.loads(openai_responses.passed_answer(b'{"output":[],"usage":{"input_tokens":99,"x":1}}', receipt))
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"], told["usage"]["total_tokens"]) == (7, 3, 10)
    assert told["usage"]["x"] == 1
    missing = json.loads(openai_responses.passed_answer(b'{"output":[],"usage":null}', receipt))
    assert missing["usage"]["input_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 1}


def test_what_only_looks_like_a_beginning_passes_as_it_is() -> None:
    passage = openai_responses.passage(decode(body()), model="acme/model")
    for data in (b'{"type":"response.created"}', b'{"type":"response.created","response":5}', b'{"type":"response.x"}',
                 b'{"novel":{"type":"response.completed"},"type":"response.x","response":{}}', b"{]"):  # fmt: skip
        assert passage.take(b"data: " + data + b"\n\n", data) == b"data: " + data + b"\n\n"


@pytest.mark.parametrize(("error", "code"), [
    (ProviderFailed("The provider's stream failed.", metadata={"provider_message": "m"}), "server_error"),
    (RateLimited("Slower."), "rate_limit_exceeded"),
])  # fmt: skip
def test_a_passing_stream_that_breaks_off_says_so_under_the_next_number(error: TollgateError, code: str) -> None:
    entry = CORPUS[0]
    passage = openai_responses.passage(decode(body()), model="acme/model")
    for data in entry.stream[:4]:
        passage.take(as_event(data), data)
    piece = passage.fail(error, 502)
    told = json.loads(data_of(piece))
    assert name_of(piece) == b"response.failed"
    assert (told["type"], told["sequence_number"], told["error_type"]) == ("response.failed", 4, error.type)
    assert told["response"]["id"] == json.loads(entry.stream[0])["response"]["id"]
    assert (told["response"]["status"], told["response"]["model"]) == ("failed", "acme/model")
    problem = {"code": code, "message": error.message, "type": error.type, "metadata": error.metadata}
    assert told["response"]["error"] == problem


def test_a_stream_that_never_began_can_still_fail_and_end() -> None:
    request = decode(body())
    failed = json.loads(data_of(openai_responses.passage(request, model="m").fail(ProviderFailed(), 502)))
    assert (failed["sequence_number"], failed["response"]["status"]) == (0, "failed")
    ended = openai_responses.passage(request, model="m").end(RECEIPT)
    reader = upstream.reader()
    assert reader.look(data_of(ended))
    assert reader.answer.usage is not None
