"""The sandbox: it answers as any provider would, and a large answer costs no more memory than a small one."""

import json
import tracemalloc

from tollgate.gateway import sandbox_embeddings
from tollgate.gateway.model import UpstreamRequest
from tollgate.gateway.sandbox import SandboxUpstream


def asking(words: str, *, choices: int) -> UpstreamRequest:
    messages = [{"role": "user", "content": words}]
    body = {"model": "echo", "messages": messages, "n": choices, "stream": True}
    return UpstreamRequest("", {}, json.dumps(body).encode(), stream=True)


async def test_a_stream_is_made_as_it_is_read() -> None:
    await SandboxUpstream().send(asking("hi", choices=1))
    tracemalloc.start()
    try:
        reply = await SandboxUpstream().send(asking("hello " * 2_000, choices=128))
        first = json.loads((await reply.piece()).removeprefix(b"data: "))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert peak < 8_000_000


async def test_every_answer_of_a_stream_is_whole() -> None:
    reply = await SandboxUpstream().send(asking("hello there", choices=3))
    events = (await reply.body()).split(b"\n\n")
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    said = ["", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        said[choice["index"]] += choice["delta"].get("content", "")
    assert said == ["hello there"] * 3
    assert chunks[-1]["usage"]["completion_tokens"] == 3 * 2
    assert events[-2:] == [b"data: [DONE]", b""]


async def test_many_inputs_are_embedded_in_order() -> None:
    inputs = [f"input {number}" for number in range(100)]
    body = json.dumps({"model": "echo", "input": inputs, "dimensions": 4}).encode()
    reply = await SandboxUpstream().send(UpstreamRequest("https://x.test/embeddings", {}, body, stream=False))
    answer = json.loads(await reply.body())
    assert [item["embedding"] for item in answer["data"]] == sandbox_embeddings.embed(inputs, dimensions=4)


async def test_a_long_chat_is_answered_like_a_short_one() -> None:
    messages = [{"role": "user", "content": "hello " * 20_000}, {"role": "user", "content": "hi"}]
    body = json.dumps({"model": "echo", "messages": messages}).encode()
    reply = await SandboxUpstream().send(UpstreamRequest("", {}, body, stream=False))
    assert json.loads(await reply.body())["choices"][0]["message"]["content"] == "hi"
