"""OpenAI's chat protocol, as clients speak it: what is read of a body, and what an answer is given on its way back."""

import json
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.builders import a_receipt

from tollgate.gateway.model import Attribution, Preferences, Receipt
from tollgate.gateway.protocols import openai_chat
from tollgate.gateway.protocols.openai_chat import decode
from tollgate.kit.errors import InvalidRequest, ProviderFailed
from tollgate.kit.tokens import Kind

RECEIPT = a_receipt({Kind.PROMPT: 7, Kind.COMPLETION: 3})


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "acme/model", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def field_at_fault(given: bytes) -> str | None:
    with pytest.raises(InvalidRequest) as refused:
        decode(given)
    return refused.value.field


def test_a_plain_body_says_what_is_asked_for_and_nothing_else() -> None:
    request = decode(body())
    assert (request.models, request.stream, request.include_usage) == (("acme/model",), False, False)
    assert (request.max_tokens, request.choices, request.service_tier) == (None, 1, None)
    assert (request.preferences, request.attribution) == (Preferences(), Attribution())
    assert request.parameters == frozenset()
    assert request.prompt.texts == ("hi",)


def test_null_is_the_same_as_nothing() -> None:
    names = ("models", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "service_tier",
             "provider", "user", "session_id", "metadata")  # fmt: skip
    plain, nulls = decode(body()), decode(body(**dict.fromkeys(names)))
    for name in ("models", "stream", "include_usage", "max_tokens", "choices", "preferences", "attribution"):
        assert getattr(nulls, name) == getattr(plain, name)


def test_every_preference_is_read() -> None:
    provider = {
        "order": ["a"], "only": ["a", "b"], "ignore": ["c"], "allow_fallbacks": False, "sort": "price",
        "max_price": {"prompt": 1.5, "completion": "2.25"}, "data_collection": "deny", "zdr": True,
        "require_parameters": True,
    }  # fmt: skip
    assert decode(body(provider=provider)).preferences == Preferences(
        order=("a",), only=("a", "b"), ignore=("c",), allow_fallbacks=False, sort="price",
        max_prompt_price=Decimal("1.5"), max_completion_price=Decimal("2.25"), data_collection="deny", zdr=True,
        require_parameters=True,
    )  # fmt: skip


def test_the_larger_of_two_output_limits_counts() -> None:
    assert decode(body(max_tokens=5)).max_tokens == 5
    assert decode(body(max_tokens=5, max_completion_tokens=7)).max_tokens == 7
    assert decode(body(max_tokens=100_000, max_completion_tokens=1)).max_tokens == 100_000


@pytest.mark.parametrize("name", [
    "best_of", "max_gen_len", "max_length", "max_new_tokens", "max_output_tokens", "min_tokens", "n_predict",
    "num_predict",
])  # fmt: skip
def test_what_would_let_a_server_write_more_than_was_held_for_is_refused(name: str) -> None:
    assert field_at_fault(body(max_tokens=1, **{name: 100_000})) == name
    assert decode(body(max_tokens=1, **{name: None})).max_tokens == 1


@pytest.mark.parametrize("name", [
    "api_base", "base_url", "data_sources", "deferred", "enable_search", "fallbacks", "kv_transfer_params", "lora_path",
    "n_cmpl", "plugins", "preset", "route", "search_parameters", "web_search_options",
])  # fmt: skip
def test_what_no_usage_tells_and_what_leads_elsewhere_is_refused(name: str) -> None:
    asking: list[Any] = [True, "x", ["x"], {"a": 1}, {}, 2]
    for asked in asking:
        assert field_at_fault(body(**{name: asked})) == name
    silence: list[Any] = [None, False, "", [], 0]
    for silent in silence:
        assert decode(body(**{name: silent})).models == ("acme/model",)


@pytest.mark.parametrize("kind", ["web_search", "openrouter:web_search", "builtin_function", "Function", "mcp", "", 5])
def test_a_tool_whose_cost_no_usage_tells_is_refused(kind: object) -> None:
    function = {"type": "function", "function": {"name": "f"}}
    assert field_at_fault(body(tools=[function, {"type": kind}])) == "tools[1].type"


