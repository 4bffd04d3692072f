"""Who is limited by rates reads what is left of them in the same headers, whether the call was made or refused."""

from collections.abc import Mapping

import httpx
from tests.gateway.clocked import TOKENS, clocked


def _rates(answer: httpx.Response) -> Mapping[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}


async def test_a_refusal_has_the_headers_of_its_rate_as_an_answer_has(server_url: str, template: str) -> None:
    async with clocked(server_url, template) as gateway:
        busy = await gateway.tenant(limits={"key": {"rpm": 1, "tpm": 10 * TOKENS}})
        made = await gateway.call(busy)
        refused = [await gateway.call(busy, speaking=speaking) for speaking in ("chat", "responses", "messages")]

    assert made.status_code == 200
    assert _rates(made) == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60s",
        "x-ratelimit-limit-tokens": str(10 * TOKENS),
        "x-ratelimit-remaining-tokens": str(9 * TOKENS),
        "x-ratelimit-reset-tokens": "60s",
    }
    of_requests = {name: value for name, value in _rates(made).items() if name.endswith("requests")}
    for answer in refused:
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert _rates(answer) == of_requests