def test_tools_that_the_client_runs_pass() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}},
             {"type": None}, {"function": {"name": "g"}}]  # fmt: skip
    assert decode(body(tools=tools)).parameters == {"tools"}


@pytest.mark.parametrize("name", [
    "Model", "MESSAGES", "Max_Tokens", "max_completion_tokenS", "N", "Stream", "toolS", "Service_Tier", "Best_Of",
    "Web_Search_Options", "Base_URL", "Models", "\u017ftream", "max_to\u212aens",
])  # fmt: skip
def test_what_decides_over_a_call_is_written_as_documented(name: str) -> None:
    assert field_at_fault(body(**{name: None})) == name


def test_other_fields_are_written_as_anybody_likes() -> None:
    given_fields = {"Temperature": 1, "to\u212aens": 2}
    assert given_fields.keys() <= decode(body(**given_fields)).fields.keys()


def test_parameters_are_the_optional_fields_a_provider_must_know() -> None:
    request = decode(body(seed=1, tools=[], stop=None, stream=False, n=1, max_tokens=1, user="u", provider={}))
    assert request.parameters == {"seed", "tools"}


@pytest.mark.parametrize(("fields", "field"), [
    ({"provider": {"sort": "cheap"}}, "provider.sort"),
    ({"provider": {"data_collection": "maybe"}}, "provider.data_collection"),
    ({"provider": {"max_price": {"prompt": "Infinity"}}}, "provider.max_price"),
    ({"provider": {"max_price": {"completion": "sNaN"}}}, "provider.max_price"),
    ({"provider": {"order": [""]}}, "provider"),
    ({"n": True}, "n"),
    ({"n": 0}, "n"),
    ({"stream": 1}, "stream"),
    ({"stream": False, "stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options"),
    ({"service_tier": "\x00"}, "service_tier"),
    ({"session_id": "x" * 513}, "session_id"),
    ({"models": ["acme/model", ""]}, "models"),
])  # fmt: skip
def test_a_bad_field_is_named(fields: dict[str, Any], field: str) -> None:
    assert field_at_fault(body(**fields)) == field


FAITHFUL = rb"""{"model":"acme/model","messages":[ {"role":"user","content":"\u00e9\ud83d\ude00\/\n"} ],
 "big":123456789012345678901234567890, "float": 1.10e-07 ,"deep":{"a":[null,{"b":0.30000000000000004}]},
 "escaped":"\u0041"}"""


def test_fields_the_gateway_does_not_know_keep_their_bytes() -> None:
    fields = decode(FAITHFUL).fields
    assert bytes(fields["big"]) == b"123456789012345678901234567890"
    assert bytes(fields["float"]) == b"1.10e-07"
    assert bytes(fields["deep"]) == b'{"a":[null,{"b":0.30000000000000004}]}'
    assert bytes(fields["escaped"]) == rb'"\u0041"'
    assert bytes(fields["messages"]) == rb'[ {"role":"user","content":"\u00e9\ud83d\ude00\/\n"} ]'


def test_fields_for_the_gateway_alone_are_taken_out() -> None:
    ours: dict[str, Any] = {"models": ["a/b"], "provider": {}, "user": "u", "session_id": "s", "metadata": {"a": "b"}}
    assert decode(body(**ours, seed=1)).fields.keys() == {"model", "messages", "seed"}


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_raise_anything_but_a_refusal(given: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(given)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("a\x00\ud83d\ude00é\u2028", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["messages", "provider", "n", "tools", "metadata", "models", "x"]), JSON))
def test_no_json_raises_anything_but_a_refusal(fields: dict[str, Any]) -> None:
    try:
        request = decode(body(**fields))
    except InvalidRequest:
        return
    openai_chat.last_words(request)
    assert all(isinstance(text, str) for text in request.prompt.texts)


@given(st.integers(1, 3000))
def test_depth_is_refused_or_read(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    given = b'{"model":"m","messages":[{"content":[{"x":%s}],"tool_calls":%s}],"x":%s}' % (nested, nested, nested)
    texts: tuple[str, ...] = ()
    with suppress(InvalidRequest):
        texts = decode(given).prompt.texts
    whole = nested.decode()
    assert texts == (f'{{"x":{whole}}}', whole, whole) or (depth > 100 and not texts)


def test_everything_the_model_reads_counts_as_prompt() -> None:
    messages: list[Any] = [
        {"role": "system", "content": None, "name": "n1"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "x"}}],
        },
        {"role": "user", "content": [{"type": "video_url", "video_url": {"url": "data:QUJD"}}, "two"]},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]},
    ]
    prompt = decode(body(messages=messages, tools=[{"type": "function"}], response_format={"type": "text"})).prompt
    assert (prompt.messages, prompt.images) == (4, 1)
    assert prompt.texts == (
        "n1", "one", '{"type": "video_url", "video_url": {"url": "data:QUJD"}}', "two",
        '[{"function": {"name": "f"}}]', '[{"type": "function"}]', '{"type": "text"}',
    )  # fmt: skip


WORDS = "secret words here " * 100
HIDEOUTS: tuple[dict[str, Any], ...] = (
    {"messages": [{"role": "user", "content": WORDS}]},
    {"messages": [{"role": "assistant", "content": "a", "reasoning_content": WORDS}]},
    {"messages": [{"role": "assistant", "content": "a", "refusal": WORDS}]},
    {"messages": [{"role": WORDS, "content": "a"}]},
    {"messages": [{"role": "user", "content": {"text": "", "more": WORDS}}]},
    {"messages": [{"role": "user", "content": [{"type": "file", "text": "", "file": {"file_data": WORDS}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "refusal", "refusal": WORDS, "text": ""}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": [WORDS]}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}, "text": WORDS}]}]},
    {"messages": [{"role": "user", "content": [{"text": WORDS}]}]},
    {"prediction": {"type": "content", "content": WORDS}},
    {"documents": [{"text": WORDS}]},
    {"chat_template": WORDS},
)


@pytest.mark.parametrize("fields", HIDEOUTS)
def test_no_field_hides_a_prompt_from_the_count(fields: dict[str, Any]) -> None:
    prompt = decode(body(**fields)).prompt
    assert any(WORDS in text for text in prompt.texts)
    assert prompt.images == ("image_url" in json.dumps(fields))


def test_settings_are_no_prompt() -> None:
    request = decode(body(temperature=0.5, stop=["x"], seed=1, service_tier="auto", user="u", logit_bias={"1": 2}))
    assert request.prompt.texts == ("hi",)


TOO_MANY: dict[str, tuple[bytes, str | None]] = {
    "messages": (b'{"model":"m","messages":[%s{}]}' % (b"{}," * 10_000), "messages"),
    "parts": (b'{"model":"m","messages":[{"content":[%s""]}]}' % (b'"",' * 10_000), "messages"),
    "parts in all": (b'{"model":"m","messages":[%s{}]}' % (b'{"content":["",""]},' * 5_001), "messages"),
    "fields of messages": (
        b'{"model":"m","messages":[{%s"x":0}]}' % b"".join(b'"%d":0,' % number for number in range(100_000)),
        "messages",
    ),
    "fields": (b'{"model":"m",%s"messages":[{}]}' % b"".join(b'"%d":0,' % number for number in range(256)), None),
    "objects": (b'{"model":"m","messages":[%s{}]}' % (b"{}," * 5_000_000), None),
    "names": (body(provider={"order": ["x"] * 101}), "provider"),
}


@pytest.mark.parametrize("what", TOO_MANY)
def test_more_of_anything_than_a_chat_has_is_refused_at_once(what: str) -> None:
    given, field = TOO_MANY[what]
    assert field_at_fault(given) == field


def test_a_long_chat_is_read_whole() -> None:
    part = {"type": "text", "text": "x"}
    assert len(decode(body(messages=[{"role": "user", "content": [part]}] * 9_999)).prompt.texts) == 9_999


def test_the_last_words_are_the_users() -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "c"}]  # fmt: skip
    assert openai_chat.last_words(decode(body(messages=messages))) == "b"
    assert openai_chat.last_words(decode(body(messages=[{"role": "system", "content": "x"}]))) == ""


def test_an_answer_keeps_its_fields_and_gains_its_cost() -> None:
    whole = b'{"id":"x","model":"theirs","odd":1.10,"usage":{"prompt_tokens":7,"completion_tokens":3,"odd":[1.50]}}'
    assert openai_chat.passed_answer(whole, RECEIPT) == (
        b'{"id":"x","model":"acme/model","odd":1.10,"usage":{"prompt_tokens":7,"completion_tokens":3,"odd":[1.50],'
        b'"cost":0.0000007,"cost_details":'
        b'[{"kind":"prompt","quantity":7,"unit":"per_million_tokens","unit_price":"0.1","amount":"0.0000007"}]},'
        b'"provider":"acme"}'
    )


@pytest.mark.parametrize("usage", [b"", b',"usage":null', b',"usage":5', b',"usage":{"prompt_tokens":"many"}'])
def test_an_answer_without_usage_gets_our_count(usage: bytes) -> None:
    answer = json.loads(openai_chat.passed_answer(b'{"id":"x"' + usage + b"}", RECEIPT._replace(estimated=True)))
    counts = {name: answer["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert counts == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def passed(*chunks: bytes, usage: bool = True, receipt: Receipt = RECEIPT) -> list[bytes]:
    """The data of the events that a client gets for these chunks, and at the end."""
    options = {"stream_options": {"include_usage": True}} if usage else {}
    passage = openai_chat.passage(decode(body(stream=True, **options)), model="acme/model")
    told = b"".join(passage.take(b"data: %s\n\n" % chunk, chunk) for chunk in chunks) + passage.end(receipt)
    return [event.removeprefix(b"data: ") for event in told.split(b"\n\n") if event]


def test_a_stream_without_a_usage_chunk_gets_one_of_ours() -> None:
    told, done = passed(receipt=RECEIPT._replace(estimated=True))
    chunk = json.loads(told)
    assert (chunk["object"], chunk["choices"], chunk["id"]) == ("chat.completion.chunk", [], "gen_1")
    assert (chunk["usage"]["total_tokens"], done) == (10, b"[DONE]")


def test_a_usage_chunk_loses_its_usage_and_nothing_else() -> None:
    assert (
        passed(b'{"id":"x","choices":[{"x":1.10}],"usage":{}}', usage=False)[0] == b'{"id":"x","choices":[{"x":1.10}]}'
    )
    assert passed(b'{"id":"x","choices":[ ],"usage":{}}', b"[DONE]", usage=False) == [b"[DONE]"]


@pytest.mark.parametrize(("chunk", "rest"), [
    (b'{"x_groq":{"id":"r","usage":{"prompt_tokens":7,"completion_tokens":3}},"choices":[{"delta":{}}]}',
     b'{"x_groq":{"id":"r"},"choices":[{"delta":{}}]}'),
    (b'{"choices":[{"delta":{},"usage":{"prompt_tokens":7,"completion_tokens":3}}]}', b'{"choices":[{"delta":{}}]}'),
])  # fmt: skip
def test_usage_in_odd_places_is_kept_back_as_well(chunk: bytes, rest: bytes) -> None:
    assert passed(chunk, usage=False) == [rest, b"[DONE]"]
    told, last, _ = passed(chunk)
    assert told == rest
    usage = json.loads(last)["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["cost"]) == (7, 3, 7e-7)


def test_an_error_in_a_stream_ends_it() -> None:
    passage = openai_chat.passage(decode(body(stream=True)), model="acme/model")
    told, done, _ = passage.fail(ProviderFailed("No."), 502).split(b"\n\n")
    chunk = json.loads(told.removeprefix(b"data: "))
    assert (chunk["error"]["type"], chunk["error"]["code"], done) == ("provider_error", 502, b"data: [DONE]")
    assert chunk["choices"][0]["finish_reason"] == "error"
